"""Which servers are reached through a forward proxy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.proxies import is_loopback, proxy_for

PROXY = "http://proxy.corp:3128"


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of proxies, and no others."""

    def put(**variables):
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("variables", "url", "proxied"),
    [
        ({}, "http://api.example/v1", False),
        ({"HTTP_PROXY": PROXY}, "http://api.example/v1", True),
        ({"http_proxy": PROXY}, "http://api.example/v1", True),
        ({"HTTP_PROXY": PROXY}, "https://api.example/v1", False),
        ({"HTTPS_PROXY": PROXY}, "https://api.example/v1", True),
        ({"ALL_PROXY": PROXY}, "https://api.example/v1", True),
        ({"HTTPS_PROXY": "proxy.corp:3128"}, "https://api.example/v1", True),
        ({"HTTPS_PROXY": "socks5://proxy.corp:1080"}, "https://api.example/v1", False),
        ({"HTTPS_PROXY": ""}, "https://api.example/v1", False),
    ],
)
def test_proxy_variables(environment, variables, url, proxied):
    """Each scheme has its variable, and ALL_PROXY stands for both."""
    environment(**variables)
    found = proxy_for(url)
    assert str(found) == f"{PROXY}/" or str(found) == PROXY if proxied else found is None


@pytest.mark.parametrize(
    ("no_proxy", "excluded"),
    [
        ("*", True),
        ("example", True),
        (".example", True),
        ("*.example", True),
        ("API.EXAMPLE", True),
        ("other, api.example ", True),
        ("api.example:8080", True),
        ("api.example:9090", False),
        ("le", False),
        ("xapi.example", False),
        ("", False),
        (",", False),
    ],
)
def test_no_proxy_names(environment, no_proxy, excluded):
    """NO_PROXY takes names, domains and ports."""
    environment(HTTP_PROXY=PROXY, NO_PROXY=no_proxy)
    assert (proxy_for("http://api.example:8080/v1") is None) is excluded


@pytest.mark.parametrize(
    ("host", "no_proxy", "excluded"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]:80", True),
        ("[fd00::1]", "[fd00::1]:81", False),
    ],
)
def test_no_proxy_networks(environment, host, no_proxy, excluded):
    """NO_PROXY takes addresses and networks."""
    environment(HTTP_PROXY=PROXY, NO_PROXY=no_proxy)
    assert (proxy_for(f"http://{host}/v1") is None) is excluded


@given(
    st.ip_addresses(v=4, network="127.0.0.0/8").map(str)
    | st.sampled_from(
        ["localhost", "LOCALHOST", "vllm.localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0"]
    )
)
def test_loopback_is_direct(host):
    """A prompt for this machine never goes through a proxy, whatever NO_PROXY says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", PROXY)
        patch.delenv("no_proxy", raising=False)
        patch.delenv("NO_PROXY", raising=False)
        assert proxy_for(f"http://{host}:8000/v1") is None


@pytest.mark.parametrize("host", ["api.openai.com", "10.0.0.1", "localhost.example", "128.0.0.1", ""])
def test_other_hosts(host):
    """Names that only look like this machine are other machines."""
    assert not is_loopback(host)
