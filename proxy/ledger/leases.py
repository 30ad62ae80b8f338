"""Leases: money that this process has reserved ahead, so that a request need not wait for the database.

A lease is a reservation in a set of budgets, as that of a call is. Calls draw from it in memory. Each draw is a line in the
journal before its call goes out, so it survives the death of the process. What a lease has left stays reserved in the
database as a whole, so it survives a power loss too.

A payer gets leases while its requests repeat, and while its budgets have ample room. A lease that has no money for a call
now is no reason to wait: the call reserves in the database, as all calls do that have no lease.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from proxy.ids import new_id
from proxy.ledger.budgets import budget_key
from proxy.ledger.demand import Demand
from proxy.ledger.holdings import Holdings
from proxy.ledger.journal import JournalFullError
from proxy.ledger.lease_rows import PREFIX, SEVERAL
from proxy.ledger.reservations import ReservationRequest, Reserved
from proxy.records import MOST, BudgetRef, Draw, LeaseEnd, Record, Reservation

SLICE_S = 2.0
"""A lease is for the demand of so many seconds."""
AHEAD_S = 1.0
"""The next one is asked for while there is money for so many seconds."""
FEWEST_CALLS = 4
"""A lease is for this many of the largest recent calls at least. If the budgets leave less, there is none."""
IDLE_S = 1.0
"""A lease without a draw for this time is given back."""
LIFE_S = 60.0
"""Nothing is drawn from an older lease."""
LEAST_WAIT_S = 2 * IDLE_S
"""Only payers that may wait longer for money use leases. So an idle lease is back before a call is refused for it."""


class Submit(Protocol):
    """`Writer.submit` or `Writer.submit_end`."""

    def __call__(self, *records: Record) -> None:
        """Append records to the journal."""


@dataclass(slots=True, kw_only=True)
class _Lease:
    """A lease in memory. The clocks are the wall's and a monotonic one, which may not agree."""

    id: str
    free: int
    made_at: datetime
    expires_at: datetime
    until: float
    used: float

    def serves(self, reservation: Reservation, now: float) -> bool:
        """Whether a reservation may draw its amount. None may outlive the lease, whatever the clocks have done."""
        return (
            0 < reservation.amount <= self.free
            and now < self.until
            and self.made_at <= reservation.created_at
            and reservation.expires_at <= self.expires_at
        )


@dataclass(slots=True)
class _Payer:
    """A key and a set of budgets: its demand, its leases, and what its budgets left at the last look."""

    key: str
    refs: tuple[BudgetRef, ...]
    last: Reservation
    demand: Demand
    leases: list[_Lease] = field(default_factory=list)
    left: int = 0
    fresh: bool = True  # whether a reservation came since the last request for a lease

    @property
    def free(self) -> int:
        return sum(lease.free for lease in self.leases)


class Leases:
    """The leases of this process.

    Args:
        submit: appends to the journal, or raises `JournalFullError`.
        submit_end: appends what must not be lost.
        holdings: what each key has reserved.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, submit: Submit, submit_end: Submit, holdings: Holdings, clock: Callable[[], float]
    ) -> None:
        self._submit = submit
        self._submit_end = submit_end
        self._holdings = holdings
        self._clock = clock
        self._payers: dict[tuple[str, tuple[BudgetRef, ...]], _Payer] = {}
        self._closed = False

    @property
    def held(self) -> bool:
        """Whether there is any lease."""
        return any(payer.leases for payer in self._payers.values())

    def draw(self, reservation: Reservation, refs: tuple[BudgetRef, ...], key: str) -> Reserved | None:
        """Reserve an amount from a lease. Return `None` if no lease has it now, and nothing is reserved."""
        now = self._clock()
        payer = self._payers.get((key, refs))
        if payer is None:
            payer = self._payers[key, refs] = _Payer(key, refs, reservation, Demand(now))
        payer.last, payer.fresh = reservation, True
        payer.demand.add(reservation.amount, now)
        lease = next((one for one in payer.leases if one.serves(reservation, now)), None)
        if lease is None:
            return None
        left = lease.free - reservation.amount
        try:
            self._submit(Draw(reservation=reservation, lease=lease.id, left=left))
        except JournalFullError:
            return None
        lease.free, lease.used = left, now
        self._holdings.draw(lease.id, reservation.id, reservation.amount)
        return Reserved(reservation.amount, payer.left + payer.free)

    def free(self, refs: tuple[BudgetRef, ...], key: str) -> int:
        """Return what the leases of a payer have left."""
        payer = self._payers.get((key, refs))
        return 0 if payer is None else payer.free

    def requests(self) -> list[ReservationRequest]:
        """Return the leases to ask for now: for each payer one, before it needs it.

        A request for an amount of 0 only looks how much the budgets leave.
        """
        now = self._clock()
        self._tidy(now)
        return [] if self._closed else [r for p in self._payers.values() if (r := _request(p, now))]

    def decided(self, request: ReservationRequest, outcome: object) -> None:
        """Note the outcome of a request of `requests`."""
        payer = self._payers.get((request.key, request.refs))
        if not isinstance(outcome, Reserved) or request.reservation is None:
            return
        if payer is not None and outcome.remaining is not None:
            payer.left = outcome.remaining
        if not outcome.amount:
            return
        if payer is None or self._closed:
            self.forget([request])
            return
        asked, now = request.reservation, self._clock()
        self._holdings.add(asked.id, request.key, outcome.amount)
        lease = _Lease(
            id=asked.id,
            free=outcome.amount,
            made_at=asked.created_at,
            expires_at=asked.expires_at,
            until=now + LIFE_S,
            used=now,
        )
        payer.leases.append(lease)

    def forget(self, requests: Iterable[ReservationRequest]) -> None:
        """Give back leases of which nobody knows whether they were made: the answer to their transaction was lost."""
        ends = [LeaseEnd(r.reservation.id) for r in requests if r.reservation and r.reservation.amount]
        if ends:
            self._submit_end(*ends)

    def overlap(self, refs: Iterable[BudgetRef]) -> bool:
        """Whether a lease holds money of any of these budgets."""
        return any(payer.leases for payer in self._sharing(refs))

    def give_back(self, refs: Iterable[BudgetRef]) -> None:
        """Give back all leases that hold money of any of these budgets."""
        for payer in self._sharing(refs):
            self._end(payer, payer.leases)

    def close(self) -> None:
        """Give back all leases, and ask for no more."""
        self._closed = True
        for payer in self._payers.values():
            self._end(payer, payer.leases)

    def _sharing(self, refs: Iterable[BudgetRef]) -> list[_Payer]:
        wanted = {budget_key(ref) for ref in refs}
        return [p for p in self._payers.values() if any(budget_key(ref) in wanted for ref in p.refs)]

    def _tidy(self, now: float) -> None:
        """Give back leases that are idle, old or nearly used up, and forget payers without demand."""
        for payer in list(self._payers.values()):
            scrap = [p for p in payer.leases[:-1] if p.free < payer.demand.largest()]
            idle = [p for p in payer.leases if now - p.used >= IDLE_S or now >= p.until]
            if scrap or idle:
                self._end(payer, [p for p in payer.leases if p in scrap or p in idle])
            elif payer.leases and not payer.leases[0].free:
                payer.leases = [p for p in payer.leases if p.free]
            if not payer.leases and now - payer.demand.at >= 2 * IDLE_S:
                del self._payers[payer.key, payer.refs]

    def _end(self, payer: _Payer, leases: Iterable[_Lease]) -> None:
        ended = list(leases)
        if ended:
            self._submit_end(*(LeaseEnd(lease.id) for lease in ended))
            payer.leases = [lease for lease in payer.leases if lease not in ended]


def _request(payer: _Payer, now: float) -> ReservationRequest | None:
    if not payer.fresh:
        return None
    payer.fresh = False
    demand, last = payer.demand, payer.last
    least = FEWEST_CALLS * demand.largest()
    wanted = 0
    if demand.repeats(now) and payer.free < max(demand.amount(AHEAD_S, now), demand.largest()):
        wanted = min(MOST, max(demand.amount(SLICE_S, now), least))
    if not wanted and not payer.leases:
        return None
    lease = Reservation(
        id=new_id(PREFIX),
        request_id=SEVERAL,
        model=SEVERAL,
        amount=wanted,
        created_at=last.created_at,
        expires_at=last.expires_at + timedelta(seconds=LIFE_S),
    )
    return ReservationRequest(payer.refs, lease, least, key=payer.key, lease=True)
