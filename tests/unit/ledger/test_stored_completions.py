"""Stored chat completions on both databases: pages, filters and owners."""

import string
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.ledger.stored_completions import (
    Page,
    StoredCompletion,
    delete_completions,
    find_completion,
    label_completion,
    list_completions,
    store_completion,
)
from tests.support.ledger import run

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
TEXT = st.text(max_size=4) | st.text(string.ascii_letters + '"\\%_:, ', max_size=4)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)


def completion(id_, minute=0, **given):
    facts = {"key_id": "ann", "model": None, "answered_by": "small", "labels": {}, **given}
    return StoredCompletion(id=id_, created_at=AT + timedelta(minutes=minute), **facts)


def test_pages_follow_each_other(url):
    """Pages hold every completion of a key once, in both orders, also those of the same time."""

    async def work(engine):
        for i, minute in enumerate([0, 1, 1, 1, 2]):
            await store_completion(engine, completion(f"c{i}", minute))
        await store_completion(engine, completion("other", key_id="bob"))
        await store_completion(engine, completion("nobody", key_id=None))
        seen = {}
        for descending in (False, True):
            after, ids, more = None, [], True
            while more:
                page = Page(limit=2, descending=descending, after=after)
                found, more = await list_completions(engine, "ann", page)
                ids += [c.id for c in found]
                after = ids[-1]
            seen[descending] = ids
        return seen, await list_completions(engine, None, Page(limit=2))

    seen, (of_nobody, more) = run(url, work)
    assert seen == {False: ["c0", "c1", "c2", "c3", "c4"], True: ["c4", "c3", "c2", "c1", "c0"]}
    assert ([c.id for c in of_nobody], more) == (["nobody"], False)


def test_first_owner_keeps_id(url):
    """An id that an upstream gives twice stays with its first owner."""

    async def work(engine):
        await store_completion(engine, completion("c", labels={"a": "1"}))
        await store_completion(engine, completion("c", key_id="bob"))
        return await find_completion(engine, "c")

    found = run(url, work)
    assert (found.key_id, found.labels, found.created_at) == ("ann", {"a": "1"}, AT)


def test_labels_choose_exactly(url):
    """A filter finds the completions that have all its pairs, and no others, whatever the texts are."""

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(LABELS, min_size=1, max_size=3), st.data())
    def check(stored, data):
        wanted = data.draw(LABELS | st.sampled_from(stored))

        async def work(engine):
            await delete_completions(engine, local_before=AT, before=AT + timedelta(days=1))
            for i, labels in enumerate(stored):
                await store_completion(engine, completion(f"c{i}"))
                await label_completion(engine, f"c{i}", labels)
            return await list_completions(engine, "ann", Page(limit=9, labels=wanted))

        found, _ = run(url, work)
        assert [c.labels for c in found] == [labels for labels in stored if wanted.items() <= labels.items()]

    check()


def test_retention_knows_local_ones(url):
    """Local completions go after their retention. The owners of the upstream's are known for longer."""

    async def work(engine):
        answer = {"id": "c"}
        for id_, minute, facts in (
            ("old", 0, {"answer": answer}),
            ("new", 2, {"answer": answer}),
            ("upstream", 0, {"model": "big"}),
            ("forgotten", -9, {"model": "big"}),
        ):
            await store_completion(engine, completion(id_, minute, **facts))
        minute = timedelta(minutes=1)
        deleted = await delete_completions(engine, local_before=AT + minute, before=AT - minute)
        found, _ = await list_completions(engine, "ann", Page(limit=9))
        return deleted, sorted(c.id for c in found)

    assert run(url, work) == (2, ["new", "upstream"])
