"""Fair shares: nobody holds what all share."""

import asyncio
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.fairness import OWNER, FairShare, FairThreads, FairTurns, Owner


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.booleans()), max_size=60))
def test_shares_leave_others_room(steps):
    """Nobody ever holds more than is left, the sum is right, and somebody new can always take something."""
    share, held = FairShare(100), []
    for owner, amount, gives in steps:
        if gives and held:
            share.give_back(*held.pop())
        elif share.take(owner, amount):
            held.append((owner, amount))
            assert sum(n for name, n in held if name == owner) <= share.free
        assert share.free == 100 - sum(n for _, n in held)
        assert share.free >= 25


def test_modest_go_first():
    """Someone who has used little gets the next free slot, before all that a greedy key or request has queued."""
    seconds = [0.0]
    turns = FairTurns(2, clock=lambda: seconds[0])
    greedy, rival, modest = Owner("k1", "r1"), Owner("k1", "r2"), Owner("k2", "r3")
    ran = []

    async def job(owner, took):
        OWNER.set(owner)
        async with turns.turn():
            ran.append(owner)
            await asyncio.sleep(0)
            seconds[0] += took

    async def run():
        jobs = [job(greedy, 5), job(greedy, 5), job(greedy, 5), job(greedy, 5), job(rival, 1), job(modest, 1)]
        await asyncio.gather(*map(asyncio.create_task, jobs))

    asyncio.run(run())
    # The slots of two keys, then of two requests of one key, are shared, whoever came first.
    assert ran[:2] == [greedy, greedy]
    assert ran.index(modest) < ran.index(rival) < len(ran) - 1


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
@settings(deadline=None)
def test_turns_keep_their_number(jobs):
    """Never more than the slots run, nobody starves, and cancelled waiters lose no slot."""

    async def run():
        turns, running, most = FairTurns(2), 0, 0

        async def job(owner):
            nonlocal running, most
            OWNER.set(Owner(str(owner)))
            async with turns.turn():
                running += 1
                most = max(most, running)
                try:
                    await asyncio.sleep(0)
                finally:
                    running -= 1

        tasks = [(asyncio.create_task(job(owner)), cancels) for owner, cancels in jobs]
        await asyncio.sleep(0)
        for task, cancels in tasks:
            if cancels:
                task.cancel()
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
        async with asyncio.timeout(10), turns.turn(), turns.turn():
            return most

    assert asyncio.run(run()) <= 2


def test_threads_are_shared():
    """A key that fills the pool leaves threads to others, and its own work is done in the end."""
    gate = Event()

    async def run():
        loop = asyncio.get_running_loop()
        with FairThreads(4, "test", each=2) as threads:
            OWNER.set(Owner("greedy"))
            greedy = [loop.run_in_executor(threads, gate.wait, 30) for _ in range(20)]
            left = loop.run_in_executor(threads, gate.wait, 30)
            left.cancel()
            OWNER.set(Owner("modest"))
            assert await asyncio.wait_for(loop.run_in_executor(threads, str.upper, "a"), 20) == "A"
            gate.set()
            assert await asyncio.gather(*greedy) == [True] * 20
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(threads, divmod, 1, 0)

    asyncio.run(run())


def test_threads_end_with_work():
    """A pool that ends drops what waits, and does what has begun."""
    gate = Event()
    threads = FairThreads(1, "test", each=1)
    begun, waiting = threads.submit(gate.wait, 30), threads.submit(gate.wait, 30)
    gate.set()
    threads.shutdown()
    assert begun.result(1)
    assert waiting.cancelled() or waiting.result(1)
    with pytest.raises(RuntimeError):
        threads.submit(gate.wait)
