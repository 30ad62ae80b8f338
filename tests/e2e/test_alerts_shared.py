"""Alerts of several processes: one row and one delivery, while receivers are away and processes die."""

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from proxy.ledger.alerts import NewAlert, raise_alerts
from tests.support.alerts import alerting, stored
from tests.support.ledger import run
from tests.support.postgres import postgres_server
from tests.support.proxy_process import ProxyProcess
from tests.support.receiver import Receiver, taken
from tests.support.spending import USAGE, ask
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

BUDGET = {"on": "budget", "at": [0.5, 0.8, 1.0]}
SESSION = {"X-COPE-Session": "s-1", "X-COPE-Session-Budget-USD": "0.0042"}


@pytest.fixture
def receiver():
    with Receiver() as server:
        yield server


def in_database(url, sql):
    async def work():
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                return [tuple(row) for row in await connection.execute(text(sql))]
        finally:
            await engine.dispose()

    return asyncio.run(work())


@pytest.mark.postgres
def test_two_proxies_on_postgres(small_server, large_server, receiver, tmp_path):
    """Both check and deliver every second. Each alert has one row and one delivery, whoever spends."""
    large_server.say("hi", usage=USAGE)
    settings = alerting(receiver, BUDGET, {"on": "tier_down", "for_s": 1, "tiers": ["small"]})
    with postgres_server() as url, ExitStack() as stack:
        proxies = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            process = ProxyProcess(
                tmp_path / name,
                "http://127.0.0.1:9/v1",
                large_server.base_url,
                database={"url": url},
                **settings,
            )
            proxies.append(stack.enter_context(process))
        for i in range(6):
            session = {"X-COPE-Session": f"s-{i // 2}", "X-COPE-Session-Budget-USD": "0.0075"}
            ask(proxies[i % 2], headers=session)  # two of 0.0035 each, so each session passes 0.5 or 0.8
        done = "SELECT count(*) FROM alert_deliveries WHERE state = 'delivered'"
        raised = "SELECT subject FROM alerts WHERE level = '0.8' OR kind = 'tier_down' ORDER BY subject"
        subjects = [*(f"session::s-{i} limit 7500000" for i in range(3)), "small"]
        wait_until(
            lambda: [subject for (subject,) in in_database(url, raised)] == subjects,
            "the alerts",
            40,
        )
        wait_until(
            lambda: in_database(url, "SELECT 1 FROM alert_deliveries WHERE state = 'pending'") == [],
            "the deliveries",
        )
        rounds = in_database(url, "SELECT due_at FROM alert_rounds")
        wait_until(lambda: in_database(url, "SELECT due_at FROM alert_rounds") != rounds, "another round")
        ((delivered,),) = in_database(url, done)
    ids = [r.verified()["data"]["id"] for r in receiver.received]
    assert len(ids) == len(set(ids)) == delivered
    lines = [line for proxy in proxies for line in proxy.output().splitlines() if "is raised" in line]
    assert len(lines) == len(set(lines))


def test_two_workers_on_sqlite(make_proxy, large_server, receiver):
    """Two workers share one file. Each alert is raised and delivered once."""
    large_server.say("hi", usage=USAGE)
    alerts = [{**BUDGET, "name": f"budget-{i}"} for i in range(4)]
    proxy = make_proxy(**alerting(receiver, *alerts), server={"workers": 2})
    ask(proxy, headers=SESSION)
    receiver.wait(4)
    wait_until(lambda: [r["state"] for r in stored(proxy)].count("delivered") == 4, "the deliveries")
    rounds = proxy.rows("SELECT due_at FROM alert_rounds")
    wait_until(lambda: proxy.rows("SELECT due_at FROM alert_rounds") != rounds, "another round")
    assert len(receiver.received) == 4
    assert sorted((r["alert"], r["level"]) for r in stored(proxy)) == sorted(
        (f"budget-{i}", level) for i in range(4) for level in ("0.5", "0.8")
    )


def test_receiver_away_then_back(make_proxy, large_server, receiver):
    """The alert is kept over a restart while nobody listens, and delivered once when somebody does."""
    large_server.say("hi", usage=USAGE)
    receiver.stop()
    proxy = make_proxy(**alerting(receiver, BUDGET))
    ask(proxy, headers=SESSION)
    wait_until(lambda: any(r["error"] for r in stored(proxy)), "a failed attempt")
    proxy.stop()
    proxy.start()
    receiver.start()
    (got,) = receiver.wait(1, 60)
    wait_until(lambda: [r["state"] for r in stored(proxy)] == [None, "delivered"], "the delivery")
    assert got.verified()["data"]["level"] == "0.8"
    assert "the receiver cannot be reached" in proxy.output()
    assert "hush-hush" not in proxy.output()


def test_process_killed_while_it_delivers(make_proxy, large_server, receiver):
    """The receiver hangs and the process dies. After the lease another one delivers the alert with the same id."""
    large_server.say("hi", usage=USAGE)

    async def hang(_):
        await asyncio.sleep(60)
        return web.Response()

    receiver.answer = hang
    proxy = make_proxy(**alerting(receiver, BUDGET, timeout_s=2))
    ask(proxy, headers=SESSION)
    receiver.wait(1)
    proxy.kill()
    ((row,),) = [[r for r in stored(proxy) if r["state"]]]
    assert (row["state"], row["attempts"], row["error"]) == ("pending", 1, None)
    receiver.answer = taken
    proxy.start()
    first, second = receiver.wait(2, 60)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.verified() == second.verified()
    wait_until(lambda: [r["state"] for r in stored(proxy)] == [None, "delivered"], "the delivery")


def test_given_up_with_a_line_in_the_log(make_proxy, receiver):
    """After 24 hours a last attempt fails, and the log says that the alert is given up."""
    receiver.stop()
    proxy = make_proxy(**alerting(receiver, BUDGET))
    old = NewAlert(alert="budget", kind="budget", subject="x", window="total", title="t", text="x", facts={})
    url = f"sqlite+aiosqlite:///{proxy.database}"
    (id_,) = run(
        url, lambda engine: raise_alerts(engine, [old], ["hook"], datetime.now(UTC) - timedelta(hours=25))
    )
    wait_until(lambda: [r["state"] for r in stored(proxy)] == ["failed"], "the end", 20)
    line = f"alert {id_} was not delivered to hook and is given up: the receiver cannot be reached"
    wait_until(lambda: line in proxy.output(), "the line")


def test_missing_secret(make_proxy, receiver):
    """Without the secret in the environment the proxy does not start, and says which variable is missing."""
    settings = alerting(receiver, BUDGET)
    with pytest.raises(RuntimeError, match="environment variable HOOK_SECRET is not set"):
        make_proxy(**{**settings, "env": {}})
