"""Stop the work for a client that has left."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from proxy.http.body import ClientDisconnectedError


@asynccontextmanager
async def stopped_by(
    departure: Coroutine[Any, Any, None], *, unless: Callable[[], bool]
) -> AsyncIterator[None]:
    """Cancel the block when the departure ends, and wait until the block has cleaned up.

    `unless`: whether the block has nothing left to do for the client. Then it is not cancelled: a server reports the
    departure of a client also after a complete answer.

    Raises:
        ClientDisconnectedError: the block was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None
    left = False

    def leave(watch: "asyncio.Task[None]") -> None:
        nonlocal left
        if not (watch.cancelled() or unless()):
            left = True
            task.cancel()

    watch = asyncio.create_task(departure)
    watch.add_done_callback(leave)
    try:
        yield
    except asyncio.CancelledError:
        if not left or task.cancelling() > 1:  # somebody else cancels
            raise
        raise ClientDisconnectedError from None
    finally:
        watch.remove_done_callback(leave)
        watch.cancel()
        if left:
            task.uncancel()
