"""Budgets of requests and sessions in the cascade: a budget limits the stages that are paid."""

from decimal import Decimal

import pytest

from tests.support.cascade import MATH, USAGE, ask, goals_and


@pytest.mark.parametrize(
    "headers",
    [{"X-COPE-Budget-USD": "0"}, {"X-COPE-Max-Stage": "1"}, {"X-COPE-Mode": "small"}],
)
def test_local_requests_never_connect_upstream(proxy, small_server, large_server, headers):
    """Budget 0, max stage 1 and mode small never reach the upstream, although the samples disagree."""
    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"))
    before = large_server.state()["connections_opened"]
    with proxy.client() as client:
        answer = ask(client, extra_headers=headers)
    assert answer.choices[0].message.content
    assert large_server.state()["connections_opened"] == before


def test_small_budget_degrades(proxy, small_server, large_server):
    """When stage 3 does not fit, the best local answer comes back, marked, within the budget."""
    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"))
    large_server.script(
        {
            "reply": {
                "content": "multiply",
                "usage": {"prompt_tokens": 200, "completion_tokens": 96, "total_tokens": 296},
            }
        }
    )
    with proxy.client() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="cope",
            messages=[{"role": "user", "content": MATH}],
            extra_headers={"X-COPE-Budget-USD": "0.002"},
        )
    assert raw.headers["x-cope-degraded"] == "budget"
    assert len(large_server.chats()) == 1
    assert Decimal(raw.headers["x-cope-cost-usd"]) <= Decimal("0.002")


def test_budget_fail_is_insufficient_quota(proxy, small_server):
    """X-COPE-On-Budget: fail turns the same case into a 429 that SDKs do not retry."""
    import openai

    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"))
    with proxy.client() as client, pytest.raises(openai.RateLimitError) as e:
        ask(client, extra_headers={"X-COPE-Budget-USD": "0.000001", "X-COPE-On-Budget": "fail"})
    assert e.value.code == "insufficient_quota"
    assert e.value.response.headers["x-should-retry"] == "false"


def test_output_is_cut_to_budget(proxy, large_server):
    """The bound sent upstream is what the budget pays for."""
    large_server.script(
        {
            "reply": {
                "content": "hi",
                "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22},
            }
        }
    )
    with proxy.client() as client:
        ask(client, extra_headers={"X-COPE-Mode": "large", "X-COPE-Budget-USD": "0.01"})
    sent = large_server.chats()[0]["body"]["max_tokens"]
    assert 64 <= sent <= 1000


def test_session_budget_is_shared(proxy, large_server):
    """A session's second request finds what the first one left, and is refused when that is nothing."""
    import openai

    large_server.script({"reply": {"content": "hi", "usage": USAGE}})
    headers = {"X-COPE-Mode": "large", "X-COPE-Session": "s-1", "X-COPE-Session-Budget-USD": "0.004"}
    with proxy.client() as client:
        assert ask(client, extra_headers=headers, max_tokens=100).cope["budget_remaining_usd"] == "0.0005"
        with pytest.raises(openai.RateLimitError):
            ask(client, extra_headers=headers, max_tokens=100)
    assert len(large_server.chats()) == 1


def test_sessions_belong_to_keys(make_proxy, large_server):
    """Another key's session of the same name is another session, and its budget is not touched."""
    proxy = make_proxy()
    ann, bob = (proxy.cli("keys", "create", name).stdout.strip() for name in ("ann", "bob"))
    headers = {"X-COPE-Mode": "large", "X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "1"}
    left = [
        ask(proxy.client(key), extra_headers=headers, max_tokens=100).cope["budget_remaining_usd"]
        for key in (ann, bob)
    ]
    assert left[0] == left[1]


@pytest.mark.parametrize("budget", ["0", "0.000001", "0.01", "1"])
def test_budget_keeps_local_answers(proxy, small_server, large_server, budget):
    """Whatever the request may spend, the answer and its stage are those of a request without a budget."""
    small_server.script(*goals_and("\\boxed{42}"))
    with proxy.client() as client:
        free = ask(client)
        limited = ask(client, extra_headers={"X-COPE-Budget-USD": budget})
    assert (limited.cope["stage"], limited.choices[0].message.content) == (1, free.choices[0].message.content)
    assert limited.cope["confidence"] == free.cope["confidence"]
    assert not large_server.chats()
