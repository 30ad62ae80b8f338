"""The HTTP connection: limits of the header, and offers that are ignored."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from proxy.http.protocol import MOST_FIELDS, MOST_HEAD_BYTES, MOST_URL_BYTES, BoundedHttpProtocol

OFFERS = {
    "none": b"",
    "java": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    "websocket": b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n",
    "tls": b"UPGRADE: TLS/1.0, HTTP/2.0\r\nCONNECTION: upgrade\r\n",
}
BODIES = {
    "length": b"content-length: 5\r\n\r\nhello",
    "chunked": b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
}
NEXT = b"GET /second HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def echo(scope, receive, send):
    """Answer with the method, the path and the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    out = f"<{scope['method']} {scope['path']} {body.decode()}>".encode()
    headers = [(b"content-length", str(len(out)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": out})


@asynccontextmanager
async def serving(connection=BoundedHttpProtocol):
    """Serve `echo` on a free port, and return the port."""
    config = Config(echo, ws="none", lifespan="off", log_level="critical")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: connection(config, state, {}), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


class Impatient(BoundedHttpProtocol):
    """The same connection with short deadlines."""

    head_seconds = body_grace_seconds = 0.1


async def exchange(port, *pieces):
    """Send pieces, each in a segment of its own, and return all that comes back until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def status_of(raw):
    return int(raw.split(b" ", 2)[1])


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("offer", OFFERS)
def test_offers_are_ignored(offer, body):
    """A request with an offer to upgrade is read like one without, wherever its bytes are cut."""
    raw = b"POST /first HTTP/1.1\r\nhost: x\r\n" + OFFERS[offer] + BODIES[body] + NEXT

    async def run():
        async with serving() as port:
            for cut in range(1, len(raw), 3):
                got = await exchange(port, raw[:cut], raw[cut:])
                assert b"<POST /first hello>" in got, cut
                assert b"<GET /second >" in got, cut

    asyncio.run(run())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"x: " + b"a" * MOST_HEAD_BYTES, 431),
        (b"".join(b"x-%d: %s\r\n" % (i, b"a" * 1000) for i in range(100)), 431),
        (b"".join(b"x-%d: a\r\n" % i for i in range(MOST_FIELDS + 5)), 431),
        (b"x: " + b"a" * (MOST_HEAD_BYTES - 1000), 200),
        (b"bad header", 400),
    ],
)
def test_large_headers_are_refused(head, status):
    """A header over a limit gets an error in OpenAI's shape, and one below it an answer."""

    async def run():
        async with serving() as port:
            lines = b"GET / HTTP/1.1\r\nconnection: close\r\n" + head.rstrip() + b"\r\n\r\n"
            return await exchange(port, *(lines[i : i + 20_000] for i in range(0, len(lines), 20_000)))

    got = asyncio.run(run())
    assert status_of(got) == status
    if status != 200:
        assert json.loads(got.split(b"\r\n\r\n", 1)[1])["error"]["message"]


def test_pipelined_requests_are_read():
    """Bytes of an earlier request do not count as the header of the next one, wherever they are cut."""
    filler = b"a" * 50_000
    first = b"POST /first HTTP/1.1\r\nx: %s\r\ncontent-length: %d\r\n\r\n%s" % (filler, len(filler), filler)

    async def run():
        async with serving() as port:
            for cut in (50_010, 100_090, 100_120):
                got = await exchange(port, (first + NEXT)[:cut], (first + NEXT)[cut:])
                assert got.count(b"HTTP/1.1 200") == 2

    asyncio.run(run())


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /" + b"a" * MOST_URL_BYTES, 414),
        (b"GET /?" + b"a" * MOST_URL_BYTES, 414),
        (b"GET http://elsewhere/v1/models", 200),
        (b"OPTIONS *", 200),
        (b"CONNECT x:443", 405),
        (b"GET /\xff", 400),
        (b"NONSENSE /", 400),
    ],
)
def test_request_lines(line, status):
    """A request line has an answer or a refusal, and never an error of the server."""

    async def run():
        async with serving() as port:
            return await exchange(port, line + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    assert status_of(asyncio.run(run())) == status


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nx: ", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nhi"]
)
def test_slow_requests_end(sent):
    """A connection that does not complete its request is closed."""

    async def run():
        async with serving(Impatient) as port:
            return await exchange(port, sent)

    got = asyncio.run(run())
    assert got == b"" if not sent else status_of(got) == 408
