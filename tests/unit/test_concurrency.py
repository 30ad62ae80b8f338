"""Helpers for asyncio tasks."""

import asyncio
import contextlib
import time

from proxy.concurrency import BusyTime, reap


def test_reap_waits_for_cleanup():
    """On return every task has ended, also one that cleans up slowly; failures are dropped."""

    async def run():
        cleaned = asyncio.Event()

        async def slow():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                cleaned.set()

        async def failing():
            raise ValueError

        tasks = asyncio.create_task(slow()), asyncio.create_task(failing())
        await asyncio.sleep(0)
        await reap(*tasks)
        assert cleaned.is_set()
        assert all(task.done() for task in tasks)

    asyncio.run(run())


def test_reap_of_nothing():
    """Without tasks it returns at once."""
    asyncio.run(reap())


def test_busy_time_counts_overlaps_once():
    """Two blocks at the same time are not busier than one, and a block that fails has ended."""
    busy = BusyTime()
    before = time.monotonic()
    with busy.running():
        with busy.running():
            seen = busy.seconds
            while time.monotonic() - before < 0.02:
                pass
        assert busy.seconds > seen
    with contextlib.suppress(ValueError), busy.running():
        raise ValueError
    assert busy.seconds <= time.monotonic() - before
    ended = busy.seconds
    assert ended >= 0.02
    while time.monotonic() - before < 0.04:
        pass
    assert busy.seconds == ended
