"""Reservations of dead processes, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.ledger.budgets import BudgetExceededError, list_budgets
from proxy.ledger.unsettled import list_unsettled, mark_expired, resolve
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
