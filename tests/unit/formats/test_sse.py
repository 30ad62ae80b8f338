"""Server-sent events arrive complete, wherever the network cuts the stream."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.formats.sse import DONE, MAX_EVENT_BYTES, events

LINES = [
    b'data: {"a": 1}', b"", b": a comment", b"", b"event: named", b'data: {"b":', b"data: 2}", b"", b"data: [DONE]", b"", b"",
]  # fmt: skip
EXPECTED = [b'{"a": 1}', b'{"b":\n2}', DONE]


def read(*pieces: bytes) -> list[bytes]:
    """Return the events of a stream that arrives in these pieces."""

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[bytes]:
        return [event async for event in events(stream())]

    return asyncio.run(collect())


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_every_cut(newline):
    """A stream cut in two at any byte has the same events as the stream in one piece."""
    raw = newline.join(LINES)
    for cut in range(len(raw) + 1):
        assert read(raw[:cut], raw[cut:]) == EXPECTED, cut


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_single_bytes(newline):
    """A stream that arrives byte by byte has the same events."""
    raw = newline.join(LINES)
    assert read(*(raw[i : i + 1] for i in range(len(raw)))) == EXPECTED


def test_oversized_event():
    """An event that never ends is an error and not a full memory."""
    with pytest.raises(ValueError, match="16 MiB"):
        read(b"data: " + b"x" * MAX_EVENT_BYTES)
