"""The journal: what was promised survives, what is broken holds up nothing."""

import asyncio
import resource
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event

from proxy.ledger import reports
from proxy.ledger.journal import REJECTED, Journal, JournalFullError, abandoned, open_journal
from proxy.ledger.requests import list_requests
from proxy.ledger.writer import replay
from proxy.records import Settlement
from tests.unit.ledger.test_ledger import budget, call, request, reserve, run, writing

BOUND = 10**7


def records(count, start=0):
    return [Settlement(f"h{i}", i) for i in range(start, start + count)]


def read_all(journal):
    out = []
    while journal.backlog_bytes:
        found, end = journal.read()
        out += found
        journal.drop(end)
    return out


def test_what_was_appended_is_read_in_order_over_many_segments(tmp_path):
    """Also while more comes in, and the files of what is done are gone."""
    journal = open_journal(tmp_path, "p", max_bytes=10 * BOUND)
    wide = [Settlement(f"{i:010000}", i) for i in range(3000)]
    seen = []
    for i in range(0, 3000, 100):
        journal.append(wide[i : i + 100])
        if i % 200 == 0:
            found, end = journal.read()
            seen += found
            journal.drop(end)
    assert len(list((tmp_path / "p").glob("*.log"))) > 1
    seen += read_all(journal)
    assert seen == wide
    assert len(list((tmp_path / "p").glob("*.log"))) == 1
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_only_the_dead_are_adopted(tmp_path):
    """A journal under lock belongs to a living process; after its death all of it is read, but half a line."""
    journal = open_journal(tmp_path, "p", max_bytes=BOUND)
    journal.append(records(3))
    assert list(abandoned(tmp_path, max_bytes=BOUND)) == []
    journal.close()
    with (tmp_path / "p" / "00000001.log").open("ab") as file:
        file.write(b'{"type":"Settle","hold_')
    (adopted,) = abandoned(tmp_path, max_bytes=BOUND)
    assert read_all(adopted) == records(3)
    adopted.close()


def test_a_full_disk_keeps_nothing_by_halves(tmp_path):
    """What does not fit is refused as a whole; what was there before, and what comes later, is whole."""
    journal = open_journal(tmp_path, "p", max_bytes=BOUND)
    journal.append(records(2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.backlog_bytes + 10, hard))
    try:
        for _ in range(2):
            with pytest.raises(JournalFullError):
                journal.append(records(1, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.append(records(1, 2))
    assert read_all(journal) == records(3)
    journal.close()


def test_no_space_left_is_said_so(tmp_path):
    """The operating system's own words reach the operator."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "00000001.log").symlink_to("/dev/full")
    journal = Journal(tmp_path / "p", max_bytes=BOUND)
    with pytest.raises(JournalFullError, match="No space left"):
        journal.append(records(1))


def test_the_bound_holds(tmp_path):
    """Past it nothing is taken, until the database has had some."""
    journal = open_journal(tmp_path, "p", max_bytes=100)
    while not journal.full:
        journal.append(records(1))
    with pytest.raises(JournalFullError, match="100 bytes"):
        journal.append(records(1))
    read_all(journal)
    journal.append(records(1))
    assert not journal.full
    journal.close()


def test_a_record_that_no_database_takes_holds_up_nothing(url):
    """It is put aside where a person finds it; all others are written."""
    good = [request(f"r{i}") for i in range(3)]

    async def work(engine):
        async with writing(engine) as writer:
            writer.submit(good[0], call("c0", "r0"), request("bad", cost=2**63), good[1], call("c1", "r1"))
            await writer.flush()
            writer.submit(good[2])
            await writer.flush()
            rejected = (writer._journal.folder.parent / REJECTED).read_text()
        return {r.id for r in await list_requests(engine, limit=9)}, rejected

    ids, rejected = run(url, work)
    assert ids == {"r0", "r1", "r2"}
    assert '"bad"' in rejected
    assert rejected.count("\n") == 1


def test_a_journal_that_was_half_written_is_replayed_once(url, tmp_path):
    """The process died after the database had taken some of it: nothing is there twice, in rows or in sums."""
    made = [request("r1"), call("c1", "r1"), request("r2"), call("c2", "r2")]
    dead = open_journal(tmp_path, "dead", max_bytes=BOUND)
    dead.append(made)
    dead.close()

    async def work(engine):
        async with writing(engine) as writer:
            writer.submit(*made[:2])
        (journal,) = abandoned(tmp_path, max_bytes=BOUND)
        assert await replay(engine, journal, ZoneInfo("UTC")) == 4
        journal.close()
        rows = await list_requests(engine, limit=9)
        spent = await reports.spend(engine, by="model", zone=ZoneInfo("UTC"))
        return [r.id for r in rows], [(s.requests, s.cost) for s in spent]

    assert run(url, work) == (["r2", "r1"], [(2, 14)])


def test_the_events_of_one_loop_go_into_few_commits(url):
    """Many concurrent requests share a commit."""

    async def work(engine):
        commits = 0

        def count(_):
            nonlocal commits
            commits += 1

        event.listen(engine.sync_engine, "commit", count)
        async with writing(engine) as writer, asyncio.TaskGroup() as group:
            for i in range(200):
                group.create_task(reserve(writer, f"h{i}", 1, budget()))
        return commits

    assert run(url, work) <= 5
