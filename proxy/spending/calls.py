"""HTTP calls to an upstream within `paid`: complete or streamed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from proxy.backends.upstream import UpstreamResponse
from proxy.errors import upstream_broken, upstream_invalid
from proxy.formats.base import ReadAnswer
from proxy.formats.lenient import TooDeepError, as_utf8, decode, is_json
from proxy.formats.sse import DONE
from proxy.pricing.reported import NOTHING_REPORTED
from proxy.pricing.tokens import count_text, hides_reasoning
from proxy.spending.paid import PaidCall

DRAIN_S = 0.8
"""How long a paid call may still report its usage after its client has disconnected. It is billed anyway."""


@asynccontextmanager
async def _post(call: PaidCall, body: Mapping[str, Any]) -> AsyncIterator[UpstreamResponse]:
    sent = {k: v for k, v in call.format.upstream_body(body).items() if k != "models"} | {
        "model": call.model.id
    }
    async with call.upstream.post(call.format.path, sent, call.deadline) as response:
        call.headers = response.headers
        yield response


async def complete(call: PaidCall, body: Mapping[str, Any]) -> bytes:
    """Make one call without streaming. Return the response body, and set the usage in `call`.

    If this coroutine is cancelled, the call gets `DRAIN_S` to report its usage.

    Raises:
        ApiError: the upstream has failed.
    """

    async def fetch() -> bytes:
        async with _post(call, body) as response:
            raw = as_utf8(await response.read())
        answer = _read(call, raw)
        call.usage, call.finish_reason = answer.usage, answer.finish_reason
        if call.usage is None:
            prompt, output = await _count_prompt(call, body), await _count_output(call, answer.generated)
            call.counted = answer.reported.filled(prompt, output, cut=False)
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


async def stream(call: PaidCall, body: Mapping[str, Any]) -> AsyncIterator[tuple[bytes, dict[str, Any]]]:
    """Make one streamed call. Yield each chunk as bytes and decoded, and set the usage in `call`.

    A separate task reads the upstream. If the client disconnects, that task gets `DRAIN_S` to read the usage.
    The queue between them is short, so a slow client uses little memory.

    Raises:
        ApiError: the upstream has failed.
    """
    total = call.format.tally()
    done = False
    queue: asyncio.Queue[tuple[bytes, dict[str, Any]] | None] = asyncio.Queue(16)
    reader_left = asyncio.Event()

    async def pump() -> None:
        nonlocal done
        try:
            async with _post(call, body) as response:
                async for data in response.events():
                    if data == DONE:
                        done = True
                        break
                    item = (data, total.add(data))
                    if not item[1] and not is_json(data):
                        continue  # a heartbeat in plain text, which no client can read
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
        call.usage = total.final_usage
        call.finish_reason = total.finish_reason or call.finish_reason
        started = total.chunks or total.finish_reason or total.reported != NOTHING_REPORTED
        if call.usage is None and started:
            visible = max(total.chunks, await _count_output(call, total.generated))
            # Hidden reasoning is billed, and only the upstream can count it.
            hidden = not total.complete and hides_reasoning(call.model.id, body)
            output = call.output if hidden else min(visible, call.output)
            prompt = await _count_prompt(call, body)
            call.counted = total.reported.filled(prompt, output, cut=True)


def _read(call: PaidCall, raw: bytes) -> ReadAnswer:
    """Read a complete answer.

    Raises:
        ApiError: it is no answer of this endpoint.
    """
    try:
        decoded = decode(raw)
    except TooDeepError:
        return ReadAnswer(generated=raw.decode("utf-8", "replace"))
    except ValueError as e:
        raise upstream_invalid() from e
    if not isinstance(decoded, dict) or not call.format.is_answer(decoded):
        raise upstream_invalid()
    return call.format.read_complete(decoded)


async def _count_prompt(call: PaidCall, body: Mapping[str, Any]) -> int:
    """Count a prompt whose usage was not reported. The reserved limit is the most it can be."""
    return min(call.prompt_limit, await asyncio.to_thread(call.format.count, call.model.id, body))


async def _count_output(call: PaidCall, generated: str) -> int:
    """Count the tokens of a generated text in a thread: a long one takes too much time for the event loop."""
    return await asyncio.to_thread(count_text, call.model.id, generated)
