"""Facts of the database that many requests need."""

import asyncio

import pytest

from proxy.errors import ApiError
from proxy.http.known import FRESH_S, OUTAGE_S, RENEW_S, Known


class Database:
    """A database that answers when it is told to, and counts the questions."""

    def __init__(self):
        self.questions, self.failing = 0, False
        self.most_at_once, self._at_once = 0, 0
        self.open = asyncio.Event()
        self.open.set()

    async def ask(self):
        """Return the number of the question."""
        self.questions += 1
        number = self.questions
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.open.wait()
            if self.failing:
                raise OSError("unavailable")
            return number
        finally:
            self._at_once -= 1


class Clock:
    """A time that a test sets."""

    now = 1000.0

    def __call__(self):
        """Return the time in seconds."""
        return self.now


async def turns():
    """Let everything run that can run."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_one_asker():
    """However many requests come at any age of the answer, one question is under way at most."""

    async def scenario():
        clock, database = Clock(), Database()
        fact = Known(database.ask, clock)
        for age in (0, RENEW_S, FRESH_S, 10 * FRESH_S):
            clock.now += age
            database.open.clear()
            waiting = [asyncio.ensure_future(fact.value()) for _ in range(64)]
            await turns()
            database.open.set()
            await asyncio.gather(*waiting)
            await turns()
        assert (database.questions, database.most_at_once) == (4, 1)

    asyncio.run(scenario())


def test_renewed_ahead():
    """Nobody waits for a renewal, and the next request gets the new answer."""

    async def scenario():
        clock, database = Clock(), Database()
        fact = Known(database.ask, clock)
        assert await fact.value() == 1
        clock.now += RENEW_S
        database.open.clear()
        assert await asyncio.wait_for(fact.value(), 10) == 1
        database.open.set()
        await turns()
        assert await fact.value() == 2

    asyncio.run(scenario())


def test_old_answer_never_holds():
    """After 5 s every request waits for a new answer, counted from the question and not from its answer."""

    async def scenario():
        clock, database = Clock(), Database()
        fact = Known(database.ask, clock)
        database.open.clear()
        first = asyncio.ensure_future(fact.value())
        await turns()
        clock.now += FRESH_S
        database.open.set()
        assert await first == 1
        assert await fact.value() == 2

    asyncio.run(scenario())


def test_departure_ends_no_question():
    """If the request that asked is cancelled, those that wait still get the answer."""

    async def scenario():
        clock, database = Clock(), Database()
        fact = Known(database.ask, clock)
        database.open.clear()
        asker, other = (asyncio.ensure_future(fact.value()) for _ in range(2))
        await turns()
        asker.cancel()
        await turns()
        database.open.set()
        assert await other == 1
        assert database.questions == 1

    asyncio.run(scenario())


def test_outage_is_bridged():
    """A known answer holds for an hour without a database, and then there is a 503."""

    async def scenario():
        clock, database = Clock(), Database()
        fact = Known(database.ask, clock)
        assert await fact.value() == 1
        database.failing = True
        clock.now += OUTAGE_S
        assert await fact.value() == 1
        clock.now += 2 * FRESH_S
        with pytest.raises(ApiError) as caught:
            await fact.value()
        assert caught.value.status == 503

    asyncio.run(scenario())
