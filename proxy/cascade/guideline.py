"""The large planner's guideline, which may be begun before it is known to be needed."""

import asyncio

from proxy.cascade.protocols import LargePlanner
from proxy.cascade.types import Json


class Guideline:
    """One guideline: asked for once, whether ahead of time or when it is wanted. State is its point."""

    def __init__(self, planner: LargePlanner, request: Json) -> None:
        self._planner = planner
        self._request = request
        self._task: asyncio.Task[str | None] | None = None

    def begin(self) -> None:
        """Start planning, if that has not begun."""
        self._task = self._task or asyncio.ensure_future(self._planner.guideline(self._request))

    async def written(self) -> str | None:
        """Return the guideline; see `LargePlanner.guideline`.

        Raises:
            NoBudgetError: the worst case of the call does not fit.
        """
        self.begin()
        assert self._task is not None
        return await self._task

    async def drop(self) -> str | None:
        """Stop planning, if it goes on: nobody waits for it any more. Return what was written all the same."""
        if self._task is None:
            return None
        self._task.cancel()
        (written,) = await asyncio.gather(self._task, return_exceptions=True)
        return None if isinstance(written, BaseException) else written
