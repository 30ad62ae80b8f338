"""What sessions read from the upstream's cache beside direct use, on both databases."""

from datetime import timedelta

import pytest

from proxy.ledger.session_cache import SessionCache, session_caches
from tests.support.ledger import NOW, request, run, write

SINCE = NOW - timedelta(days=1)


def turns(*counts, session="s", key="k", apart=60, **changes):
    """Return requests of one session: the prompt and the read tokens of each, in tokens."""
    return [
        request(
            f"{session}-{key}-{i:03}", session=session, key_id=key, started_at=NOW + timedelta(seconds=apart * i),
            prompt_tokens=prompt, sent_tokens=prompt, read_tokens=read, **changes,
        )
        for i, (prompt, read) in enumerate(counts)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "direct", "read"),
    [
        (turns((2000, 0), (3000, 2000), (4000, 3000)), 5000, 5000),
        (turns((2000, 0), (3000, 0), (4000, 100)), 5000, 100),
        # A planner has read the prompt too. That is no more than direct use needs.
        (turns((2000, 0), (3000, 4000)), 2000, 2000),
        # Too short, another conversation, and too late.
        (turns((1000, 0), (3000, 0)), 0, 0),
        (turns((9000, 0), (3000, 0)), 0, 0),
        (turns((2000, 0), (3000, 0), apart=301), 0, 0),
        # The small model answered, or one whose upstream has no cache.
        (turns((2000, 0), (3000, 0), stage=1, model="small"), 0, 0),
        (turns((2000, 0), (3000, 0), model="other"), 0, 0),
        # Direct use would have sent the turn that was answered locally.
        ([*turns((2000, 0), stage=1, model="small"), *turns((0, 0), (3000, 0))[1:]], 2000, 0),
    ],
)  # fmt: skip
def test_direct_use_reads_the_turn_before(url, records, direct, read):
    """Only what a prompt has in common with the one before it, soon after it, counts."""

    async def work(engine):
        await write(engine, *records)
        return await session_caches(engine, SINCE, {"m"})

    assert run(url, work) == ([SessionCache("s", "k", direct, read)] if direct else [])


def test_sessions_of_two_keys_are_apart(url):
    """Sessions with the same name belong to their keys. The largest loss comes first, and old requests do not count."""
    old = turns((2000, 0), (3000, 0), session="old")

    async def work(engine):
        await write(
            engine,
            *turns((2000, 0), (3000, 1900), key="a"),
            *turns((5000, 0), (6000, 0), key="b"),
            *(
                request(r.id, session="old", prompt_tokens=5000, started_at=SINCE - timedelta(hours=1))
                for r in old
            ),
        )
        return await session_caches(engine, SINCE, {"m"})

    assert run(url, work) == [SessionCache("s", "b", 5000, 0), SessionCache("s", "a", 2000, 1900)]
