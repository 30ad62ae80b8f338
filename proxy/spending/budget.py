"""The budgets of one request: reserve before a call, settle after it.

If the ledger cannot be written, a reservation in a shared budget fails with 503. A call without a shared budget
goes on if `ledger.on_outage` is "continue".
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from proxy import metrics
from proxy.config.schema import Settings
from proxy.errors import ApiError, NoBudgetError, ledger_unavailable
from proxy.ids import now
from proxy.ledger.budgets import BudgetExceededError, remaining
from proxy.ledger.database import Database
from proxy.ledger.journal import JournalFullError
from proxy.ledger.writer import LedgerUnavailableError, Writer
from proxy.pricing.money import format_usd
from proxy.records import MOST, BudgetRef, CallRecord, Reservation, Settlement
from proxy.spending.payer import Payer
from proxy.spending.scopes import budgets_of

log = logging.getLogger(__name__)

MUCH_ROOM = 64
"""A budget has much room if it could pay for this many calls."""
MOST_OPENED = 10_000
"""How many sessions are remembered as open. After that they are opened again, which changes nothing."""


class Budget(Protocol):
    """The money that `paid` may spend."""

    @property
    def limited(self) -> bool:
        """Whether any limit may apply."""
        ...

    def has_much_room(self, amount: int) -> bool:
        """Whether a call of this amount, in nano-USD, is small beside what is left, so that it need not be exact."""
        ...

    async def reserve(self, call_id: str, model: str, amount: int, least: int) -> int:
        """Reserve nano-USD for a paid call. Return the reserved amount: `amount`, or less, but at least `least`.

        Raises:
            NoBudgetError: `least` does not fit, and nothing is reserved.
        """
        ...

    def settle(self, call: CallRecord) -> None:
        """Replace a call's reservation by its cost, and keep its record."""
        ...


@dataclass(kw_only=True)
class RequestBudget:
    """The budgets of one request. It has state, so only one task at a time may use it."""

    settings: Settings
    payer: Payer
    request_id: str
    writer: Writer
    database: Database
    zone: ZoneInfo
    opened: set[tuple[str | None, str | None, int | None]]
    """Sessions, their owners and their limits that the database is known to have. All requests share this set."""
    spent: int = 0
    reserved: int = 0
    _open: dict[str, int] = field(default_factory=dict)
    _left: int | None = None  # of the shared budgets, when this request last reserved or settled
    _minute: int = -1
    _refs: tuple[BudgetRef, ...] = ()  # the shared budgets in this minute

    @property
    def limited(self) -> bool:
        """Whether any budget may apply."""
        return self.payer.budget is not None or bool(self._shared(now()))

    async def open(self) -> None:
        """Write the session's limit into the database before anything is spent.

        Raises:
            ApiError: the ledger cannot be written.
        """
        payer = self.payer
        known = (payer.session, payer.key_id, payer.session_budget)
        if payer.session_budget is None or known in self.opened:
            return
        try:
            await self.writer.open_budgets(self._shared(now())[:1])
        except LedgerUnavailableError as e:
            raise ledger_unavailable() from e
        if len(self.opened) > MOST_OPENED:
            self.opened.clear()
        self.opened.add(known)

    def has_much_room(self, amount: int) -> bool:
        """Whether an amount fits into the request's own budget, and is small beside the rest of the shared ones.

        Their rest is that of this process's last reservation. If there was none, the answer is no.
        """
        if (own := self._own()) is not None and own < amount:
            return False
        shared = self._shared(now())
        return not shared or amount * MUCH_ROOM <= (self.writer.last_left(shared) or 0)

    async def reserve(self, call_id: str, model: str, amount: int, least: int) -> int:
        """Reserve money for a paid call in every budget that applies. See `Budget.reserve`.

        The reservation is durable on return: in the database if a budget is shared, otherwise in the journal.

        Raises:
            NoBudgetError: `least` does not fit, and nothing is reserved.
            ApiError: the ledger cannot be written.
        """
        # A client may request more tokens than any budget can pay for, or a database column can hold.
        amount = min(amount, MOST)
        if (own := self._own()) is not None:
            if own < least:
                raise NoBudgetError(
                    f"X-COPE-Budget-USD leaves {format_usd(own)} USD and the call may cost {format_usd(least)}"
                )
            amount = min(amount, own)
        created = now()
        expires = created + timedelta(seconds=2 * self.settings.server.request_timeout_s)
        reservation = Reservation(
            id=call_id,
            request_id=self.request_id,
            model=model,
            amount=amount,
            created_at=created,
            expires_at=expires,
        )
        with _timed_reservation():
            if shared := self._shared(created):
                amount = await self._reserve_shared(reservation, shared, least)
            else:
                self._note(reservation)
        self.reserved += amount
        self._open[call_id] = amount
        return amount

    async def _reserve_shared(
        self, reservation: Reservation, shared: tuple[BudgetRef, ...], least: int
    ) -> int:
        wait_s = self.settings.budgets.wait_s
        try:
            granted = await self.writer.reserve(
                reservation, shared, least=least, wait_s=wait_s, key=self.payer.key_id or ""
            )
        except BudgetExceededError as e:
            of_team = f" of {e.ref.name!r}" if e.ref.scope == "team" else ""
            raise NoBudgetError(
                f"the {e.ref.scope} budget{of_team} leaves {format_usd(e.available)} of {format_usd(e.limit)} USD "
                f"and the call may cost {format_usd(least)}"
            ) from e
        except LedgerUnavailableError as e:
            raise ledger_unavailable() from e
        self._left = granted.remaining
        return granted.amount

    def _note(self, reservation: Reservation) -> None:
        """Write a reservation that no shared budget limits into the journal."""
        try:
            self.writer.submit(reservation)
        except JournalFullError as e:
            if self.settings.ledger.on_outage == "refuse":
                raise ledger_unavailable() from e
            log.critical("%s; the call is made without a record of its reservation (ledger.on_outage)", e)

    def settle(self, call: CallRecord) -> None:
        """Replace a call's reservation by its cost, and keep its record."""
        amount = self._open.pop(call.id)
        self.reserved -= amount
        self.spent += call.cost
        if self._left is not None:
            self._left += amount - call.cost
        self.writer.submit_end(Settlement(call.id, call.cost), call)

    async def remaining(self) -> int | None:
        """Return the nano-USD that all applicable budgets leave, or `None` if no budget applies."""
        shared = self._left
        if shared is None and (refs := self._shared(now())):
            try:
                shared = await remaining(self.database, refs)
            except Exception as e:  # noqa: BLE001  (a driver may raise anything, and the answer goes out without it)
                log.warning("the remaining budget cannot be read (%s)", type(e).__name__)
        left = [amount for amount in (self._own(), shared) if amount is not None]
        return max(0, min(left)) if left else None

    def _own(self) -> int | None:
        """Return the rest of the request's own budget, or `None` if it has none."""
        own = self.payer.budget
        return None if own is None else max(0, own - self.spent - self.reserved)

    def _shared(self, at: datetime) -> tuple[BudgetRef, ...]:
        minute = int(at.timestamp()) // 60  # windows begin with a minute
        if minute != self._minute:
            self._minute, self._refs = minute, budgets_of(self.settings.budgets, self.payer, self.zone, at)
        return self._refs


@contextmanager
def _timed_reservation() -> Iterator[None]:
    """Observe how long a reservation takes, and how it ends."""
    began, outcome = time.monotonic(), "interrupted"
    try:
        yield
        outcome = "reserved"
    except NoBudgetError:
        outcome = "refused"
        raise
    except ApiError:
        outcome = "failed"
        raise
    finally:
        metrics.RESERVATION_WAIT.labels(outcome).observe(time.monotonic() - began)
