"""Settlements: the cost of a call that succeeds, breaks, times out or exceeds its limit."""

import openai
import pytest

from tests.support.spending import SOON, USAGE, ask, refused
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stream", [False, True])
def test_streams_cost_the_same(make_proxy, large_server, stream):
    """Also for a client that does not ask for usage."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy()
    answer = ask(proxy, stream=stream)
    if stream:
        assert "".join(c.choices[0].delta.content or "" for c in answer if c.choices) == "hi"
    (row,) = wait_until(lambda: proxy.rows("SELECT cost_nano, estimated FROM calls"), "the row")
    assert (row["cost_nano"], row["estimated"]) == (3_500_000, 0)


def test_overrun_closes_the_budget(make_proxy, large_server):
    """The bill is booked as it is; the next request is refused."""
    large_server.say("hi", usage={"prompt_tokens": 1000, "completion_tokens": 5000, "total_tokens": 6000})
    proxy = make_proxy(budgets={"global_usd": 0.02, **SOON})
    answer = ask(proxy)
    assert answer.cope["cost_usd"] == "0.0525"
    assert answer.cope["budget_remaining_usd"] == "0"
    assert refused(proxy) == (429, "insufficient_quota")
    shown = proxy.cli("requests", "show", answer.cope["request_id"]).stdout
    assert "overrun" in shown
    assert "ignored its limits" in proxy.output()


def call_row(proxy):
    return wait_until(
        lambda: proxy.rows("SELECT cost_nano, completion_tokens, estimated, finish_reason, error FROM calls"),
        "the row",
    )[-1]


def test_billed_calls_are_not_retried(make_proxy, large_server):
    """A connection lost before the answer: one reservation pays for one call, and it stays at its worst case."""
    large_server.script({"reply": {"content": "hi", "break_after": 0}})
    proxy = make_proxy(large={"max_retries": 3})
    assert refused(proxy, max_tokens=50) == (502, "upstream_broken")
    assert len(large_server.chats()) == 1
    row = call_row(proxy)
    assert (row["estimated"], row["completion_tokens"]) == (1, 50)
    assert row["cost_nano"] >= 50 * 10_000


def test_refusals_are_free_and_retried(make_proxy, large_server):
    """An error status says that nothing was generated: the retry is part of the same call."""
    large_server.script(
        {"match": {"nth": 1}, "reply": {"status": 503}}, {"reply": {"content": "hi", "usage": USAGE}}
    )
    proxy = make_proxy()
    assert ask(proxy).cope["cost_usd"] == "0.0035"
    assert len(large_server.chats()) == 2
    assert len(proxy.rows("SELECT id FROM calls")) <= 1


@pytest.mark.parametrize(
    ("extra", "least"), [({}, 6), ({"reasoning_effort": "high"}, 100)], ids=["visible", "hidden"]
)
def test_broken_streams_are_counted(make_proxy, large_server, extra, least):
    """At what was seen ("one two three four five " is six tokens); at the bound where the model may have thought unseen."""
    large_server.script({"reply": {"content": "one two three four five six seven", "break_after": 6}})
    proxy = make_proxy()
    with pytest.raises(openai.APIError):
        list(ask(proxy, stream=True, **extra))
    row = call_row(proxy)
    assert (row["estimated"], row["completion_tokens"]) == (1, least)
    assert row["error"] == "502 upstream_broken"


@pytest.mark.parametrize("stream", [False, True])
def test_a_timeout_is_counted(make_proxy, large_server, stream):
    """An upstream that says nothing in time: 504 or a broken stream, and a row that is marked."""
    large_server.script({"reply": {"content": "one two three", "stall_after": 3}})
    proxy = make_proxy(large={"timeout_s": 0.5})
    with pytest.raises(openai.APIError):
        list(ask(proxy, stream=stream))
    assert call_row(proxy)["estimated"] == 1
    assert proxy.rows("SELECT sum(amount_nano) AS held FROM reservations")[0]["held"] is None
