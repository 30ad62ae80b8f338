"""Group commit: one transaction writes the journal's records and decides the waiting requests.

One task a process writes. A transaction takes everything that has come since the last one. Many concurrent requests
share one commit, and a single request waits for no timer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy import metrics
from proxy.ledger.budgets import BudgetKey
from proxy.ledger.database import described
from proxy.ledger.holdings import Holdings
from proxy.ledger.journal import Journal, JournalFullError
from proxy.ledger.leases import IDLE_S, LEAST_WAIT_S, Leases
from proxy.ledger.rate_limits import AdmissionOutcome, AdmissionRequest
from proxy.ledger.reservations import ReservationOutcome, ReservationRequest, Reserved
from proxy.ledger.rows import about_the_data, write, write_carefully
from proxy.records import BudgetRef, Record, Reservation, Settlement, storable, storable_budget

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often waiting reservations look for money that other processes released."""
LINGER_S = 0.05
"""How long records, which are safe in the journal, may wait for others to share their transaction."""
LINGER_BYTES = 2**18
"""Records wait no longer once the journal has more bytes than this."""
LONGEST_PAUSE_S = 5.0
MOST_BUDGET_IDS = 100_000
"""How many ids of budgets are kept in memory."""


class LedgerUnavailableError(Exception):
    """The database cannot be written now, and nothing is reserved."""


_Outcome = ReservationOutcome | AdmissionOutcome | LedgerUnavailableError


@dataclass(eq=False, slots=True)
class _Waiter:
    request: ReservationRequest | AdmissionRequest
    deadline: float
    outcome: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Writer:
    """Writes the journal's records in their order until the database accepts them, and decides reservations."""

    def __init__(
        self,
        engine: AsyncEngine,
        journal: Journal,
        zone: ZoneInfo,
        *,
        drop_when_full: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._engine = engine
        self._drop = drop_when_full
        self._journal = journal
        self._zone = zone
        self._waiters: list[_Waiter] = []
        self._unkept: list[Record] = []
        self._budget_ids: dict[BudgetKey, int] = {}
        self._holdings = Holdings()
        self._leases = Leases(self.submit, self.submit_end, self._holdings, clock)
        self._left: dict[tuple[BudgetRef, ...], int] = {}
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()  # a caller waits for the records that were submitted
        self._idle = asyncio.Event()
        self._idle.set()
        self.written = 0
        self.dropped = 0
        self.last_error: str | None = None
        self._task = asyncio.create_task(self._run())

    @property
    def backlog_bytes(self) -> int:
        """Bytes of records that are not in the database yet."""
        return self._journal.backlog_bytes

    @property
    def full(self) -> bool:
        """Whether the journal accepts no more: the database has long been unavailable, or the disk is full."""
        return self._journal.full or bool(self._unkept)

    def submit(self, *records: Record) -> None:
        """Append records to the journal, so that they survive the death of this process. Never wait for the database.

        Raises:
            JournalFullError: they could not be appended.
        """
        self._holdings.settle(records)
        self._journal.append(records)
        self._idle.clear()
        self._wake.set()

    def submit_end(self, *records: Record) -> None:
        """Append records that must not be lost. If the journal is full, keep them in memory and retry.

        With `drop_when_full` they are dropped instead, and counted in `dropped`.
        """
        try:
            self.submit(*self._unkept, *records)
            self._unkept.clear()
        except JournalFullError as e:
            if self._drop:
                self.dropped += len(records)
                metrics.LEDGER_DROPPED.inc(len(records))
                log.critical("%s; %d records dropped so far", e, self.dropped)
            else:
                self._unkept += records
                log.critical("%s; %d records wait in memory", e, len(self._unkept))

    async def reserve(
        self,
        reservation: Reservation,
        refs: tuple[BudgetRef, ...],
        *,
        least: int,
        wait_s: float,
        key: str = "",
    ) -> Reserved:
        """Reserve `reservation.amount` in all budgets, or less, but never less than `least`.

        It is less if the budgets leave less, or if it exceeds the fair share of a call, or of the key with the id `key`, in
        a budget that others share. The reservation is on disk when this returns: in the database, or in the journal if a
        lease in the database has the money. If other requests have reserved the money, wait for up to `wait_s` seconds
        for them to release it.

        Raises:
            BudgetExceededError: it does not fit, and nothing is reserved.
            LedgerUnavailableError: the database does not answer.
        """
        request = ReservationRequest(_storable(refs), storable(reservation), least, may_wait=True, key=key)
        left = 0
        try:
            reserved = self._draw(request, wait_s) or await self._reserve(request, wait_s)
            left = reserved.remaining or 0
        except (asyncio.CancelledError, LedgerUnavailableError):
            # It may be in the database, or may still be written. The caller does not know and will not settle it.
            self.submit_end(Settlement(reservation.id, 0))
            raise
        finally:
            if len(self._left) > MOST_BUDGET_IDS:
                self._left.clear()
            self._left[refs] = left
        return reserved

    def last_left(self, refs: tuple[BudgetRef, ...]) -> int | None:
        """Return what these budgets left after the last reservation of this process. It may be less by now, or more.

        `None`: this process has not reserved anything in them.
        """
        return self._left.get(refs)

    async def open_budgets(self, refs: tuple[BudgetRef, ...]) -> Reserved:
        """Open budgets, so that their limits apply before anything is spent. Raise the errors of `reserve`."""
        reserved: Reserved = await self._decide(ReservationRequest(_storable(refs)), 0.0)
        return reserved

    async def admit(self, request: AdmissionRequest) -> None:
        """Count a request against the rate limits of its key.

        Raises:
            RateLimitExceededError: the key has reached its limit for this minute.
            LedgerUnavailableError: the database does not answer.
        """
        await self._decide(request, 0.0)

    async def flush(self) -> None:
        """Wait until all submitted records are in the database."""
        self._hurry.set()
        await self._idle.wait()

    async def close(self, timeout_s: float) -> None:
        """Write the remaining records for at most `timeout_s` seconds, and stop. The journal keeps the rest."""
        self._leases.close()
        self.submit_end()
        try:
            async with asyncio.timeout(timeout_s):
                await self.flush()
        except TimeoutError:
            log.critical("%d bytes of the ledger stay in %s", self.backlog_bytes, self._journal.folder)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._journal.close()

    def _draw(self, request: ReservationRequest, wait_s: float) -> Reserved | None:
        if request.reservation is None or wait_s < LEAST_WAIT_S:
            return None
        return self._leases.draw(request.reservation, request.refs, request.key)

    async def _reserve(self, request: ReservationRequest, wait_s: float) -> Reserved:
        reserved: Reserved = await self._decide(request, wait_s)
        if reserved.remaining is None:
            return reserved
        return replace(reserved, remaining=reserved.remaining + self._leases.free(request.refs, request.key))

    async def _decide(self, request: ReservationRequest | AdmissionRequest, wait_s: float) -> Any:
        waiter = _Waiter(request, monotonic() + wait_s)
        self._waiters.append(waiter)
        self._hurry.set()
        self._wake.set()
        return await waiter.outcome

    async def _run(self) -> None:
        pause = 0.1
        while True:
            if self._journal.backlog_bytes == 0 and not self._wake.is_set():
                self._idle.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._longest_sleep()):
                        await self._wake.wait()
            await self._linger()
            self._wake.clear()
            try:
                await self._commit()
                pause, self.last_error = 0.1, None
                if self._unkept and not self._journal.full:
                    self.submit_end()  # nobody else may come: while records wait in memory, requests are refused
            except Exception as e:  # noqa: BLE001  (this task must survive every error of a driver)
                self.last_error = type(e).__name__
                log.warning("the ledger cannot be written (%s)", described(e))
                self._budget_ids.clear()  # the failed transaction may have opened some of them
                self._refuse_waiters()
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                self._wake.set()

    def _longest_sleep(self) -> float | None:
        if self._waiters:
            return POLL_S
        return IDLE_S / 2 if self._leases.held else None

    async def _linger(self) -> None:
        """Let records gather while no caller waits: a transaction costs the same for one as for a hundred."""
        if self._waiters or self._journal.backlog_bytes > LINGER_BYTES:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._hurry.wait()
        self._hurry.clear()

    async def _commit(self) -> None:
        self._waiters = [w for w in self._waiters if not w.outcome.done()]
        leases = self._leases.requests()
        records, end = self._journal.read() if self._journal.backlog_bytes else ([], 0)
        # In the order in which `write` returns outcomes. A new list: more may come during the transaction.
        reserving = [(w, w.request) for w in self._waiters if isinstance(w.request, ReservationRequest)]
        admitting = [(w, w.request) for w in self._waiters if isinstance(w.request, AdmissionRequest)]
        calls = [self._at(w, request, monotonic()) for w, request in reserving]
        requests: list[ReservationRequest | AdmissionRequest] = [*calls, *leases, *(r for _, r in admitting)]
        try:
            outcomes = await self._write(records, requests) if records or requests else []
        except BaseException:
            self._leases.forget(leases)
            raise
        if len(self._budget_ids) > MOST_BUDGET_IDS:
            self._budget_ids.clear()
        if end:
            self._journal.drop(end)
        self.written += len(records)
        metrics.LEDGER_WRITTEN.inc(len(records))
        first, last = len(calls), len(calls) + len(leases)
        for lease, leased in zip(leases, outcomes[first:last], strict=True):
            self._leases.decided(lease, leased)
        self._answer([w for w, _ in (*reserving, *admitting)], [*outcomes[:first], *outcomes[last:]])

    def _answer(self, waiters: Sequence[_Waiter], outcomes: Sequence[_Outcome]) -> None:
        for waiter, outcome in zip(waiters, outcomes, strict=True):
            if outcome is None and isinstance(waiter.request, ReservationRequest):
                self._leases.give_back(waiter.request.refs)
            if outcome is None or waiter.outcome.done():
                continue
            if isinstance(outcome, Exception):
                waiter.outcome.set_exception(outcome)
            else:
                self._note(waiter.request, outcome)
                waiter.outcome.set_result(outcome)

    async def _write(
        self, records: Sequence[Record], requests: Sequence[ReservationRequest | AdmissionRequest]
    ) -> list[_Outcome]:
        try:
            return [*await self._transact(records, requests, self._budget_ids)]
        except Exception as e:
            if not about_the_data(e):
                raise
        self._budget_ids.clear()
        await write_carefully(self._engine, records, self._journal, self._zone)
        return [await self._decide_alone(request) for request in requests]

    async def _decide_alone(self, request: ReservationRequest | AdmissionRequest) -> _Outcome:
        """Decide one request in its own transaction, so that invalid data in it affects no other."""
        try:
            (outcome,) = await self._transact([], [request], {})
        except Exception as e:
            if not about_the_data(e):
                raise
            log.exception("a reservation or a rate limit cannot be written")
            return LedgerUnavailableError(type(e).__name__)
        return outcome

    async def _transact(
        self,
        records: Sequence[Record],
        requests: Sequence[ReservationRequest | AdmissionRequest],
        budget_ids: dict[BudgetKey, int],
    ) -> list[ReservationOutcome | AdmissionOutcome]:
        async with self._engine.begin() as connection:
            return await write(
                connection,
                records,
                requests,
                process_id=self._journal.process_id,
                zone=self._zone,
                budget_ids=budget_ids,
                held=self._holdings.now(),
            )

    def _at(self, waiter: _Waiter, request: ReservationRequest, now: float) -> ReservationRequest:
        """Return the request of a waiter. After its deadline it has to be decided, once no lease holds its money."""
        if now >= waiter.deadline and not self._leases.overlap(request.refs):
            return replace(request, may_wait=False)
        return request

    def _note(self, request: ReservationRequest | AdmissionRequest, outcome: object) -> None:
        if isinstance(outcome, Reserved) and isinstance(request, ReservationRequest) and request.reservation:
            self._holdings.add(request.reservation.id, request.key, outcome.amount)

    def _refuse_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.outcome.done():
                waiter.outcome.set_exception(LedgerUnavailableError(self.last_error))


def _storable(refs: tuple[BudgetRef, ...]) -> tuple[BudgetRef, ...]:
    return tuple(map(storable_budget, refs))
