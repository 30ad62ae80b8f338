"""Alerts through the front door: each kind of condition is made true by requests, and its webhook arrives once."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.support.alerts import alerting, documented, stored
from tests.support.audits import rows as audit_rows
from tests.support.cascade import ask as ask_cascade
from tests.support.mail_server import MailServer
from tests.support.receiver import Receiver
from tests.support.spending import ADMIN_ENV, ASK, USAGE, ask
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

BUDGET = {"on": "budget", "at": [0.5, 0.8, 1.0]}


@pytest.fixture
def receiver():
    with Receiver() as server:
        yield server


def settled(proxy, receiver, count):
    """Wait until some deliveries are stored, and return the alerts. No more have come."""
    receiver.wait(count)
    wait_until(lambda: sum(r["state"] == "delivered" for r in stored(proxy)) == count, "the deliveries")
    assert len(receiver.received) == count
    return stored(proxy)


def test_fractions_of_budgets(make_proxy, large_server, receiver):
    """Each fraction that requests reach is sent once, signed. Other budgets and reserved money raise nothing."""
    large_server.say("hi", usage=USAGE)  # 0.0035 USD
    settings = alerting(receiver, BUDGET)
    env = {**settings.pop("env"), **ADMIN_ENV}
    proxy = make_proxy(**settings, env=env, budgets={"global_usd": 1000, "window": "month"})
    created = proxy.cli("keys", "create", "team <a> & b", "--budget", "0.01", check=True)
    key = created.stdout.strip()
    ask(proxy, key)
    ask(proxy, key)  # 0.007 of 0.01
    (first,) = receiver.wait(1)
    data = first.verified()["data"]
    assert first.headers["webhook-id"] == data["id"]
    assert (data["fraction"], data["scope"], data["key_name"]) == (0.5, "key", "team <a> & b")
    assert (data["used_usd"], data["limit_usd"], data["window"]) == ("0.007", "0.01", "total")
    assert data["title"] == "50 % of the total budget of key team <a> & b is used"
    assert first.verified()["type"] == "alert.budget"
    assert data.keys() == documented()["data"].keys()

    with pytest.raises(Exception, match="budget"):  # the worst case of a third call does not fit
        ask(proxy, key, max_tokens=4000, headers={"X-COPE-On-Budget": "fail"})
    assert [r["level"] for r in settled(proxy, receiver, 1)] == ["0.5"]


def test_highest_fraction_only(make_proxy, large_server, receiver):
    """A budget that jumps over several fractions sends the highest one. A restart sends nothing again."""
    large_server.say("hi", usage=USAGE)
    settings = alerting(receiver, {**BUDGET, "scopes": ["session"]})
    proxy = make_proxy(**settings)
    ask(proxy, headers={"X-COPE-Session": "s-1", "X-COPE-Session-Budget-USD": "0.0042"})  # 83 %
    found = settled(proxy, receiver, 1)
    assert [(r["level"], r["state"]) for r in found] == [("0.5", None), ("0.8", "delivered")]
    assert (
        receiver.received[0].verified()["data"]["title"] == "80 % of the total budget of session s-1 is used"
    )
    proxy.stop()
    proxy.start()
    ask(proxy, headers={"X-COPE-Session": "s-2", "X-COPE-Session-Budget-USD": "0.0042"})
    assert len(settled(proxy, receiver, 2)) == 4


def test_forecast(make_proxy, large_server, receiver):
    """At the rate of a window that began long ago the budget ends before the window. The date is in the title."""
    large_server.say("hi", usage=USAGE)
    settings = alerting(receiver, {"on": "forecast"})
    now = datetime.now(UTC)
    noon = f"Etc/GMT{now.hour - 12:+d}"  # a zone where it is noon, so that half of the day has passed
    proxy = make_proxy(**settings, budgets={"global_usd": 0.0042, "window": "day", "timezone": noon})
    ask(proxy)
    (row,) = settled(proxy, receiver, 1)
    data = receiver.received[0].verified()["data"]
    ends = datetime.fromisoformat(data["exhausted_at"])
    start, end = (datetime.fromisoformat(data[k]) for k in ("window_start", "window_end"))
    assert now < ends < end
    # 0.0035 of 0.0042 USD are used: the rest lasts a fifth of the time passed.
    assert timedelta() <= (ends - start) - (now - start) * 6 / 5 < timedelta(minutes=5)
    assert f"is exhausted on {ends.astimezone(ZoneInfo(noon)):%Y-%m-%d %H:%M}" in data["title"]
    assert row["window"].startswith("day ")


def test_spike(make_proxy, large_server, receiver):
    """Today costs more than three times the median of the days before. Little data raises nothing."""
    large_server.say("hi", usage=USAGE)
    spike = {"on": "spike", "least_usd": 0.001}
    settings = alerting(receiver, {**spike, "name": "all"}, {**spike, "name": "keys", "per": "key"},
                        {**spike, "name": "patient", "least_days": 6})  # fmt: skip
    proxy = make_proxy(**settings)
    ask(proxy)
    wait_until(
        lambda: proxy.rows("SELECT * FROM rollups WHERE dimension = 'all' AND cost_nano > 0"), "rollups"
    )
    assert not stored(proxy)
    today = datetime.now(UTC).date()
    with closing(sqlite3.connect(proxy.database, timeout=20)) as database:
        # The past cannot be made by requests: its days are copies of today with a tenth of the cost.
        for days in range(1, 6):
            database.execute(
                "INSERT INTO rollups (dimension, day, key_id, value, requests, errors, escalated, prompt_tokens, "
                "completion_tokens, cost_nano, baseline_nano) SELECT dimension, ?, key_id, value, requests, errors, "
                "escalated, prompt_tokens, completion_tokens, cost_nano / 10, baseline_nano FROM rollups WHERE day = ?",
                (str(today - timedelta(days=days)), str(today)),
            )
        database.commit()
    found = settled(proxy, receiver, 2)
    assert sorted((r["alert"], r["subject"]) for r in found) == [("all", "total"), ("keys", "key:")]
    payloads = [r.verified()["data"] for r in receiver.received]
    assert {(d["spent_usd"], d["median_usd"]) for d in payloads} == {("0.0035", "0.00035")}
    assert any("is 10.0 times the usual" in d["title"] for d in payloads)


def test_unsettled_money(make_proxy, large_server, receiver):
    """A killed proxy leaves a paid call. The next one says so once."""
    large_server.script({"reply": {"content": "hi", "release": "g"}})
    settings = alerting(receiver, {"on": "unsettled"})
    proxy = make_proxy(**settings)
    body = {"model": "direct/big-model", "messages": ASK, "max_tokens": 100}
    with proxy.sent("/v1/chat/completions", body):
        large_server.wait_waiting("g", 1)
        proxy.kill()
    large_server.open_gate("g")
    proxy.start()
    (row,) = settled(proxy, receiver, 1)
    data = receiver.received[0].verified()["data"]
    assert data["calls"] == 1
    assert float(data["amount_usd"]) > 0.001
    assert row["subject"] == "unsettled"


def test_drift(make_proxy, small_server, large_server, receiver):
    """Audits that really differ raise the alert of their task kind and stage."""
    settings = alerting(receiver, {"on": "drift"})
    proxy = make_proxy(**settings, audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 100})
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(8):
        ask_cascade(proxy.client())
    audit_rows(proxy, 8)
    (row,) = settled(proxy, receiver, 1)
    assert row["subject"] == "math stage 1"
    data = receiver.received[0].verified()["data"]
    assert (data["task"], data["agreed"], data["expected"]) == ("math", 0, 0.9)
    assert data["audits"] <= 8


def test_tier_down(make_proxy, receiver):
    """A small tier that is really stopped raises one alert, and no second one while it stays down."""
    from tests.support.standin_process import StandIn

    with StandIn(["small-model"], max_model_len=4096) as small:
        settings = alerting(receiver, {"on": "tier_down", "for_s": 2})
        proxy = make_proxy(**settings, small_url=small.base_url)
        small.stop()
        (row,) = settled(proxy, receiver, 1)
        assert row["subject"] == "small"
        data = receiver.received[0].verified()["data"]
        assert data["title"] == "No server of the small tier has answered for 2 s"
        seen = proxy.rows("SELECT seen_at FROM outages")
        wait_until(lambda: proxy.rows("SELECT seen_at FROM outages") != seen, "another look")
        assert len(settled(proxy, receiver, 1)) == 1
        small.start()


def test_upstream_down(make_proxy, large_server, receiver):
    """An upstream whose breaker opens raises an alert with its name."""
    large_server.script({"reply": {"status": 500}})
    settings = alerting(receiver, {"on": "tier_down", "for_s": 1, "tiers": ["large"]})
    proxy = make_proxy(**settings, large={"breaker_failures": 1, "breaker_cooldown_s": 600, "max_retries": 0})
    with pytest.raises(Exception, match="Error code: 50"):
        ask(proxy)
    (row,) = settled(proxy, receiver, 1)
    assert row["subject"] == "large large"


def test_mail_and_slack(make_proxy, large_server, receiver):
    """One alert goes to all its targets. Names of clients are no header, mention or mark-up there."""
    large_server.say("hi", usage=USAGE)
    nasty = "x<!channel> & <https://evil.example|here>"
    with MailServer("robot", "pass-word-1") as server:
        alert = {**BUDGET, "at": [0.5], "scopes": ["user"], "targets": ["hook", "post"]}
        settings = alerting(receiver, alert, shape="slack", secret_env=None)
        env = {**settings.pop("env"), "MAIL_PASSWORD": "pass-word-1"}
        settings["webhooks"]["hook"] = {
            k: v for k, v in settings["webhooks"]["hook"].items() if v is not None
        }
        mail = {
            "host": "127.0.0.1", "port": server.port, "security": "none", "username": "robot",
            "password_env": "MAIL_PASSWORD", "sender": "cope@example.com", "to": ["a@example.com", "b@example.com"],
        }  # fmt: skip
        proxy = make_proxy(
            **settings,
            mail={"post": mail},
            env=env,
            budgets={"users": {"*": {"usd": 0.005, "window": "day"}}},
        )
        ask(proxy, user=f"{nasty}\r\nBcc: thief@example.com")
        (email,) = server.wait(1)
        (hook,) = receiver.wait(1)
        wait_until(lambda: [r["state"] for r in stored(proxy)] == ["delivered"] * 2, "both deliveries")
        assert server.recipients == [["a@example.com", "b@example.com"]]
    assert email["Bcc"] is None
    assert email["Subject"].startswith("[cope-proxy] 50 % of the day budget of user x<!channel>")
    assert email["Message-ID"].startswith("<alert_")
    assert "0.0035 of 0.005 USD are used" in email.get_content()
    text = hook.json["text"]
    assert "x&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;" in text
    assert text.count("\n") == 1
    assert "webhook-signature" not in hook.headers
    assert "pass-word-1" not in proxy.output()
    assert "hush-hush" not in proxy.output()


def test_commands(make_proxy, large_server, receiver):
    """`alerts list` shows alerts with their deliveries, and `alerts test` sends to each target."""
    large_server.say("hi", usage=USAGE)
    settings = alerting(receiver, {**BUDGET, "scopes": ["session"]})
    proxy = make_proxy(**settings)
    tested = proxy.cli("alerts", "test", "budget")
    assert (tested.returncode, tested.stdout) == (0, "hook: delivered\n")
    assert receiver.wait(1)[0].verified()["type"] == "alert.test"
    receiver.stop()
    tested = proxy.cli("alerts", "test", "hook")
    assert (tested.returncode, tested.stdout) == (1, "")
    assert tested.stderr.strip() == "hook: the receiver cannot be reached (ClientConnectorError)"
    unknown = proxy.cli("alerts", "test", "nobody")
    assert unknown.returncode == 2
    assert "is no alert and no target of the config; there are: budget, hook" in " ".join(
        unknown.stderr.split()
    )

    ask(proxy, headers={"X-COPE-Session": "[red]s", "X-COPE-Session-Budget-USD": "0.0042"})
    wait_until(lambda: any(r["error"] for r in stored(proxy)), "a failed attempt")
    shown = proxy.cli("alerts", "list", check=True).stdout
    assert "80 % of the total budget of session [red]s is used" in shown
    assert "not sent: a higher level was" in shown
    assert "hook: pending after" in shown
    (pending,) = json.loads(proxy.cli("alerts", "list", "--pending", "--json", check=True).stdout)
    assert pending["deliveries"][0]["error"] == "the receiver cannot be reached (ClientConnectorError)"
    receiver.start()
    receiver.wait(2)  # the test and the alert
    wait_until(lambda: any(r["state"] == "delivered" for r in stored(proxy)), "the end", 30)
    assert proxy.cli("alerts", "list", "--pending", "--json", check=True).stdout.strip() == "[]"
    assert "hush-hush" not in proxy.output() + shown
