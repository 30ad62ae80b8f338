"""Many requests on one budget while proxies are killed and the database restarts: the ledger against the upstream's bill.

Run: python benchmarks/kills.py [--requests N] [--sqlite]

Two proxies share one Postgres, or two workers share one SQLite file (`--sqlite`). A quarter and a half of the way, a process
with calls under way is killed with SIGKILL. In between, Postgres is stopped at once and started again, twice. The clients
send a request that got no answer to the other proxy. The budget is four fifths of the cost of all requests, so that
it is used up before the end. The upstream is the stand-in of the tests, which notes all that it bills.

The exit code is 1 if the bill is over the budget, a billed call is neither on record nor unsettled, the sum of the calls
differs from the budget's spend, or more than 1 % of the budget could not be used.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.ledger import busy_process  # noqa: E402
from tests.support.postgres import postgres_cluster, read_tables  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402

CLIENTS = 64
TABLES = ("calls", "reservations", "budgets")
PROMPT_PRICE, OUTPUT_PRICE = 2_500, 10_000
"""Nano-USD for a token: the prices that the tests' config has."""
ANSWER = " ".join(["word"] * 40)
ANSWER_COST = 500_000
"""About the cost of one request in nano-USD."""
PAUSE_S = 0.1
"""The pause of a client before it sends a request again."""
SESSION = "everybody"


@dataclass
class Load:
    """The requests that are left, and how those that were sent have ended."""

    left: int
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """The requests that have ended."""
        return self.statuses.total()


async def client(session: aiohttp.ClientSession, urls: list[str], load: Load, budget: str) -> None:
    """Send requests, one after the other, until none is left."""
    headers = {"X-COPE-Session": SESSION, "X-COPE-Session-Budget-USD": budget, "X-COPE-On-Budget": "fail"}
    while load.left > 0:
        load.left -= 1
        number = load.left
        body = {
            "model": f"direct/{LARGE_MODEL}",
            "max_tokens": 80,
            "messages": [{"role": "user", "content": f"Question {number}: say forty words."}],
        }
        load.statuses[await _ask(session, urls, body, headers, number)] += 1


async def _ask(
    session: aiohttp.ClientSession, urls: list[str], body: Any, headers: dict[str, str], number: int
) -> int:
    """Send one request to the proxies in turn until one answers it. Return the status."""
    while True:
        url = urls[number % len(urls)]
        number += 1
        try:
            async with session.post(f"{url}/chat/completions", json=body, headers=headers) as response:
                await response.read()
                if response.status < 500:
                    return response.status
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(PAUSE_S)


async def storm(urls: list[str], load: Load, budget: str, disturb: Callable[[Load], None]) -> None:
    """Send all requests. `disturb` runs beside them in a thread."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(asyncio.to_thread(disturb, load))
        for _ in range(CLIENTS):
            group.create_task(client(session, urls, load, budget))


def wait_for(load: Load, share: float, total: int) -> None:
    """Wait until a share of all requests has ended."""
    wait_until(lambda: load.done >= share * total, f"{share:.0%} of the requests", 3600)


@contextlib.contextmanager
def on_postgres(
    folder: Path, small: str, large: str, total: int
) -> Iterator[tuple[list[str], Callable[[Load], None], Callable[[], Any]]]:
    """Two proxies on one Postgres. Yield their URLs, the disturbance, and a reader of the tables."""
    with postgres_cluster() as cluster:
        folders = [folder / "one", folder / "two"]
        for one in folders:
            one.mkdir()
        proxies = [ProxyProcess(f, small, large, database={"url": cluster.url}) for f in folders]

        def read() -> dict[str, list[Any]]:
            return read_tables(cluster.url, TABLES)

        def kill() -> None:
            name = busy_process(lambda: {"calls": (), **read_tables(cluster.url, ("reservations",))}, ended=0)
            victim = next(p for p in proxies if (p.folder / "cope.spool" / name).exists())
            victim.kill()
            victim.start()

        def restart() -> None:
            cluster.stop()
            cluster.start()

        def disturb(load: Load) -> None:
            for share, act in ((0.15, kill), (0.3, restart), (0.45, kill), (0.6, restart)):
                wait_for(load, share, total)
                act()
                print(f"{act.__name__} at {load.done} of {total}", flush=True)

        with proxies[0], proxies[1]:
            yield [p.base_url for p in proxies], disturb, read


@contextlib.contextmanager
def on_sqlite(
    folder: Path, small: str, large: str, total: int
) -> Iterator[tuple[list[str], Callable[[Load], None], Callable[[], Any]]]:
    """Two workers on one SQLite file. Yield their URL, the disturbance, and a reader of the tables."""
    proxy = ProxyProcess(folder, small, large, server={"workers": 2})

    def read() -> dict[str, list[Any]]:
        return {table: proxy.rows(f"SELECT * FROM {table}") for table in TABLES}

    def kill(load: Load) -> None:
        for share in (0.15, 0.45):
            wait_for(load, share, total)
            name = busy_process(
                lambda: {"calls": (), "reservations": proxy.rows("SELECT * FROM reservations")}, ended=0
            )
            lock = proxy.folder / "cope.spool" / name / "lock"
            os.kill(int(lock.read_text()), signal.SIGKILL)
            print(f"kill at {load.done} of {total}", flush=True)

    with proxy:
        yield [proxy.base_url], kill, read


def verdict(bills: list[Any], tables: dict[str, list[Any]], limit: int) -> bool:
    """Hold the bill against the ledger, and print both. Return whether they agree."""
    billed = sum(b["prompt_tokens"] * PROMPT_PRICE + b["completion_tokens"] * OUTPUT_PRICE for b in bills)
    (budget,) = (b for b in tables["budgets"] if b["scope"] == "session")
    calls = [c for c in tables["calls"] if c["cost_nano"]]
    unsettled = [r for r in tables["reservations"] if r["state"] == "unsettled"]
    spent, held = budget["spent_nano"], budget["unsettled_nano"]
    facts = {
        "the bill is within the budget": billed <= limit and spent + held <= limit,
        "nothing is reserved any more": budget["reserved_nano"] == 0,
        "the spend is the sum of the calls": spent == sum(c["cost_nano"] for c in calls),
        "the rest is the sum of the unsettled calls": held == sum(r["amount_nano"] for r in unsettled),
        "each billed call is on record or unsettled": len(bills) <= len(calls) + len(unsettled),
        "at least 99 % of the budget was usable": spent + held >= 0.99 * limit,
    }
    print(f"{len(bills)} calls billed at {billed / 1e9:.6f} USD of {limit / 1e9:.6f}")
    print(
        f"ledger: {len(calls)} calls for {spent / 1e9:.6f}, {len(unsettled)} unsettled for {held / 1e9:.6f}"
    )
    for fact, holds in facts.items():
        print(f"{'yes' if holds else 'NO ':3} {fact}")
    return all(facts.values())


def main() -> None:
    """Run the storm and print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument(
        "--sqlite", action="store_true", help="two workers on SQLite instead of two proxies on Postgres"
    )
    options = parser.parse_args()
    total: int = options.requests
    limit = total * ANSWER_COST * 4 // 5
    place = on_sqlite if options.sqlite else on_postgres
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
    ):
        large.script({"reply": {"content": ANSWER}})
        with place(Path(folder), small.base_url, large.base_url, total) as (urls, disturb, read):
            load, began = Load(total), time.monotonic()
            asyncio.run(storm(urls, load, f"{limit / 1e9:.9f}", disturb))
            seconds = time.monotonic() - began
            print(f"{total} requests in {seconds:.0f} s: {dict(load.statuses)}")
            tables = wait_until(lambda: _settled(read()), "the dead processes to be recovered", 120)
            bills = [entry["billed"] for entry in large.chats() if entry["billed"]]
    sys.exit(0 if verdict(bills, tables, limit) else 1)


def _settled(tables: dict[str, list[Any]]) -> dict[str, list[Any]] | None:
    return None if any(r["state"] == "reserved" for r in tables["reservations"]) else tables


if __name__ == "__main__":
    main()
