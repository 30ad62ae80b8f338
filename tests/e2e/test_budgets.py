"""Budgets, as clients and operators meet them."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.support.config import LARGE_MODEL
from tests.support.spending import ADMIN, ADMIN_ENV, SOON, USAGE, ask, refused

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("budgets", "extra", "scope"),
    [
        ({"global_usd": 0.005, "window": "month"}, {}, "global"),
        ({"users": {"*": {"usd": 0.005, "window": "day"}}}, {"user": "zoe"}, "user"),
        ({"users": {"zoe": {"usd": 0.005}}}, {"headers": {"X-COPE-User": "zoe"}}, "user"),
        ({"tags": {"team=search": {"usd": 0.005, "window": "week"}}}, {"metadata": {"team": "search"}}, "tag"),
        ({"tags": {"team=*": {"usd": 0.005}}}, {"metadata": {"team": "ads"}, "store": True}, "tag"),
    ],
)  # fmt: skip
def test_configured_budgets_stop_requests(make_proxy, large_server, budgets, extra, scope):
    """The first call fits, the next one would not, and the error names the budget."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={**budgets, **SOON})
    assert ask(proxy, **extra).cope["budget_remaining_usd"] == "0.0015"
    with pytest.raises(openai.RateLimitError) as e:
        ask(proxy, **extra)
    assert e.value.code == "insufficient_quota"
    assert f"the {scope} budget leaves 0.0015 of 0.005 USD" in e.value.message
    assert e.value.response.headers["x-should-retry"] == "false"
    assert len(large_server.chats()) == 1


def test_a_budget_covers_nobody_else(make_proxy, large_server):
    """Each end user has a budget of its own, and who names none has none."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"users": {"*": {"usd": 0.005}}, **SOON})
    for user in ("zoe", "tim"):
        ask(proxy, user=user)
    assert refused(proxy, user="zoe") == (429, "insufficient_quota")
    assert "budget_remaining_usd" in ask(proxy).cope


def test_free_request_sets_session_budget(make_proxy, small_server, large_server):
    """The first value stands, also when stage 1 answered; a later, higher one changes nothing."""
    small_server.say("\\boxed{4}")
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets=SOON)
    first = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "0.001"}
    question = [{"role": "user", "content": "What is 2 + 2?"}]
    assert ask(proxy, headers=first, model="cope", messages=question).cope["stage"] == 1
    later = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "5"}
    assert refused(proxy, headers=later) == (429, "insufficient_quota")
    assert refused(proxy, headers={"X-COPE-Session": "s"}) == (429, "insufficient_quota")
    assert large_server.chats() == []


def test_only_admins_raise_sessions(make_proxy, large_server):
    """By the admin API, and it stays raised although the client repeats its header."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets=SOON, env=ADMIN_ENV)
    headers = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "0.0001"}
    assert refused(proxy, headers=headers) == (429, "insufficient_quota")
    url = "/v1/admin/budgets/session/s"
    assert proxy.http().put(url, json={"usd": "1"}).status_code == 403
    assert proxy.http().put(url, json={"usd": "1"}, headers=ADMIN).json()["limit_usd"] == "1"
    assert ask(proxy, headers=headers).cope["budget_remaining_usd"] == "0.9965"
    assert "session" in proxy.cli("budgets", "list").stdout
    assert proxy.cli("budgets", "set", "session", "nobody", "1").returncode == 1


def test_concurrent_requests_never_overspend(make_proxy, large_server):
    """Forty requests at once on a budget for ten: money that is only reserved is waited for."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"global_usd": 0.04, "wait_s": 30})

    def one(_):
        try:
            return ask(proxy).cope["cost_usd"]
        except openai.RateLimitError:
            return None

    with ThreadPoolExecutor(40) as pool:
        costs = list(pool.map(one, range(40)))
    assert [c for c in costs if c] == ["0.0035"] * 11
    assert len(large_server.chats()) == 11


def test_sent_limit_is_reserved(make_proxy, large_server):
    """While the upstream works, exactly its worst case is reserved: prompt bound plus n times the output bound."""
    large_server.script({"reply": {"content": "hi", "release": "go"}})
    proxy = make_proxy(budgets={"global_usd": 1})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, proxy, n=3, max_tokens=50)
        large_server.wait_waiting("go", 1)
        (held,) = proxy.rows("SELECT amount_nano FROM reservations")
        large_server.open_gate("go")
        waiting.result()
    (sent,) = large_server.chats()
    assert (sent["body"]["n"], sent["body"]["max_tokens"]) == (3, 50)
    prompt = (held["amount_nano"] - 3 * 50 * 10_000) / 2_500
    assert prompt == int(prompt)
    assert 1000 < prompt < 1200


def test_cut_limit_fits_the_budget(make_proxy, large_server):
    """Where the whole answer does not fit, the upstream is told a shorter one, and that is reserved."""
    large_server.say("hi")
    proxy = make_proxy(budgets=SOON)
    ask(proxy, headers={"X-COPE-Budget-USD": "0.0045"}, max_tokens=5000)
    (sent,) = large_server.chats()
    assert 64 <= sent["body"]["max_tokens"] < 200


@pytest.mark.parametrize("headers", [{}, {"X-COPE-Session": "s"}], ids=["no budget", "session"])
def test_greedy_client_harms_nobody(make_proxy, large_server, headers):
    """A worst case beyond any column of the database: the call is made and booked, and so is the next one."""
    price = {"input_per_mtok": 1, "cached_input_per_mtok": None, "output_per_mtok": 10**9}
    proxy = make_proxy(budgets=SOON, prices={LARGE_MODEL: price})
    for most in (2**20, 100):
        assert ask(proxy, headers=headers, max_tokens=most).choices[0].message.content == "ok"
    proxy.http().get("/v1/spend")
    assert len(proxy.rows("SELECT id FROM calls")) == 2
    assert proxy.rows("SELECT id FROM reservations") == []
