"""Leases in the database: draws become reservations of their own, and leases end.

A lease is a row among the reservations. Its amount only ever falls, to what each draw says that it leaves. So records may
be read again after a crash or a lost answer, and change nothing the second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import bindparam

from proxy.ledger.budgets import lock_budgets, store_budgets
from proxy.ledger.reservations import Released, reservation_row
from proxy.ledger.tables import ReservationRow
from proxy.records import Draw, LeaseEnd, Reservation

PREFIX = "lease"
"""The ids of leases begin with it."""
SEVERAL = "(several)"
"""The request and the model of a row that stands for the calls of several requests."""


@dataclass(slots=True)
class _Lease:
    """The row of a lease. `amount` is what is left of it."""

    id: str
    amount: int
    budget_ids: tuple[int, ...]
    state: str
    process_id: str
    row: Reservation


async def apply_to_leases(
    connection: AsyncConnection, draws: Sequence[Draw], ends: Sequence[LeaseEnd], costs: Mapping[str, int]
) -> list[Released]:
    """Take draws from their leases, and end leases. Return the reservations that end with this transaction.

    A draw whose reservation is in `costs` is settled at that cost. Each other one becomes a row. The sum of the rows stays
    the same, and so does what is reserved in the budgets. All draws of a lease have to come before its end, in order.
    """
    leases = await _lock(connection, {r.lease for r in draws} | {r.lease for r in ends})
    before = {lease.id: lease.amount for lease in leases.values()}
    rows: list[dict[str, object]] = []
    released: list[Released] = []
    for draw in draws:
        lease = leases.get(draw.lease)
        if lease is None or lease.amount <= draw.left:
            continue  # this draw has been applied
        amount = min(draw.reservation.amount, lease.amount - draw.left)
        if lost := lease.amount - draw.left - amount:
            rows.append(_row(lease, _lost_draws(lease, draw, lost), lost))
        lease.amount = draw.left
        if draw.reservation.id in costs:
            released.append(Released(costs[draw.reservation.id], amount, lease.budget_ids, lease.state))
        else:
            rows.append(_row(lease, draw.reservation, amount))
    ended = [leases[id_] for id_ in sorted({e.lease for e in ends}) if id_ in leases]
    released += [Released(0, lease.amount, lease.budget_ids, lease.state) for lease in ended]
    gone = {lease.id for lease in ended} | {lease.id for lease in leases.values() if lease.amount == 0}
    changed = [
        {"lease_id": lease.id, "left": lease.amount}
        for lease in leases.values()
        if lease.id not in gone and lease.amount != before[lease.id]
    ]
    if gone:
        await connection.execute(delete(ReservationRow).where(ReservationRow.id.in_(sorted(gone))))
    if changed:
        table = ReservationRow.__table__
        assert isinstance(table, Table)
        query = update(table).where(table.c.id == bindparam("lease_id"))
        await connection.execute(query.values(amount_nano=bindparam("left")), changed)
    if rows:
        await connection.execute(insert(ReservationRow), rows)
    return released


async def release_leases(engine: AsyncEngine, process_id: str) -> None:
    """Give back what is left of the leases of a dead process. All its draws have to be in the database."""
    async with engine.begin() as connection:
        deleted = await connection.execute(
            delete(ReservationRow)
            .where(ReservationRow.process_id == process_id, is_lease())
            .returning(ReservationRow.amount_nano, ReservationRow.budget_ids, ReservationRow.state)
        )
        found = [(row.amount_nano, [int(i) for i in row.budget_ids], row.state) for row in deleted]
        budgets = await lock_budgets(connection, {i for _, ids, _ in found for i in ids})
        for amount, ids, state in found:
            for budget in (budgets[i] for i in ids if i in budgets):
                if state == "reserved":
                    budget.reserved -= amount
                else:
                    budget.unsettled -= amount
        await store_budgets(connection, budgets.values())


def is_lease() -> ColumnElement[bool]:
    """Return the condition for the rows of leases."""
    return ReservationRow.id.startswith(f"{PREFIX}_", autoescape=True)


async def _lock(connection: AsyncConnection, ids: set[str]) -> dict[str, _Lease]:
    if not ids:
        return {}
    query = select(ReservationRow.__table__).where(ReservationRow.id.in_(sorted(ids)))
    rows = await connection.execute(query.order_by(ReservationRow.id).with_for_update())
    return {
        row.id: _Lease(
            id=row.id,
            amount=row.amount_nano,
            budget_ids=tuple(map(int, row.budget_ids)),
            state=row.state,
            process_id=row.process_id,
            row=Reservation(
                id=row.id, request_id=row.request_id, model=row.model, amount=row.amount_nano,
                created_at=row.created_at, expires_at=row.expires_at,
            ),
        )
        for row in rows
    }  # fmt: skip


def _lost_draws(lease: _Lease, draw: Draw, amount: int) -> Reservation:
    """Return a reservation for draws whose lines are missing in the journal before `draw`, as after a power loss."""
    return Reservation(
        id=f"lost_{lease.id}_{draw.left}",
        request_id=SEVERAL,
        model=SEVERAL,
        amount=amount,
        created_at=lease.row.created_at,
        expires_at=lease.row.expires_at,
    )


def _row(lease: _Lease, reservation: Reservation, amount: int) -> dict[str, object]:
    row = reservation_row(reservation, lease.process_id, lease.budget_ids)
    return {**row, "amount_nano": amount, "state": lease.state}
