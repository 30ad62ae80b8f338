"""HTTP calls to an upstream within `paid`: complete or streamed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp

from proxy.backends.answers import UpstreamResponse
from proxy.concurrency import reap
from proxy.errors import ApiError, upstream_broken, upstream_invalid
from proxy.formats.base import ReadAnswer, Tally
from proxy.formats.known_costs import asks_for_an_hour
from proxy.formats.lenient import TooDeepError, decode_except, is_json
from proxy.formats.sse import DONE
from proxy.pricing.prices import Usage
from proxy.pricing.reported import NOTHING_REPORTED, read_usage
from proxy.pricing.tokens import hides_reasoning
from proxy.spending.estimates import count_output, count_prompt, used_by_now
from proxy.spending.paid import PaidCall

DRAIN_S = 0.8
"""How long a paid call may still report its usage after its client has disconnected. It is billed anyway."""


def _kept(usage: Usage | None, body: Mapping[str, Any]) -> Usage | None:
    """Return a usage whose cache writes are for an hour if the request asks for that and the vendor does not tell."""
    if usage is None or not usage.cache_write_tokens or usage.cache_write_1h_tokens is not None:
        return usage
    return replace(usage, cache_write_1h_tokens=usage.cache_write_tokens) if asks_for_an_hour(body) else usage


@asynccontextmanager
async def _post(
    call: PaidCall, body: Mapping[str, Any], *, streamed: bool
) -> AsyncIterator[UpstreamResponse]:
    sent = {k: v for k, v in call.format.upstream_body(body).items() if k != "models"} | {
        "model": call.model.id
    }
    try:
        async with call.upstream.post(
            call.format.path,
            sent,
            call.deadline,
            call.delivery,
            streamed=streamed,
            trace_headers=call.trace_headers,
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
            raw = await response.read()
        answer = _read(call, raw)
        call.usage = Usage() if call.format.is_free else _kept(answer.usage, body)
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
        if not task.done():
            await reap(task)


async def stream(
    call: PaidCall, body: Mapping[str, Any]
) -> AsyncGenerator[list[tuple[bytes, dict[str, Any]]], None]:
    """Make one streamed call. Yield its chunks, those of one read together, each as bytes and decoded.

    Set the usage in `call`. If the client disconnects, the call gets `DRAIN_S` to report its usage. The upstream is read
    as fast as the client reads, so a slow client uses little memory.

    Raises:
        ApiError: the upstream has failed.
    """
    reading = _Reading(call.format.tally())
    left = False
    try:
        async with AsyncExitStack() as open_until:
            # A task of its own: a request that is cancelled before its answer has begun could report nothing.
            opening = asyncio.ensure_future(open_until.enter_async_context(_post(call, body, streamed=True)))
            try:
                response = await asyncio.shield(opening)
                while chunks := await reading.next_chunks(response):
                    yield chunks
            except (asyncio.CancelledError, GeneratorExit):
                left = True
                await _drain(call, reading, opening)
                raise
        if not reading.ended:
            raise upstream_broken()
    except (aiohttp.ClientError, OSError, ValueError) as e:
        raise upstream_broken() from e
    finally:
        total = reading.total
        call.usage = _kept(total.final_usage, body) or call.usage
        call.finish_reason = total.finish_reason or ("error" if total.error else call.finish_reason)
        if call.usage is None:
            await _count_stream(call, body, total, left=left)


class _Reading:
    """A stream under way: what its chunks add up to, and whether its last event has come."""

    def __init__(self, total: Tally) -> None:
        self.total = total
        self._done = False

    @property
    def ended(self) -> bool:
        """Whether the answer has come to its end."""
        return self._done or self.total.complete or self.total.error is not None

    async def next_chunks(self, response: UpstreamResponse) -> list[tuple[bytes, dict[str, Any]]]:
        """Return the next chunks, or [] at the end of the stream. If this is cancelled, the next call loses nothing."""
        chunks: list[tuple[bytes, dict[str, Any]]] = []
        while not chunks and not self._done and (found := await response.more()) is not None:
            for data in found:
                if data == DONE:
                    self._done = True
                    break
                chunk = self.total.add(data)
                if chunk or is_json(data):  # otherwise a heartbeat in plain text, which no client can read
                    chunks.append((data, chunk))
        return chunks


async def _drain(call: PaidCall, reading: _Reading, opening: "asyncio.Future[UpstreamResponse]") -> None:
    """Read a stream on for `DRAIN_S`, although its client has left."""
    try:
        async with asyncio.timeout(DRAIN_S):
            response = await opening
            while await reading.next_chunks(response):
                pass
    except ApiError as e:
        call.refused = not e.billed
    except (aiohttp.ClientError, OSError, ValueError):
        pass  # the time is over, or the upstream has broken off


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
