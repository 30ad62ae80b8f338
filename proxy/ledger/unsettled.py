"""Reservations of processes that died: marked, listed and resolved."""

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.budgets import _lock, _store, settle_and_reserve
from proxy.ledger.requests import _row
from proxy.ledger.tables import ReservationRow
from proxy.records import Settlement


async def mark_expired(engine: AsyncEngine, now: datetime) -> int:
    """Mark reservations whose lease has run out as unsettled; they stay counted. Returns how many."""
    return await _unsettle(engine, ReservationRow.expires_at < now)


async def mark_orphaned(engine: AsyncEngine, holder: str) -> int:
    """Mark what a dead process has left reserved as unsettled; it stays counted. Returns how many."""
    return await _unsettle(engine, ReservationRow.holder == holder)


async def _unsettle(engine: AsyncEngine, which: ColumnElement[bool]) -> int:
    async with engine.begin() as connection:
        found = await connection.execute(
            update(ReservationRow)
            .where(ReservationRow.state == "held", which)
            .values(state="unsettled")
            .returning(ReservationRow.amount_nano, ReservationRow.budget_ids)
        )
        lost = [(r.amount_nano, [int(i) for i in r.budget_ids]) for r in found]
        rows = await _lock(connection, {i for _, budgets in lost for i in budgets})
        for amount, budgets in lost:
            for row in (rows[i] for i in budgets):
                row.reserved -= amount
                row.unsettled += amount
        await _store(connection, rows.values())
        return len(lost)


async def resolve(engine: AsyncEngine, reservation_id: str, cost: int) -> bool:
    """Settle an unsettled reservation at what its call has really cost; False when there is none."""
    async with engine.begin() as connection:
        query = select(ReservationRow.id).where(
            ReservationRow.id == reservation_id, ReservationRow.state == "unsettled"
        )
        if (await connection.execute(query)).one_or_none() is None:
            return False
        await settle_and_reserve(
            connection, settles=[Settlement(reservation_id, cost)], asks=[], holder="", known={}
        )
        return True


class UnsettledSum(msgspec.Struct, frozen=True):
    """How many reservations of dead processes there are, and their worst cases in all."""

    count: int
    amount: int


class UnsettledView(msgspec.Struct, frozen=True):
    """A reservation whose process died."""

    id: str
    request_id: str
    model: str
    amount: int
    created_at: datetime


async def unsettled_sum(engine: AsyncEngine) -> UnsettledSum:
    """Count the reservations of dead processes, in one indexed look."""
    query = select(func.count(), func.sum(ReservationRow.amount_nano)).where(
        ReservationRow.state == "unsettled"
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        count, amount = (await connection.execute(query)).one()
    return UnsettledSum(count, int(amount or 0))


async def unsettled(engine: AsyncEngine) -> list[UnsettledView]:
    """List the reservations of dead processes, oldest first."""
    query = (
        select(ReservationRow.__table__)
        .where(ReservationRow.state == "unsettled")
        .order_by(ReservationRow.created_at)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [_row(UnsettledView, r) for r in await connection.execute(query)]
