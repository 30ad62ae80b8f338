"""A value of any kind at any path of a small model's answer: what is usable is a sample, and the rest is no sample."""

import asyncio
import math

import aiohttp
import msgspec
import pytest

from proxy.backends.small_pool import SmallPool
from proxy.cascade.guard import Guarded
from proxy.cascade.kinds import KINDS
from proxy.cascade.protocols import SmallRequest
from proxy.cascade.types import Ballot, Json, MissingLogprobsError, Task
from proxy.errors import SmallRefusedError, SmallUnavailableError
from proxy.formats.base import LocalAnswer
from proxy.formats.chat import Chat
from proxy.formats.responses import Responses
from proxy.formats.sse import Accumulator
from proxy.ids import now
from proxy.service.small_sampler import sample_of
from tests.support.odd import CHAT, CHAT_STREAM, changed, mutants, raw, sse
from tests.support.odd_server import OddServer

BODY: Json = {"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 9, "logprobs": True}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
STREAM = [
    changed(CHAT_STREAM[1], ("choices", 0, "logprobs"), CHAT["choices"][0]["logprobs"]),
    *CHAT_STREAM[2:],
]
TEXT = [STREAM[0], *STREAM[2:]]
BOM = b"\xef\xbb\xbf"


async def outcomes(cases):
    """Return the sample of each case, or the error that there is none."""
    found = {}
    async with OddServer() as server, aiohttp.ClientSession() as session:
        server.cases = cases
        pool = SmallPool(session, (server.base_url,), "m", None, 10)
        await pool.probe()
        for name in cases:
            generated = Accumulator()
            body = {**BODY, "user": name, "tools": TOOLS}
            try:
                with pool.placed("a") as place:
                    await place.call(lambda s, body=body, into=generated: pool.stream(s, body, into))
            except (SmallRefusedError, SmallUnavailableError) as e:
                found[name] = e
            else:
                found[name] = sample_of(SmallRequest(1, "executor", 0, body), generated)
            assert pool.available
    return found


def check_sample(sample):
    """A sample has the shape that clients and estimators rely on."""
    message = msgspec.json.decode(msgspec.json.encode(sample.message))
    assert isinstance(sample.text, str)
    for call in message.get("tool_calls") or ():
        assert call["id"]
        assert call["function"]["name"]
        assert isinstance(call["function"]["arguments"], str)
    assert (sample.finish_reason == "tool_calls") == bool(message.get("tool_calls"))
    for value in (sample.logprob, sample.lowest_logprob):
        assert value is None or (math.isfinite(value) and value <= 0)
    assert sample.usage.prompt_tokens >= 0
    assert sample.usage.completion_tokens >= 0
    check_rendered(sample)


def check_rendered(sample):
    """A client gets the same text and calls from a stream as from one object, with log-probabilities too."""
    local = LocalAnswer(
        request_id="r", received_at=now(), model="m", sample=sample, usage=sample.usage, facts={"stage": 1}
    )
    asked = {"logprobs": True, "stream_options": {"include_usage": True}}
    answer = msgspec.json.decode(Chat().render(asked, local))["choices"][0]
    total = Accumulator()
    for event in Chat().events(asked, local):
        total.add(event)
    assert total.text == (answer["message"]["content"] or "")
    assert total.tool_calls == (answer["message"].get("tool_calls") or [])
    assert len(total.logprobs) == len((answer["logprobs"] or {}).get("content") or ())
    assert list(Responses().events({}, local))


async def check_votes(sample):
    """Each kind's estimator has a vote or none for it, and a standing unless log-probabilities are missing."""
    raised = []
    for kind, row in KINDS.items():
        body = {**BODY, "tools": TOOLS} if kind == "agent" else BODY
        guarded = Guarded(row.estimator, lambda *error: raised.append(error))
        vote = await guarded.vote(Task(kind, body, "Say hi."), sample, ())
        try:
            guarded.standing(Ballot((sample,), (vote,)), 2)
        except MissingLogprobsError:
            assert sample.lowest_logprob is None
    assert raised == []


def test_every_path_of_small_answers():
    """With an odd value at any path the answer is read as far as it goes, in a stream and as one object."""
    cases = {f"stream {name}": sse(chunks) for name, chunks in mutants(STREAM)}
    cases |= {f"object {name}": raw(answer) for name, answer in mutants(CHAT)}
    assert len(cases) > 500

    async def all_cases():
        found = await outcomes(cases)
        samples = {name: s for name, s in found.items() if not isinstance(s, Exception)}
        for name, sample in samples.items():
            try:
                check_sample(sample)
            except Exception as e:
                raise AssertionError(name) from e
        for sample in {str(s): s for s in samples.values()}.values():
            await check_votes(sample)
        return found, samples

    found, samples = asyncio.run(all_cases())
    assert len(samples) > 0.9 * len(found)
    about_usage = [name for name in found if "usage" in name or "logprobs" in name]
    assert all(name in samples for name in about_usage)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (BOM + sse(TEXT), "Hi there"),
        (sse(TEXT).replace(b"\n", b"\r\n"), "Hi there"),
        (sse(TEXT, done=False), "Hi there"),
        (sse(TEXT[:1]), "Hi there"),  # without a finish reason, but ended
        (BOM + b" \n" + raw(changed(CHAT, ("choices", 0, "message", "tool_calls"), None)), "Hi there"),
        (sse(TEXT[:1], done=False), None),
        (sse(TEXT)[:150], None),
        (sse([]), None),
        (b"", None),
        (b"\xff\xfe\x00garbage", None),
        (b"<html>Sign in</html>", None),
        (b'{"choices": [{"message": {"content": "Hi', None),
        (raw({**CHAT, "choices": []}), None),
        (raw({**CHAT, "choices": None}), None),
        (raw({"error": {"message": "out of memory"}}), "out of memory"),
        (raw({"error": "out of memory"}), "out of memory"),
        (raw({"object": "error", "error": {"detail": "out of memory"}}), "out of memory"),
        (sse([TEXT[0], {"error": {"message": "out of memory"}}]), "out of memory"),
        (sse([{"error": {"code": 7}}]), "error"),
        (b"[" * 100_000, None),
        (sse([raw("x").decode() * 10, 7, None, *TEXT]), "Hi there"),
    ],
)
def test_forms_of_small_answers(answer, text):
    """An answer in another form is read, and anything else is no sample, with the server's words if it has some."""
    found = asyncio.run(outcomes({"case": answer}))["case"]
    if isinstance(found, Exception):
        assert isinstance(found, SmallUnavailableError)
        assert text is None or text in str(found)
    else:
        assert found.text == text


@pytest.mark.parametrize(
    ("reason", "read"),
    [
        ("eos_token", "stop"),
        ("tool_calls", "stop"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ("abort", None),
    ],
)
def test_finish_reasons(reason, read):
    """The words of other servers are read, and an answer that was given up is no sample."""
    ended = changed(TEXT[-2], ("choices", 0, "finish_reason"), reason)
    found = asyncio.run(outcomes({"case": sse([TEXT[0], ended])}))["case"]
    assert isinstance(found, SmallUnavailableError) if read is None else found.finish_reason == read


def test_cut_small_streams():
    """A stream that ends anywhere is a sample with all of its text, or none."""
    whole = sse(TEXT)
    found = asyncio.run(outcomes({f"cut at {cut}": whole[:cut] for cut in range(len(whole))}))
    assert {one.text for one in found.values() if not isinstance(one, SmallUnavailableError)} == {"Hi there"}
