"""Small helpers for asyncio tasks."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


async def reap(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait until all of them have ended. Their results and exceptions are dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class BusyTime:
    """The time in which at least one of several blocks of code is running. Blocks that overlap count once."""

    def __init__(self) -> None:
        self._running = 0
        self._since = 0.0
        self._ended = 0.0

    @property
    def seconds(self) -> float:
        """The time so far."""
        return self._ended + (time.monotonic() - self._since if self._running else 0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of a block."""
        if self._running == 0:
            self._since = time.monotonic()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if self._running == 0:
                self._ended += time.monotonic() - self._since
