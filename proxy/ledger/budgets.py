"""Budgets: one row a window, with its limit and the amounts that count against it.

Transactions lock budgets in the order of their ids, after all rows that they insert. So no two transactions wait for
each other in a circle.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import msgspec
from sqlalchemy import ColumnElement, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import bindparam

from proxy.ledger.tables import BudgetRow
from proxy.ledger.views import view
from proxy.ledger.wide_sums import MOST_SUM
from proxy.records import BudgetRef, Window, storable_budget


@dataclass(eq=False)
class BudgetExceededError(Exception):
    """A reservation does not fit, and nothing was reserved. Amounts in nano-USD."""

    ref: BudgetRef
    limit: int
    available: int


@dataclass(eq=False)
class SeveralSessionsError(Exception):
    """Several keys have a session of this name."""

    owners: tuple[str, ...]


BudgetKey = tuple[str, str, str, str, datetime]
"""Scope, owner, name, window and start of the window: these identify a budget."""


@dataclass(slots=True, kw_only=True)
class LockedBudget:
    """A budget that this transaction has locked. Change it here, then call `store_budgets`."""

    id: int
    limit: int
    lowest_header: int
    spent: int
    reserved: int
    unsettled: int

    @property
    def available(self) -> int:
        """The amount that can be reserved now."""
        return self.limit - self.spent - self.reserved - self.unsettled

    @property
    def available_later(self) -> int:
        """The amount that could be reserved if all open reservations were released."""
        return self.limit - self.spent - self.unsettled

    def apply_limit(self, ref: BudgetRef) -> None:
        """Adopt the limit that a request gives. The header of a session may only lower it.

        A header that repeats an earlier limit changes nothing, so it does not undo a raise by an administrator.
        """
        if ref.limit is None:
            return
        if ref.scope != "session":
            self.limit = ref.limit
        elif ref.limit < self.lowest_header:
            self.lowest_header = ref.limit
            self.limit = min(self.limit, ref.limit)


def budget_key(ref: BudgetRef) -> BudgetKey:
    """Return the key of a budget."""
    return ref.scope, ref.owner, ref.name, ref.window, ref.window_start


async def open_budgets(
    connection: AsyncConnection, refs: Iterable[BudgetRef], budget_ids: dict[BudgetKey, int]
) -> None:
    """Add the ids of budgets to `budget_ids`. Insert a row for each new budget that has a limit."""
    wanted = {key: ref for ref in refs if (key := budget_key(ref)) not in budget_ids}
    if not wanted:
        return
    budget_ids |= await _find(connection, wanted)
    missing = [wanted[k] for k in sorted(wanted) if k not in budget_ids and wanted[k].limit is not None]
    if missing:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        values = [
            {
                "scope": ref.scope, "owner": ref.owner, "name": ref.name,
                "window": ref.window, "window_start": ref.window_start,
                "limit_nano": ref.limit, "lowest_header_nano": ref.limit,
                "spent_nano": 0, "reserved_nano": 0, "unsettled_nano": 0,
            }
            for ref in missing
        ]  # fmt: skip
        await connection.execute(dialect.insert(BudgetRow).on_conflict_do_nothing(), values)
        budget_ids |= await _find(connection, [budget_key(ref) for ref in missing])


async def _find(connection: AsyncConnection, keys: Iterable[BudgetKey]) -> dict[BudgetKey, int]:
    columns = (BudgetRow.scope, BudgetRow.owner, BudgetRow.name, BudgetRow.window, BudgetRow.window_start)
    wanted = set(keys)
    # Each part of the key has a condition of its own, so that both databases use the unique index.
    parts = (column.in_(sorted({k[i] for k in wanted})) for i, column in enumerate(columns))
    rows = await connection.execute(select(BudgetRow.id, *columns).where(*parts))
    found: dict[BudgetKey, int] = {(r.scope, r.owner, r.name, r.window, r.window_start): r.id for r in rows}
    return {key: id_ for key, id_ in found.items() if key in wanted}


async def lock_budgets(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, LockedBudget]:
    """Lock budgets in the order of their ids, and return them by id."""
    wanted = sorted(ids)
    if not wanted:
        return {}
    query = select(BudgetRow).where(BudgetRow.id.in_(wanted)).order_by(BudgetRow.id).with_for_update()
    return {
        row.id: LockedBudget(
            id=row.id,
            limit=row.limit_nano,
            lowest_header=row.lowest_header_nano,
            spent=row.spent_nano,
            reserved=row.reserved_nano,
            unsettled=row.unsettled_nano,
        )
        for row in await connection.execute(query)
    }


async def store_budgets(connection: AsyncConnection, budgets: Iterable[LockedBudget]) -> None:
    """Write locked budgets back."""
    values = [
        {
            "budget_id": budget.id, "limit_nano": budget.limit, "lowest_header_nano": budget.lowest_header,
            "spent_nano": min(budget.spent, MOST_SUM), "reserved_nano": budget.reserved,
            "unsettled_nano": min(budget.unsettled, MOST_SUM),
        }
        for budget in budgets
    ]  # fmt: skip
    if values:
        table = cast("Table", BudgetRow.__table__)  # the ORM's bulk update would want primary keys
        await connection.execute(update(table).where(table.c.id == bindparam("budget_id")), values)


async def remaining(engine: AsyncEngine, refs: Sequence[BudgetRef]) -> int | None:
    """Return the smallest amount that any of the budgets leaves, in nano-USD. Return `None` without budgets."""
    left = []
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        for ref in map(storable_budget, refs):
            row: Any = (await connection.execute(select(BudgetRow).where(*_is(ref)))).one_or_none()
            if row is None:
                left += [] if ref.limit is None else [ref.limit]
                continue
            limit = row.limit_nano if ref.limit is None or ref.scope == "session" else ref.limit
            left.append(limit - row.spent_nano - row.reserved_nano - row.unsettled_nano)
    return min(left, default=None)


async def used_amounts(engine: AsyncEngine, refs: Sequence[BudgetRef]) -> list[int]:
    """Return what is spent, reserved or unsettled in each of the budgets, in nano-USD."""
    keys = [budget_key(storable_budget(ref)) for ref in refs]
    if not keys:
        return []
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        ids = await _find(connection, keys)
        rows = await connection.execute(select(BudgetRow).where(BudgetRow.id.in_(ids.values())))
        used = {row.id: row.spent_nano + row.reserved_nano + row.unsettled_nano for row in rows}
    return [used.get(ids.get(key, 0), 0) for key in keys]


def _is(ref: BudgetRef) -> list[ColumnElement[bool]]:
    scope, owner, name, window, start = budget_key(ref)
    return [
        BudgetRow.scope == scope, BudgetRow.owner == owner, BudgetRow.name == name,
        BudgetRow.window == window, BudgetRow.window_start == start,
    ]  # fmt: skip


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and the amounts that count against it. `owner` is the key of a session, "" without a key."""

    scope: str
    owner: str
    name: str
    window: Window
    window_start: datetime
    limit: int
    spent: int
    reserved: int
    unsettled: int


async def list_budgets(engine: AsyncEngine) -> list[BudgetView]:
    """List all budgets that have been used."""
    order = BudgetRow.scope, BudgetRow.name, BudgetRow.owner, BudgetRow.window_start
    query = select(BudgetRow.__table__).order_by(*order)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [
            view(
                BudgetView,
                row,
                limit=row.limit_nano,
                spent=row.spent_nano,
                reserved=row.reserved_nano,
                unsettled=row.unsettled_nano,
            )
            for row in await connection.execute(query)
        ]


async def set_session_budget(engine: AsyncEngine, name: str, limit: int, owner: str | None = None) -> bool:
    """Set a session's limit, up or down. Return False if the session has no budget.

    Args:
        engine: the database.
        name: the session.
        limit: the limit in nano-USD.
        owner: the id of the session's key, "" for a session without a key. `None`: the only owner of the name.

    Raises:
        SeveralSessionsError: no owner is given, and several keys have a session of this name.
    """
    named = BudgetRow.scope == "session", BudgetRow.name == name
    async with engine.begin() as connection:
        owners = sorted(await connection.scalars(select(BudgetRow.owner).where(*named)))
        if owner is None and len(owners) > 1:
            raise SeveralSessionsError(tuple(owners))
        chosen = owners[0] if owner is None and owners else owner
        query = update(BudgetRow).where(*named, BudgetRow.owner == chosen)
        return (await connection.execute(query.values(limit_nano=limit))).rowcount == 1
