"""HTTP calls to an upstream within `paid`: complete or streamed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from proxy.backends.answers import UpstreamResponse
from proxy.errors import ApiError, upstream_broken, upstream_invalid
from proxy.formats.base import ReadAnswer, Tally
from proxy.formats.lenient import TooDeepError, as_utf8, decode_except, is_json
from proxy.formats.sse import DONE
from proxy.pricing.prices import Usage
from proxy.pricing.reported import NOTHING_REPORTED, read_usage
from proxy.pricing.tokens import hides_reasoning
from proxy.spending.estimates import count_output, count_prompt, used_by_now
from proxy.spending.paid import PaidCall

DRAIN_S = 0.8
"""How long a paid call may still report its usage after its client has disconnected. It is billed anyway."""


@asynccontextmanager
async def _post(
    call: PaidCall, body: Mapping[str, Any], *, streamed: bool
) -> AsyncIterator[UpstreamResponse]:
    sent = {k: v for k, v in call.format.upstream_body(body).items() if k != "models"} | {
        "model": call.model.id
    }
    try:
        async with call.upstream.post(
            call.format.path, sent, call.deadline, call.delivery, streamed=streamed
        ) as response:
            call.headers = response.headers
            yield response
    except ApiError as e:
        call.usage = read_usage(e.usage).usage or call.usage
        raise


async def complete(call: PaidCall, body: Mapping[str, Any]) -> bytes:
    """Make one call without streaming. Return the response body, and set the usage in `call`.

    If this coroutine is cancelled, the call gets `DRAIN_S` to report its usage.

    Raises:
        ApiError: the upstream has failed.
    """

    async def fetch() -> bytes:
        async with _post(call, body, streamed=False) as response:
            raw = as_utf8(await response.read())
        answer = _read(call, raw)
        call.usage = Usage() if call.format.is_free else answer.usage
        call.finish_reason = answer.finish_reason
        if call.usage is None:
            prompt, output = await count_prompt(call, body), await count_output(call, answer.generated)
            call.counted = answer.reported.filled(prompt, output, cut=False)
        return raw

    task = asyncio.ensure_future(fetch())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=DRAIN_S)
        call.refused = _is_refused(task)
        if call.usage is None and call.counted is None:
            call.counted = await used_by_now(call, body)
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stream(
    call: PaidCall, body: Mapping[str, Any]
) -> AsyncGenerator[tuple[bytes, dict[str, Any]], None]:
    """Make one streamed call. Yield each chunk as bytes and decoded, and set the usage in `call`.

    A separate task reads the upstream. If the client disconnects, that task gets `DRAIN_S` to read the usage.
    The queue between them is short, so a slow client uses little memory.

    Raises:
        ApiError: the upstream has failed.
    """
    total = call.format.tally()
    done = left = False
    queue: asyncio.Queue[tuple[bytes, dict[str, Any]] | None] = asyncio.Queue(16)
    reader_left = asyncio.Event()

    async def pump() -> None:
        nonlocal done
        try:
            async with _post(call, body, streamed=True) as response:
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
    except (asyncio.CancelledError, GeneratorExit):
        left = True
        raise
    finally:
        reader_left.set()
        await _drain(task, queue)
        call.usage = total.final_usage or call.usage
        call.finish_reason = total.finish_reason or ("error" if total.error else call.finish_reason)
        call.refused = _is_refused(task)
        if call.usage is None:
            await _count_stream(call, body, total, left=left)


async def _drain(task: asyncio.Task[None], queue: asyncio.Queue[Any]) -> None:
    """Let the task read on for `DRAIN_S`, with an empty queue so that it does not block."""
    while not queue.empty():
        queue.get_nowait()
    await asyncio.wait({task}, timeout=DRAIN_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _count_stream(call: PaidCall, body: Mapping[str, Any], total: Tally, *, left: bool) -> None:
    """Set what a stream without a usage has used, as far as it is known."""
    started = total.chunks or total.reported != NOTHING_REPORTED
    failed = total.error is not None or total.finish_reason == "failed"
    if failed and not started:
        call.refused = True  # an error before any text
        return
    if not (started or total.finish_reason or left):
        return
    visible = max(total.chunks, await count_output(call, total.generated))
    # Hidden reasoning is billed, and only the upstream can count it.
    hidden = not total.complete and hides_reasoning(call.model.id, body)
    if left and (hidden or not total.chunks):
        used = await used_by_now(call, body, seen=visible)
        prompt, output = used.prompt_tokens, used.completion_tokens
    else:
        prompt = await count_prompt(call, body)
        output = call.output if hidden else min(visible, call.output)
    call.counted = total.reported.filled(prompt, output, cut=True)


def _read(call: PaidCall, raw: bytes) -> ReadAnswer:
    """Read a complete answer.

    Raises:
        ApiError: it is no answer of this endpoint.
    """
    try:
        decoded = decode_except(raw, call.format.unread)
    except TooDeepError:
        return ReadAnswer(generated=raw.decode("utf-8", "replace"))
    except ValueError as e:
        raise upstream_invalid() from e
    if not isinstance(decoded, dict) or not call.format.is_answer(decoded):
        raise upstream_invalid()
    return call.format.read_complete(decoded)


def _is_refused(task: asyncio.Task[Any]) -> bool:
    """Return True if a call has ended with an error that is not billed."""
    if not task.done() or task.cancelled():
        return False
    e = task.exception()
    return isinstance(e, ApiError) and not e.billed
