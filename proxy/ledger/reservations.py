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
    `key`: the id of the key that pays, or "". `lease`: the reservation is a lease, which gets a small part of what is
    left, or nothing if that is less than `least`. Leases come after all other requests of a transaction.
    """

    refs: tuple[BudgetRef, ...]
    reservation: Reservation | None = None
    least: int = 0
    may_wait: bool = False
    key: str = ""
    lease: bool = False


@dataclass(frozen=True, slots=True)
class Reserved:
    """The reserved amount, and the smallest amount that any budget leaves after it. `None` without a budget."""

    amount: int
    remaining: int | None


ReservationOutcome = Reserved | BudgetExceededError | None
"""`None`: not decided yet. The reservation fits once others release theirs."""


LEASED_PART = 8
"""A lease gets at most this part of what its budgets leave: an eighth."""


@dataclass(frozen=True, slots=True)
class Released:
    """A reservation that has ended: its call is settled, or it is a lease that was given back."""

    cost: int
    amount: int
    budget_ids: tuple[int, ...]
    state: str


async def settle_and_reserve(
    connection: AsyncConnection,
    *,
    settlements: Sequence[Settlement],
    released: Sequence[Released] = (),
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
        released: reservations that this transaction has ended already.
        requests: the reservations to decide.
        process_id: the process that reserves. If it dies, its reservations are found by this id.
        budget_ids: ids of budgets that exist. New ones are added, and they are valid once the transaction commits.
        held: what each key has reserved. New reservations are added.
    """
    settled = [*released, *await _delete_settled(connection, costs_of(settlements))]
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
    wanted: set[int] = set()  # budgets whose money somebody waits for
    for request, pairs in zip(requests, requested, strict=True):
        known = [(ref, budgets[id_]) for ref, id_ in pairs]
        outcome: ReservationOutcome
        if request.lease:
            # A budget that is not known yet may be opened by another process, and would not count these draws.
            possible = len(known) == len(request.refs) and wanted.isdisjoint(id_ for _, id_ in pairs)
            outcome = _lease(request, known, held[request.key], possible=possible)
        else:
            outcome = _decide(request, known, held[request.key])
        outcomes.append(outcome)
        if not isinstance(outcome, Reserved):
            wanted |= {id_ for _, id_ in pairs}
        elif request.reservation is not None and (outcome.amount or not request.lease):
            if request.key:
                held[request.key] += outcome.amount
            row = reservation_row(request.reservation, process_id, [id_ for _, id_ in pairs])
            rows.append({**row, "amount_nano": outcome.amount})
    await store_budgets(connection, budgets.values())
    if rows:
        await connection.execute(insert(ReservationRow), rows)
    return outcomes


def costs_of(settlements: Sequence[Settlement]) -> dict[str, int]:
    """Return the cost of each settled reservation by its id. The first settlement counts."""
    return {s.reservation_id: s.cost for s in reversed(settlements)}


async def _delete_settled(connection: AsyncConnection, costs: Mapping[str, int]) -> list[Released]:
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
        Released(costs[row.id], row.amount_nano, tuple(map(int, row.budget_ids)), row.state)
        for row in deleted
    ]


def _settle(settled: Released, budgets: Sequence[LockedBudget]) -> None:
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


def _lease(
    request: ReservationRequest,
    budgets: Sequence[tuple[BudgetRef, LockedBudget]],
    held: int,
    *,
    possible: bool,
) -> Reserved:
    """Reserve a lease. Its amount is 0 if it gets none."""
    for ref, budget in budgets:
        budget.apply_limit(ref)
    if not budgets:
        return Reserved(0, None)
    available = min(budget.available for _, budget in budgets)
    wanted = 0 if request.reservation is None else request.reservation.amount
    amount = min(wanted, min(_share(ref, budget, held) for ref, budget in budgets) // LEASED_PART)
    if not possible or amount < max(1, request.least):
        return Reserved(0, available)
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
