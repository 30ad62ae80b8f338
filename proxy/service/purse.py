"""The money that one request may spend: reserve, then call, then settle."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from proxy.config import Settings
from proxy.errors import NoBudget, bad_header
from proxy.ledger.holds import BudgetExceeded, SessionOwned, remaining, reserve
from proxy.ledger.writer import Settle
from proxy.pricing.money import format_usd, usd_to_nano
from proxy.records import BudgetRef, Hold
from proxy.service.gateway import Gateway
from proxy.service.request import ChatRequest
from proxy.service.trace import now

SETTLED_WITHIN_S = 1.0


@dataclass
class Purse:
    """The budgets of one request. State is its point; one request uses it from one task."""

    gateway: Gateway
    request: ChatRequest
    shared: tuple[BudgetRef, ...]
    spent: int = 0
    reserved: int = 0
    _open: dict[str, int] = field(default_factory=dict)

    @property
    def limited(self) -> bool:
        """Whether any budget applies."""
        return self.request.controls.budget is not None or bool(self.shared)

    async def available(self) -> int | None:
        """Return what is left in nano-USD over all budgets that apply; `None` when none does."""
        own = self.request.controls.budget
        left = [own - self.spent - self.reserved] if own is not None else []
        if self.shared:
            # Settlements are written behind: without this, a call just settled would still count as held.
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLED_WITHIN_S):
                    await self.gateway.writer.flush()
            shared = await remaining(self.gateway.database, self.shared)
            left += [shared] if shared is not None else []
        return max(0, min(left)) if left else None

    async def hold(self, call_id: str, model: str, amount: int) -> None:
        """Reserve the worst case of a paid call in every budget, on disk where a budget is shared.

        Raises:
            NoBudget: it does not fit; nothing is reserved.
            ApiError: the session belongs to another key.
        """
        own = self.request.controls.budget
        if own is not None and self.spent + self.reserved + amount > own:
            left = format_usd(max(0, own - self.spent - self.reserved))
            raise NoBudget(f"X-COPE-Budget-USD leaves {left} USD and the call may cost {format_usd(amount)}")
        created = now()
        lease = timedelta(seconds=2 * self.gateway.settings.server.request_timeout_s)
        hold = Hold(call_id, self.request.id, model, amount, self.shared, created, created + lease)
        if self.shared:
            try:
                await reserve(self.gateway.database, hold)
            except BudgetExceeded as e:
                raise NoBudget(f"the {e.ref.scope} budget leaves no room for {format_usd(amount)} USD") from e
            except SessionOwned as e:
                raise bad_header("X-COPE-Session", "this session belongs to another key") from e
        else:
            # No budget can be exceeded, so the row is only evidence for a crash: nobody waits for it.
            self.gateway.writer.submit(hold)
        self.reserved += amount
        self._open[call_id] = amount

    def settle(self, call_id: str, cost: int) -> None:
        """Turn a reservation into what the call has really cost."""
        amount = self._open.pop(call_id)
        self.reserved -= amount
        self.spent += cost
        self.gateway.writer.submit(Settle(call_id, cost))


def budgets_of(settings: Settings, request: ChatRequest) -> tuple[BudgetRef, ...]:
    """Return the shared budgets that a request counts against."""
    refs = []
    controls = request.controls
    if controls.session is not None and controls.session_budget is not None:
        refs.append(
            BudgetRef("session", controls.session, controls.session_budget, owner=request.key_id or "")
        )
    table = settings.budgets.keys.get(request.key_id or "")
    if table is not None and request.key_id is not None:
        refs.append(BudgetRef("key", request.key_id, usd_to_nano(table.usd), table.window))
    if settings.budgets.global_usd is not None:
        refs.append(
            BudgetRef("global", "", usd_to_nano(settings.budgets.global_usd), settings.budgets.window)
        )
    return tuple(refs)
