"""Servers that come and go, and the ledger on Postgres, through the front door."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.support.config import SMALL_MODEL
from tests.support.postgres import postgres_server
from tests.support.standin_process import StandIn

pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "Say hello to the team."}]


def ask(proxy, **extra):
    return proxy.client().chat.completions.create(model="cope", messages=QUESTION, **extra)


def test_unhealthy_server_is_skipped(make_proxy, small_server, large_server):
    """With one of two small servers gone, the other one answers everything."""
    proxy = make_proxy(small={"base_url": ["http://127.0.0.1:9/v1", small_server.base_url]})
    assert [ask(proxy).cope["stage"] for _ in range(3)] == [1, 1, 1]
    assert large_server.chats() == []


def test_fail_mode_refuses(make_proxy, large_server):
    """small.on_unavailable = fail is a 503 with Retry-After, and nothing goes upstream."""
    proxy = make_proxy(small_url="http://127.0.0.1:9/v1", small={"on_unavailable": "fail"})
    with pytest.raises(openai.InternalServerError) as e:
        ask(proxy)
    assert (e.value.status_code, e.value.code) == (503, "small_unavailable")
    assert e.value.response.headers["retry-after"]
    assert large_server.chats() == []


def test_wait_mode_waits(make_proxy, large_server):
    """small.on_unavailable = wait holds the request until a server is up."""
    server = StandIn([SMALL_MODEL])
    server.start()
    url = server.base_url
    server.stop()
    proxy = make_proxy(small_url=url, small={"on_unavailable": "wait"})
    assert proxy.http().get("/health/ready").status_code == 503
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, proxy)
        server.start()
        assert waiting.result(timeout=30).cope["stage"] == 1
    server.stop()
    assert large_server.chats() == []


@pytest.mark.postgres
def test_the_ledger_on_postgres(make_proxy, small_server, large_server):
    """The same proxy on Postgres migrates at start, reserves in a session, and reports the same cost."""
    large_server.say("hi", usage={"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100})
    with postgres_server() as url:
        proxy = make_proxy(database={"url": url})
        headers = {"X-COPE-Mode": "large", "X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "1"}
        answer = ask(proxy, extra_headers=headers)
        assert answer.cope["cost_usd"] == "0.0035"
        assert answer.cope["budget_remaining_usd"] == "0.9965"
        rows = proxy.http().get("/v1/spend?by=day").json()["data"]
        assert [r["cost_usd"] for r in rows] == ["0.0035"]
        assert "0.0035" in proxy.cli("spend").stdout
        proxy.stop()
