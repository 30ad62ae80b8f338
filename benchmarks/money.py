"""What budgets and the ledger cost.

Run: python benchmarks/money.py [requests, default 2000]
Prints, on SQLite and on Postgres: latency of a request without a budget (the baseline), with a request budget, with a
session's and with a key's, one after the other and 32 at once; then how many requests a second (a row a request and
one a call, with sums) the writer sustains.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.ledger.database import open_database  # noqa: E402
from proxy.ledger.journal import open_journal  # noqa: E402
from proxy.ledger.migrate import upgrade  # noqa: E402
from proxy.ledger.writer import Writer  # noqa: E402
from proxy.pricing.prices import Price, Usage  # noqa: E402
from proxy.records import CallRecord, RequestRecord  # noqa: E402
from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.postgres import postgres_server  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402

BODY = json.dumps(
    {
        "model": f"direct/{LARGE_MODEL}",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 16,
    }
)
WAYS = {
    "no budget": {},
    "request budget": {"X-COPE-Budget-USD": "1"},
    "session budget": {"X-COPE-Session": "bench", "X-COPE-Session-Budget-USD": "1000"},
    "key budget": {},
}


async def measure(url, key, headers, count, at_once):
    """Return the milliseconds of each request."""
    taken = []
    numbers = iter(range(count))

    async def client(session):
        for _ in numbers:
            started = time.perf_counter()
            async with session.post(f"{url}/chat/completions", data=BODY, headers=headers) as response:
                await response.read()
                response.raise_for_status()
            taken.append(1000 * (time.perf_counter() - started))

    auth = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=auth) as session:
        await asyncio.gather(*(client(session) for _ in range(at_once)))
    return taken[count // 10 :]


def latencies(database, folder, count):
    """Print the latency of each way of paying."""
    with (
        StandIn([SMALL_MODEL]) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
        ProxyProcess(
            folder, small.base_url, large.base_url, **({"database": {"url": database}} if database else {})
        ) as proxy,
    ):
        plain = proxy.cli("keys", "create", "plain", check=True).stdout.strip()
        limited = proxy.cli("keys", "create", "limited", "--budget", "1000", check=True).stdout.strip()
        for at_once in (1, 32):
            base = None
            for way, headers in WAYS.items():
                key = limited if way == "key budget" else plain
                taken = asyncio.run(measure(proxy.base_url, key, headers, count, at_once))
                p50, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
                base = base or (p50, p99)
                print(
                    f"  {at_once:2} at once, {way:15} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   "
                    f"added {p50 - base[0]:+6.2f} / {p99 - base[1]:+6.2f} ms   {p50 / base[0]:.2f} x"
                )


async def rows(url, count):
    """Print how many requests a second the writer sustains."""
    price = Price(input=2_500_000_000, output=10_000_000_000)
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as spool:
        engine = open_database(url)
        writer = Writer(engine, open_journal(Path(spool), "bench", max_bytes=2**30), ZoneInfo("UTC"))
        started = time.perf_counter()
        for i in range(count):
            request = RequestRecord(
                id=f"req_{i}", started_at=now, key_id=f"key{i % 20}", session=f"s{i // 20}", user=None, task="math",
                mode="cascade", stage=3, confidence=0.5, status=200, reason=None, degraded=None,
                requested_model="cope", model="m", prompt_tokens=100, completion_tokens=50, cost=750_000,
                baseline=750_000, latency_ms=i % 900, first_token_ms=None, stream=False, error=None,
            )  # fmt: skip
            call = CallRecord(
                id=f"call_{i}", request_id=request.id, key_id=request.key_id, started_at=now, stage=3,
                role="executor", tier="large", model="m", sample=None, usage=Usage(prompt_tokens=100, completion_tokens=50), cost=750_000,
                price=price, latency_ms=5, finish_reason="stop", estimated=False,
            )  # fmt: skip
            writer.submit(request, call)
            if i % 500 == 0:
                await asyncio.sleep(0)
        await writer.flush()
        taken = time.perf_counter() - started
        await writer.close(timeout_s=60)
        await engine.dispose()
    print(f"  {count / taken:,.0f} requests a second, that is {2 * count / taken:,.0f} rows and their sums")


def main():
    """Measure both databases."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        print("SQLite")
        latencies(None, Path(folder), count)
        url = f"sqlite+aiosqlite:///{folder}/rows.db"
        upgrade(url)
        asyncio.run(rows(url, 20 * count))
    with tempfile.TemporaryDirectory() as folder, postgres_server() as url:
        print("Postgres")
        latencies(url, Path(folder), count)
        asyncio.run(rows(url, 20 * count))


if __name__ == "__main__":
    main()
