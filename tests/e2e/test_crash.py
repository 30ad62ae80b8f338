"""Two thousand requests at once on one budget, streams that break, and a process killed in the middle."""

import asyncio
import os
import resource
import signal
from collections import Counter

import aiohttp
import pytest

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY
from tests.support.ledger import busy_process
from tests.support.postgres import postgres_server, read_tables
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

REQUESTS = 2000
ENDED, UNDER_WAY = 100, 50
PROMPT_PRICE, OUTPUT_PRICE = 2_500, 10_000  # nano-USD a token
ANSWER = " ".join(["word"] * 40)
LIMIT_USD = "0.7"
LIMIT = 700_000_000
HEADERS = {
    "X-COPE-Session": "everybody", "X-COPE-Session-Budget-USD": LIMIT_USD, "X-COPE-On-Budget": "fail",
}  # fmt: skip
# Every stream that breaks off counts as a failure: an open breaker would turn away who has money left.
PATIENT = {"breaker_failures": 10_000}
BUDGETS = {"wait_s": 120}
TABLES = ("requests", "calls", "reservations", "budgets")


@pytest.fixture(autouse=True)
def _many_files():
    """Two thousand connections are as many files, here and in the servers started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def upstream():
    with StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as server:
        good = [{"content": ANSWER, "delay_s": 0.3}] * 6
        server.script(
            {"match": {"stream": True}, "reply": [*good, {"content": ANSWER, "break_after": 7}]},
            {"reply": [*good, {"content": ANSWER, "break_after": 0}, {"status": 500}]},
        )
        yield server


async def ask(session, urls, number):
    """Ask one proxy, and the other one when it is gone; return the status."""
    body = {
        "model": f"direct/{LARGE_MODEL}", "max_tokens": 80, "stream": number % 2 == 0,
        "messages": [{"role": "user", "content": f"Question {number}: say forty words."}],
    }  # fmt: skip
    for attempt in range(20):
        url = urls[(number + attempt) % len(urls)]
        try:
            async with session.post(f"{url}/chat/completions", json=body, headers=HEADERS) as response:
                answer = await response.read()
                # An error in a stream that keep-alive comments have opened.
                return 429 if b"insufficient_quota" in answer else response.status
        except aiohttp.ClientError:
            await asyncio.sleep(0.2)  # as a client's SDK backs off
    return 0


async def storm(urls, crash):
    """Send everything at once, and have a process crash in the middle."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=240)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        tasks = [asyncio.create_task(ask(session, urls, i)) for i in range(REQUESTS)]
        await asyncio.to_thread(crash)
        return Counter(await asyncio.gather(*tasks))


def verdict(upstream, tables):
    """Hold the bill against the ledger."""
    chats = [e for e in upstream.chats() if e["billed"]]
    bills = [e["billed"] for e in chats]
    # An upstream that drops a request on a kept connection without a word gets it again: that looks like a stale one.
    dropped = [e for e in chats if e["reused"] and not e["chunks"] and e["finished"] and e["usage"] is None]
    billed = sum(b["prompt_tokens"] * PROMPT_PRICE + b["completion_tokens"] * OUTPUT_PRICE for b in bills)
    (budget,) = [b for b in tables["budgets"] if b["scope"] == "session"]
    calls = [c for c in tables["calls"] if c["tier"] == "large"]
    unsettled = [r for r in tables["reservations"] if r["state"] == "unsettled"]
    assert not [r for r in tables["reservations"] if r["state"] == "reserved"]
    # Never over the limit, by the upstream's own count.
    assert billed <= LIMIT
    assert budget["spent_nano"] + budget["unsettled_nano"] <= LIMIT
    assert budget["reserved_nano"] == 0
    # No cent is lost: the budget is the sum of the calls, and every billed call is on record or unsettled.
    assert budget["spent_nano"] == sum(c["cost_nano"] for c in calls)
    assert budget["unsettled_nano"] == sum(r["amount_nano"] for r in unsettled)
    assert unsettled, "the kill hit nothing under way"
    assert billed <= budget["spent_nano"] + budget["unsettled_nano"]
    assert len(bills) - len(dropped) <= len([c for c in calls if c["cost_nano"]]) + len(unsettled)
    # And nobody was turned away who had money left.
    assert budget["spent_nano"] + budget["unsettled_nano"] >= 0.95 * LIMIT
    print(
        f"\n{len(bills)} calls billed at {billed / 1e9:.6f} USD; ledger {budget['spent_nano'] / 1e9:.6f} spent, "
        f"{budget['unsettled_nano'] / 1e9:.6f} unsettled ({len(unsettled)} calls), limit {LIMIT / 1e9}"
    )


@pytest.mark.postgres
@pytest.mark.timeout(400)
def test_two_proxies_on_one_postgres(upstream, tmp_path):
    """One of the proxies dies by SIGKILL and comes back: it finds its own journal, and takes over from itself."""
    with postgres_server() as url, StandIn([SMALL_MODEL]) as small:
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        proxies = [
            ProxyProcess(
                f, small.base_url, upstream.base_url, database={"url": url}, budgets=BUDGETS, large=PATIENT
            )
            for f in folders
        ]

        def read():
            return read_tables(url, TABLES)

        def crash():
            busy = busy_process(read, ended=ENDED, under_way=UNDER_WAY)
            victim = next(p for p in proxies if (p.folder / "cope.spool" / busy).exists())
            victim.kill()
            victim.start()

        with proxies[0], proxies[1]:
            statuses = asyncio.run(storm([p.base_url for p in proxies], crash))
            tables = wait_until(lambda: settled(read), "the dead process to be buried", 60)
            assert "unsettled: " in proxies[0].cli("spend").stderr
            assert "unsettled" in proxies[0].cli("doctor").stdout
            assert "cope_unsettled_calls 0.0" not in proxies[0].http().get("/metrics").text
    print(dict(statuses))
    verdict(upstream, tables)


@pytest.mark.timeout(400)
def test_two_workers_on_sqlite(upstream, tmp_path):
    """One of the workers dies by SIGKILL; the other one takes over."""
    with StandIn([SMALL_MODEL]) as small:
        proxy = ProxyProcess(
            tmp_path, small.base_url, upstream.base_url, server={"workers": 2}, budgets=BUDGETS, large=PATIENT
        )

        def read():
            return {t: proxy.rows(f"SELECT * FROM {t}") for t in TABLES}

        def crash():
            lock = tmp_path / "cope.spool" / busy_process(read, ended=ENDED, under_way=UNDER_WAY) / "lock"
            os.kill(int(lock.read_text()), signal.SIGKILL)

        with proxy:
            statuses = asyncio.run(storm([proxy.base_url], crash))
            tables = wait_until(lambda: settled(read), "the dead worker to be buried", 60)
    print(dict(statuses))
    verdict(upstream, tables)


def settled(read):
    """Return the tables once no reservation is open."""
    tables = read()
    return not [r for r in tables["reservations"] if r["state"] == "reserved"] and tables
