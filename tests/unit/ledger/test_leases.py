"""Leases, on both databases: whose requests get them, what they cover, and how they end."""

import asyncio
import os
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from proxy.ids import now
from proxy.ledger.adoption import adopt
from proxy.ledger.budgets import BudgetExceededError, list_budgets, set_session_budget
from proxy.ledger.journal import BOOT, Journal, open_journal
from proxy.ledger.lease_rows import SEVERAL
from proxy.ledger.leases import IDLE_S, LIFE_S
from proxy.ledger.unsettled import list_unsettled, mark_expired, resolve
from proxy.ledger.writer import LedgerUnavailableError, Writer
from proxy.records import Settlement
from tests.support.ledger import UTC_ZONE, budget, call, reservation, run

ROOM = 100_000


class Clock:
    """A clock that a test moves."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


@asynccontextmanager
async def leasing(engine, tmp_path, name="p"):
    """Start a writer with a clock of its own."""
    clock = Clock()
    writer = Writer(engine, open_journal(tmp_path, name, max_bytes=10**7), UTC_ZONE, clock=clock)
    try:
        yield writer, clock
    finally:
        await writer.close(timeout_s=20)


async def take(writer, name, amount, *budgets, wait_s=5.0, at=None, key="k"):
    """Reserve an amount. The payer may wait for money."""
    return await writer.reserve(
        reservation(name, amount, at=at), budgets, least=amount, wait_s=wait_s, key=key
    )


async def written(writer):
    """Wait until all records are in the database, and leases with them."""
    writer.submit()
    await writer.flush()


async def busy(writer, *budgets, calls=8, amount=100):
    """Make some calls at once. Then the payer has a lease, if it gets one."""
    for i in range(calls):
        await take(writer, f"busy_{i}", amount, *budgets)
        writer.submit_end(Settlement(f"busy_{i}", 10), call(f"busy_{i}", f"req_{i}", 10))
    await written(writer)


async def leases_of(engine):
    """Return the amounts of the leases in the database."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT id, amount_nano FROM reservations"))
        return [row.amount_nano for row in rows if row.id.startswith("lease_")]


@asynccontextmanager
async def away(engine):
    """Take the database away."""

    def fail(_):
        raise OperationalError("BEGIN", None, Exception("away"))

    event.listen(engine.sync_engine, "begin", fail, insert=True)
    try:
        yield
    finally:
        event.remove(engine.sync_engine, "begin", fail)


def test_repeated_calls_need_no_database(url, tmp_path):
    """A payer whose calls repeat reserves without the database. A used-up lease is refused: it is no credit."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, _):
            await busy(writer, budget(limit=ROOM))
            leased = sum(await leases_of(engine))
            async with away(engine):
                for i in range(leased // 100):
                    await take(writer, f"call_{i}", 100, budget(limit=ROOM))
                with pytest.raises(LedgerUnavailableError):
                    await take(writer, "one_more", 100, budget(limit=ROOM))
            for i in range(leased // 100):
                writer.submit_end(Settlement(f"call_{i}", 20))
            await written(writer)
        return leased, (await list_budgets(engine))[0], await leases_of(engine)

    leased, row, left = run(url, work)
    assert leased >= 400
    assert (row.spent, row.reserved) == (8 * 10 + leased // 100 * 20, sum(left))


def test_few_calls_get_none(url, tmp_path):
    """Calls that do not repeat reserve as ever, and so do payers that may not wait for money."""

    async def work(engine):
        found = []
        async with leasing(engine, tmp_path) as (writer, clock):
            for i in range(10):
                clock.seconds += 1
                await take(writer, f"rare_{i}", 100, budget(limit=ROOM))
            await written(writer)
            found += await leases_of(engine)
            for i in range(10):
                await take(writer, f"hasty_{i}", 100, budget(limit=ROOM), wait_s=1)
            await written(writer)
            return found + await leases_of(engine)

    assert run(url, work) == []


def test_no_lease_near_the_limit(url, tmp_path):
    """A lease is an eighth of what is left, and worth four calls: otherwise the last money is for everybody."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, _):
            await busy(writer, budget(limit=3_300))
            return await leases_of(engine), (await list_budgets(engine))[0].reserved

    assert run(url, work) == ([], 0)


def test_all_budgets_or_none(url, tmp_path):
    """A lease reserves in all budgets of its calls. The one with the least room decides, and an unknown one allows none."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, _):
            both = budget("key", "k", 10 * ROOM), budget("global", "", ROOM)
            await busy(writer, *both)
            leased = sum(await leases_of(engine))
            rows = [(b.spent, b.reserved) for b in await list_budgets(engine)]
            await busy(writer, budget("session", "s", None), budget("key", "k", 10 * ROOM))
            return leased, rows, sum(await leases_of(engine))

    leased, rows, after = run(url, work)
    assert 0 < leased <= ROOM // 8
    assert rows == [(80, leased)] * 2
    assert after == leased


def test_idle_lease_is_given_back(url, tmp_path):
    """A lease without a draw for a while is given back, and so are all at shutdown."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, clock):
            await busy(writer, budget(limit=ROOM))
            held = await leases_of(engine)
            clock.seconds += IDLE_S
            await written(writer)
            idle = await leases_of(engine)
            await busy(writer, budget(limit=ROOM))
            again = await leases_of(engine)
        return [bool(x) for x in (held, idle, again, await leases_of(engine))]

    assert run(url, work) == [True, False, True, False]


def test_lease_yields_to_a_call(url, tmp_path):
    """The money of a lease is there for any call of its process that needs it, at once."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, _):
            await busy(writer, budget(limit=ROOM))
            assert await leases_of(engine)
            rest = ROOM - 80
            reserved = await take(writer, "large", rest, budget(limit=ROOM), wait_s=0, key="other")
            with pytest.raises(BudgetExceededError):
                await take(writer, "small", 1, budget(limit=ROOM), wait_s=0)
        return reserved.amount == rest

    assert run(url, work)


def test_no_new_lease_after_a_lowered_limit(url, tmp_path):
    """Outstanding leases count as reserved and may be used up. There is no new one beyond the lower limit."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, _):
            await busy(writer, budget(limit=ROOM))
            leased = sum(await leases_of(engine))
            assert await set_session_budget(engine, "s", 1_000)
            for i in range(leased // 100 - 2):
                await take(writer, f"call_{i}", 100, budget(limit=ROOM))
            await written(writer)
            left = sum(await leases_of(engine))
            with pytest.raises(BudgetExceededError):
                await take(writer, "one_more", 100, budget(limit=ROOM), wait_s=0)
            return leased, left, (await list_budgets(engine))[0]

    leased, left, row = run(url, work)
    assert left <= 200 + leased % 100
    assert row.limit == 1_000
    assert row.reserved <= leased


@pytest.mark.parametrize("jump", [timedelta(seconds=LIFE_S + 1), timedelta(hours=-1)])
def test_clock_jumps(url, tmp_path, jump):
    """After a jump of the wall clock, as when a machine sleeps, no lease is used: others may count it as expired."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, _):
            await busy(writer, budget(limit=ROOM))
            async with away(engine):
                with pytest.raises(LedgerUnavailableError):
                    await take(writer, "later", 100, budget(limit=ROOM), at=now() + jump)
        return True

    assert run(url, work)


async def die(writer):
    """Leave the journal as a dead process does."""
    writer._task.cancel()
    await asyncio.gather(writer._task, return_exceptions=True)
    os.close(writer._journal._file)
    os.close(writer._journal._lock)


async def with_open_call(engine, tmp_path, *, boot=None):
    """Let a process die with a lease and an open call, and adopt its journal."""
    writer = Writer(engine, open_journal(tmp_path, "dead", max_bytes=10**7), UTC_ZONE, clock=Clock())
    await busy(writer, budget(limit=ROOM))
    leased = sum(await leases_of(engine))
    await take(writer, "open", 100, budget(limit=ROOM))
    await die(writer)
    if boot is not None:
        (tmp_path / "dead" / BOOT).write_text(boot)
    journal = Journal(tmp_path / "dead", max_bytes=10**7)
    await adopt(engine, journal, UTC_ZONE)
    journal.close()
    (row,) = await list_budgets(engine)
    unsettled = [(r.id.partition("_")[0], r.request_id, r.amount) for r in await list_unsettled(engine)]
    return leased, (row.spent, row.reserved, row.unsettled), sorted(unsettled)


def test_death_frees_leases(url, tmp_path):
    """When a process dies, its open calls are unsettled, and what its leases have left is free again."""
    leased, amounts, unsettled = run(url, lambda engine: with_open_call(engine, tmp_path))
    assert amounts == (80, 0, 100)
    assert unsettled == [("open", "req", 100)]
    assert leased > 100


def test_power_loss_counts_leases(url, tmp_path):
    """After a power loss the journal may lack draws, so a lease counts as it is. An operator settles it."""

    async def work(engine):
        leased, amounts, unsettled = await with_open_call(engine, tmp_path, boot="another")
        leases = [r.id for r in await list_unsettled(engine) if r.id.startswith("lease_")]
        for lease in leases:
            assert await resolve(engine, lease, 50)
        (row,) = await list_budgets(engine)
        return leased, amounts, unsettled, (row.spent - 50 * len(leases), row.unsettled)

    leased, amounts, unsettled, after = run(url, work)
    assert amounts == (80, 0, leased)
    assert {row[:2] for row in unsettled} == {("lease", SEVERAL), ("open", "req")}
    assert sum(amount for _, _, amount in unsettled) == leased
    assert after == (80, 100)


def test_missing_draw_counts(url, tmp_path):
    """A power loss may cost a line in the middle of the journal. The money of the lost draw counts as unsettled."""

    async def work(engine):
        writer = Writer(engine, open_journal(tmp_path, "dead", max_bytes=10**7), UTC_ZONE, clock=Clock())
        await busy(writer, budget(limit=ROOM))
        leased = sum(await leases_of(engine))
        for name, amount in (("one", 100), ("two", 70), ("three", 30)):
            await take(writer, name, amount, budget(limit=ROOM))
        writer.submit_end(Settlement("two", 60), Settlement("three", 7))
        await die(writer)
        path = tmp_path / "dead" / "00000001.log"
        lines = path.read_bytes().splitlines(keepends=True)
        rest = b"".join(line for line in lines if not (b'"Draw"' in line and b'"two"' in line))
        (tmp_path / "dead" / BOOT).write_text("another")
        for _ in range(2):  # the first adopter dies too
            path.write_bytes(rest)
            journal = Journal(tmp_path / "dead", max_bytes=10**7)
            await adopt(engine, journal, UTC_ZONE)
            os.close(journal._lock)
        (row,) = await list_budgets(engine)
        lost = [r.amount for r in await list_unsettled(engine) if r.id.startswith("lost_")]
        return len(rest) < sum(map(len, lines)), leased, lost, (row.spent, row.reserved, row.unsettled)

    torn, leased, lost, amounts = run(url, work)
    assert torn
    assert lost == [70]
    assert amounts == (87, 0, leased - 30)


def test_expired_lease_still_serves_its_draws(url, tmp_path):
    """Others take a process that was cut off for long for dead. It settles its calls all the same."""

    async def work(engine):
        async with leasing(engine, tmp_path) as (writer, _):
            await busy(writer, budget(limit=ROOM))
            await mark_expired(engine, now() + timedelta(days=1))
            await take(writer, "late", 100, budget(limit=ROOM))
            writer.submit_end(Settlement("late", 30))
        (row,) = await list_budgets(engine)
        return row.spent, row.reserved, row.unsettled

    assert run(url, work) == (110, 0, 0)
