"""Reservations of processes that died: mark them as unsettled, list them and resolve them.

An unsettled reservation counts against its budgets at its worst case until an operator resolves it.
"""

from collections import Counter
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, String, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.budgets import lock_budgets, store_budgets
from proxy.ledger.reservations import settle_and_reserve
from proxy.ledger.tables import ReservationRow
from proxy.ledger.views import view
from proxy.ledger.wide_sums import joined, sum_parts
from proxy.records import Settlement


async def mark_expired(engine: AsyncEngine, now: datetime) -> int:
    """Mark reservations that have expired as unsettled. Return how many."""
    return await _mark(engine, ReservationRow.expires_at < now)


async def mark_orphaned(engine: AsyncEngine, process_id: str) -> int:
    """Mark the reservations of a dead process as unsettled. Return how many."""
    return await _mark(engine, ReservationRow.process_id == process_id)


async def _mark(engine: AsyncEngine, condition: ColumnElement[bool]) -> int:
    async with engine.begin() as connection:
        marked = await connection.execute(
            update(ReservationRow)
            .where(ReservationRow.state == "reserved", condition)
            .values(state="unsettled")
            .returning(ReservationRow.amount_nano, ReservationRow.budget_ids)
        )
        found = [(row.amount_nano, [int(i) for i in row.budget_ids]) for row in marked]
        budgets = await lock_budgets(connection, {i for _, ids in found for i in ids})
        for amount, ids in found:
            for id_ in ids:
                if id_ not in budgets:
                    continue  # somebody has deleted the budget
                budgets[id_].reserved -= amount
                budgets[id_].unsettled += amount
        await store_budgets(connection, budgets.values())
        return len(found)


async def resolve(engine: AsyncEngine, reservation_id: str, cost: int) -> bool:
    """Settle an unsettled reservation at the real cost of its call. Return False if there is none."""
    async with engine.begin() as connection:
        query = select(ReservationRow.id).where(
            ReservationRow.id == reservation_id, ReservationRow.state == "unsettled"
        )
        if (await connection.execute(query)).one_or_none() is None:
            return False
        settlement = Settlement(reservation_id, cost)
        await settle_and_reserve(
            connection, settlements=[settlement], requests=[], process_id="", budget_ids={}, held=Counter()
        )
        return True


class UnsettledSum(msgspec.Struct, frozen=True):
    """The number of unsettled reservations, and the sum of their worst cases."""

    count: int
    amount: int


class UnsettledView(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation whose process died before it was settled."""

    id: str
    request_id: str
    model: str
    amount: int
    created_at: datetime


async def unsettled_sum(engine: AsyncEngine) -> UnsettledSum:
    """Count the unsettled reservations."""
    high, low = sum_parts(ReservationRow.amount_nano)
    parts = cast(high, String), cast(low, String)
    query = select(func.count(), *parts).where(ReservationRow.state == "unsettled")
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        count, high_sum, low_sum = (await connection.execute(query)).one()
    return UnsettledSum(count, joined(high_sum, low_sum))


async def list_unsettled(engine: AsyncEngine) -> list[UnsettledView]:
    """List the unsettled reservations, oldest first."""
    query = (
        select(ReservationRow.__table__)
        .where(ReservationRow.state == "unsettled")
        .order_by(ReservationRow.created_at)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [view(UnsettledView, row, amount=row.amount_nano) for row in await connection.execute(query)]
