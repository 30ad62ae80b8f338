"""Calls to an upstream over a real socket: the usage that they leave behind for settling."""

import asyncio
import time

import pytest

from proxy.errors import ApiError
from proxy.pricing.prices import Usage
from proxy.spending.calls import DRAIN_S, complete, stream
from proxy.spending.estimates import TOKENS_PER_S
from tests.support.wait import wait_until
from tests.unit.spending.parts import BODY, LIMITS, FixedBudget, connected, paying, spending

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
STREAMED = {**BODY, "stream": True}


def settled(server, use, **changes):
    """Make a paid call by `use(call)`. Return its result, or its error, and its record."""

    async def main():
        async with connected(server, **changes) as upstream:
            parts = spending(FixedBudget(), upstream)
            try:
                async with paying(parts) as call:
                    result = await use(call)
            except (ApiError, asyncio.CancelledError) as e:
                result = e
            return result, parts.calls[0]

    return asyncio.run(main())


async def completed(call):
    return await complete(call, LIMITS.within(BODY, call.output))


async def streamed(call):
    return [c async for chunks in stream(call, LIMITS.within(STREAMED, call.output)) for _, c in chunks]


@pytest.mark.parametrize("use", [completed, streamed])
def test_reported_usage(large_server, use):
    """The upstream's own usage is settled, and its headers are passed on."""
    large_server.say("one two three", usage=USAGE, headers={"x-ratelimit-limit-requests": "5"})
    headers = {}

    async def noting(call):
        try:
            return await use(call)
        finally:
            headers.update(call.headers)

    result, record = settled(large_server, noting)
    assert result
    assert (record.usage, record.estimated, record.finish_reason) == (
        Usage(prompt_tokens=9, completion_tokens=3),
        False,
        "stop",
    )
    assert headers["x-ratelimit-limit-requests"] == "5"
    (sent,) = large_server.chats()
    assert sent["body"]["max_tokens"] == 50


@pytest.mark.parametrize("use", [completed, streamed])
def test_missing_usage_is_counted(large_server, use):
    """If the upstream reports no usage, the proxy counts at most the limits."""
    large_server.say("one two three", omit_usage=True)
    _, record = settled(large_server, use)
    assert record.estimated
    assert 0 < record.usage.prompt_tokens <= LIMITS.prompt
    assert 0 < record.usage.completion_tokens <= LIMITS.asked


@pytest.mark.parametrize("body", ["[]", "{}", '{"choices": ['])
def test_invalid_answer(large_server, body):
    """An answer in another form may be billed, so it costs the worst case."""
    large_server.script({"reply": {"raw_body": body}})
    error, record = settled(large_server, completed)
    assert (error.status, error.code) == (502, "upstream_invalid")
    assert (record.estimated, record.usage) == (True, Usage(prompt_tokens=100, completion_tokens=50))


@pytest.mark.parametrize("use", [completed, streamed])
@pytest.mark.parametrize("body", ["", "7", "no JSON", "<html>Sign in</html>"])
def test_no_answer(large_server, use, body):
    """A text or a web page in the place of an answer costs nothing."""
    large_server.script({"reply": {"raw_body": body}})
    error, record = settled(large_server, use)
    assert (error.status, error.code) == (502, "upstream_invalid")
    assert (record.estimated, record.cost) == (False, 0)


def test_deeply_nested_answer(large_server):
    """An answer that is nested deeper than the proxy reads is passed on, and its text is counted."""
    deep = '{"choices": ' + "[" * 100_000 + "]" * 100_000 + "}"
    large_server.script({"reply": {"raw_body": deep}})
    result, record = settled(large_server, completed)
    assert result == deep.encode()
    assert record.estimated


def test_heartbeat_in_text(large_server):
    """An event in plain text, which no client can read, is dropped from a stream."""
    chunk = 'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    large_server.script({"reply": {"raw_body": f"data: ping\n\n{chunk}data: 7\n\ndata: [DONE]\n\n"}})
    chunks, record = settled(large_server, streamed)
    assert [list(c) for c in chunks] == [["choices"], []]
    assert (record.error, record.finish_reason) == (None, "stop")


def test_reasoning_of_broken_stream(large_server):
    """The reasoning of a stream that breaks off is counted like its text."""
    thought = 'data: {"choices": [{"delta": {"reasoning_content": "step by step "}}]}\n\n' * 10
    large_server.script({"reply": {"raw_body": thought}})
    error, record = settled(large_server, streamed)
    assert error.code == "upstream_broken"
    assert (record.estimated, record.usage.completion_tokens >= 30) == (True, True)


def test_failed_stream(large_server):
    """A stream that fails before any text costs nothing."""
    failed = 'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "failed"}]}\n\ndata: [DONE]\n\n'
    large_server.script({"reply": {"raw_body": failed}})
    _, record = settled(large_server, streamed)
    assert (record.cost, record.estimated) == (0, False)


def test_truncated_answer(large_server):
    """An upstream that closes the connection within its answer may bill it."""
    large_server.script({"reply": {"raw_body": "{}", "headers": {"content-length": "999"}}})
    error, record = settled(large_server, completed, read_timeout_s=1)
    assert (error.status, error.code) == (502, "upstream_broken")
    assert record.estimated


@pytest.mark.parametrize("use", [completed, streamed])
def test_refused_call(large_server, use):
    """An error status costs nothing."""
    large_server.script({"reply": {"status": 400}})
    error, record = settled(large_server, use)
    assert (error.status, record.cost, record.estimated) == (400, 0, False)


def test_disconnected_client(large_server):
    """A cancelled call still gets a moment to report its usage."""
    large_server.script({"reply": {"content": "late", "usage": USAGE, "release": "go"}})

    async def cancelled(call):
        task = asyncio.ensure_future(completed(call))
        await asyncio.to_thread(large_server.wait_waiting, "go", 1)
        task.cancel()
        await asyncio.to_thread(large_server.open_gate, "go")
        await task

    error, record = settled(large_server, cancelled)
    assert isinstance(error, asyncio.CancelledError)
    assert (record.usage, record.estimated, record.finish_reason) == (
        Usage(prompt_tokens=9, completion_tokens=3),
        False,
        "stop",
    )


@pytest.mark.parametrize("use", [completed, streamed])
def test_refused_after_departure(large_server, use):
    """A call that is refused after its client has left costs nothing."""
    large_server.script({"reply": {"status": 400, "release": "go"}})

    async def cancelled(call):
        task = asyncio.ensure_future(use(call))
        await asyncio.to_thread(large_server.wait_waiting, "go", 1)
        task.cancel()
        await asyncio.to_thread(large_server.open_gate, "go")
        await task

    _, record = settled(large_server, cancelled)
    assert record.cost == 0


@pytest.mark.parametrize("use", [completed, streamed])
def test_stuck_upstream(large_server, use):
    """A call whose client leaves before the first token costs what the model can have written in the time."""
    large_server.script({"reply": {"release": "never"}})

    async def cancelled(call):
        call.output = 10**6  # more than a model writes in this test
        task = asyncio.ensure_future(use(call))
        await asyncio.to_thread(large_server.wait_waiting, "never", 1)
        task.cancel()
        await task

    began = time.monotonic()
    error, record = settled(large_server, cancelled)
    most = (time.monotonic() - began) * TOKENS_PER_S
    assert isinstance(error, asyncio.CancelledError)
    assert 0 < record.usage.prompt_tokens <= 100
    assert DRAIN_S * TOKENS_PER_S <= record.usage.completion_tokens <= most
    assert (record.estimated, record.finish_reason) == (True, "disconnected")


@pytest.mark.parametrize("use", [completed, streamed])
def test_left_before_sending(large_server, use):
    """A call whose client leaves while it waits for a retry costs nothing: the first attempt was refused."""
    large_server.script({"reply": {"status": 429, "headers": {"retry-after": "4"}}})

    async def cancelled(call):
        task = asyncio.ensure_future(use(call))
        await asyncio.to_thread(wait_until, large_server.chats, "the first attempt")
        await asyncio.to_thread(large_server.wait_idle)
        await asyncio.to_thread(wait_until, lambda: not call.delivery.sent, "the refusal")
        task.cancel()
        await task

    _, record = settled(large_server, cancelled, max_retries=1)
    assert record.cost == 0
    assert len(large_server.chats()) == 1


def test_broken_stream(large_server):
    """A stream that ends early is an error, and costs the tokens that came."""
    large_server.script({"reply": {"content": "one two three four five", "break_after": 3}})
    error, record = settled(large_server, streamed)
    assert (error.status, error.code) == (502, "upstream_broken")
    assert record.estimated
    assert 1 <= record.usage.completion_tokens < LIMITS.asked


def test_hidden_reasoning(large_server):
    """A model that thinks unseen may have used the complete limit before its stream broke."""
    large_server.script({"reply": {"content": "one two three four five", "break_after": 3}})

    async def reasoning(call):
        body = {**STREAMED, "reasoning_effort": "high"}
        return [c async for chunks in stream(call, LIMITS.within(body, call.output)) for _, c in chunks]

    _, record = settled(large_server, reasoning)
    assert record.usage.completion_tokens == LIMITS.asked


def test_unfinished_stream(large_server):
    """A stream that ends properly but has no end of an answer is broken."""
    large_server.script({"reply": {"raw_body": 'data: {"choices": []}\n\n'}})
    error, record = settled(large_server, streamed)
    assert (error.status, error.code) == (502, "upstream_broken")
    assert record.estimated


@pytest.mark.parametrize("payload", ["data: no JSON\n\n", "data: []\n\n"])
def test_invalid_chunk(large_server, payload):
    """A stream of nothing but payloads that are no JSON objects is an error."""
    large_server.script({"reply": {"raw_body": payload}})
    error, record = settled(large_server, streamed)
    assert (error.status, error.code, record.cost) == (502, "upstream_invalid", 0)


def test_error_event(large_server):
    """An upstream's error within a stream is passed on as a chunk and ends the stream."""
    large_server.script({"reply": {"content": "one two three", "error_after": 2}})
    chunks, record = settled(large_server, streamed)
    assert "error" in chunks[-1]
    assert record.estimated


def test_slow_first_text(large_server):
    """The events before the first text are held back for a moment only."""
    large_server.script({"reply": {"content": "late", "usage": USAGE, "release": "go", "release_after": 1}})

    async def waiting(call):
        chunks = stream(call, LIMITS.within(STREAMED, call.output))
        first = await anext(chunks)
        await asyncio.to_thread(large_server.open_gate, "go")
        return [*first, *[chunk async for more in chunks for chunk in more]]

    chunks, record = settled(large_server, waiting)
    assert chunks[0][1]["choices"][0]["delta"]["role"] == "assistant"
    assert record.usage.completion_tokens == 3


def test_abandoned_stream(large_server):
    """The usage is read after the client has left, and the chunks that it did not see are dropped."""
    text = "word " * 60  # more chunks than the queue holds
    large_server.script({"reply": {"content": text, "usage": USAGE, "release": "go", "release_after": 2}})

    async def leaves(call):
        chunks = stream(call, LIMITS.within(STREAMED, call.output))
        await anext(chunks)
        await asyncio.to_thread(large_server.open_gate, "go")
        await asyncio.to_thread(wait_until, lambda: large_server.chats()[0]["finished"], "the end")
        await chunks.aclose()

    _, record = settled(large_server, leaves)
    assert (record.usage, record.estimated) == (Usage(prompt_tokens=9, completion_tokens=3), False)


def test_stalled_stream(large_server):
    """A stream that goes on after the client has left is cut, and costs the tokens that came."""
    large_server.script({"reply": {"content": "one two three four", "stall_after": 3}})

    async def leaves(call):
        chunks = stream(call, LIMITS.within(STREAMED, call.output))
        await anext(chunks)
        await chunks.aclose()

    _, record = settled(large_server, leaves)
    assert record.estimated
    assert record.usage.completion_tokens < LIMITS.asked
