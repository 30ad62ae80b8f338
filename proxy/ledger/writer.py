"""Group commit: the journal's records and the holds that wait go into the database in one transaction.

One task a process writes. A transaction takes whatever has come since the last one: many concurrent requests
share one commit, and a lone one waits for no timer.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.budgets import Key, ReservationRequest, Reserved
from proxy.ledger.journal import Journal, JournalFullError
from proxy.ledger.rate_limits import Admit
from proxy.ledger.rows import _about_the_data, write, write_carefully
from proxy.records import BudgetRef, Record, Reservation, Settlement

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often holds that wait look for money that other processes gave back."""
LINGER_S = 0.05
"""How long records, safe in the journal, may wait for others to share their transaction."""
LINGER_BYTES = 2**18
"""From so many on they wait no longer."""
LONGEST_PAUSE_S = 5.0
MOST_KNOWN = 100_000
"""Ids of budgets kept in memory."""


class LedgerUnavailableError(Exception):
    """The database cannot be written now; nothing is reserved."""


@dataclass(eq=False, slots=True)
class _Waiter:
    ask: ReservationRequest | Admit
    deadline: float
    outcome: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Writer:
    """Writes what the journal holds, in its order, until the database takes it; places holds on the way."""

    def __init__(
        self, engine: AsyncEngine, journal: Journal, zone: ZoneInfo, *, drop_when_full: bool = False
    ) -> None:
        self._engine = engine
        self._drop = drop_when_full
        self._journal = journal
        self._zone = zone
        self._waiters: list[_Waiter] = []
        self._unkept: list[Record] = []
        self._budgets: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()  # somebody waits for what is submitted
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
        """Whether the spool takes no more: the database has been away for long, or the disk is full."""
        return self._journal.full or bool(self._unkept)

    def submit(self, *records: Record) -> None:
        """Keep records. They survive the death of this process from here on; never waits for the database.

        Raises:
            JournalFullError: they could not be kept.
        """
        self._journal.append(records)
        self._idle.clear()
        self._wake.set()

    def submit_end(self, *records: Record) -> None:
        """Keep what is known of something that has happened: when the disk takes it no more, in memory for now.

        With `drop_when_full` it is lost then, and counted in `dropped`.
        """
        try:
            self.submit(*self._unkept, *records)
            self._unkept.clear()
        except JournalFullError as e:
            if self._drop:
                self.dropped += len(records)
                log.critical("%s; %d records lost so far", e, self.dropped)
            else:
                self._unkept += records
                log.critical("%s; %d records wait in memory", e, len(self._unkept))

    async def reserve(
        self, hold: Reservation, refs: tuple[BudgetRef, ...], *, least: int, wait_s: float
    ) -> Reserved:
        """Reserve `hold.amount` in all budgets, or as much as they still hold, but `least` at the least.

        On return it is on disk. Money that others have reserved and may give back is waited for.

        Raises:
            BudgetExceededError: it does not fit; nothing is reserved.
            SessionOwnedError: the session was opened by another key.
            LedgerUnavailableError: the database does not answer.
        """
        try:
            granted: Reserved = await self._ask(ReservationRequest(refs, hold, least), wait_s)
            return granted
        except (asyncio.CancelledError, LedgerUnavailableError):
            # It may have been, or may still be, placed: whoever asked does not know and will not settle it.
            self.submit_end(Settlement(hold.id, 0))
            raise

    async def open_budgets(self, refs: tuple[BudgetRef, ...]) -> Reserved:
        """Open budgets, so that their limits stand before anything is spent. See `reserve`."""
        granted: Reserved = await self._ask(ReservationRequest(refs), 0.0)
        return granted

    async def admit(self, wanted: Admit) -> None:
        """Count a request in.

        Raises:
            RateLimitExceededError: the key has used up its minute.
            LedgerUnavailableError: the database does not answer.
        """
        await self._ask(wanted, 0.0)

    async def flush(self) -> None:
        """Wait until everything submitted is in the database."""
        self._hurry.set()
        await self._idle.wait()

    async def close(self, timeout_s: float) -> None:
        """Write what is left, for at most `timeout_s` seconds, and stop. What stays in the journal is not lost."""
        self.submit_end()
        try:
            async with asyncio.timeout(timeout_s):
                await self.flush()
        except TimeoutError:
            log.critical("%d bytes of the ledger stay in %s", self.backlog_bytes, self._journal.folder)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._journal.close()

    async def _ask(self, ask: ReservationRequest | Admit, wait_s: float) -> Any:
        waiter = _Waiter(ask, monotonic() + wait_s)
        self._waiters.append(waiter)
        self._hurry.set()
        self._wake.set()
        return await waiter.outcome

    async def _run(self) -> None:
        pause = 0.1
        while True:
            if self._journal.backlog_bytes == 0 and not self._wake.is_set():
                self._idle.set()
                try:
                    async with asyncio.timeout(POLL_S if self._waiters else None):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            await self._linger()
            self._wake.clear()
            try:
                await self._commit()
                pause, self.last_error = 0.1, None
            except Exception as e:  # noqa: BLE001  (this task must outlive whatever a driver raises)
                self.last_error = type(e).__name__
                log.warning("the ledger cannot be written (%s: %.200s)", self.last_error, e)
                self._budgets.clear()  # what a lost transaction has opened is not there
                self._refuse_waiters()
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                self._wake.set()

    async def _linger(self) -> None:
        """Let records that nobody waits for gather: a transaction costs the same for one as for a hundred."""
        if self._waiters or self._journal.backlog_bytes > LINGER_BYTES:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._hurry.wait()
        self._hurry.clear()

    async def _commit(self) -> None:
        self._waiters = [w for w in self._waiters if not w.outcome.done()]
        records, end = self._journal.read() if self._journal.backlog_bytes else ([], 0)
        now = monotonic()
        waiters = list(self._waiters)  # more may come while the transaction runs
        asks = [
            replace(w.ask, final=now >= w.deadline) if isinstance(w.ask, ReservationRequest) else w.ask
            for w in waiters
        ]
        if not records and not asks:
            if end:
                self._journal.drop(end)
            return
        try:
            async with self._engine.begin() as connection:
                outcomes = await write(
                    connection, records, asks, holder=self._journal.id, zone=self._zone, known=self._budgets
                )
        except Exception as e:
            if not _about_the_data(e):
                raise
            self._budgets.clear()
            await write_carefully(self._engine, records, self._journal, self._zone)
            outcomes = [await self._alone(ask) for ask in asks]
        if len(self._budgets) > MOST_KNOWN:
            self._budgets.clear()
        if end:
            self._journal.drop(end)
        self.written += len(records)
        for waiter, outcome in zip(waiters, outcomes, strict=True):
            if outcome is None or waiter.outcome.done():
                continue
            if isinstance(outcome, Exception):
                waiter.outcome.set_exception(outcome)
            else:
                waiter.outcome.set_result(outcome)

    async def _alone(self, ask: ReservationRequest | Admit) -> Any:
        """Decide on one ask in a transaction of its own, so that one that no database takes hurts nobody else."""
        try:
            async with self._engine.begin() as connection:
                (outcome,) = await write(
                    connection, [], [ask], holder=self._journal.id, zone=self._zone, known={}
                )
        except Exception as e:
            if not _about_the_data(e):
                raise
            log.exception("what was asked of the ledger cannot be written")
            return LedgerUnavailableError(type(e).__name__)
        return outcome

    def _refuse_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.outcome.done():
                waiter.outcome.set_exception(LedgerUnavailableError(self.last_error))


async def replay(engine: AsyncEngine, journal: Journal, zone: ZoneInfo) -> int:
    """Write what a dead process has left in its journal. Returns how many records.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away; the journal is as it was.
    """
    count = 0
    while journal.backlog_bytes:
        records, end = journal.read()
        await write_carefully(engine, records, journal, zone)
        journal.drop(end)
        count += len(records)
    return count
