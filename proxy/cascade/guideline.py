"""The large planner's guideline, which may be requested before it is known to be needed."""

import asyncio

from proxy.cascade.protocols import LargePlanner
from proxy.cascade.types import Guideline


class GuidelineRequest:
    """A request for one guideline, sent to the planner at most once."""

    def __init__(self, planner: LargePlanner) -> None:
        self._planner = planner
        self._task: asyncio.Task[Guideline | None] | None = None

    def start(self) -> None:
        """Send the request in the background, unless it was sent before."""
        self._task = self._task or asyncio.ensure_future(self._planner.guideline())

    async def result(self) -> Guideline | None:
        """Send the request, unless it was sent before, and return its result as `LargePlanner.guideline` does.

        Raises:
            NoBudgetError: the budget does not cover the worst case of the call.
        """
        self.start()
        assert self._task is not None
        return await self._task

    async def cancel(self) -> Guideline | None:
        """Cancel the request if it is still running. Return its result if it has one."""
        if self._task is None:
            return None
        self._task.cancel()
        (result,) = await asyncio.gather(self._task, return_exceptions=True)
        return None if isinstance(result, BaseException) else result
