"""A ledger in a test: records, reservations, and a writer on a real database."""

import asyncio
import itertools
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from proxy.ledger.database import open_database
from proxy.ledger.journal import open_journal
from proxy.ledger.lease_rows import SEVERAL
from proxy.ledger.windows import EPOCH
from proxy.ledger.writer import Writer
from proxy.pricing.prices import Price, Usage
from proxy.records import BudgetRef, CallRecord, RequestRecord, Reservation, StageRecord
from tests.support.wait import wait_until

UTC_ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 10, 15, 12, tzinfo=UTC)
PRICE = Price(input=2_500_000_000, output=10_000_000_000)
STAGE = StageRecord(stage=1, drawn=3, planned=4, agreed=1, confidence=0.25, threshold=0.75, accepted=False)


def run(url, work):
    """Run work on an engine of the database."""

    async def main():
        async with opened(url) as engine:
            return await work(engine)

    return asyncio.run(main())


@asynccontextmanager
async def opened(url):
    """Open an engine."""
    engine = open_database(url)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def writing(engine, zone=UTC_ZONE):
    """Start a writer of its own process."""
    with tempfile.TemporaryDirectory() as spool:
        writer = Writer(engine, open_journal(Path(spool), f"proc_{next(_numbers)}", max_bytes=10**7), zone)
        try:
            yield writer
        finally:
            await writer.close(timeout_s=20)


_numbers = itertools.count()


def reservation(name, amount, *, at=None, expires=None, request_id="req"):
    """Return a reservation that expires in an hour."""
    at = at or datetime.now(UTC)
    return Reservation(
        id=name,
        request_id=request_id,
        model="m",
        amount=amount,
        created_at=at,
        expires_at=expires or at + timedelta(hours=1),
    )


def budget(scope="session", name="s", limit=1000, window="total", start=EPOCH, owner=""):
    """Return a budget, by default a session's."""
    return BudgetRef(scope=scope, name=name, limit=limit, window=window, window_start=start, owner=owner)


async def reserve(writer, name, amount, *budgets, least=None, wait_s=0.0, expires=None, key=""):
    """Reserve an amount, and by default nothing less."""
    return await writer.reserve(
        reservation(name, amount, expires=expires),
        budgets,
        least=amount if least is None else least,
        wait_s=wait_s,
        key=key,
    )


def request(name, **changes):
    """Return a request that stage 3 answered."""
    fields = {
        "id": name, "started_at": NOW, "key_id": None, "session": None, "user": None, "task": "math", "mode": "cascade",
        "stage": 3, "confidence": None, "status": 200, "reason": None, "degraded": None, "requested_model": "cope",
        "model": "m", "prompt_tokens": 10, "completion_tokens": 5, "cost": 7, "baseline": 9, "latency_ms": 1,
        "first_token_ms": 1, "stream": False, "error": None,
        "stages": (STAGE,),
    }  # fmt: skip
    return RequestRecord(**{**fields, **changes})


def call(name, request_id="req", cost=7, **changes):
    """Return a paid call of stage 3."""
    fields = {
        "id": name, "request_id": request_id, "key_id": None, "started_at": NOW, "stage": 3, "role": "executor",
        "tier": "large", "model": "m", "sample": None, "usage": Usage(prompt_tokens=10, completion_tokens=5),
        "cost": cost, "price": PRICE, "latency_ms": 1, "finish_reason": "stop", "estimated": False,
    }  # fmt: skip
    return CallRecord(**{**fields, **changes})


async def write(engine, *records):
    """Write records."""
    async with writing(engine) as writer:
        writer.submit(*records)


def busy_process(read, *, ended, under_way=1):
    """Wait until a process has calls under way after others have ended. Return its name in the ledger.

    A lease is a reservation too, but no call under way.
    """

    def look():
        tables = read()
        calls = [r for r in tables["reservations"] if r["request_id"] != SEVERAL]
        owners = Counter(r["process_id"] for r in calls).most_common(1)
        return len(tables["calls"]) >= ended and owners and owners[0][1] >= under_way and owners[0][0]

    return wait_until(look, "a process to be busy", 120)
