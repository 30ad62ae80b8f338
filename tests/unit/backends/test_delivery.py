"""A request that did not arrive costs nothing and says why; one that may have arrived is not sent twice."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from proxy.backends.apis import api_of
from proxy.backends.session import Delivery, open_session
from proxy.backends.upstream import Upstream
from proxy.config.schema import Upstream as UpstreamSettings
from proxy.errors import ApiError

BODY = {"model": "m", "messages": []}
ANSWER = (
    b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}'
)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    """Forget the proxies of the machine that runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Cut(bytes):
    """The last bytes of a connection."""


def response(status=200, body=ANSWER, *headers):
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def server(answer):
    """Serve `answer(head, count)`, where `count` is the number of the request on its connection.

    It returns the bytes to send, `Cut` if the connection ends after them, or None if it ends at once.
    """
    seen = []

    async def serve(reader, writer):
        count = 0
        try:
            while True:
                first = await reader.readexactly(1)
                if first == b"\x16":  # the beginning of TLS
                    writer.write(response(400, b""))
                    break
                head = first + await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                seen.append(head)
                count += 1
                raw = answer(head, count)
                if raw is None:
                    break
                writer.write(raw)
                await writer.drain()
                if isinstance(raw, Cut):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield running.sockets[0].getsockname()[1], seen


async def ask(session, url, *, retries=0, connect_s=5):
    """Return an upstream's answer, or its error."""
    settings = UpstreamSettings(base_url=url, max_retries=retries, connect_timeout_s=connect_s, timeout_s=10)
    upstream = Upstream(session, api_of(settings, "sk-secret-key"))
    try:
        async with upstream.post(
            "/chat/completions", BODY, time.monotonic() + 30, Delivery(), streamed=False
        ) as answer:
            return await answer.read()
    except ApiError as e:
        return e


async def asked(url, **options):
    async with open_session(5) as session:
        return await ask(session, url, **options)


def outcome(make_url, answer=lambda *_: response()):
    """Return the error of an upstream at `make_url(port)`, and the requests that arrived."""

    async def main():
        async with server(answer) as (port, seen):
            return await asked(make_url(port)), seen

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://no-such-host.invalid/v1", "host name"),
        ("https://127.0.0.1:{}/v1", "TLS"),
        ("http://127.0.0.1:1/v1", "no connection"),
        ("http://[::ffff:127.0.0.1]:1/v1", "no connection"),
    ],
)
def test_failed_connections_are_free(url, reason):
    """A name, a port or a certificate that fails is told, and nothing is billed."""
    error, seen = outcome(url.format)
    assert (error.status, error.code, error.billed) == (502, "upstream_unreachable", False)
    assert reason in error.message
    assert seen == []


@pytest.mark.parametrize(
    "greeting",
    [
        b"\x15\x03\x01\x00\x02\x02F",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        b"SSH-2.0-x\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_other_protocols_are_free(greeting):
    """A server that answers with no HTTP at all has not read the request as one."""
    error, seen = outcome("http://127.0.0.1:{}/v1".format, lambda *_: Cut(greeting))
    assert (error.status, error.code, error.billed) == (502, "upstream_unreachable", False)
    assert "base_url" in error.message
    assert len(seen) == 1


@pytest.mark.parametrize(
    "refusal", [response(403, b"<html>blocked"), response(407, b""), b"nonsense\r\n\r\n", None]
)
def test_refused_tunnels_are_free(monkeypatch, refusal):
    """A forward proxy that opens no tunnel has not passed the request on."""

    async def main():
        async with server(lambda *_: refusal) as (port, seen):
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            return await asked("https://api.example/v1"), seen

    error, seen = asyncio.run(main())
    assert (error.status, error.code, error.billed) == (502, "upstream_unreachable", False)
    assert all(head.startswith(b"CONNECT") for head in seen)


def test_proxies_get_credentials(monkeypatch):
    """The user of a forward proxy's URL is sent to the proxy."""

    async def main():
        async with server(lambda *_: response()) as (port, seen):
            monkeypatch.setenv("http_proxy", f"http://zoe:pass@127.0.0.1:{port}")
            await asked("http://api.example/v1")
            return seen

    (head,) = asyncio.run(main())
    assert head.startswith(b"POST http://api.example/v1/chat/completions")
    assert (
        b"proxy-authorization: basic em9lonBhc3M=" in head.lower().replace(b"om", b"om")
        or b"Basic em9lOnBhc3M=" in head
    )


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_within_origin(status):
    """A redirect to another path of the same server is followed."""

    def answer(head, _):
        moved = b" /new " in head
        return response() if moved else response(status, b"", "location: /new")

    raw, seen = outcome("http://127.0.0.1:{}/v1".format, answer)
    assert raw == ANSWER
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (307, "http://127.0.0.1:9/elsewhere"),
        (308, "https://127.0.0.1/v1"),
        (301, "/login"),
        (302, "/login"),
        (303, "/login"),
        (307, "/v1/chat/completions"),  # a loop
        (307, "http://["),
        (307, "ftp://example/x"),
        (307, "//evil.example/x"),
    ],
)
def test_other_redirects_are_errors(status, location):
    """The key and the prompt go nowhere else, a loop ends, and nothing is billed."""
    error, seen = outcome(
        "http://127.0.0.1:{}/v1".format, lambda *_: response(status, b"", f"location: {location}")
    )
    assert (error.status, error.code, error.billed) == (502, "upstream_redirect", False)
    assert "base_url" in error.message
    assert len(seen) <= 4


def test_stale_connections_are_replaced():
    """A request on a connection that the server has closed is sent once more, on a new one."""

    async def main():
        async with (
            server(lambda _, count: response() if count == 1 else None) as (port, seen),
            open_session(5) as session,
        ):
            url = f"http://127.0.0.1:{port}/v1"
            return [await ask(session, url) for _ in range(4)], seen

    answers, seen = asyncio.run(main())
    assert answers == [ANSWER] * 4
    assert len(seen) <= 7


def test_fresh_connections_are_not_repeated():
    """A server that closes a new connection without a response may have begun, so the request is not repeated."""
    error, seen = outcome("http://127.0.0.1:{}/v1".format, lambda *_: None)
    assert (error.code, error.billed, len(seen)) == ("upstream_broken", True, 1)


def test_begun_responses_are_not_repeated():
    """A reused connection that breaks within a response is no stale one."""

    def answer(_, count):
        return response() if count == 1 else Cut(b"HTTP/1.1 200 X\r\ncontent-length: 9")

    async def main():
        async with server(answer) as (port, seen), open_session(5) as session:
            url = f"http://127.0.0.1:{port}/v1"
            await ask(session, url)
            return await ask(session, url), seen

    error, seen = asyncio.run(main())
    assert (error.billed, len(seen)) == (True, 2)


def test_broken_error_bodies():
    """An error whose body breaks off stays this error, and costs nothing."""
    raw = Cut(b'HTTP/1.1 429 X\r\ncontent-length: 99\r\n\r\n{"error": "slow down')
    error, _ = outcome("http://127.0.0.1:{}/v1".format, lambda *_: raw)
    assert (error.status, error.billed) == (429, False)
    assert "slow down" in error.message
