"""The counters equal the ledger, also after a process was killed in the middle of its requests."""

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY
from tests.support.ledger import busy_process
from tests.support.postgres import postgres_server, read_tables
from tests.support.proxy_process import ProxyProcess
from tests.support.scrape import read_sqlite, scrape, sums_of_metrics, sums_of_rows
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

REQUESTS, AT_ONCE, ENDED = 60, 20, 10
TABLES = ("requests", "calls", "stages", "reservations")


@pytest.fixture
def servers():
    """A small and a large model. The large one takes its time, so that a kill hits calls under way."""
    with StandIn([SMALL_MODEL]) as small, StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large:
        small.script({"reply": {"content": "\\boxed{42}", "delay_s": 0.05}})
        large.script({"reply": {"content": "42", "delay_s": 0.4}})
        yield small.base_url, large.base_url


def ask(proxies, number):
    """Send one request, every second one to the large model. Return its status, 0 if the proxy is gone."""
    proxy = proxies[number % len(proxies)]
    body = {
        "model": f"direct/{LARGE_MODEL}" if number % 2 else "cope", "max_tokens": 20,
        "messages": [{"role": "user", "content": f"What is 6 times 7? Calculate it. ({number})"}],
    }  # fmt: skip
    headers = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "1"}
    try:
        return proxy.http().post("/v1/chat/completions", json=body, headers=headers).status_code
    except httpx2.TransportError:
        return 0


def storm(proxies, crash):
    """Send all requests, and have a process crash in the middle."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(ask, proxies, number) for number in range(REQUESTS)]
        crash()
        statuses = Counter(one.result() for one in asked)
    print(dict(statuses))
    assert statuses[200]


def assert_equal(proxies, read):
    """Assert that a scrape of each proxy equals the rows, once the dead process is recovered."""

    def steady():
        # The rows of the last requests may come between two looks. Then look again.
        before = read()
        if any(r["state"] == "reserved" for r in before["reservations"]):
            return None
        scrapes = [sums_of_metrics(scrape(proxy)) for proxy in proxies]
        return (before, scrapes) if read() == before else None

    tables, scrapes = wait_until(steady, "the dead process to be recovered", 60)
    rows = sums_of_rows(tables)
    assert scrapes == [rows] * len(proxies)
    assert rows["unsettled"] > 0, "the kill hit nothing under way"
    assert rows["cost"] > 0
    assert rows["accepted"] > 0


def test_a_worker_is_killed(servers, tmp_path):
    """One of two workers dies. The other one recovers its records, and both report them."""
    with ProxyProcess(tmp_path, *servers, server={"workers": 2}) as proxy:

        def crash():
            lock = tmp_path / "cope.spool" / busy_process(lambda: read_sqlite(proxy), ended=ENDED) / "lock"
            victim = int(lock.read_text())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: not Path(f"/proc/{victim}").exists(), "the worker to be gone")

        storm([proxy], crash)
        assert_equal([proxy], lambda: read_sqlite(proxy))
        backlog = scrape(proxy)["cope_ledger_backlog_bytes",]
        assert backlog == 0, "a gauge of the dead worker is left"


@pytest.mark.postgres
def test_a_proxy_is_killed(servers, tmp_path):
    """One of two proxies on one Postgres dies and comes back: both report the same totals."""
    with postgres_server() as url:
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        proxies = [ProxyProcess(folder, *servers, database={"url": url}) for folder in folders]

        def read():
            return read_tables(url, TABLES)

        def crash():
            name = busy_process(read, ended=ENDED)
            victim = next(p for p in proxies if (p.folder / "cope.spool" / name).exists())
            victim.kill()
            victim.start()

        with proxies[0], proxies[1]:
            storm(proxies, crash)
            assert_equal(proxies, read)
