"""What the tests of the dashboard ask for, and how they read its pages."""

import re
from html.parser import HTMLParser
from typing import Any

import httpx2

from tests.support.config import LARGE_MODEL
from tests.support.proxy_process import ProxyProcess
from tests.support.spending import ADMIN_ENV

ADMIN_KEY = ADMIN_ENV["COPE_ADMIN_KEY"]
PAGES = ("", "/spend", "/requests", "/latest", "/budgets", "/quality", "/health")
OF_ONE_KEY = ("", "/spend", "/requests", "/latest", "/budgets")
HOSTILE = "<script>hacked=1</script>\"'><img src=x onerror=hacked=1>{{7*7}}\u202e&amp;"
HOSTILE_HEADER = "<script>hacked=1</script>\"'><img/src=x>"


def ask(proxy: ProxyProcess, key: str = "", *, text: str = "hi", **fields: Any) -> str:
    """Send a request to the large model whose every text is hostile, and return its id."""
    body = {
        "model": f"direct/{LARGE_MODEL}",
        "messages": [{"role": "user", "content": text}],
        "user": HOSTILE,
        "metadata": {"team": HOSTILE[:60]},
        **fields,
    }
    headers = {"x-cope-session": HOSTILE_HEADER} | ({"authorization": f"Bearer {key}"} if key else {})
    answer = proxy.http().post("/v1/chat/completions", json=body, headers=headers)
    return str(answer.headers["x-cope-request-id"])


def signed_in(proxy: ProxyProcess, key: str = ADMIN_KEY) -> httpx2.Client:
    """Return a client that has signed in with the form, and follows redirects as a browser does."""
    client = proxy.http(follow_redirects=True)
    answer = client.post("/dashboard/sign-in", data={"key": key, "next": "/dashboard"})
    assert answer.status_code == 200
    return client


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.unsafe: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.found.append(value)
            if name == "style" or name.startswith("on"):
                self.unsafe.append(f"{tag} {name}")
        if tag in ("script", "style", "iframe", "object", "base"):
            self.unsafe.append(tag)


def links(page: str) -> list[str]:
    """Return the addresses that a page links to or loads.

    Raises:
        AssertionError: the page has a script, a style or an event handler of its own.
    """
    parser = _Links()
    parser.feed(page)
    assert not parser.unsafe, parser.unsafe
    return parser.found


def figures(page: str) -> dict[str, str]:
    """Return the figures at the top of a page by their labels."""
    return dict(re.findall(r'<div class="figure[^"]*"><span>(.*?)</span><strong>(.*?)</strong>', page))
