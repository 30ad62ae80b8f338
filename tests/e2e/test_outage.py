"""The database goes away and comes back; the spool fills up."""

import asyncio
import contextlib
import shutil

import openai
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.config import LARGE_MODEL
from tests.support.postgres import postgres_cluster
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

ASK = [{"role": "user", "content": "Say hello to the team."}]


def ask(proxy, **headers):
    return proxy.client().chat.completions.create(
        model=f"direct/{LARGE_MODEL}", messages=ASK, extra_headers={"X-COPE-On-Budget": "fail", **headers}
    )


def count(url, table):
    async def read():
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                return (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
        finally:
            await engine.dispose()

    return asyncio.run(read())


def refused(proxy, **headers):
    with pytest.raises(openai.APIStatusError) as e:
        ask(proxy, **headers)
    assert e.value.response.headers["retry-after"]
    return e.value.status_code, e.value.code


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_outage_is_replayed_once(make_proxy, large_server):
    """Who is known is served; what needs a shared budget is refused; nothing is lost, also by a crash meanwhile."""
    with postgres_cluster() as cluster:
        proxy = make_proxy(database={"url": cluster.url})
        ask(proxy)
        wait_until(lambda: count(cluster.url, "requests") == 1, "the first row")
        cluster.stop()
        for i in range(3):
            # Also with a budget of its own: that needs no database.
            assert ask(proxy, **{"X-COPE-Budget-USD": f"{1 + i}"}).choices[0].message.content == "ok"
        session = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "1"}
        sent = len(large_server.chats())
        assert refused(proxy, **session) == (503, "ledger_unavailable")
        assert len(large_server.chats()) == sent
        assert proxy.http().get("/health/ready").status_code == 503
        for path in ("/v1/spend", "/v1/spend/requests", "/v1/spend/requests/x"):
            answer = proxy.http().get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable"), path
            assert answer.headers["retry-after"]
        assert "cope_database_up 0.0" in proxy.http().get("/metrics").text
        proxy.kill()
        cluster.start()
        proxy.start()
        # Three that were answered, and the one that was refused.
        wait_until(lambda: count(cluster.url, "requests") == 5, "all rows", 30)
        assert count(cluster.url, "calls") == 4
        assert count(cluster.url, "reservations") == 0
        ask(proxy, **session)
        rows = proxy.http().get("/v1/spend").json()["data"]
        assert sum(r["requests"] for r in rows) == 6
        proxy.stop()


@pytest.mark.postgres
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("choice", "size"), [("refuse", 4000), ("refuse", 3500), ("refuse", 3000), ("continue", 4000)]
)
def test_full_spool_follows_config(make_proxy, large_server, choice, size):
    """A full spool refuses requests before they cost anything, or goes on without records and says so."""
    with postgres_cluster() as cluster:
        proxy = make_proxy(
            database={"url": cluster.url}, ledger={"on_outage": choice, "spool_max_bytes": size}
        )
        ask(proxy)
        wait_until(lambda: count(cluster.url, "requests") == 1, "the first row")
        cluster.stop()
        if choice == "refuse":
            codes = set()
            for _ in range(12):
                try:
                    ask(proxy)
                except openai.InternalServerError as e:
                    codes.add(e.code)
            assert codes == {"ledger_unavailable"}
            assert len(large_server.chats()) < 10
        else:
            for _ in range(12):
                ask(proxy)
            assert "records dropped so far" in proxy.output()
            assert "cope_ledger_dropped_total 0.0" not in proxy.http().get("/metrics").text
        cluster.start()
        wait_until(
            lambda: "cope_ledger_backlog_bytes 0.0" in proxy.http().get("/metrics").text, "the replay", 30
        )
        ask(proxy)
        proxy.stop()
        answered = [c for c in large_server.chats() if c["status"] == 200]
        if choice == "refuse":
            assert count(cluster.url, "calls") == len(answered)


def test_others_cannot_read_files(make_proxy):
    """All files and folders that a running proxy makes can only be read by its user."""
    proxy = make_proxy(ledger={"store_content": True, "spool_dir": "own/spool"})
    ask(proxy)
    own = {"cope.toml", "proxy.log"}
    made = {p: p.stat().st_mode for p in proxy.folder.rglob("*") if p.name not in own}
    assert {p.name for p in made} >= {"cope.db", "cope.db-wal", "own", "spool", "lock", "00000001.log"}
    assert {p.name for p, mode in made.items() if mode & 0o077} == set()


def test_lost_spool_loses_nothing(make_proxy):
    """If somebody deletes the spool under a running proxy, requests are answered and recorded all the same."""
    proxy = make_proxy(ledger={"spool_dir": "spool"})
    ask(proxy)
    shutil.rmtree(proxy.folder / "spool")
    ask(proxy, **{"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "1"})
    ask(proxy)
    rows = proxy.http().get("/v1/spend").json()["data"]
    assert sum(r["requests"] for r in rows) == 3
    assert proxy.stop() in (0, -15)
    assert proxy.rows("SELECT count(*) AS n FROM calls")[0]["n"] == 3


@contextlib.contextmanager
def locked(url, table):
    """Lock a table of Postgres, so that every statement about it waits."""
    loop = asyncio.new_event_loop()
    engine = create_async_engine(url)
    connection = loop.run_until_complete(engine.connect())
    loop.run_until_complete(connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")))
    try:
        yield
    finally:
        loop.run_until_complete(connection.close())
        loop.run_until_complete(engine.dispose())
        loop.close()


@pytest.mark.postgres
def test_a_scrape_does_not_wait_for_the_database(make_proxy, large_server):
    """While the database hangs, a scrape has the metrics of the process. Old totals would look like a restart."""
    with postgres_cluster() as cluster:
        proxy = make_proxy(database={"url": cluster.url})
        ask(proxy)
        wait_until(lambda: "cope_requests_total{" in proxy.http().get("/metrics").text, "the request")
        with locked(cluster.url, "counters"):
            wait_until(
                lambda: "cope_database_up 0.0" in proxy.http().get("/metrics").text, "the scrape to notice"
            )
            for _ in range(3):
                scraped = proxy.http().get("/metrics")
                assert scraped.status_code == 200
                assert "cope_requests_total{" not in scraped.text
                assert "cope_request_duration_seconds_count{" in scraped.text
        wait_until(lambda: "cope_requests_total{" in proxy.http().get("/metrics").text, "the totals")
