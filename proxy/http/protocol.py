"""The HTTP/1.1 connection: uvicorn's protocol on httptools, with limits that neither of them has.

A client needs no key to send a header. So its size, its number of fields and its time are bounded here, before anything
else reads it. An offer to upgrade is ignored, as RFC 9110 (7.8) allows: every Java client offers HTTP/2 this way, and
httptools would lose the body behind the offer.
"""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NoReturn

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy.errors import ApiError

MOST_HEAD_BYTES = 64 * 2**10
"""The largest request line and header fields together."""
MOST_URL_BYTES = 16 * 2**10
MOST_FIELDS = 200
LEAST_BODY_BYTES_PER_SECOND = 8 * 2**10
"""The average speed of a body after its grace. A slower one would hold its memory for too long."""
MOST_DROPPED_BYTES = 64 * 2**20
"""The rest of a body that has its answer already is dropped up to this size. Then the connection closes."""

_OFFERS = (b"upgrade", b"http2-settings")


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. A request that breaks a limit gets an answer in OpenAI's shape, and the connection closes."""

    head_seconds = 15.0
    """From the first byte of a request, or the start of a connection, to the end of its header."""
    body_grace_seconds = 30.0
    """Time after which the speed of a body is checked, again and again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: ApiError | None = None
        self._in_head = self._in_body = False
        self._began = False  # whether a header began in the piece that came last
        self._seen_bytes = 0  # of all pieces that hold a part of the header, so at least its size
        self._head_bytes = 0
        self._body_bytes = 0
        self._body_began = 0.0
        self._timer: asyncio.TimerHandle | None = None  # of the header or the body that is under way

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes, and check that the request under way keeps its limits."""
        self._unset_keepalive_if_required()
        self._seen_bytes = len(data) + (self._seen_bytes if self._in_head else 0)
        self._began = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(
                self._refusal or ApiError(400, "This is no valid HTTP request.", code="invalid_http")
            )
            return
        if self._in_head:
            # Of the bytes that came together with the end of an earlier request, nobody knows how many are the header's.
            self._head_bytes += 0 if self._began else len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(_head_too_large())
            elif self._timer is None:
                self._timer = self.loop.call_later(self.head_seconds, self._head_is_late)
        elif self._in_body and self._timer is None:
            self._body_began = self.loop.time()
            self._timer = self.loop.call_later(self.body_grace_seconds, self._check_body_speed)

    def on_message_begin(self) -> None:
        """Begin a header."""
        self._in_head = self._began = True
        self._head_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the complete header, and start its request."""
        self._in_head = False
        self._stop_timer()
        # What came in few bytes need not be measured.
        if self._seen_bytes > MOST_HEAD_BYTES or len(self.url) > MOST_URL_BYTES:
            self._check_size()
        if len(self.headers) > MOST_FIELDS:
            text = f"The request has {len(self.headers)} header fields; the limit is {MOST_FIELDS}."
            self._fail(ApiError(431, text, code="too_many_headers"))
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._fail(ApiError(405, "This is no forward proxy.", code="method_not_allowed"))
            return  # `_feed` parses this request again without the offer
        self._in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body. After the answer it is dropped."""
        self._body_bytes += len(body)
        if self.cycle.response_complete and self._body_bytes > MOST_DROPPED_BYTES:
            self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a body."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        self._stop_timer()
        super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as e:
                rest = data[e.args[0] :]
                data = self._head_without_offer() + rest
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            else:
                return

    def _check_size(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if len(self.url) > MOST_URL_BYTES:
            text = f"The URL has {len(self.url)} bytes; the limit is {MOST_URL_BYTES}."
            self._fail(ApiError(414, text, code="url_too_long"))
        if size > MOST_HEAD_BYTES:
            self._fail(_head_too_large())

    def _fail(self, error: ApiError) -> NoReturn:
        """Stop the parser. httptools wraps the error, and `data_received` sends it."""
        self._refusal = error
        raise error

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b" ".join((self.parser.get_method(), self.url, b"HTTP/" + version))]
        lines += (name + b": " + value for name, value in _without_offer(self.headers))
        return b"\r\n".join((*lines, b"", b""))

    def _head_is_late(self) -> None:
        self._timer = None
        if self._in_head:
            seconds = f"{self.head_seconds:g}"
            self._refuse(ApiError(408, f"The header took more than {seconds} s.", code="request_timeout"))
        else:
            self.transport.close()

    def _check_body_speed(self) -> None:
        self._timer = None
        taken = self.loop.time() - self._body_began
        if self.flow.read_paused:  # the proxy does not read at present, so the client is not to blame
            self._body_began = self.loop.time()
        elif self._body_bytes < taken * LEAST_BODY_BYTES_PER_SECOND:
            text = f"The request body came slower than {LEAST_BODY_BYTES_PER_SECOND} bytes a second."
            self._refuse(ApiError(408, text, code="request_timeout"))
            return
        self._timer = self.loop.call_later(self.body_grace_seconds, self._check_body_speed)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: ApiError) -> None:
        """Send an error, unless an answer is under way, and close the connection."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        if not _is_answering(self.cycle):
            body = msgspec.json.encode(error.body())
            head = (
                f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
                "content-type: application/json\r\nconnection: close\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def _is_answering(cycle: RequestResponseCycle | None) -> bool:
    return cycle is not None and cycle.response_started and not cycle.response_complete


def _head_too_large() -> ApiError:
    return ApiError(
        431,
        f"The request header is too large; the limit is {MOST_HEAD_BYTES} bytes.",
        code="header_too_large",
    )


def _without_offer(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            kept = [token for token in value.split(b",") if token.strip().lower() not in _OFFERS]
            yield name, b",".join(kept).strip()
        elif name not in _OFFERS:
            yield name, value
