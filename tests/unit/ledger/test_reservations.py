"""Reservations and settlements, on both databases."""

import asyncio
from datetime import timedelta

import pytest

from proxy.ledger.budgets import BudgetExceededError, SeveralSessionsError, list_budgets, set_session_budget
from proxy.ledger.reservations import Reserved
from proxy.records import Settlement
from tests.support.ledger import NOW, budget, opened, reserve, run, writing


def test_concurrent_reservations_respect_the_limit(url):
    """Of 60 reservations by two proxies on a budget for ten, exactly ten succeed."""

    async def work(engine):
        async with opened(url) as other, writing(engine) as one, writing(other) as two:

            async def attempt(i):
                try:
                    await reserve((one, two)[i % 2], f"h{i}", 100, budget())
                except BudgetExceededError:
                    return 0
                return 1

            reserved = sum(await asyncio.gather(*(attempt(i) for i in range(60))))
        return reserved, (await list_budgets(engine))[0]

    reserved, row = run(url, work)
    assert reserved == 10
    assert (row.reserved, row.spent, row.limit) == (1000, 0, 1000)


def test_refusal_reserves_nothing(url):
    """A reservation that fits only one of two budgets reserves in neither."""

    async def work(engine):
        async with writing(engine) as writer:
            with pytest.raises(BudgetExceededError) as e:
                await reserve(writer, "h", 100, budget(), budget("key", "k", 50))
        assert (e.value.ref.scope, e.value.available) == ("key", 50)
        return await list_budgets(engine)

    assert [(b.spent, b.reserved) for b in run(url, work)] == [(0, 0), (0, 0)]


def test_amount_is_reduced(url):
    """Near its end a budget gives the remaining amount if that is at least the requested minimum."""

    async def work(engine):
        async with writing(engine) as writer:
            first = await reserve(writer, "a", 700, budget())
            second = await reserve(writer, "b", 700, budget(), least=200)
            with pytest.raises(BudgetExceededError):
                await reserve(writer, "c", 700, budget(), least=1)
        return first, second

    first, second = run(url, work)
    assert (first.amount, first.remaining) == (700, 300)
    assert (second.amount, second.remaining) == (300, 0)


def test_wait_for_released_money(url):
    """If another process has reserved the money, a reservation waits until it is released."""

    async def work(engine):
        async with opened(url) as other, writing(engine) as one, writing(other) as two:
            await reserve(one, "a", 900, budget())
            waiting = asyncio.create_task(reserve(two, "b", 900, budget(), wait_s=20))
            await reserve(two, "c", 100, budget())  # decided in a round after the waiting one came
            assert not waiting.done()
            one.submit(Settlement("a", 10))
            two.submit(Settlement("c", 0))
            return await waiting

    assert run(url, work).amount == 900


def test_no_wait_for_spent_money(url):
    """A spent budget refuses at once, however long the request may wait."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 900, budget())
            writer.submit(Settlement("a", 900))
            await writer.flush()
            async with asyncio.timeout(60):
                with pytest.raises(BudgetExceededError):
                    await reserve(writer, "b", 200, budget(), wait_s=3600)

    run(url, work)


def test_cancelled_wait_reserves_nothing(url):
    """A client that leaves before or just after its reservation is made leaves nothing reserved."""

    async def work(engine):
        async with writing(engine) as writer:
            for i in range(20):
                task = asyncio.create_task(reserve(writer, f"h{i}", 100, budget()))
                for _ in range(i):
                    await asyncio.sleep(0)  # leave at each of the points where it could
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await writer.flush()
        return [(b.spent, b.reserved) for b in await list_budgets(engine)]

    assert run(url, work) in ([], [(0, 0)])


def test_settlement_is_idempotent(url):
    """Settling a reservation twice, or one that never existed, moves money once."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "h", 100, budget("global", "", 1000, "month", NOW))
            writer.submit(Settlement("h", 30), Settlement("h", 50), Settlement("nobody", 5))
            await writer.flush()
            writer.submit(Settlement("h", 40))
        return (await list_budgets(engine))[0]

    row = run(url, work)
    assert (row.spent, row.reserved) == (30, 0)


def test_header_only_lowers_session(url):
    """The first value sets the limit, a lower one lowers it, and a higher one changes nothing."""

    async def work(engine):
        seen = []
        async with writing(engine) as writer:
            for limit in (500, 300, 900):
                await writer.open_budgets((budget(limit=limit),))
                seen.append((await list_budgets(engine))[0].limit)
        return seen

    assert run(url, work) == [500, 300, 300]


def test_repeated_header_keeps_raise(url):
    """After an administrator raises the limit, only a header below all earlier ones lowers it."""

    async def work(engine):
        seen = []
        async with writing(engine) as writer:
            await writer.open_budgets((budget(limit=500),))
            assert await set_session_budget(engine, "s", 2000)
            for limit in (500, 900, 400):
                await writer.open_budgets((budget(limit=limit),))
                seen.append((await list_budgets(engine))[0].limit)
        return seen

    assert run(url, work) == [2000, 2000, 400]


def test_session_limit_persists(url):
    """Once set, the limit also applies to requests without the header."""

    async def work(engine):
        async with writing(engine) as writer:
            free = await reserve(writer, "a", 5000, budget(limit=None))
            await writer.open_budgets((budget(limit=1000),))
            with pytest.raises(BudgetExceededError):
                await reserve(writer, "b", 5000, budget(limit=None))
        return free

    assert run(url, work) == Reserved(5000, None)


def test_sessions_are_named_per_owner(url):
    """A session of another key with the same name neither spends from a session nor changes it."""

    async def work(engine):
        async with writing(engine) as writer:
            await writer.open_budgets((budget(owner="ann"),))
            await reserve(writer, "a", 1, budget(limit=1, owner="bob"))
            with pytest.raises(BudgetExceededError):
                await reserve(writer, "b", 1, budget(limit=None, owner="bob"))
            await reserve(writer, "c", 1000, budget(limit=None, owner="ann"))
        with pytest.raises(SeveralSessionsError) as e:
            await set_session_budget(engine, "s", 5)
        assert await set_session_budget(engine, "s", 5000, "bob")
        assert not await set_session_budget(engine, "s", 5000, "eve")
        return e.value.owners, [(b.owner, b.limit, b.reserved) for b in await list_budgets(engine)]

    assert run(url, work) == (("ann", "bob"), [("ann", 1000, 1000), ("bob", 5000, 1)])


def test_new_window_starts_fresh(url):
    """Spend of yesterday does not count today, and a reservation of yesterday is settled in its own window."""
    yesterday, today = NOW - timedelta(days=1), NOW

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 1000, budget("global", "", 1000, "day", yesterday))
            await reserve(writer, "b", 1000, budget("global", "", 1000, "day", today))
            writer.submit(Settlement("a", 700))
        return [(b.spent, b.reserved) for b in await list_budgets(engine)]

    assert run(url, work) == [(700, 0), (0, 1000)]


def test_overrun_closes_the_budget(url):
    """A cost above the reservation is booked as it is. Then nothing fits, and nothing waits."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 600, budget())
            writer.submit(Settlement("a", 1500))
            await writer.flush()
            with pytest.raises(BudgetExceededError) as e:
                await reserve(writer, "b", 1, budget(), wait_s=3600)
        return e.value.available, (await list_budgets(engine))[0].spent

    assert run(url, work) == (0, 1500)


def test_absurd_call_locks_nobody_out(url):
    """However much a call asks for, half of the global budget stays free; its own budgets it may use up."""

    async def work(engine):
        async with writing(engine) as writer:
            everybody = budget("global", "", 1000)
            absurd = await reserve(writer, "a", 10**12, everybody, least=1)
            again = await reserve(writer, "b", 10**12, everybody, least=1)
            honest = await reserve(writer, "c", 90, everybody, least=1)
            own = await reserve(writer, "d", 10**12, budget("key", "k", 700), least=1)
        return absurd, again, honest, own

    assert [r.amount for r in run(url, work)] == [500, 250, 90, 700]


def test_key_leaves_half(url):
    """The calls of one key together leave half of the global budget; they get their least, and their share back."""

    async def work(engine):
        async with writing(engine) as writer:
            everybody = budget("global", "", 1000)
            amounts = [
                (await reserve(writer, f"a{i}", 10**12, everybody, least=3, key="greedy")).amount
                for i in range(10)
            ]
            honest = await reserve(writer, "b", 10**12, everybody, least=3, key="honest")
            for i in range(10):
                writer.submit(Settlement(f"a{i}", 0))
            await writer.flush()
            later = await reserve(writer, "c", 10**12, everybody, least=3, key="greedy")
        return amounts, honest.amount, later.amount

    amounts, honest, later = run(url, work)
    assert amounts == [500, *[3] * 9]
    assert honest == (1000 - 527) // 2
    assert later == (1000 - honest) // 2
