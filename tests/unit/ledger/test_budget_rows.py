"""Budgets as they are read and set, on both databases."""

from proxy.ledger.budgets import list_budgets, remaining, set_session_budget
from proxy.records import Settlement
from tests.support.ledger import budget, opened, reserve, run, writing


def test_remaining_is_the_smallest(url):
    """The tightest budget counts, after its spend and its open reservations."""

    async def work(engine):
        session, key = budget(limit=1000), budget("key", "k", 900)
        async with writing(engine) as writer:
            await reserve(writer, "a", 300, session, key)
            await reserve(writer, "b", 200, session)
            writer.submit(Settlement("a", 250))
            await writer.flush()
        return await remaining(engine, [session]), await remaining(engine, [session, key])

    assert run(url, work) == (550, 550)


def test_remaining_of_unused_budgets(url):
    """A budget without a row has its complete limit. Without any limit nothing is known."""

    async def work(engine):
        return [
            await remaining(engine, refs)
            for refs in (
                [],
                [budget(limit=None)],
                [budget(limit=700)],
                [budget(limit=None), budget("key", "k", 9)],
            )
        ]

    assert run(url, work) == [None, None, 700, 9]


def test_remaining_follows_the_config(url):
    """A new limit of a key counts at once. A session keeps its stored limit."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 100, budget(limit=1000), budget("key", "k", 1000))
        return [
            await remaining(engine, [ref])
            for ref in (budget("key", "k", 400), budget(limit=5000), budget(limit=None))
        ]

    assert run(url, work) == [300, 900, 900]


def test_new_config_limit_applies(url):
    """The next reservation stores the limit that the config has now."""

    async def work(engine):
        async with writing(engine) as writer:
            for name, limit in (("a", 1000), ("b", 2000)):
                await reserve(writer, name, 10, budget("global", "", limit, "month"))
        return [(b.limit, b.reserved) for b in await list_budgets(engine)]

    assert run(url, work) == [(2000, 20)]


def test_unknown_session_has_no_budget(url):
    """A session's budget can be set only after a header has opened it."""

    async def work(engine):
        async with opened(url):
            return await set_session_budget(engine, "nobody", 5), await list_budgets(engine)

    assert run(url, work) == (False, [])
