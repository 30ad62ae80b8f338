"""The budget of a run, in memory and in the run's record."""

import asyncio

from proxy.errors import NoBudgetError
from proxy.evals.record import Record
from proxy.pricing.money import format_usd
from proxy.records import CallRecord


class RunBudget:
    """The money that a run may spend upstream. See `proxy.spending.budget.Budget`.

    Earlier parts of the run count. A call counts at its reserved amount until it is settled, so that a killed run
    does not forget it.

    Attributes:
        limit: the limit in nano-USD, or `None` for no limit.
        spent: the nano-USD spent so far.
    """

    def __init__(self, record: Record, limit: int | None) -> None:
        self.limit = limit
        self.spent = record.spent
        self._record = record
        self._reserved: dict[str, int] = {}
        self._settled = asyncio.Event()

    @property
    def limited(self) -> bool:
        """Whether the run has a limit."""
        return self.limit is not None

    def has_much_room(self, amount: int) -> bool:  # noqa: ARG002
        """Return False: a run counts its tokens."""
        return False

    async def reserve(self, call_id: str, model: str, amount: int, least: int) -> int:  # noqa: ARG002
        """Reserve `amount`. Wait for money that other calls have reserved.

        Raises:
            NoBudgetError: `amount` does not fit although nothing else is reserved.
        """
        while self.limit is not None and self.spent + sum(self._reserved.values()) + amount > self.limit:
            if not self._reserved:
                raise NoBudgetError(f"the run may spend {format_usd(self.limit)} USD")
            self._settled.clear()
            await self._settled.wait()
        self._reserved[call_id] = amount
        self._record.set_unsettled(call_id, amount)
        return amount

    def settle(self, call: CallRecord) -> None:
        """Replace a call's reservation by its cost."""
        del self._reserved[call.id]
        self.spent += call.cost
        self._record.set_unsettled(call.id, call.cost)
        self._settled.set()
