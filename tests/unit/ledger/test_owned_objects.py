"""Owners of the upstream's objects and of responses, on both databases."""

from datetime import timedelta

from proxy.ledger.kept_responses import KeptResponse, delete_responses, find_response, store_response
from proxy.ledger.owned_objects import LONGEST_ID, delete_objects, owned_by, store_objects
from tests.support.ledger import NOW, run

MANY = [f"msg_{i}" for i in range(1200)]


def test_objects_have_owners(url):
    """An object may have several owners, is stored twice without harm, and is forgotten at its time."""

    async def work(engine):
        await store_objects(engine, "ann", MANY, NOW)
        await store_objects(engine, "ann", MANY[:1], NOW)
        await store_objects(engine, "bob", {MANY[0], "x" * (LONGEST_ID + 1)}, NOW - timedelta(days=1))
        found = [await owned_by(engine, key, [*MANY, "other"]) for key in ("ann", "bob", "eve")]
        await delete_objects(engine, NOW)
        return found, await owned_by(engine, "ann", MANY[:2]), await owned_by(engine, "bob", MANY[:2])

    found, kept, forgotten = run(url, work)
    assert found == [set(MANY), {MANY[0]}, set()]
    assert (kept, forgotten) == (set(MANY[:2]), set())


def test_owners_outlive_conversations(url):
    """A local conversation is deleted at its retention. The owner of an upstream response stays known for longer."""

    async def work(engine):
        for name, items, days in (("local", [], 2), ("upstream", None, 2), ("old", None, 40)):
            response = KeptResponse(
                id=name, key_id="ann", created_at=NOW - timedelta(days=days), context_tokens=0, items=items
            )
            await store_response(engine, response)
        await delete_responses(engine, local_before=NOW - timedelta(days=1), before=NOW - timedelta(days=30))
        return [name for name in ("local", "upstream", "old") if await find_response(engine, name)]

    assert run(url, work) == ["upstream"]
