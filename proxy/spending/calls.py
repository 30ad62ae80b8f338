"""Paid calls to an upstream, whole or streamed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from proxy.backends.upstream import UpstreamResponse
from proxy.errors import upstream_broken, upstream_invalid
from proxy.formats.sse import DONE
from proxy.pricing.prices import Usage
from proxy.pricing.tokens import count_text, hides_reasoning
from proxy.service.state import AppState
from proxy.spending.paid import PaidCall

DRAIN_S = 0.8
"""How long a paid call may still report its usage after its client has left: it is billed anyway."""


@asynccontextmanager
async def _post(state: AppState, call: PaidCall, body: Mapping[str, Any]) -> AsyncIterator[UpstreamResponse]:
    sent = {k: v for k, v in call.format.upstream_body(body).items() if k != "models"} | {
        "model": call.model.id
    }
    upstream = state.upstreams[call.model.upstream]
    async with upstream.post(call.format.path, sent, call.deadline) as response:
        call.headers = response.headers
        yield response


async def complete(state: AppState, call: PaidCall, body: Mapping[str, Any]) -> bytes:
    """Make one unstreamed call; return the response's bytes, with the usage noted in `call`.

    A cancelled call gets `DRAIN_S` to report its usage.

    Raises:
        ApiError: what the client should see.
    """

    async def fetch() -> bytes:
        async with _post(state, call, body) as response:
            raw = await response.read()
        try:
            call.usage, call.finish_reason, generated = call.format.read_complete(msgspec.json.decode(raw))
            if call.usage is None:
                call.counted = Usage(await _prompt(call, body), count_text(call.model.id, generated))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
            raise upstream_invalid() from e
        return raw

    task = asyncio.ensure_future(fetch())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=DRAIN_S)
        raise
    except (aiohttp.ClientError, OSError) as e:
        raise upstream_broken() from e
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stream(
    state: AppState, call: PaidCall, body: Mapping[str, Any]
) -> AsyncIterator[tuple[bytes, dict[str, Any]]]:
    """Make one streamed call; yield each chunk as its bytes and decoded, usage noted in `call`.

    The upstream is read by a task of its own, so that a client that leaves does not cut it off before
    `DRAIN_S`; the queue between them is short, so that a slow client holds no memory.

    Raises:
        ApiError: what the client should see.
    """
    total = call.format.tally()
    done = False
    queue: asyncio.Queue[tuple[bytes, dict[str, Any]] | None] = asyncio.Queue(16)
    reader_left = asyncio.Event()

    async def pump() -> None:
        nonlocal done
        try:
            async with _post(state, call, body) as response:
                async for data in response.events():
                    if data == DONE:
                        done = True
                        break
                    item = (data, total.add(data))
                    if not reader_left.is_set():
                        await queue.put(item)
        finally:
            if not reader_left.is_set():
                await queue.put(None)

    task = asyncio.ensure_future(pump())
    try:
        while (item := await queue.get()) is not None:
            yield item
        await task
        if not done and not total.complete and total.error is None:
            raise upstream_broken()
    except (aiohttp.ClientError, OSError, ValueError) as e:
        raise upstream_broken() from e
    finally:
        reader_left.set()
        while not queue.empty():
            queue.get_nowait()
        await asyncio.wait({task}, timeout=DRAIN_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        call.usage = total.usage
        call.finish_reason = total.finish_reason or call.finish_reason
        if total.usage is None and (total.chunks or total.finish_reason):
            visible = max(total.chunks, count_text(call.model.id, total.generated))
            # What was thought before the first visible token is billed and cannot be counted from here.
            hidden = not total.complete and hides_reasoning(call.model.id, body)
            output = call.output if hidden else min(visible, call.output)
            call.counted = Usage(await _prompt(call, body), output)


async def _prompt(call: PaidCall, body: Mapping[str, Any]) -> int:
    """Count a prompt whose usage was not reported, within the bound that was reserved."""
    return min(call.prompt_bound, await asyncio.to_thread(call.format.count, call.model.id, body))
