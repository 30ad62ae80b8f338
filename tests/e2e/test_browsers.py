"""What web pages, reverse proxies and other machines may do while no key exists, and with a key."""

import itertools
import json

import pytest

from tests.support.config import LARGE_MODEL
from tests.support.proxy_process import ProxyProcess

pytestmark = pytest.mark.slow

CHAT = {"model": f"direct/{LARGE_MODEL}", "messages": [{"role": "user", "content": "hi"}]}
REQUESTS = [
    ("POST", "/v1/chat/completions", CHAT),
    ("POST", "/v1/responses", {"model": CHAT["model"], "input": "hi"}),
    ("POST", "/v1/completions", {"model": CHAT["model"], "prompt": "hi"}),
    ("POST", "/v1/embeddings", {"model": CHAT["model"], "input": "hi"}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/cope", None),
    ("GET", "/v1/spend", None),
    ("GET", "/v1/spend/requests", None),
    ("GET", "/v1/admin/keys", None),
    ("POST", "/v1/admin/keys", {"name": "mine"}),
    ("GET", "/metrics", None),
    ("GET", "/schema/openapi.json", None),
]
STRANGERS = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:5173.evil.example"},
    {"origin": "chrome-extension://abcdef"},
    {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"host": "evil.example"},
    {"host": "127.0.0.1.evil.example:8080"},
    {"host": "evil.example", "origin": "http://evil.example"},
    {"host": "localhost.evil.example", "sec-fetch-site": "same-origin"},
    {"x-forwarded-for": "203.0.113.9"},
    {"x-forwarded-host": "llm.example.com"},
    {"forwarded": "for=203.0.113.9"},
    {"x-real-ip": "203.0.113.9"},
    {"via": "1.1 caddy"},
    {"cf-connecting-ip": "203.0.113.9"},
    {"true-client-ip": "203.0.113.9"},
]
FRIENDS = [
    {},
    {"origin": "http://localhost:5173", "sec-fetch-site": "cross-site"},
    {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"},
    {"origin": "https://app.example"},
    {"host": "localhost:8080"},
    {"host": "192.168.1.5"},
    {"host": "[::1]:8080"},
    {"host": "gpu-box:9000", "origin": "http://gpu-box:9000", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
]
SIMPLE_TYPES = [
    "text/plain",
    "text/plain;charset=UTF-8",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "text/plain; application/json",
    "application/octet-stream",
]


@pytest.fixture(scope="module")
def open_proxy(small_server, large_server, tmp_path_factory):
    """A proxy without keys, which one web page and one host name may use."""
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        server={
            "cors_origins": ["http://localhost:*", "http://127.0.0.1:*", "https://app.example", "*"],
            "allowed_hosts": ["gpu-box"],
        },
    ) as process:
        yield process


def send(proxy, method, path, body, headers):
    given = {"content-type": "application/json"} if body is not None else {}
    content = None if body is None else json.dumps(body)
    return proxy.http().request(method, path, content=content, headers={**given, **headers})


def test_strangers_get_nothing(open_proxy, small_server, large_server):
    """No endpoint answers a foreign page, a rebound name or a reverse proxy, and nothing is paid."""
    for request, headers in itertools.product(REQUESTS, STRANGERS):
        answer = send(open_proxy, *request, headers)
        assert answer.status_code == 403, (request, headers, answer.text)
        assert "Create a key" in answer.json()["error"]["message"]
    assert not [e for e in (*small_server.log(), *large_server.log()) if e["method"] == "POST"]


def test_blind_posts_are_refused(open_proxy, large_server):
    """A body of a type that any page can send without asking is refused, even without other signs of a browser."""
    for (method, path, body), kind in itertools.product(REQUESTS, SIMPLE_TYPES):
        if body is not None:
            answer = send(open_proxy, method, path, body, {"content-type": kind})
            assert answer.status_code == 415, (path, kind, answer.text)
            assert "application/json" in answer.json()["error"]["message"]
    assert not [e for e in large_server.log() if e["method"] == "POST"]


def test_neighbours_are_served(open_proxy, large_server):
    """Programs of this machine and configured pages and names need no key."""
    large_server.say("hi")
    for headers in FRIENDS:
        for request in (REQUESTS[0], *REQUESTS[4:8], REQUESTS[10]):
            answer = send(open_proxy, *request, headers)
            assert answer.status_code == 200, (request, headers, answer.text)
    bare = open_proxy.http().post("/v1/chat/completions", content=json.dumps(CHAT))
    assert bare.status_code == 200


def test_health_answers_everybody(open_proxy):
    """Load balancers call the health checks by any name."""
    for headers in STRANGERS:
        assert send(open_proxy, "GET", "/health/live", None, headers).status_code == 200


def test_pages_may_use_keys(make_proxy, large_server):
    """With keys, a page of a configured origin gets through: its preflight on each path, and its request."""
    large_server.say("hi")
    proxy = make_proxy(server={"cors_origins": ["https://app.example"]})
    key = proxy.cli("keys", "create", "page", check=True).stdout.strip()
    asks = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-cope-session,x-stainless-lang",
    }
    for _method, path, _body in REQUESTS:
        answer = proxy.http().options(path, headers=asks)
        assert answer.status_code == 204, path
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in asks["access-control-request-headers"].split(","))
        other = proxy.http().options(path, headers={**asks, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
    page = {"origin": "https://app.example", "sec-fetch-site": "cross-site", "authorization": f"Bearer {key}"}
    answer = send(proxy, *REQUESTS[0], page)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-cope-cost-usd" in answer.headers["access-control-expose-headers"]
    refused = send(proxy, *REQUESTS[0], {"origin": "https://app.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (
        401,
        "https://app.example",
    )
    # A key is proof enough, whatever stands between.
    for headers in STRANGERS:
        answer = send(proxy, *REQUESTS[0], {**headers, "authorization": f"Bearer {key}"})
        assert answer.status_code == 200, headers
