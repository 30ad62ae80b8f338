"""Reservations of dead processes, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.ledger.budgets import BudgetExceededError, list_budgets
from proxy.ledger.unsettled import (
    UnsettledSum,
    list_unsettled,
    mark_expired,
    mark_orphaned,
    resolve,
    unsettled_sum,
)
from proxy.records import Settlement
from tests.support.ledger import budget, reserve, run, writing


def test_expired_reservation_is_unsettled(url):
    """After it expires, a reservation is unsettled and still counts until an operator resolves it."""
    past = datetime.now(UTC) - timedelta(seconds=1)

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "h", 100, budget(limit=150), expires=past)
            assert await mark_expired(engine, datetime.now(UTC)) == 1
            assert await mark_expired(engine, datetime.now(UTC)) == 0
            with pytest.raises(BudgetExceededError):
                await reserve(writer, "h2", 100, budget(limit=150), wait_s=3600)
            (row,) = await list_budgets(engine)
            assert (row.spent, row.reserved, row.unsettled) == (0, 0, 100)
            assert [r.amount for r in await list_unsettled(engine)] == [100]
            assert await resolve(engine, "h", 30)
            assert not await resolve(engine, "h", 30)
            await reserve(writer, "h3", 100, budget(limit=150))
        return (await list_budgets(engine))[0]

    row = run(url, work)
    assert (row.spent, row.reserved, row.unsettled) == (30, 100, 0)


def test_dead_process_leaves_its_own(url):
    """Only the reservations of the dead process are unsettled, in every budget, and their sum is known."""

    async def work(engine):
        assert await unsettled_sum(engine) == UnsettledSum(0, 0)
        async with writing(engine) as one, writing(engine) as two:
            await reserve(one, "a", 100, budget(), budget("key", "k", 500))
            await reserve(one, "b", 50, budget())
            await reserve(two, "c", 30, budget())
            assert await mark_orphaned(engine, one._journal.process_id) == 2
            assert await mark_orphaned(engine, "nobody") == 0
            assert {row.id for row in await list_unsettled(engine)} == {"a", "b"}
            found = [(b.scope, b.reserved, b.unsettled) for b in await list_budgets(engine)]
        return found, await unsettled_sum(engine)

    assert run(url, work) == ([("key", 0, 100), ("session", 30, 150)], UnsettledSum(2, 150))


def test_late_settlement_of_unsettled(url):
    """A process that was only slow settles its unsettled reservation, and its cost counts once."""
    past = datetime.now(UTC) - timedelta(seconds=1)

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 100, budget(), expires=past)
            await mark_expired(engine, datetime.now(UTC))
            writer.submit(Settlement("a", 60))
            await writer.flush()
            assert not await resolve(engine, "a", 100)
        return [(b.spent, b.reserved, b.unsettled) for b in await list_budgets(engine)]

    assert run(url, work) == [(60, 0, 0)]


def test_open_reservation_is_not_resolved(url):
    """An operator can resolve only what is unsettled, not a call that is running."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 100, budget())
            assert not await resolve(engine, "a", 0)
        return [(b.spent, b.reserved) for b in await list_budgets(engine)]

    assert run(url, work) == [(0, 100)]
