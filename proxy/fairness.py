"""Fair shares of what all requests use together: slots, threads and memory.

Whoever has used little comes first. So one client cannot hold a pool, however many requests it sends.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

HALF_LIFE_S = 30.0
"""After this time, half of the time that somebody has used a pool is forgotten."""
_MOST_REMEMBERED = 1000


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


class _Uses:
    """What each key and each request uses of a pool now, and what it has used recently."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: Counter[Owner | str] = Counter()
        self._used: dict[Owner | str, tuple[float, float]] = {}  # seconds, and when they were right

    def start(self, owner: Owner) -> float:
        """Note that somebody has got a slot. Return the time, for `stop`."""
        self._running.update((owner, owner.key))
        return self._clock()

    def stop(self, owner: Owner, began: float) -> None:
        """Note that somebody has given a slot back."""
        self._running.subtract((owner, owner.key))
        self._running = +self._running
        now = self._clock()
        if len(self._used) > _MOST_REMEMBERED:
            self._used = {name: used for name, used in self._used.items() if self._seconds(name)}
        for name in (owner, owner.key):
            self._used[name] = self._seconds(name) + now - began, now

    def running(self, key: str) -> int:
        """Return how many slots a key has now."""
        return self._running[key]

    def order(self, owner: Owner) -> tuple[float, ...]:
        """Return the place in the queue. The smallest comes first."""
        key = owner.key
        return self._running[key], self._seconds(key), self._running[owner], self._seconds(owner)

    def _seconds(self, name: Owner | str) -> float:
        """Return the seconds that somebody has used, less what is forgotten. Short uses are all alike."""
        seconds, at = self._used.get(name, (0.0, 0.0))
        return round(seconds * math.exp2((at - self._clock()) / HALF_LIFE_S), 1)


class FairTurns:
    """A pool of slots for asyncio tasks."""

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = slots
        self._uses = _Uses(clock)
        self._waiting: dict[asyncio.Future[float], Owner] = {}  # in the order of arrival

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it while the block runs."""
        owner, mine = OWNER.get(), asyncio.get_running_loop().create_future()
        self._waiting[mine] = owner
        self._wake()
        try:
            began = await mine
        except asyncio.CancelledError:
            self._waiting.pop(mine, None)
            if not mine.cancelled():  # it had its slot already
                self._release(owner, mine.result())
            raise
        try:
            yield
        finally:
            self._release(owner, began)

    def _wake(self) -> None:
        while self._free and self._waiting:
            mine = min(self._waiting, key=lambda future: self._uses.order(self._waiting[future]))
            owner = self._waiting.pop(mine)
            if not mine.done():
                self._free -= 1
                mine.set_result(self._uses.start(owner))

    def _release(self, owner: Owner, began: float) -> None:
        self._uses.stop(owner, began)
        self._free += 1
        self._wake()


class FairThreads(ThreadPoolExecutor):
    """A pool of threads. As the default executor of a loop it serves `asyncio.to_thread`.

    A thread cannot be stopped. So it keeps its slot until it has ended, also when the client has left.

    Args:
        threads: the number of threads.
        name: the beginning of their names.
        each: how many of them one key may use.
    """

    def __init__(self, threads: int, name: str, *, each: int) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._lock = Lock()
        self._free, self._each = threads, each
        self._uses = _Uses(time.monotonic)
        self._waiting: dict[Future[Any], tuple[Owner, Callable[[], Any]]] = {}  # in the order of arrival

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread as soon as its owner's turn comes."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting[future] = OWNER.get(), lambda: fn(*args, **kwargs)
            self._start_next()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop the threads. What still waits is cancelled."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in waiting:
            future.cancel()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _start_next(self) -> None:
        while self._free and self._waiting:
            future = min(self._waiting, key=lambda future: self._uses.order(self._waiting[future][0]))
            owner, call = self._waiting[future]
            if self._uses.running(owner.key) >= self._each:  # and so it is with all others that wait
                return
            del self._waiting[future]
            if future.set_running_or_notify_cancel():
                super().submit(self._run, future, owner, call, self._uses.start(owner))
                self._free -= 1

    def _run(self, future: Future[T], owner: Owner, call: Callable[[], T], began: float) -> None:
        try:
            future.set_result(call())
        except BaseException as e:  # noqa: BLE001  (as in concurrent.futures: the caller gets it)
            future.set_exception(e)
        with self._lock:
            self._uses.stop(owner, began)
            self._free += 1
            self._start_next()
