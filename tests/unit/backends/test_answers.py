"""Whatever a successful response contains, it is opened as an answer or told as an error."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.answers import EventReader, open_complete, open_stream
from proxy.backends.apis import api_of
from proxy.config.schema import Upstream
from proxy.errors import ApiError
from proxy.formats.sse import EventSplitter

API = api_of(Upstream(base_url="http://localhost/v1"), "sk-secret-key")
PATHS = st.sampled_from(["/chat/completions", "/completions", "/responses", "/embeddings"])
ODD = (
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2) | st.just({})
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "object": st.sampled_from(["chat.completion", "error", "response"]) | ODD,
        "type": st.sampled_from(["error", "response.created", "response.failed", "response.completed"]) | ODD,
        "choices": st.lists(
            st.fixed_dictionaries(
                {}, optional={"message": ODD, "delta": ODD, "finish_reason": ODD, "error": ODD}
            ),
            max_size=2,
        )
        | ODD,
        "error": st.just({"message": "m", "code": 429}) | ODD,
        "response": st.just({"status": "failed", "error": {"message": "m"}}) | ODD,
        "output": ODD,
        "usage": st.just({"prompt_tokens": 1}) | ODD,
        "message": ODD,
        "detail": ODD,
    },
).map(json.dumps)
STREAMS = st.lists(ANSWERS | st.sampled_from(["[DONE]", "ping", ""]), max_size=4).map(
    lambda events: "".join(f"data: {e}\n\n" for e in events)
)
BODIES = st.one_of(ANSWERS, STREAMS, st.text(max_size=20)).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


class Response:
    """The parts of an HTTP response that are read: its headers, and its body in pieces."""

    headers = {"retry-after": "7", "server": "x"}  # noqa: RUF012

    def __init__(self, raw, size):
        self._raw, self._size, self.content = raw, size, self

    async def read(self):
        return self._raw

    async def readany(self):
        piece, self._raw = self._raw[: self._size], self._raw[self._size :]
        return piece


def opened(opening):
    """Return the events of an answer, or its bytes, or its error."""

    async def main():
        try:
            answer = await opening()
        except ApiError as e:
            return e
        events = []
        while found := await answer.more():
            events += found
        return events or await answer.read()

    return asyncio.run(main())


@given(PATHS, BODIES, st.integers(1, 40))
def test_any_body_is_opened(path, raw, size):
    """Every body is an answer or an error of the upstream, asked for as a stream or not."""
    for found in (
        opened(lambda: open_complete(API, path, Response(raw, size))),
        opened(lambda: open_stream(API, path, Response(raw, size), lambda _: None)),
    ):
        if isinstance(found, ApiError):
            assert 400 <= found.status < 600
            assert found.message
        else:
            assert found


@given(st.integers(1, 60))
def test_pieces_change_nothing(size):
    """The network may cut a stream and an error anywhere."""
    raw = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'
    events = opened(lambda: open_stream(API, "/chat/completions", Response(raw, size), lambda _: None))
    assert events == [b'{"choices": [{"delta": {"content": "hi"}}]}', b"[DONE]"]
    raw = b': wait\n\ndata: {"error": {"message": "slow", "code": 429}}\n\n'
    error = opened(lambda: open_stream(API, "/chat/completions", Response(raw, size), lambda _: None))
    assert (error.status, error.message, error.headers) == (429, "slow", {"retry-after": "7"})


def test_error_after_the_role():
    """An error that follows a chunk without text at once is still an error of the request."""
    role = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    raw = role + b'data: {"error": {"message": "slow", "code": 429}}\n\n'
    error = opened(lambda: open_stream(API, "/chat/completions", Response(raw, 1000), lambda _: None))
    assert (error.status, error.billed) == (429, False)


def test_late_events_are_kept():
    """An event that did not come in time comes with the next call."""

    async def main():
        gate = asyncio.Event()

        class Late:
            pieces = [b"data: late\n\n", b""]  # noqa: RUF012

            async def readany(self):
                await gate.wait()
                return self.pieces.pop(0)

        reader = EventReader(Late(), EventSplitter())
        try:
            await reader.next(0)
        except TimeoutError:
            gate.set()
        return [await reader.next(), await reader.next()]

    assert asyncio.run(main()) == [b"late", None]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]
)
@given(size=st.integers(1, 40))
def test_encodings_of_json(encoding, size):
    """An answer is read in each encoding that OpenAI's SDK reads, and reaches the client in UTF-8."""
    answer = '{"choices": [{"message": {"content": "né"}, "finish_reason": "stop"}]}'
    raw = answer.encode(encoding)
    assert opened(lambda: open_complete(API, "/chat/completions", Response(raw, size))) == answer.encode()


def test_every_cut_is_the_same():
    """A stream cut in two at any byte has the same payloads, whatever its line ends and comments are."""
    events = [
        b'{"choices": [{"delta": {"role": "assistant", "content": ""}}]}',
        b'{"choices":[{"delta":{"content":"\\u00e9\\n\\n"}}]}',
        b'{"choices": [{"delta": {}, "finish_reason": "stop"}]}',
        b'{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}',
        b"[DONE]",
    ]
    for newline in (b"\n", b"\r\n", b"\r"):
        raw = b": hi" + 2 * newline + b"".join(b"data: " + e + 2 * newline for e in events)
        for cut in range(1, len(raw)):
            assert opened(lambda: open_stream(API, "/chat/completions", Cut(raw, cut), print)) == events  # noqa: B023


class Cut(Response):
    """A response that arrives in two pieces."""

    async def readany(self):
        piece, self._raw = self._raw[: self._size], self._raw[self._size :]
        self._size = len(self._raw)
        return piece
