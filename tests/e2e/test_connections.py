"""HTTP through the front door: forms of requests that clients send, and limits for those without a key."""

import json
import socket
from contextlib import closing

import pytest
import zstandard

from tests.support.config import LARGE_MODEL

ASK = {"model": f"direct/{LARGE_MODEL}", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"


def connected(proxy):
    """Return a connection to the proxy."""
    return closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=60))


def test_upgrade_offers_are_answered(proxy):
    """A Java client offers HTTP/2 with its request, and gets the answer to it."""
    body = json.dumps(ASK).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n" + OFFER
    with connected(proxy) as connection:
        connection.sendall(
            head + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        assert connection.recv(2**16).startswith(b"HTTP/1.1 200")


def test_methods_are_answered(proxy):
    """HEAD has the headers of GET and no body, and OPTIONS names the methods."""
    with proxy.http() as http:
        for path in ("/health/live", "/health/ready", "/v1/models", f"/v1/models/{LARGE_MODEL}", "/metrics"):
            head, get = http.head(path), http.get(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-type"] == get.headers["content-type"]
        assert http.head("/nothing").status_code == 404
        for path in ("/v1/chat/completions", "/v1/models", "/health/live"):
            answer = http.options(path)
            assert (answer.status_code, answer.content) == (204, b"")
            assert "OPTIONS" in answer.headers["allow"]


def test_compressed_bodies_are_read(proxy, large_server):
    """Codex compresses its requests with zstd. What goes upstream is plain."""
    with proxy.http() as http:
        packed = zstandard.compress(json.dumps(ASK).encode())
        headers = {"content-encoding": "zstd", "content-type": "application/json; charset=utf-8"}
        assert http.post("/v1/chat/completions", content=packed, headers=headers).status_code == 200
        (sent,) = large_server.chats()
        assert sent["body"]["messages"] == ASK["messages"]
        refused = http.post("/v1/chat/completions", content=packed, headers={"content-encoding": "br"})
        assert refused.status_code == 415
        assert "zstd" in refused.json()["error"]["message"]


def test_strangers_are_not_read(make_proxy):
    """A client without a valid key gets its answer before its body is read, and a large token is refused."""
    proxy = make_proxy()
    proxy.cli("keys", "create", "ann", check=True)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000\r\nauthorization: Bearer "
    with connected(proxy) as connection:
        connection.sendall(head + b"k" * 100_000 + b"\r\n\r\n")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 431")
    with connected(proxy) as connection:
        connection.sendall(head + b"sk-cope-unknown\r\n\r\n")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("member", ["metadata", "models", "messages", "tools"])
def test_endless_lists_are_refused(proxy, member):
    """A list or an object of a hundred thousand entries is a 400, and the proxy goes on."""
    endless = {str(i): "" for i in range(110_000)} if member == "metadata" else [{}] * 110_000
    with proxy.http() as http:
        answer = http.post("/v1/chat/completions", json={**ASK, member: endless})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_values")
        assert http.get("/health/live").status_code == 200
