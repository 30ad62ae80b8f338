"""The answer in a successful response: read until it is certain that it is an answer and no error."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp

from proxy.backends.apis import Api
from proxy.backends.error_bodies import (
    VendorError,
    described,
    error_in_answer,
    is_answering,
    says_error,
)
from proxy.errors import upstream_broken, upstream_invalid
from proxy.formats.converted import as_complete, as_events
from proxy.formats.lenient import as_utf8, decode_object, encode
from proxy.formats.sse import DONE, MAX_EVENT_BYTES, EventSplitter

HOLD_S = 0.5
"""How long the events before the first text are held back. An error that follows them at once is then still a status."""
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""The beginnings of a stream's lines."""
_BEGINNINGS = ("response.created", "response.queued", "response.in_progress")


@dataclass(slots=True, kw_only=True)
class UpstreamResponse:
    """A successful response, in OpenAI's format whatever the upstream's API is."""

    headers: dict[str, str]
    """The headers that the client should see."""
    complete: bytes = b""
    """The complete answer, if no stream was asked for."""
    held: list[bytes] = field(default_factory=list)
    """The payloads of a stream that were read while it was opened."""
    following: "EventReader | None" = None
    checked: Callable[[bytes], bytes] = bytes

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.following is not None

    async def read(self) -> bytes:
        """Return a complete answer."""
        return self.complete

    async def more(self) -> list[bytes] | None:
        """Return the next payloads of a streamed answer, those of one read together, or None at its end.

        An error among them has the form of its endpoint. If this is cancelled, the next call loses nothing.

        Raises:
            aiohttp.ClientError, OSError, ValueError: the stream breaks off, or cannot be read.
        """
        if self.held:
            held, self.held = self.held, []
            return held
        found = None if self.following is None else await self.following.more()
        return None if found is None else [self.checked(data) for data in found]


class EventReader:
    """Read the payloads of a stream. A time limit, or a cancelled read, loses nothing."""

    def __init__(
        self,
        content: aiohttp.StreamReader,
        splitter: EventSplitter,
        head: bytes = b"",
        *,
        ended: bool = False,
    ) -> None:
        self._content, self._splitter, self._ended = content, splitter, ended
        self._ready = deque(splitter.feed(head))
        if ended:
            self._ready.extend(splitter.end())

    async def more(self) -> list[bytes] | None:
        """Return the payloads of the next read that has any, or None at the end of the stream."""
        if not await self._fill():
            return None
        found, self._ready = list(self._ready), deque()
        return found

    async def next(self, timeout_s: float | None = None) -> bytes | None:
        """Return the next payload, or None at the end.

        Raises:
            TimeoutError: none came in time.
        """
        if not self._ready:
            async with asyncio.timeout(timeout_s):
                await self._fill()
        return self._ready.popleft() if self._ready else None

    async def _fill(self) -> bool:
        """Read until a payload is ready. Return False at the end of the stream."""
        while not self._ready and not self._ended:
            piece = await self._content.readany()
            self._ended = not piece
            self._ready.extend(self._splitter.feed(piece) if piece else self._splitter.end())
        return bool(self._ready)


async def open_complete(api: Api, path: str, response: aiohttp.ClientResponse) -> UpstreamResponse:
    """Read a complete answer. A stream is put together to one.

    Raises:
        ApiError: the response contains an error.
    """
    raw = as_utf8(await response.read())
    if _is_stream(raw.lstrip(b"\xef\xbb\xbf \t\r\n")):
        raw = await _put_together(api, path, response, raw)
    raw = api.read(raw)
    if found := error_in_answer(raw):
        raise api.error_inside(found, response.headers)
    return UpstreamResponse(headers=api.response_headers(response.headers), complete=raw)


async def open_unchecked(api: Api, response: aiohttp.ClientResponse) -> UpstreamResponse:
    """Read a stored object, or its stream, as it is. An error in it belongs to the object."""
    headers = api.response_headers(response.headers)
    if response.content_type == "text/event-stream":
        return UpstreamResponse(headers=headers, following=EventReader(response.content, api.splitter()))
    return UpstreamResponse(headers=headers, complete=api.read(await response.read()))


async def open_stream(
    api: Api, path: str, response: aiohttp.ClientResponse, failed: Callable[[int], None]
) -> UpstreamResponse:
    """Read a stream until its first text, or for `HOLD_S` after its first event. A complete answer becomes a stream.

    `failed` is told the status of each error that comes later.

    Raises:
        ApiError: the response is, or begins with, an error.
    """
    head, ended = b"", False
    begun = b""
    while not ended and len(begun) <= max(map(len, _FIELDS)) and len(head) <= MAX_EVENT_BYTES:
        piece = await response.content.readany()
        ended = not piece
        head += piece
        begun = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    headers = api.response_headers(response.headers)
    if not _is_stream(begun):
        return await _as_stream(api, path, response, head)
    reader = EventReader(response.content, api.splitter(), head, ended=ended)
    held = await _hold_back(api, response, reader)
    checked = partial(_checked, api, path, failed)
    return UpstreamResponse(headers=headers, held=held, following=reader, checked=checked)


def _is_stream(begun: bytes) -> bool:
    return begun.startswith(_FIELDS)


async def _as_stream(api: Api, path: str, response: aiohttp.ClientResponse, head: bytes) -> UpstreamResponse:
    body = bytearray(head)
    while piece := await response.content.readany():
        body += piece
        if len(body) > MAX_EVENT_BYTES:
            raise upstream_invalid()
    raw = api.read(bytes(body))
    if found := error_in_answer(raw):
        raise api.error_inside(found, response.headers)
    events = list(as_events(path, decode_object(raw)))
    if not events:
        raise upstream_invalid()
    return UpstreamResponse(headers=api.response_headers(response.headers), held=[*events, DONE])


async def _put_together(api: Api, path: str, response: aiohttp.ClientResponse, raw: bytes) -> bytes:
    events = []
    generated = False
    splitter = api.splitter()
    for data in [*splitter.feed(raw), *splitter.end()]:
        event = decode_object(data)
        if not event:
            continue
        if says_error(event):
            # After some text this was no refusal: the text may be billed.
            raise api.error_inside(described(event), response.headers, billed=generated)
        generated = generated or is_answering(event)
        events.append(event)
    answer = as_complete(path, events)
    if answer is None:
        raise upstream_broken()
    return encode(answer)


async def _hold_back(api: Api, response: aiohttp.ClientResponse, reader: EventReader) -> list[bytes]:
    """Return the events up to the first one with a text. Raise the error that stands in its place."""
    held: list[bytes] = []
    readable, words, until = False, b"", 0.0
    while True:
        try:
            data = await reader.next(until - time.monotonic() if held else None)
        except TimeoutError:
            return held
        if data is None or data == DONE:
            if not readable:
                raise api.error_inside(error_in_answer(words) or VendorError(), response.headers)
            return held if data is None else [*held, data]
        until = until or time.monotonic() + HOLD_S
        event = decode_object(data)
        if event:
            readable = True
            if says_error(event):
                raise api.error_inside(described(event), response.headers)
        else:
            words = words or data
        held.append(data)
        if event and not _is_beginning(event):
            return held


def _is_beginning(event: Mapping[str, Any]) -> bool:
    """Return True for an event that shows the client nothing yet."""
    kind = event.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        return kind in _BEGINNINGS
    choices = event.get("choices")
    listed = choices if isinstance(choices, list) else []
    ended = any(isinstance(c, Mapping) and c.get("finish_reason") for c in listed)
    return not is_answering(event) and not ended and not event.get("usage")


def _checked(api: Api, path: str, failed: Callable[[int], None], data: bytes) -> bytes:
    """Return an event as it is, or an error event in the form of its endpoint and without the proxy's key."""
    if (b'"choices"' in data or b"response." in data) and b"error" not in data and b'"base_resp"' not in data:
        return data
    event = decode_object(data)
    if not (says_error(event) or event.get("type") == "response.failed"):
        return data
    error = api.error_inside(described(event), {})
    failed(error.status)
    return encode(_error_event(path, event, error.body()["error"], api.hidden))


def _error_event(
    path: str, event: Mapping[str, Any], error: Any, hidden: Callable[[Any], Any]
) -> dict[str, Any]:
    if path != "/responses":
        kept = {
            k: hidden(v)
            for k, v in event.items()
            if k in ("id", "object", "created", "model", "choices", "usage")
        }
        return {**kept, "error": error}
    if event.get("type") == "response.failed":
        return {k: hidden(v) for k, v in event.items()}
    number = event.get("sequence_number")
    named = {k: error[k] for k in ("code", "message", "param")}
    return {"type": "error", **named, "sequence_number": number if isinstance(number, int) else 0}
