"""Small helpers for asyncio tasks, and fair shares of what all requests share."""

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

HALF_LIFE_S = 30.0
"""After this time, half of the time that somebody has used a pool is forgotten."""
_MOST_REMEMBERED = 1000


async def reap(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait until all of them have ended. Their results and exceptions are dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """The client that work is done for: its key, and its request. Both are empty outside of requests."""

    key: str = ""
    request: str = ""


OWNER: ContextVar[Owner] = ContextVar("owner", default=Owner())  # noqa: B039  (frozen)
"""The owner of the present task. It is set once per request, and pools read it, so that no call passes it on."""


class FairShare:
    """An amount, such as bytes, that several owners share.

    An owner may hold at most as much as stays free for all others. One owner alone gets half of the total, two get a
    third each, and so on. So nobody can take it all, and no share has to be configured.
    """

    def __init__(self, total: int) -> None:
        self.free = total
        self._held: Counter[str] = Counter()

    def take(self, owner: str, amount: int) -> bool:
        """Take an amount. Return False, and take nothing, if it exceeds the owner's share."""
        if self._held[owner] + amount > self.free - amount:
            return False
        self._held[owner] += amount
        self.free -= amount
        return True

    def give_back(self, owner: str, amount: int) -> None:
        """Give back an amount that was taken."""
        self.free += amount
        self._held[owner] -= amount
        if not self._held[owner]:
            del self._held[owner]


class FairTurns:
    """A pool of slots. Those who wait get one in the order of what their key, then their request, uses and has used.

    So somebody who has used little waits at most until one slot is free, however many others wait.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = slots
        self._clock = clock
        self._running: Counter[Owner | str] = Counter()
        self._used: dict[Owner | str, tuple[float, float]] = {}  # seconds, and when they were right
        self._waiting: dict[asyncio.Future[None], Owner] = {}  # in the order of arrival

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it while the block runs."""
        owner = OWNER.get()
        await self._acquire(owner)
        began = self._clock()
        try:
            yield
        finally:
            for name in (owner, owner.key):
                self._charge(name, self._clock() - began)
            self._release(owner)

    async def _acquire(self, owner: Owner) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting[mine] = owner
        self._wake()
        try:
            await mine
        except asyncio.CancelledError:
            if self._waiting.pop(mine, None) is None:  # it had its slot already
                self._release(owner)
            raise

    def _wake(self) -> None:
        while self._free and self._waiting:
            mine = min(self._waiting, key=lambda future: self._order(self._waiting[future]))
            owner = self._waiting.pop(mine)
            self._free -= 1
            self._running.update((owner, owner.key))
            if not mine.done():
                mine.set_result(None)

    def _release(self, owner: Owner) -> None:
        self._running.subtract((owner, owner.key))
        self._running = +self._running
        self._free += 1
        self._wake()

    def _order(self, owner: Owner) -> tuple[float, ...]:
        return (
            self._running[owner.key],
            self._seconds(owner.key),
            self._running[owner],
            self._seconds(owner),
        )

    def _seconds(self, name: Owner | str) -> float:
        """Return the seconds that somebody has used, less what is forgotten. Short uses are all alike."""
        seconds, at = self._used.get(name, (0.0, 0.0))
        return round(seconds * math.exp2((at - self._clock()) / HALF_LIFE_S), 1)

    def _charge(self, name: Owner | str, seconds: float) -> None:
        if len(self._used) > _MOST_REMEMBERED:
            self._used = {name: used for name, used in self._used.items() if self._seconds(name)}
        self._used[name] = self._seconds(name) + seconds, self._clock()


THREADS = FairTurns(max(2, os.cpu_count() or 1))
"""The threads for work on large texts: counting tokens and decompressing. A text of many megabytes takes a second."""


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work on a large text in a thread, so that the event loop goes on. Each key has a fair share of the threads.

    A thread cannot be stopped. So a cancelled caller waits for its end, which keeps the number of threads bounded.
    """
    async with THREADS.turn():
        work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})
            raise
