"""The large planner's guideline, which may be requested before it is known to be needed."""

import asyncio

from proxy.cascade.protocols import LargePlanner
from proxy.cascade.types import Guideline


class GuidelineRequest:
    """A request for one guideline, sent to the planner at most once, and never if an earlier turn has `kept` one."""

    def __init__(self, planner: LargePlanner, kept: Guideline | None) -> None:
        self._planner = planner
        self._kept = kept
        self._task: asyncio.Task[Guideline | None] | None = None

    @property
    def paid(self) -> bool:
        """Whether the guideline is kept or requested, so that it costs nothing more."""
        return self._kept is not None or self._task is not None

    def start(self) -> None:
        """Send the request in the background, unless the guideline is paid."""
        if not self.paid:
            self._task = asyncio.ensure_future(self._planner.guideline())

    async def result(self) -> Guideline | None:
        """Send the request, unless the guideline is paid, and return its result as `LargePlanner.guideline` does.

        Raises:
            NoBudgetError: the budget does not cover the worst case of the call.
        """
        self.start()
        return self._kept if self._task is None else await self._task

    async def cancel(self) -> Guideline | None:
        """Cancel the request if it is still running. Return the kept guideline, or the result of the request."""
        if self._task is None:
            return self._kept
        self._task.cancel()
        (result,) = await asyncio.gather(self._task, return_exceptions=True)
        return None if isinstance(result, BaseException) else result
