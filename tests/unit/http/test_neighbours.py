"""The checks of requests without a key, on all forms of hosts, origins and addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Server
from proxy.errors import ApiError
from proxy.http.neighbours import require_neighbour

LOCAL = (
    "localhost",
    "127.0.0.1",
    "127.9.9.9",
    "192.168.1.5",
    "[::1]",
    "app.localhost",
    "LOCALHOST",
    "localhost.",
)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z0-9-]{1,10}){0,3}", fullmatch=True)
PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format))


def code(server=None, method="GET", client="127.0.0.1", **headers):
    """Return the code of the refusal, or None."""
    server = server or Server()
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    try:
        require_neighbour(server, method, client, raw)
    except ApiError as e:
        return e.code
    return None


@given(host=st.sampled_from(LOCAL), port=PORTS)
def test_local_hosts_are_known(host, port):
    """Addresses and names of this machine are known with any port, also as the origin of a page."""
    assert code(host=host + port) is None
    assert code(host=host + port, origin=f"http://{host}{port}", sec_fetch_site="same-origin") is None


@given(name=NAMES, port=PORTS, local=st.sampled_from(LOCAL))
def test_other_hosts_are_refused(name, port, local):
    """A name that anybody may own is refused, whatever local name is part of it, until the config has it."""
    for host in (f"{name}.example{port}", f"{local}.{name}.example{port}", f"{name}.example#{local}"):
        assert code(host=host) == "host_not_allowed"
    own = Server(allowed_hosts=(f"{name}.example",))
    assert code(own, host=f"{name.upper()}.example{port}") is None


@given(name=NAMES, port=PORTS, local=st.sampled_from(LOCAL))
def test_other_origins_are_refused(name, port, local):
    """A page of another origin is refused, with "*" in the config as well, until the config names it."""
    for origin in (f"https://{name}.example{port}", f"http://{local}.{name}.example{port}", "null", ""):
        for server in (Server(), Server(cors_origins=("*",))):
            assert code(server, host="127.0.0.1:8080", origin=origin) == "origin_not_allowed"
    named = Server(cors_origins=(f"https://{name}.example{port}", "https://*.corp.example:*"))
    assert code(named, host="127.0.0.1:8080", origin=f"https://{name}.example{port}") is None
    assert code(named, host="127.0.0.1:8080", origin=f"https://{name}.corp.example:8443") is None
    assert code(named, host="127.0.0.1", origin=f"https://{name}.corp.example:1.evil.example") is not None


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        (None, None),
        ("", None),
        ("192.168.1.7", "key_needed"),
        ("::ffff:192.168.1.7", "key_needed"),
        ("fe80::1%eth0", "key_needed"),
        ("somebody", "key_needed"),
    ],
)
def test_clients_of_other_machines(client, expected):
    """Only clients of this machine need no key, unless the config says otherwise."""
    assert code(client=client, host="127.0.0.1") == expected
    assert code(Server(allow_anonymous=True), client=client, host="127.0.0.1") is None


@pytest.mark.parametrize(
    "kind", ["", "application/json", "Application/JSON; charset=utf-8", "application/x+json"]
)
def test_json_bodies_are_read(kind):
    """JSON is accepted in any spelling. A body without a type is accepted, because a browser adds its origin then."""
    headers = {"content_type": kind} if kind else {}
    assert code(method="POST", **headers) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH", "ANY"])
def test_types_by_method(method):
    """A type is checked where a body has a meaning. A page is refused with each method and type."""
    bodiless = method in ("GET", "HEAD", "OPTIONS", "DELETE")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"):
        assert code(method=method, content_type=kind) == (None if bodiless else "unsupported_media_type")
    for headers in ({}, {"content_type": "application/json"}, {"content_type": "text/plain"}):
        page = {"host": "127.0.0.1:8080", "origin": "https://page.example"}
        assert code(method=method, **page, **headers) == "origin_not_allowed"
        assert code(method=method, sec_fetch_site="cross-site", **headers) == "origin_not_allowed"
