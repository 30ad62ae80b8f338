"""Reserving money before a paid call goes out, and settling it afterwards.

`spent + reserved + unsettled <= limit` at every instant, for every budget, with any number of processes on one
database. Only a bill above its reservation can break this: it is booked as it is, and it closes the budget.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.budgets import (
    BudgetExceededError,
    BudgetKey,
    LockedBudget,
    budget_key,
    lock_budgets,
    open_budgets,
    store_budgets,
)
from proxy.ledger.tables import ReservationRow
from proxy.records import BudgetRef, Reservation, Settlement


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A request to reserve `reservation.amount`, but at least `least`, in all of some budgets.

    Without a reservation it only opens the budgets. `may_wait`: if the money is reserved by others, decide later.
    `key`: the id of the key that pays, or "".
    """

    refs: tuple[BudgetRef, ...]
    reservation: Reservation | None = None
    least: int = 0
    may_wait: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Reserved:
    """The reserved amount, and the smallest amount that any budget leaves after it. `None` without a budget."""

    amount: int
    remaining: int | None


ReservationOutcome = Reserved | BudgetExceededError | None
"""`None`: not decided yet. The reservation fits once others release theirs."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """A reservation that has been deleted because its call is settled."""

    cost: int
    amount: int
    budget_ids: tuple[int, ...]
    state: str


async def settle_and_reserve(
    connection: AsyncConnection,
    *,
    settlements: Sequence[Settlement],
    requests: Sequence[ReservationRequest],
    process_id: str,
    budget_ids: dict[BudgetKey, int],
    held: Counter[str],
) -> list[ReservationOutcome]:
    """Settle, then decide the requests, in the transaction of `connection`. Return one outcome a request, in order.

    A settlement turns a reservation into spend. A second settlement of the same reservation changes nothing.

    Args:
        connection: with a transaction that may write.
        settlements: the ends of reservations.
        requests: the reservations to decide.
        process_id: the process that reserves. If it dies, its reservations are found by this id.
        budget_ids: ids of budgets that exist. New ones are added, and they are valid once the transaction commits.
        held: what each key has reserved. New reservations are added.
    """
    settled = await _delete_settled(connection, {s.reservation_id: s.cost for s in reversed(settlements)})
    await open_budgets(connection, [ref for request in requests for ref in request.refs], budget_ids)
    requested = [
        [(ref, budget_ids[key]) for ref in request.refs if (key := budget_key(ref)) in budget_ids]
        for request in requests
    ]
    ids = {id_ for pairs in requested for _, id_ in pairs} | {id_ for s in settled for id_ in s.budget_ids}
    budgets = await lock_budgets(connection, ids)
    for one in settled:
        # Somebody may have deleted a budget. That must not block the settlements of all others.
        _settle(one, [budgets[id_] for id_ in one.budget_ids if id_ in budgets])
    rows: list[dict[str, object]] = []
    outcomes: list[ReservationOutcome] = []
    for request, pairs in zip(requests, requested, strict=True):
        outcome = _decide(request, [(ref, budgets[id_]) for ref, id_ in pairs], held[request.key])
        outcomes.append(outcome)
        if isinstance(outcome, Reserved) and request.reservation is not None:
            if request.key:
                held[request.key] += outcome.amount
            row = reservation_row(request.reservation, process_id, [id_ for _, id_ in pairs])
            rows.append({**row, "amount_nano": outcome.amount})
    await store_budgets(connection, budgets.values())
    if rows:
        await connection.execute(insert(ReservationRow), rows)
    return outcomes


async def _delete_settled(connection: AsyncConnection, costs: Mapping[str, int]) -> list[_Settled]:
    if not costs:
        return []
    deleted = await connection.execute(
        delete(ReservationRow)
        .where(ReservationRow.id.in_(sorted(costs)))
        .returning(
            ReservationRow.id, ReservationRow.amount_nano, ReservationRow.budget_ids, ReservationRow.state
        )
    )
    return [
        _Settled(costs[row.id], row.amount_nano, tuple(map(int, row.budget_ids)), row.state)
        for row in deleted
    ]


def _settle(settled: _Settled, budgets: Sequence[LockedBudget]) -> None:
    for budget in budgets:
        budget.spent += settled.cost
        if settled.state == "reserved":
            budget.reserved -= settled.amount
        else:
            budget.unsettled -= settled.amount


def _decide(
    request: ReservationRequest, budgets: Sequence[tuple[BudgetRef, LockedBudget]], held: int
) -> ReservationOutcome:
    for ref, budget in budgets:
        budget.apply_limit(ref)
    wanted = 0 if request.reservation is None else request.reservation.amount
    if not budgets:
        return Reserved(wanted, None)
    available = min(budget.available for _, budget in budgets)
    if request.reservation is None:
        return Reserved(0, available)
    later = min(budget.available_later for _, budget in budgets)
    # While it may wait, reduce the amount only to the remaining budget, not by the reservations of others.
    amount = min(wanted, later if request.may_wait else available)
    share = max(request.least, min(_share(ref, budget, held) for ref, budget in budgets))
    if later < request.least or (not request.may_wait and available < request.least):
        ref, budget = min(budgets, key=lambda pair: pair[1].available)
        return BudgetExceededError(ref, budget.limit, max(0, budget.available))
    if available < amount or (request.may_wait and 2 * share + 1 < amount):
        return None
    amount = min(amount, share)
    for _, budget in budgets:
        budget.reserved += amount
    return Reserved(amount, available - amount)


def _share(ref: BudgetRef, budget: LockedBudget, held: int) -> int:
    """Return the most that one call may reserve now, so that it locks no other key out of the global budget.

    A call gets half of what is free at most. All calls of a key together hold no more than they leave free.
    """
    return max(0, budget.available - held) // 2 if ref.scope == "global" else budget.available


def reservation_row(
    reservation: Reservation, process_id: str, budget_ids: Sequence[int]
) -> dict[str, object]:
    """Return the row of a reservation."""
    return {
        "id": reservation.id, "request_id": reservation.request_id, "model": reservation.model,
        "amount_nano": reservation.amount, "state": "reserved", "process_id": process_id,
        "budget_ids": [str(i) for i in budget_ids], "created_at": reservation.created_at,
        "expires_at": reservation.expires_at,
    }  # fmt: skip
