"""The money that one request may spend: reserve, then call, then settle."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from proxy.errors import NoBudgetError, bad_header, ledger_unavailable
from proxy.ids import now
from proxy.ledger.budgets import BudgetExceededError, SessionOwnedError, remaining
from proxy.ledger.journal import JournalFullError
from proxy.ledger.writer import LedgerUnavailableError
from proxy.pricing.money import MAX_USD, NANO_PER_USD, format_usd
from proxy.records import BudgetRef, CallRecord, Reservation, Settlement
from proxy.service.request import ModelRequest
from proxy.service.state import AppState
from proxy.spending.scopes import budgets_of

log = logging.getLogger(__name__)


@dataclass
class RequestBudget:
    """The budgets of one request. State is its point; one request uses it from one task."""

    state: AppState
    request: ModelRequest
    spent: int = 0
    reserved: int = 0
    _open: dict[str, int] = field(default_factory=dict)
    _left: int | None = None  # of the shared budgets, when this request last reserved or settled

    @property
    def limited(self) -> bool:
        """Whether any budget may apply."""
        return self.request.controls.budget is not None or bool(self._shared(now()))

    async def open(self) -> None:
        """Let the session's limit stand before anything is spent.

        Raises:
            ApiError: the session belongs to another key, or the database is away.
        """
        controls = self.request.controls
        known = (controls.session, self.request.key_id, controls.session_budget)
        if controls.session_budget is None or known in self.state.opened:
            return
        try:
            await self.state.writer.open_budgets(self._shared(now())[:1])
        except SessionOwnedError as e:
            raise bad_header("X-COPE-Session", "this session belongs to another key") from e
        except LedgerUnavailableError as e:
            raise ledger_unavailable() from e
        self.state.opened.add(known)

    async def hold(self, call_id: str, model: str, amount: int, least: int) -> int:
        """Reserve a paid call in every budget, and return how much: `amount`, or what is left of it, but `least`.

        Where a budget is shared, the reservation is in the database on return; else in the journal.

        Raises:
            NoBudgetError: it does not fit; nothing is reserved.
            ApiError: the session belongs to another key, or the ledger cannot be written.
        """
        # A client may ask for more tokens than there is money in any budget, or room in a column.
        amount = min(amount, MAX_USD * NANO_PER_USD)
        own = self.request.controls.budget
        if own is not None:
            left = max(0, own - self.spent - self.reserved)
            if left < least:
                raise NoBudgetError(
                    f"X-COPE-Budget-USD leaves {format_usd(left)} USD and the call may cost {format_usd(least)}"
                )
            amount = min(amount, left)
        created = now()
        lease = timedelta(seconds=2 * self.state.settings.server.request_timeout_s)
        hold = Reservation(call_id, self.request.id, model, amount, created, created + lease)
        shared = self._shared(created)
        if shared:
            amount = await self._reserve(hold, shared, least)
        else:
            try:
                self.state.writer.submit(hold)
            except JournalFullError as e:
                if self.state.settings.ledger.on_outage == "refuse":
                    raise ledger_unavailable() from e
                log.critical("%s; going on without evidence, as ledger.on_outage says", e)
        self.reserved += amount
        self._open[call_id] = amount
        return amount

    async def _reserve(self, hold: Reservation, shared: tuple[BudgetRef, ...], least: int) -> int:
        try:
            grant = await self.state.writer.reserve(
                hold, shared, least=least, wait_s=self.state.settings.budgets.wait_s
            )
        except BudgetExceededError as e:
            raise NoBudgetError(
                f"the {e.ref.scope} budget leaves {format_usd(e.available)} of {format_usd(e.limit)} USD "
                f"and the call may cost {format_usd(least)}"
            ) from e
        except SessionOwnedError as e:
            raise bad_header("X-COPE-Session", "this session belongs to another key") from e
        except LedgerUnavailableError as e:
            raise ledger_unavailable() from e
        self._left = grant.left
        return grant.amount

    def settle(self, call: CallRecord) -> None:
        """Turn a reservation into what the call has really cost, and keep the call's record."""
        amount = self._open.pop(call.id)
        self.reserved -= amount
        self.spent += call.cost
        if self._left is not None:
            self._left += amount - call.cost
        self.state.writer.submit_end(Settlement(call.id, call.cost), call)

    async def remaining(self) -> int | None:
        """Return what is left in nano-USD over all budgets that apply; `None` when none does."""
        own = self.request.controls.budget
        left = [own - self.spent - self.reserved] if own is not None else []
        shared = self._left
        if shared is None and (refs := self._shared(now())):
            try:
                shared = await remaining(self.state.database, refs)
            except Exception as e:  # noqa: BLE001  (whatever the driver raises: the answer is worth more than this)
                log.warning("what is left of the budgets cannot be read (%s)", type(e).__name__)
        left += [shared] if shared is not None else []
        return max(0, min(left)) if left else None

    def _shared(self, at: datetime) -> tuple[BudgetRef, ...]:
        return budgets_of(self.state, self.request, at)
