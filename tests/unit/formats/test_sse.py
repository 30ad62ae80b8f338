"""Server-sent events arrive complete, wherever the network cuts the stream."""

import asyncio
import json
import math
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.formats.sse import DONE, MAX_EVENT_BYTES, Accumulator, events
from tests.support.odd import CHAT, CHAT_STREAM, mutants, raw

LINES = [
    b'data: {"a": 1}', b"", b": a comment", b"", b"event: named", b'data: {"b":', b"data: 2}", b"", b"data: [DONE]", b"", b"",
]  # fmt: skip
EXPECTED = [b'{"a": 1}', b'{"b":\n2}', DONE]
BOM = b"\xef\xbb\xbf"
NEWLINES = [b"\n", b"\r\n", b"\r"]


def read(*pieces: bytes) -> list[bytes]:
    """Return the events of a stream that arrives in these pieces."""

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[bytes]:
        return [event async for event in events(stream())]

    return asyncio.run(collect())


@pytest.mark.parametrize("newline", NEWLINES, ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("begin", [b"", BOM], ids=["plain", "bom"])
@pytest.mark.parametrize("end", [2, 1, 0], ids=["ended", "line ended", "cut by the end"])
def test_every_cut(newline, begin, end):
    """A stream cut in two at any byte has the same events as the stream in one piece."""
    whole = begin + newline.join([*LINES[:-2], *[b""] * end])
    for cut in range(len(whole) + 1):
        assert read(whole[:cut], whole[cut:]) == EXPECTED, cut


@pytest.mark.parametrize("newline", NEWLINES, ids=["lf", "crlf", "cr"])
def test_single_bytes(newline):
    """A stream that arrives byte by byte has the same events."""
    whole = BOM + newline.join(LINES)
    assert read(*(whole[i : i + 1] for i in range(len(whole)))) == EXPECTED


@given(st.data())
def test_any_lines_and_cuts(data):
    """Any mixture of line ends, fields, blanks and cuts gives the payloads in their order."""
    payloads = data.draw(st.lists(st.sampled_from([b"1", b'{"a":"b"}', b"[DONE]", b"ping"]), max_size=4))
    end = st.sampled_from(NEWLINES)
    noise = st.sampled_from([b"", b": ping", b"event: x", b"id: 1", b"retry: 5", b"other", b"event:"])
    whole = data.draw(st.sampled_from([b"", BOM]))
    for payload in payloads:
        for field in data.draw(st.lists(noise, max_size=2)):
            whole += field + data.draw(end)
        blanks = data.draw(st.sampled_from([b"", b" ", b"\t", b";"])) if payload == DONE else b""
        whole += b"data:" + data.draw(st.sampled_from([b"", b" "])) + payload + blanks + data.draw(end) * 2
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(*pieces) == payloads


def test_cut_event():
    """The end of the connection ends an event that is complete, and drops one that was cut."""
    assert read(b'data: {"a": 1}') == [b'{"a": 1}']
    assert read(b'data: {"a": ') == []


def test_oversized_event():
    """An event that never ends is an error and not a full memory."""
    with pytest.raises(ValueError, match="16 MiB"):
        read(b"data: " + b"x" * MAX_EVENT_BYTES)


@pytest.mark.parametrize("piece", [b"data:\n", b"x", b"data: 1\n\n", b"\r", BOM])
def test_small_pieces_take_linear_time(piece):
    """Many small pieces are no hang. Quadratic time would take longer than a test may."""
    assert len(read(*[piece] * 300_000)) in (0, 300_000)


def added(*chunks):
    total = Accumulator()
    for chunk in chunks:
        total.add(raw(chunk))
    return total


def test_every_path_of_chunks():
    """A value of any kind at any path of a chunk or an answer is read, and the message can be encoded."""
    for name, chunks in [*mutants(CHAT_STREAM), *((n, [answer]) for n, answer in mutants(CHAT))]:
        total = added(*chunks)
        json.dumps(total.message, ensure_ascii=False, allow_nan=False).encode()
        json.dumps(total.logprobs, ensure_ascii=False, allow_nan=False).encode()
        total.generated.encode()
        assert total.logprob is None or math.isfinite(total.logprob), name
        assert total.finish_reason is None or isinstance(total.finish_reason, str), name


@given(st.text(min_size=1), st.integers(1, 3))
def test_characters_cut_by_chunks(text, size):
    """Halves of a character in two chunks are one character."""
    halves = text.encode("utf-16-le")
    pieces = [halves[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(halves), 2)]
    pieces = ["".join(pieces[i : i + size]) for i in range(0, len(pieces), size)]
    assert added(*({"choices": [{"delta": {"content": p}}]} for p in pieces)).text == text


CALL = {"type": "function", "function": {"name": "look", "arguments": '{"at":'}}
MORE = {"function": {"arguments": "1}"}}
WHOLE = {"name": "look", "arguments": '{"at":1}'}


@pytest.mark.parametrize(
    ("pieces", "ids"),
    [
        ([{"index": 0, "id": "a", **CALL}, {"index": 0, **MORE}], ["a"]),
        ([{"index": None, "id": "a", **CALL}, {"index": None, **MORE}], ["a"]),
        ([{"id": "a", **CALL}, {"id": "a", **MORE}], ["a"]),
        ([{"id": "a", **CALL}, MORE, {"id": "b", **CALL}, MORE], ["a", "b"]),
        ([{"index": 5, "id": "b", **CALL}, {"index": 2, "id": "a", **CALL}, {"index": 5, **MORE}, {"index": 2, **MORE}], ["a", "b"]),
        ([{"index": 10**12, "id": "a", **CALL}, {"index": 10**12, **MORE}], ["a"]),
        ([{"id": "a", "function": {"name": "look", "arguments": {"at": 1}}}], ["a"]),
    ],
    ids=["index", "null", "repeated id", "ids", "gaps", "huge index", "object"],
)  # fmt: skip
def test_pieces_of_tool_calls(pieces, ids):
    """Pieces belong to their index, else to their id, else to the last call."""
    calls = added({"choices": [{"delta": {"tool_calls": pieces}}]}).tool_calls
    assert [call["id"] for call in calls] == ids
    assert [call["function"] for call in calls] == [WHOLE] * len(ids)


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "one two"},
        {"reasoning_content": "one two"},
        {"thinking": "one two"},
        {"thought": ["one two"]},
        {"reasoning": "one two", "reasoning_content": "one two"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "one two", "format": "x"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "one two"}]}]},
        {"refusal": "one two"},
        {"audio": {"id": "a", "data": "AAAA", "transcript": "one two"}},
        {"content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
    ],
)
def test_generated_text_is_counted(delta):
    """Reasoning and refusals under any name are generated text, counted once."""
    total = added({"choices": [{"delta": {"role": "assistant", **delta}}]})
    assert (total.generated, total.chunks) == ("one two", 1)
    assert total.text in ("", "one two")


def test_usage_before_text():
    """A usage does not settle text that comes after it, and later zeros do not replace it."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    begun = {"choices": [{"delta": {"role": "assistant"}}], "usage": usage}
    text = {"choices": [{"delta": {"content": "one two"}}]}
    last = {"choices": [], "usage": {**usage, "completion_tokens": 5}}
    zeros = {"choices": [], "usage": {"total_tokens": 0}}
    assert added(begun).final_usage.completion_tokens == 1
    assert added(begun, text).final_usage is None
    assert added(begun, text, last, zeros).final_usage.completion_tokens == 5


def test_usage_within_a_choice():
    """Moonshot reports the usage in the last choice."""
    usage = {"prompt_tokens": 9, "completion_tokens": 5}
    last = {"choices": [{"delta": {}, "finish_reason": "stop", "usage": usage}]}
    assert added(last).final_usage.completion_tokens == 5
