"""Helpers for asyncio tasks."""

import asyncio

from proxy.concurrency import reap


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
