"""The parts that the tests of spending share."""

import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from proxy.backends.apis import api_of
from proxy.backends.session import open_session
from proxy.backends.upstream import Upstream
from proxy.config.money import Budgets, Ledger
from proxy.config.schema import LargeModel, Settings
from proxy.config.schema import Upstream as UpstreamSettings
from proxy.errors import NoBudgetError
from proxy.formats.base import CallLimits
from proxy.formats.chat import Chat
from proxy.ledger.database import open_database
from proxy.ledger.journal import open_journal
from proxy.ledger.writer import Writer
from proxy.pricing.prices import Price, Usage
from proxy.records import CallRecord
from proxy.spending.budget import RequestBudget
from proxy.spending.paid import Spending, paid
from tests.support.config import LARGE_MODEL, UPSTREAM_KEY

PRICE = Price(input=1_000_000, output=10_000_000)  # 1 nano-USD a prompt token, 10 an output token
MODEL = LargeModel(LARGE_MODEL, "", LARGE_MODEL)
LIMITS = CallLimits(asked=50, least=5, field="max_completion_tokens", prompt=100)
BODY = {"messages": [{"role": "user", "content": "Say something."}]}
UTC_ZONE = ZoneInfo("UTC")


class FixedBudget:
    """A budget in memory that holds a fixed amount."""

    limited = True

    def __init__(self, amount=10**9, *, much_room=False):
        self.left = amount
        self.much_room = much_room
        self.settled = []

    def has_much_room(self, amount):
        return self.much_room

    async def reserve(self, call_id, model, amount, least):
        if self.left < least:
            raise NoBudgetError("too little")
        reserved = min(amount, self.left)
        self.left -= reserved
        return reserved

    def settle(self, call):
        self.settled.append(call)


def spending(budget, upstream=None, price=PRICE):
    """Return what a request with this budget pays with."""
    return Spending(
        prices={MODEL.name: price},
        upstreams={"": upstream},
        budget=budget,
        request_id="req_1",
        key_id="k1",
        deadline=time.monotonic() + 30,
    )


def paying(spending, limits=LIMITS):
    """Open a paid call of stage 3."""
    return paid(spending, stage=3, role="executor", model=MODEL, format_=Chat(), limits=limits)


@asynccontextmanager
async def connected(server, **changes):
    """Open a connection to a stand-in server."""
    settings = UpstreamSettings(
        **{
            "base_url": server.base_url,
            "timeout_s": 30,
            "connect_timeout_s": 5,
            "read_timeout_s": 30,
            "max_retries": 0,
            "breaker_failures": 100,
            "breaker_cooldown_s": 1,
        }
        | changes
    )
    async with open_session(5) as session:
        yield Upstream(session, api_of(settings, UPSTREAM_KEY))


def settings(*, global_usd=None, on_outage="refuse"):
    """Return settings with a global budget, and a rule for a full journal."""
    limit = None if global_usd is None else Decimal(global_usd)
    return Settings(budgets=Budgets(global_usd=limit, wait_s=0), ledger=Ledger(on_outage=on_outage))


@asynccontextmanager
async def request_budget(folder, url, payer, *, max_bytes=10**7, **changes):
    """Open the budgets of one request over a real ledger."""
    engine = open_database(url)
    writer = Writer(engine, open_journal(folder / "spool", "p", max_bytes=max_bytes), UTC_ZONE)
    try:
        yield RequestBudget(
            settings=settings(**changes),
            payer=payer,
            request_id="req_1",
            writer=writer,
            database=engine,
            zone=UTC_ZONE,
            opened=set(),
        )
    finally:
        await writer.close(timeout_s=0.2)
        await engine.dispose()


def call_record(id_, cost):
    """Return the record of a call that has cost this much."""
    return CallRecord(
        id=id_,
        request_id="req_1",
        key_id=None,
        started_at=datetime.now(UTC),
        stage=3,
        role="executor",
        tier="large",
        model=LARGE_MODEL,
        sample=None,
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        cost=cost,
        price=PRICE,
        latency_ms=1,
        finish_reason="stop",
        estimated=False,
    )
