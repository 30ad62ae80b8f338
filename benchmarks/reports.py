"""How long spend reports take over a large ledger, on SQLite and on Postgres.

Run: python benchmarks/reports.py [requests, default 10000000] [sqlite|postgres]
Fills an empty ledger with requests of 90 days (50 keys, 200,000 sessions, 20,000 users, 20 tags, one paid call each),
makes the rollups with the product's own `ledger rebuild`, then times each report three times and prints the slowest.
The baseline is the same sum over the rows, without the rollups.
"""

import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import text

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.ledger import reports  # noqa: E402
from proxy.ledger.database import open_database  # noqa: E402
from proxy.ledger.migrate import upgrade  # noqa: E402
from proxy.ledger.rebuild import rebuild  # noqa: E402
from tests.support.postgres import postgres_server  # noqa: E402

ZONE = ZoneInfo("UTC")
DAYS = 90
START = datetime(2026, 8, 1, tzinfo=UTC)
NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :last) SELECT i FROM n)",
    "postgresql": "generate_series(CAST(:first AS bigint), CAST(:last AS bigint) - 1) AS n(i)",
}
WHEN = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', :start, '+' || (i * :span / :total) || ' seconds')",
    "postgresql": "CAST(:start AS timestamptz) + (i * :span / :total) * interval '1 second'",
}
TEXT = {"sqlite": "'{0}' || ({1})", "postgresql": "'{0}' || ({1})::text"}
TAGS = {"sqlite": "'[\"team=' || (i % 20) || '\"]'", "postgresql": "('[\"team=' || (i % 20) || '\"]')::json"}
CHUNK = 500_000


async def fill(engine, count):
    """Write `count` requests, and one paid call for each."""
    dialect = engine.dialect.name
    as_text, when, no = TEXT[dialect].format, WHEN[dialect], "false"
    requests = f"""
        INSERT INTO requests (id, started_at, key_id, session, "user", task, mode, stage, status, requested_model, model,
            prompt_tokens, completion_tokens, cost_nano, baseline_nano, latency_ms, stream, tags)
        SELECT {as_text("req_", "1000000000 + i")}, {when}, {as_text("key", "i / 50 % 50")},
            {as_text("session", "i / 50")}, {as_text("user", "i / 50 % 20000")},
            CASE i % 3 WHEN 0 THEN 'math' WHEN 1 THEN 'code' ELSE 'open' END, 'cascade', 1 + i % 3, 200, 'cope', 'm',
            100 + i % 900, 50 + i % 200, 1000000 + i % 5000000, 6000000, 200 + i % 3000, {no}, {TAGS[dialect]}
        FROM {NUMBERS[dialect]}"""
    calls = f"""
        INSERT INTO calls (id, request_id, key_id, started_at, stage, role, tier, model, prompt_tokens, cached_tokens,
            completion_tokens, reasoning_tokens, cost_nano, input_per_mtok_nano, output_per_mtok_nano, price_source,
            latency_ms, estimated, overrun)
        SELECT {as_text("call_", "1000000000 + i")}, {as_text("req_", "1000000000 + i")},
            {as_text("key", "i / 50 % 50")}, {when}, 3, 'executor', 'large', {as_text("model", "i % 4")},
            100 + i % 900, 0, 50 + i % 200, 0, 1000000 + i % 5000000, 1, 1, 'config', 200 + i % 3000, {no}, {no}
        FROM {NUMBERS[dialect]}"""
    for first in range(0, count, CHUNK):
        values = {
            "first": first, "last": min(first + CHUNK, count), "span": DAYS * 86400, "total": count,
            "start": "2026-08-01 00:00:00" if dialect == "sqlite" else START,
        }  # fmt: skip
        async with engine.begin() as connection:
            for statement in (requests, calls):
                await connection.execute(text(statement), values)
        print(f"\r{first + CHUNK:,} written", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


async def timed(work):
    """Return the seconds that a coroutine takes, and its result."""
    started = time.perf_counter()
    result = await work
    return time.perf_counter() - started, result


async def measure(url, count):
    """Fill, sum up, report."""
    engine = open_database(url)
    name = engine.dialect.name
    taken, _ = await timed(fill(engine, count))
    print(f"{name}: {count:,} requests and as many calls written in {taken:.0f} s")
    if name == "postgresql":
        async with engine.connect() as connection:
            auto = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await auto.execute(text("VACUUM ANALYZE"))
    taken, summed = await timed(rebuild(engine, ZONE))
    print(f"{name}: rollups of {summed} days rebuilt in {taken:.0f} s")
    baseline, _ = await timed(rows_alone(engine))
    print(f"{name}: baseline, one sum by day over the rows themselves: {baseline:.2f} s")
    month = START + timedelta(days=31), START + timedelta(days=61)
    for by in reports.GROUPS:
        for what, (since, until) in (("all time", (None, None)), ("one month", month)):
            runs = [
                await timed(reports.spend(engine, by=by, zone=ZONE, since=since, until=until, limit=100))
                for _ in range(3)
            ]
            worst = max(taken for taken, _ in runs)
            print(f"{name}: by {by:8} {what:9} {worst:6.3f} s   {baseline / worst:8.0f} x the baseline")
    await engine.dispose()


async def rows_alone(engine):
    """Sum the rows by day, as a report without rollups would."""
    day = "date(started_at)" if engine.dialect.name == "sqlite" else "date_trunc('day', started_at)"
    async with engine.connect() as connection:
        query = text(f"SELECT {day}, count(*), sum(cost_nano), sum(baseline_nano) FROM requests GROUP BY 1")
        return (await connection.execute(query)).all()


def main():
    """Measure one database or both."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    which = sys.argv[2] if len(sys.argv) > 2 else "both"
    if which in ("sqlite", "both"):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite+aiosqlite:///{folder}/ledger.db"
            upgrade(url)
            asyncio.run(measure(url, count))
    if which in ("postgres", "both"):
        with postgres_server() as url:
            upgrade(url)
            asyncio.run(measure(url, count))


if __name__ == "__main__":
    main()
