"""Holds: money set aside before a paid call goes out.

`spent + reserved + unsettled <= limit` at every instant, for every budget, with any number of processes on one
database. Budgets are locked in the order of their ids, after all rows that a transaction inserts: so no two
transactions wait for each other in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import msgspec
from sqlalchemy import ColumnElement, Table, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import bindparam

from proxy.ledger.requests import _row
from proxy.ledger.tables import BudgetRow, ReservationRow
from proxy.records import BudgetRef, Reservation, Settlement


@dataclass(eq=False)
class BudgetExceededError(Exception):
    """A hold does not fit; nothing was reserved. Amounts in nano-USD."""

    ref: BudgetRef
    limit: int
    available: int


@dataclass(eq=False)
class SessionOwnedError(Exception):
    """The session belongs to another key."""

    name: str


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A wish to reserve `hold.amount`, or at the very least `least`, in all of some budgets.

    Without a hold it only opens the budgets. `final`: take what there is now, or nothing; otherwise it is worth
    waiting for reservations of others to end.
    """

    refs: tuple[BudgetRef, ...]
    hold: Reservation | None = None
    least: int = 0
    final: bool = True


@dataclass(frozen=True, slots=True)
class Reserved:
    """What was reserved, and what the tightest budget leaves after it (nano-USD; `None` without a budget)."""

    amount: int
    left: int | None


Key = tuple[str, str, str, datetime]
"""Scope, name, window and its start."""
Outcome = Reserved | BudgetExceededError | SessionOwnedError | None
"""`None`: nothing yet; it would fit if reservations of others came back."""


@dataclass(slots=True)
class _LockedBudget:
    """A budget under lock. `asked` is the lowest limit that a session's header ever gave."""

    id: int
    owner: str
    limit: int
    asked: int
    spent: int
    reserved: int
    unsettled: int

    @property
    def free(self) -> int:
        return self.limit - self.spent - self.reserved - self.unsettled

    @property
    def hoped(self) -> int:
        """What would be free if all open reservations came back."""
        return self.limit - self.spent - self.unsettled


async def settle_and_reserve(
    connection: AsyncConnection,
    *,
    settles: Sequence[Settlement],
    asks: Sequence[ReservationRequest],
    holder: str,
    known: dict[Key, int],
) -> list[Outcome]:
    """Settle, then decide what is asked for, in the transaction of `connection`. One outcome an ask, in order.

    A settlement turns a reservation into spend; a second one of the same hold changes nothing. A cost above
    what was reserved is booked as it is: the truth may pass a limit, and closes the budget.

    Args:
        connection: with a transaction that may write.
        settles: ends of holds.
        asks: holds to place.
        holder: the process that places them, so that its death can be told from its slowness.
        known: ids of budgets that are known to be there; those met are added. Valid once the transaction is.
    """
    ended = await _end(connection, {s.reservation_id: s.cost for s in reversed(settles)})
    await _open(connection, [ref for ask in asks for ref in ask.refs], known)
    ids = {key: known[key] for ask in asks for ref in ask.refs if (key := _key(ref)) in known}
    rows = await _lock(connection, {*ids.values(), *(i for _, _, budgets, _ in ended for i in budgets)})
    for cost, amount, budgets, state in ended:
        for row in (rows[i] for i in budgets):
            row.spent += cost
            if state == "held":
                row.reserved -= amount
            else:
                row.unsettled -= amount
    placed: list[dict[str, object]] = []
    outcomes: list[Outcome] = []
    for ask in asks:
        outcome = _decide(ask, [(ref, rows[ids[_key(ref)]]) for ref in ask.refs if _key(ref) in ids])
        outcomes.append(outcome)
        if isinstance(outcome, Reserved) and ask.hold is not None:
            budgets = [ids[_key(ref)] for ref in ask.refs if _key(ref) in ids]
            placed.append({**reservation_row(ask.hold, holder, budgets), "amount_nano": outcome.amount})
    await _store(connection, rows.values())
    if placed:
        await connection.execute(insert(ReservationRow), placed)
    return outcomes


def _decide(ask: ReservationRequest, budgets: Sequence[tuple[BudgetRef, _LockedBudget]]) -> Outcome:
    for ref, row in budgets:
        if ref.scope == "session" and row.owner != ref.owner:
            return SessionOwnedError(ref.name)
    for ref, row in budgets:
        _limit(ref, row)
    wanted = 0 if ask.hold is None else ask.hold.amount
    if not budgets:
        return Reserved(wanted, None)
    free = min(row.free for _, row in budgets)
    if ask.hold is None:
        return Reserved(0, free)
    hoped = min(row.hoped for _, row in budgets)
    # Cut to what is left of the budget, not to what others happen to have reserved at this moment.
    target = min(wanted, free if ask.final else hoped)
    if hoped < ask.least or (ask.final and free < ask.least):
        ref, row = min(budgets, key=lambda b: b[1].free)
        return BudgetExceededError(ref, row.limit, max(0, row.free))
    if free < target:
        return None
    for _, row in budgets:
        row.reserved += target
    return Reserved(target, free - target)


def _limit(ref: BudgetRef, row: _LockedBudget) -> None:
    if ref.limit is None:
        return
    if ref.scope != "session":
        row.limit = ref.limit  # the config's or the key's, whatever it was before
    elif ref.limit < row.asked:
        # A header may only lower it. One that repeats itself does not undo what an admin has raised since.
        row.asked = ref.limit
        row.limit = min(row.limit, ref.limit)


async def _end(
    connection: AsyncConnection, costs: Mapping[str, int]
) -> list[tuple[int, int, list[int], str]]:
    """Delete the reservations that are settled; return cost, amount, budgets and state of each."""
    if not costs:
        return []
    gone = await connection.execute(
        delete(ReservationRow)
        .where(ReservationRow.id.in_(sorted(costs)))
        .returning(
            ReservationRow.id, ReservationRow.amount_nano, ReservationRow.budget_ids, ReservationRow.state
        )
    )
    return [(costs[r.id], r.amount_nano, [int(i) for i in r.budget_ids], r.state) for r in gone]


def _key(ref: BudgetRef) -> Key:
    return ref.scope, ref.name, ref.window, ref.window_start


async def _open(connection: AsyncConnection, refs: Iterable[BudgetRef], known: dict[Key, int]) -> None:
    """Add the ids of budgets to those known, opened where they are not there and have a limit."""
    wanted = {key: ref for ref in refs if (key := _key(ref)) not in known}
    if not wanted:
        return
    known |= await _find(connection, wanted)
    missing = [wanted[k] for k in sorted(wanted) if k not in known and wanted[k].limit is not None]
    if missing:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        values = [
            {
                "scope": ref.scope, "name": ref.name, "window": ref.window, "window_start": ref.window_start,
                "limit_nano": ref.limit, "asked_nano": ref.limit, "owner": ref.owner,
                "spent_nano": 0, "reserved_nano": 0, "unsettled_nano": 0,
            }
            for ref in missing
        ]  # fmt: skip
        await connection.execute(dialect.insert(BudgetRow).on_conflict_do_nothing(), values)
        known |= await _find(connection, [_key(ref) for ref in missing])


async def _find(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, int]:
    columns = (BudgetRow.scope, BudgetRow.name, BudgetRow.window, BudgetRow.window_start)
    wanted = set(keys)
    # Each part of the key by itself, so that the unique index serves on both databases.
    parts = (column.in_(sorted({k[i] for k in wanted})) for i, column in enumerate(columns))
    rows = await connection.execute(select(BudgetRow.id, *columns).where(*parts))
    found: dict[Key, int] = {(r.scope, r.name, r.window, r.window_start): r.id for r in rows}
    return {key: id_ for key, id_ in found.items() if key in wanted}


async def _lock(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, _LockedBudget]:
    wanted = sorted(ids)
    if not wanted:
        return {}
    query = select(BudgetRow).where(BudgetRow.id.in_(wanted)).order_by(BudgetRow.id).with_for_update()
    return {
        r.id: _LockedBudget(
            r.id, r.owner, r.limit_nano, r.asked_nano, r.spent_nano, r.reserved_nano, r.unsettled_nano
        )
        for r in await connection.execute(query)
    }


async def _store(connection: AsyncConnection, rows: Iterable[_LockedBudget]) -> None:
    values = [
        {
            "budget_id": row.id, "limit_nano": row.limit, "asked_nano": row.asked, "spent_nano": row.spent,
            "reserved_nano": row.reserved, "unsettled_nano": row.unsettled,
        }
        for row in rows
    ]  # fmt: skip
    if values:
        table = cast(
            "Table", BudgetRow.__table__
        )  # of the core: the ORM's bulk update would want primary keys
        await connection.execute(update(table).where(table.c.id == bindparam("budget_id")), values)


def reservation_row(hold: Reservation, holder: str, budget_ids: Sequence[int]) -> dict[str, object]:
    """Return the row of a reservation."""
    return {
        "id": hold.id, "request_id": hold.request_id, "model": hold.model, "amount_nano": hold.amount,
        "state": "held", "holder": holder, "budget_ids": [str(i) for i in budget_ids],
        "created_at": hold.created_at, "expires_at": hold.expires_at,
    }  # fmt: skip


async def remaining(engine: AsyncEngine, refs: tuple[BudgetRef, ...]) -> int | None:
    """Return the least that any of the budgets leaves, in nano-USD; `None` without budgets."""
    left = []
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        for ref in refs:
            row: Any = (await connection.execute(select(BudgetRow).where(*_is(ref)))).one_or_none()
            if row is None:
                left += [] if ref.limit is None else [ref.limit]
                continue
            limit = row.limit_nano if ref.limit is None or ref.scope == "session" else ref.limit
            left.append(limit - row.spent_nano - row.reserved_nano - row.unsettled_nano)
    return min(left, default=None)


def _is(ref: BudgetRef) -> list[ColumnElement[bool]]:
    scope, name, window, start = _key(ref)
    return [
        BudgetRow.scope == scope, BudgetRow.name == name, BudgetRow.window == window, BudgetRow.window_start == start,
    ]  # fmt: skip


class BudgetView(msgspec.Struct, frozen=True):
    """A budget and what stands against it."""

    scope: str
    name: str
    window: str
    window_start: datetime
    limit: int
    spent: int
    reserved: int
    unsettled: int


async def list_budgets(engine: AsyncEngine) -> list[BudgetView]:
    """List all budgets that have been used."""
    query = select(BudgetRow.__table__).order_by(BudgetRow.scope, BudgetRow.name, BudgetRow.window_start)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [_row(BudgetView, r) for r in await connection.execute(query)]


async def set_session_budget(engine: AsyncEngine, name: str, limit: int) -> bool:
    """Set a session's limit, up or down; False when the session has no budget."""
    query = update(BudgetRow).where(BudgetRow.scope == "session", BudgetRow.name == name)
    async with engine.begin() as connection:
        return (await connection.execute(query.values(limit_nano=limit))).rowcount == 1
