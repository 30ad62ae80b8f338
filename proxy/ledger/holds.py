"""Holds: money set aside before a paid call goes out. `spent + reserved <= limit` at every instant."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.tables import Budget, Reservation
from proxy.records import BudgetRef, Hold, Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class BudgetExceeded(Exception):  # noqa: N818
    """A hold does not fit; nothing was reserved. Amounts in nano-USD."""

    ref: BudgetRef
    limit: int
    available: int


@dataclass(eq=False)
class SessionOwned(Exception):  # noqa: N818
    """The session belongs to another key."""

    name: str


def window_start(window: Window, at: datetime) -> datetime:
    """Return the start of the window that holds a time (UTC)."""
    at = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return {"total": EPOCH, "day": at, "month": at.replace(day=1)}[window]


async def reserve(engine: AsyncEngine, hold: Hold) -> None:
    """Reserve a hold in all its budgets, in one short transaction, or in none.

    Budgets are taken in one order everywhere, so that two holds never wait for each other in a circle.

    Raises:
        BudgetExceeded: it does not fit.
        SessionOwned: the session was opened by another key.
    """
    async with engine.begin() as connection:
        ids = []
        for ref in sorted(hold.budgets, key=lambda r: (r.scope, r.name)):
            budget_id = await _open_budget(connection, ref, hold.created_at)
            fits = update(Budget).where(
                Budget.id == budget_id,
                Budget.spent_nano + Budget.reserved_nano + hold.amount <= Budget.limit_nano,
            )
            done = await connection.execute(fits.values(reserved_nano=Budget.reserved_nano + hold.amount))
            if done.rowcount != 1:
                row = (await connection.execute(select(Budget).where(Budget.id == budget_id))).one()
                raise BudgetExceeded(ref, row.limit_nano, row.limit_nano - row.spent_nano - row.reserved_nano)
            ids.append(str(budget_id))
        await connection.execute(insert(Reservation).values(hold_row(hold, ids)))


async def _open_budget(connection: AsyncConnection, ref: BudgetRef, at: datetime) -> int:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = {
        "scope": ref.scope, "name": ref.name, "window": ref.window, "window_start": window_start(ref.window, at),
        "limit_nano": ref.limit, "spent_nano": 0, "reserved_nano": 0, "owner": ref.owner,
    }  # fmt: skip
    await connection.execute(dialect.insert(Budget).values(values).on_conflict_do_nothing())
    row = (await connection.execute(select(Budget).where(*_is(ref, at)).with_for_update())).one()
    if ref.scope == "session" and row.owner != ref.owner:
        raise SessionOwned(ref.name)
    # A header may only lower a session's limit; the others' are the config's, whatever they were before.
    if ref.limit < row.limit_nano or (ref.scope != "session" and ref.limit != row.limit_nano):
        await connection.execute(update(Budget).where(Budget.id == row.id).values(limit_nano=ref.limit))
    return int(row.id)


def _is(ref: BudgetRef, at: datetime) -> list[ColumnElement[bool]]:
    return [
        Budget.scope == ref.scope,
        Budget.name == ref.name,
        Budget.window == ref.window,
        Budget.window_start == window_start(ref.window, at),
    ]


def hold_row(hold: Hold, budget_ids: list[str]) -> dict[str, object]:
    """Return the row of a reservation."""
    return {
        "id": hold.id, "request_id": hold.request_id, "model": hold.model, "amount_nano": hold.amount,
        "state": "held", "budget_ids": budget_ids, "created_at": hold.created_at, "expires_at": hold.expires_at,
    }  # fmt: skip


async def settle(connection: AsyncConnection, hold_id: str, cost: int) -> None:
    """Turn a reservation into spend. A second settlement of the same hold changes nothing."""
    gone = await connection.execute(
        delete(Reservation)
        .where(Reservation.id == hold_id)
        .returning(Reservation.amount_nano, Reservation.budget_ids)
    )
    row = gone.one_or_none()
    if row is None:
        return
    for budget_id in sorted(int(i) for i in row.budget_ids):
        await connection.execute(
            update(Budget)
            .where(Budget.id == budget_id)
            .values(reserved_nano=Budget.reserved_nano - row.amount_nano, spent_nano=Budget.spent_nano + cost)
        )


async def recover(engine: AsyncEngine, now: datetime) -> int:
    """Mark reservations whose lease has run out as unsettled; they stay counted. Returns how many."""
    async with engine.begin() as connection:
        done = await connection.execute(
            update(Reservation)
            .where(Reservation.state == "held", Reservation.expires_at < now)
            .values(state="unsettled")
        )
        return done.rowcount


async def remaining(engine: AsyncEngine, refs: tuple[BudgetRef, ...]) -> int | None:
    """Return the least that any of the budgets leaves, in nano-USD; `None` without budgets."""
    now = datetime.now(UTC)
    left = []
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        for ref in refs:
            row = (await connection.execute(select(Budget).where(*_is(ref, now)))).one_or_none()
            limit = ref.limit if row is None or ref.scope != "session" else min(ref.limit, row.limit_nano)
            left.append(limit - (0 if row is None else row.spent_nano + row.reserved_nano))
    return min(left, default=None)
