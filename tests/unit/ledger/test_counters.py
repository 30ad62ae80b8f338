"""The totals of the ledger by the labels of its metrics."""

import asyncio
from collections import Counter

import pytest

from proxy.ledger import migrate
from proxy.ledger.counters import add, call_outcome, count_calls, read_totals, request_outcome
from proxy.ledger.retention import prune
from proxy.ledger.wide_sums import MOST_SUM
from proxy.pricing.prices import Usage
from proxy.records import MOST
from tests.support.ledger import NOW, STAGE, call, request, run, write, writing

BEFORE_COUNTERS = "9b7c41e0d3a5"


def counted(totals, subject, **labels):
    """Return the sums of the totals of a subject that have these labels."""
    sums = Counter()
    for t in totals:
        if t.subject == subject and all(getattr(t, name) == value for name, value in labels.items()):
            sums.update(
                count=t.count, prompt=t.prompt_tokens, cached=t.cached_tokens, completion=t.completion_tokens,
                reasoning=t.reasoning_tokens, cost=t.cost_nano, baseline=t.baseline_nano,
            )  # fmt: skip
    return +sums


def records():
    """Return requests and calls of many kinds."""
    used = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=5, reasoning_tokens=2)
    accepted = type(STAGE)(stage=2, drawn=4, planned=4, agreed=4, confidence=1, threshold=0.5, accepted=True)
    return [
        request("r1"),
        request("r2", stage=2, model="s", stages=(STAGE, accepted)),
        request("r3", stage=None, model=None, status=499, task=None, stages=(), baseline=None),
        request("r4", status=200, degraded="no money", stage=1, mode="audit"),
        call("c1", "r1", task="math", usage=used),
        call("c2", "r2", task="math", stage=2, role="planner"),
        call("c3", "r2", task="math", stage=2, tier="small", model="s", cost=0, finish_reason="cancelled"),
        call("c4", "r3", stage=1, tier="small", model="s", cost=0, error="gone"),
    ]


def test_totals(url):
    """Requests, calls and stages are counted by their labels."""

    async def work(engine):
        await write(engine, *records())
        return await read_totals(engine)

    totals = run(url, work)
    assert counted(totals, "request")["count"] == 4
    assert counted(totals, "request", stage="3", tier="large", model="m", outcome="answered") == {
        "count": 1, "prompt": 10, "completion": 5, "cost": 7, "baseline": 9,
    }  # fmt: skip
    assert (
        counted(totals, "request", kind="none", stage="none", tier="none", outcome="disconnected")["count"]
        == 1
    )
    assert counted(totals, "request", mode="audit", outcome="degraded")["count"] == 1
    assert counted(totals, "call", role="executor", tier="large", model="m", outcome="ok", kind="math") == {
        "count": 1, "prompt": 10, "cached": 4, "completion": 5, "reasoning": 2, "cost": 7,
    }  # fmt: skip
    assert counted(totals, "call", outcome="cancelled")["count"] == 1
    assert counted(totals, "call", outcome="error", kind="none")["count"] == 1
    assert counted(totals, "stage", outcome="escalated", stage="1")["count"] == 3
    assert counted(totals, "stage", outcome="accepted", stage="2")["count"] == 1
    assert counted(totals, "stage", outcome="drawn", stage="2")["count"] == 4


def test_totals_outlive_rows(url):
    """Pruning deletes rows and keeps the totals."""

    async def work(engine):
        await write(engine, *records())
        before = await read_totals(engine)
        assert await prune(engine, NOW.replace(year=2027)) == 4
        return before == await read_totals(engine)

    assert run(url, work)


def test_old_rows_are_counted(empty_url):
    """After an upgrade the totals are those of the rows that exist."""
    migrate.upgrade(empty_url)
    huge = [call(f"h{i}", "r1", cost=MOST, model="huge", task="math") for i in range(3)]

    async def before(engine):
        await write(engine, *records(), *huge)
        return await read_totals(engine)

    expected = run(empty_url, before)
    migrate.downgrade(empty_url, BEFORE_COUNTERS)
    migrate.upgrade(empty_url)
    found = run(empty_url, read_totals)
    by_labels = {(t.subject, t.kind, t.mode, t.stage, t.role, t.tier, t.model, t.outcome): t for t in found}
    assert len(by_labels) == len(found)
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_writers_at_once(url):
    """Several writers change the same totals, and none is lost."""

    async def work(engine):
        async def one(writer, name):
            for i in range(10):
                writer.submit(call(f"{name}{i}", f"r_{name}{i}"), request(f"r_{name}{i}"))
                await writer.flush()

        async with writing(engine) as a, writing(engine) as b:
            await asyncio.gather(one(a, "a"), one(b, "b"))
        totals = await read_totals(engine)
        return counted(totals, "call")["count"], counted(totals, "request")["count"]

    assert run(url, work) == (20, 20)


def test_a_total_has_a_limit(url):
    """It ends at the highest number of the database, and fails no transaction."""

    async def work(engine):
        totals = count_calls([call("c", cost=1)])
        for amounts in totals.values():
            amounts[5] = MOST_SUM + 1
        for _ in range(2):
            async with engine.begin() as connection:
                await add(connection, totals)
        return [t.cost_nano for t in await read_totals(engine)]

    assert run(url, work) == [MOST_SUM]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "answered"), (400, "refused"), (413, "refused"), (429, "limited"), (499, "disconnected"),
     (500, "failed"), (502, "failed"), (504, "timeout")],
)  # fmt: skip
def test_outcomes_of_requests(status, outcome):
    """Each status has one of seven words."""
    assert request_outcome(request("r", status=status)) == outcome


@pytest.mark.parametrize("reason", ["stop", "length", None, "tulipbulb", "error"])
def test_reasons_are_no_labels(reason):
    """A model's own reason to finish does not become a label."""
    assert call_outcome(call("c", finish_reason=reason)) == "ok"
