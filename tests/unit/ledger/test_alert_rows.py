"""Alerts in the ledger: raised once by any number of processes, and delivered by one at a time."""

import asyncio
import secrets
import string
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, text, update

from proxy.ledger.alert_deliveries import give_up_unknown, lease_deliveries, store_delivered, store_failure
from proxy.ledger.alert_rounds import claim_round, note_outage
from proxy.ledger.alerts import NewAlert, count_pending, delete_alerts, list_alerts, raise_alerts
from proxy.ledger.budget_use import budgets_near_limit, subject_of, window_name
from proxy.ledger.tables import BudgetRow
from proxy.ledger.windows import EPOCH
from proxy.records import LONGEST_NAME
from tests.support.ledger import opened, run

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = datetime(2026, 11, 27, tzinfo=UTC)
LEASE = timedelta(seconds=20)
PROCESSES = 8


def new(subject="s", level="", window="total", **more):
    return NewAlert(
        alert="a", kind="budget", subject=subject, window=window, level=level, title="t", text="x", facts={"n": 1},
        **more,
    )  # fmt: skip


def lease(engine, at=AT, target="hook", most=100):
    return lease_deliveries(engine, target, at, LEASE, most)


def test_raised_once_by_many(url):
    """Many processes raise the same alerts at the same time. Each has one row and one delivery a target."""

    async def one(engine, i):
        mine = await raise_alerts(
            engine, [new("s1"), new("s2"), new("s1", "0.5")], ["hook", "mail", "hook"], AT
        )
        leased = await lease(engine)
        return mine, [(i, r.message.id) for r in leased]

    async def work():
        async with opened(url) as first, opened(url) as second:
            engines = [first, second] * (PROCESSES // 2)
            done = await asyncio.gather(*(one(engine, i) for i, engine in enumerate(engines)))
            late = await lease(first)
            return done, late, await list_alerts(first, limit=100)

    done, late, listed = asyncio.run(work())
    assert sorted(id_ for mine, _ in done for id_ in mine) == sorted(a.id for a in listed)
    assert len(listed) == 3
    assert [[d.target for d in a.deliveries] for a in listed] == [["hook", "mail"]] * 3
    leased = [id_ for _, mine in done for _, id_ in mine] + [r.message.id for r in late]
    assert sorted(leased) == sorted({a.id for a in listed})  # each by one process


def test_lease_is_taken_over(url):
    """A leased delivery is due again when its lease ends. What the first process then reports changes nothing."""

    async def work(engine):
        await raise_alerts(engine, [new()], ["hook"], AT)
        (first,) = await lease(engine)
        assert await lease(engine, AT + LEASE / 2) == []
        (second,) = await lease(engine, AT + LEASE)
        assert (first.attempts, second.attempts, first.message) == (1, 2, second.message)
        await store_failure(engine, first, "late", retry_at=None, at=AT)
        ((pending,),) = [a.deliveries for a in await list_alerts(engine, limit=9, pending=True)]
        assert (pending.state, pending.error) == ("pending", None)
        await store_delivered(engine, second, AT + LEASE)
        await store_failure(engine, second, "late", retry_at=AT, at=AT)
        assert await lease(engine, AT + timedelta(days=9)) == []
        assert await count_pending(engine) == 0
        ((delivery,),) = [a.deliveries for a in await list_alerts(engine, limit=9)]
        return delivery.state, delivery.attempts, delivery.error

    assert run(url, work) == ("delivered", 2, None)


def test_failures_wait_and_end(url):
    """A failed attempt is repeated at its time, and a delivery that was given up is not."""

    async def work(engine):
        await raise_alerts(engine, [new()], ["hook"], AT)
        (leased,) = await lease(engine)
        later = AT + timedelta(minutes=5)
        await store_failure(engine, leased, "r" * 5000, retry_at=later, at=AT)
        assert await lease(engine, later - timedelta(seconds=1)) == []
        (leased,) = await lease(engine, later)
        await store_failure(engine, leased, "gone", retry_at=None, at=later)
        assert await lease(engine, later + timedelta(days=9)) == []
        (alert,) = await list_alerts(engine, limit=9)
        return alert.deliveries[0]

    delivery = run(url, work)
    assert (delivery.state, delivery.error, delivery.attempts) == ("failed", "gone", 2)


def test_old_alerts(url):
    """Deliveries to unknown targets are given up when they are old. Alerts of the total window are never deleted."""

    async def work(engine):
        await raise_alerts(engine, [new("old", window="day x"), new("always")], ["gone", "hook"], AT)
        soon, late = AT + timedelta(hours=1), AT + timedelta(days=2)
        assert await give_up_unknown(engine, ["hook"], AT, soon) == []
        assert await give_up_unknown(engine, ["hook"], soon, late) == ["gone"]
        assert await count_pending(engine) == 2
        assert await delete_alerts(engine, AT, late + timedelta(days=99)) == 0
        assert await delete_alerts(engine, soon, late) == 0  # it may still be raised in its month
        assert await delete_alerts(engine, soon, late + timedelta(days=31)) == 1
        return [(a.title, [d.state for d in a.deliveries]) for a in await list_alerts(engine, limit=9)]

    assert run(url, work) == [("t", ["failed", "pending"])]


def test_one_process_makes_a_check(url):
    """Of many processes one gets the check, and again one after the interval. A wrong clock blocks nothing."""
    every = timedelta(seconds=30)

    async def work():
        async with opened(url) as first, opened(url) as second:
            counts = []
            for at in (AT, AT + every / 2, AT + every):
                engines = [first, second] * (PROCESSES // 2)
                claimed = await asyncio.gather(*(claim_round(engine, "a", at, every) for engine in engines))
                counts.append(sum(claimed))
            assert await claim_round(first, "b", AT + timedelta(days=999), every)
            assert await claim_round(first, "b", AT, every)
            return counts

    assert asyncio.run(work()) == [1, 0, 1]


def test_outages(url):
    """All processes agree since when a tier is down. A new outage begins after a gap."""
    gap = timedelta(seconds=30)

    async def work(engine):
        times = [
            await note_outage(engine, "small", AT + timedelta(seconds=s), gap)
            for s in (0, 25, 20, 50, 81, 90)
        ]
        return [(t - AT).total_seconds() for t in times]

    assert run(url, work) == [0, 0, 0, 0, 81, 81]


def budgets(count, **changes):
    usual = {
        "scope": "key", "owner": "", "window": "day", "window_start": DAY, "limit_nano": 1000, "lowest_header_nano": 0,
        "spent_nano": 100, "reserved_nano": 900, "unsettled_nano": 0,
    }  # fmt: skip
    return [{**usual, "name": f"k{i}", **changes} for i in range(count)]


@pytest.mark.parametrize("count", [100_000])
def test_near_limit_among_many(url, count):
    """Among 100,000 budgets only those near their limit are returned, each until its alert is raised."""

    def near(engine, most, scopes=()):
        levels = {"0.5": 0.5, "1": 1.0}
        return budgets_near_limit(engine, "day", DAY, alert="a", levels=levels, scopes=scopes, most=most)

    async def work(engine):
        async with engine.begin() as connection:
            table = BudgetRow.__table__
            await connection.execute(insert(table), budgets(count))
            await connection.execute(insert(table), budgets(500, window_start=EPOCH, spent_nano=1000))
            await connection.execute(
                insert(table), budgets(3, scope="session", owner="o", unsettled_nano=400)
            )
            await connection.execute(
                insert(table), budgets(2, scope="user", spent_nano=2**63 - 1, unsettled_nano=2**63 - 1)
            )
            await connection.execute(insert(table), budgets(1, scope="tag", limit_nano=0))
        if engine.dialect.name == "postgresql":
            async with engine.connect() as connection:
                await connection.execute(text("ANALYZE budgets"))
        started = time.perf_counter()
        found = await near(engine, 100)
        took = time.perf_counter() - started
        assert sorted((subject_of(b), level) for b, level in found) == [
            ("session:o:k0 limit 1000", "0.5"), ("session:o:k1 limit 1000", "0.5"), ("session:o:k2 limit 1000", "0.5"), ("user::k0 limit 1000", "1"), ("user::k1 limit 1000", "1"),
        ]  # fmt: skip
        some = await near(engine, 2)
        raised = [new(subject_of(b), level, window_name("day", DAY)) for b, level in some]
        await raise_alerts(engine, raised, ["hook"], AT)
        rest = await near(engine, 100)
        assert {subject_of(b) for b, _ in some + rest} == {subject_of(b) for b, _ in found}
        assert len(rest) == 3
        assert {b.scope for b, _ in await near(engine, 100, scopes=("session",))} <= {"session"}
        await raise_alerts(
            engine, [new(subject_of(b), level, window_name("day", DAY)) for b, level in found], ["hook"], AT
        )
        assert await near(engine, 100) == []
        async with engine.begin() as connection:
            await connection.execute(
                update(BudgetRow).where(BudgetRow.scope == "session").values(limit_nano=900)
            )
        assert [level for _, level in await near(engine, 100)] == ["0.5"] * 3  # a new limit is alerted again
        return took

    took = run(url, work)
    print(f"near the limit among {count}: {1000 * took:.0f} ms")


def test_longest_names(url):
    """The longest name that a client can give fits into the unique index beside the rest of the key."""
    name = "".join(
        secrets.choice(string.ascii_letters) for _ in range(LONGEST_NAME)
    )  # no database can compress it

    async def work(engine):
        async with engine.begin() as connection:
            row = budgets(1, scope="session", owner="o" * 32, spent_nano=10**18, limit_nano=10**18)[0] | {
                "name": name
            }
            await connection.execute(insert(BudgetRow.__table__), [row])
        near = await budgets_near_limit(
            engine, "day", DAY, alert="a" * 64, levels={"0.123456": 0.123456}, scopes=(), most=9
        )
        ((budget, level),) = near
        long = NewAlert(
            alert="a" * 64, kind="budget", subject=subject_of(budget), window=window_name("month", DAY), level=level,
            title="t", text="x", facts={"name": name},
        )  # fmt: skip
        assert len(await raise_alerts(engine, [long], ["hook"], AT)) == 1
        return [r.message.facts for r in await lease(engine)]

    assert run(url, work) == [{"name": name}]
