"""The work for a client that has left stops, and no other work does."""

import asyncio

import pytest

from proxy.http.body import ClientDisconnectedError
from proxy.http.departure import stopped_by


def run(block, *, closed=False):
    """Run a block whose client can leave by `leave()`. Return how it ended, and whether the task may go on."""

    async def main():
        left = asyncio.Event()

        async def departure():
            await left.wait()

        try:
            async with stopped_by(departure(), unless=lambda: closed):
                await block(left.set)
            ended = None
        except BaseException as e:
            ended = type(e)
        await asyncio.sleep(0)  # a late cancellation would strike here
        await asyncio.sleep(0)
        return ended, asyncio.current_task().cancelling()

    return asyncio.run(main())


async def leaves(leave):
    """Wait for ever after the client has left."""
    leave()
    await asyncio.Event().wait()


async def finishes(leave):
    """End as the client leaves."""
    leave()


async def fails(_leave):
    """Fail before the client leaves."""
    raise KeyError


async def fails_late(leave):
    """Fail because the client has left."""
    try:
        await leaves(leave)
    finally:
        raise KeyError


async def is_cancelled_too(leave):
    """Be cancelled by somebody else while it cleans up for a client that has left."""
    try:
        await leaves(leave)
    finally:
        asyncio.current_task().cancel()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("block", "ended"),
    [(leaves, ClientDisconnectedError), (finishes, None), (fails, KeyError), (fails_late, KeyError)],
)
def test_only_the_block_stops(block, ended):
    """A departure ends the block alone, whatever the block does then."""
    assert run(block) == (ended, 0)


def test_shutdown_goes_on():
    """A cancellation by somebody else is not taken for a departure."""
    ended, cancelling = run(is_cancelled_too)
    assert (ended, cancelling) == (asyncio.CancelledError, 1)


def test_complete_answer_is_left_alone():
    """After a complete answer the departure cancels nothing: the request is still recorded."""

    async def goes_on(leave):
        leave()
        for _ in range(5):
            await asyncio.sleep(0)

    assert run(goes_on, closed=True) == (None, 0)
