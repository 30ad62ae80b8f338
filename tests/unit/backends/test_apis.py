"""Each upstream API has its own addresses, authentication and errors."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HEADER_VALUE_RE

from proxy.backends.apis import api_of
from proxy.config.schema import Upstream

OPENAI = api_of(Upstream(base_url="http://localhost/v1/"), "sk-secret")
AZURE = api_of(Upstream(base_url="http://localhost", api_version="2024-10-21"), "az-secret")


def test_openai_request():
    """OpenAI gets the path below the base URL and a bearer token."""
    assert OPENAI.url("/chat/completions", "gpt-4o") == "http://localhost/v1/chat/completions"
    assert OPENAI.headers()["authorization"] == "Bearer sk-secret"


def test_azure_request():
    """Azure gets the deployment in the path, the version in the query and the key in `api-key`."""
    url = AZURE.url("/chat/completions", "my model")
    assert url == "http://localhost/openai/deployments/my%20model/chat/completions?api-version=2024-10-21"
    for path in ("/responses", "/responses/compact", "/responses/resp_1/input_items"):
        assert AZURE.url(path, "m") == f"http://localhost/openai{path}?api-version=2024-10-21"
    assert AZURE.headers()["api-key"] == "az-secret"
    assert "authorization" not in AZURE.headers()


@pytest.mark.parametrize("api", [OPENAI, AZURE], ids=["openai", "azure"])
def test_error_members(api):
    """The upstream's error keeps its members and hides the proxy's key."""
    raw = msgspec.json.encode({"error": {"message": f"bad {api.key}", "type": "t", "code": 3, "param": "p"}})
    error = api.error(400, {"Retry-After": "7", "Server": "x"}, raw)
    assert (error.status, error.message, error.type, error.code, error.param) == (
        400,
        "bad ***",
        "t",
        "3",
        "p",
    )
    assert error.headers == {"retry-after": "7"}


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_headers_can_be_sent(value):
    """Whatever an upstream's header contains, it can be sent to the client, and its words stay."""
    for name in ("X-Request-ID", "x-ratelimit-limit-requests", "retry-after"):
        sent = OPENAI.response_headers({name: value})[name.lower()]
        assert not HEADER_VALUE_RE.search(sent.encode("latin-1", "replace"))
        assert sent.split() == "".join(c if c >= " " and c != "\x7f" else " " for c in value).split()


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"error": null}'])
def test_error_without_words(raw):
    """A body without words still gives a message."""
    assert OPENAI.error(500, {}, raw).message in ("The upstream answered 500.", '{"error":null}')


@pytest.mark.parametrize(
    ("status", "billed"), [(400, False), (429, False), (503, False), (504, True), (524, True)]
)
def test_gateway_timeouts_billed(status, billed):
    """Only after a gateway's timeout may the model have generated something."""
    assert OPENAI.error(status, {}, b"").billed is billed


def test_credentials_hidden():
    """A refusal of the proxy's own key does not quote the upstream."""
    error = OPENAI.error(401, {}, b'{"error": {"message": "Incorrect key sk-secret"}}')
    assert (error.status, error.code) == (502, "upstream_authentication")
    assert "sk-secret" not in error.message
