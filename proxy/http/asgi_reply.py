"""Send a response over raw ASGI, with keep-alive comments while the cascade decides."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from litestar.types import Send

from proxy.concurrency import reap
from proxy.errors import ApiError

KEEP_ALIVE_S = 10.0


class AsgiReply:
    """One response. See `proxy.service.reply.Reply`. `headers` are those that every response has."""

    def __init__(self, send: Send, headers: Mapping[str, str] | None = None) -> None:
        self._send = send
        self._headers = headers or {}
        self.started = False
        self.answering = False
        self.closed = False

    async def json(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a complete response."""
        await self._start(
            status, {**headers, "content-type": "application/json", "content-length": str(len(body))}
        )
        await self._body(body, more=False)

    async def empty(self, headers: Mapping[str, str]) -> None:
        """Send a response without a body."""
        await self._start(204, headers)
        await self._body(b"", more=False)

    async def open(self, headers: Mapping[str, str]) -> None:
        """Start a stream. A second call does nothing."""
        if not self.started:
            await self._start(
                200,
                {**headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"},
            )

    async def events(self, events: Sequence[tuple[bytes, str | None]]) -> None:
        """Send events of an open stream together, each with its name if it has one."""
        self.answering = True
        await self._body(b"".join(_event(data, name) for data, name in events), more=True)

    async def close(self) -> None:
        """End an open stream."""
        await self._body(b"", more=False)

    async def error(self, error: ApiError, *, named: bool) -> None:
        """Send an error: as a response, or as the last event of a stream that has begun.

        Args:
            error: the error to send.
            named: whether the stream's events have names, as in the Responses API.
        """
        if not self.started:
            await self.json(error.status, error.headers, msgspec.json.encode(error.body()))
        elif not self.closed:
            if named:
                plain = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
                await self.events([(msgspec.json.encode({**plain, "sequence_number": 0}), "error")])
            else:
                await self.events([(msgspec.json.encode(error.body()), None)])
            await self.close()

    async def comment(self, headers: Mapping[str, str]) -> None:
        """Send an SSE comment, unless the stream has ended. It starts the stream if need be."""
        if not self.closed:
            await self.open(headers)
            await self._body(b": keep-alive\n\n", more=True)

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        every = {**self._headers, **headers}
        raw = [(k.lower().encode("latin-1"), v.encode("latin-1", "replace")) for k, v in every.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _body(self, body: bytes, *, more: bool) -> None:
        if not more:
            self.closed = True
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


@asynccontextmanager
async def kept_alive(reply: AsgiReply, headers: Mapping[str, str]) -> AsyncIterator[None]:
    """Send an SSE comment every 10 s while the block runs, so that no proxy in between closes the connection."""
    loop = asyncio.get_running_loop()
    sending: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle

    def due() -> None:
        nonlocal sending, timer
        if sending is None or sending.done():  # otherwise the client reads too slowly even for comments
            sending = asyncio.create_task(reply.comment(headers))
        timer = loop.call_later(KEEP_ALIVE_S, due)

    timer = loop.call_later(KEEP_ALIVE_S, due)
    try:
        yield
    finally:
        timer.cancel()
        if sending is not None:
            await reap(sending)


def _event(data: bytes, name: str | None) -> bytes:
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + (data.replace(b"\n", b"\ndata: ") if b"\n" in data else data) + b"\n\n"
