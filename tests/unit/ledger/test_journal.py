"""The journal keeps every appended record, and a broken one blocks no others."""

import asyncio
import resource
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, text

from proxy.ledger import reports
from proxy.ledger.adoption import replay
from proxy.ledger.journal import REJECTED, Journal, JournalFullError, abandoned, open_journal
from proxy.ledger.requests import list_requests
from proxy.records import PlanRecord, Settlement
from tests.support.ledger import (
    NOW,
    STAGE,
    UTC_ZONE,
    budget,
    call,
    request,
    reservation,
    reserve,
    run,
    writing,
)

BOUND = 10**7


OLD_JOURNAL = """\
{"type":"Hold","id":"c1","request_id":"r1","model":"m","amount":100,"created_at":"2026-10-15T12:00:00Z",\
"expires_at":"2026-10-15T12:00:00Z"}
{"type":"Settle","hold_id":"c1","cost":7}
{"type":"CallRecord","id":"c1","request_id":"r1","key_id":null,"started_at":"2026-10-15T12:00:00Z","stage":3,\
"role":"executor","tier":"large","model":"m","sample":null,"usage":{"prompt_tokens":10,"completion_tokens":5,\
"cached_tokens":0,"reasoning_tokens":0,"audio_prompt_tokens":0,"audio_completion_tokens":0},"cost":7,\
"price":{"input":2500000000,"output":10000000000,"cached_input":null,"audio_input":null,"audio_output":null,\
"source":"config","long_above":null,"long":null},"latency_ms":1,"finish_reason":"stop","estimated":false,\
"vote":null,"error":null,"overrun":false}
{"type":"PlanRecord","request_id":"r1","stage":2,"kind":"goal","sample":null,"text":"Find it.","chosen":true}
{"type":"RequestRecord","id":"r1","started_at":"2026-10-15T12:00:00Z","key_id":null,"session":null,"user":null,\
"task":"math","mode":"cascade","stage":3,"confidence":null,"status":200,"reason":null,"degraded":null,\
"requested_model":"cope","model":"m","prompt_tokens":10,"completion_tokens":5,"cost":7,"baseline":9,\
"latency_ms":1,"first_token_ms":1,"stream":false,"error":null,"tags":[],"stages":[{"stage":1,"drawn":3,\
"planned":4,"agreed":1,"confidence":0.25,"threshold":0.75,"accepted":false}],"prompt":null,"answer":null}
"""
"""One record of each kind, as processes wrote them before the tables were renamed."""


def records(count, start=0):
    return [Settlement(f"h{i}", i) for i in range(start, start + count)]


def plan(number, words):
    return PlanRecord(request_id=f"r{number}", stage=2, kind="goal", sample=None, text=words, chosen=False)


async def refuse_cost(engine, cost):
    """Let the database refuse requests of one cost."""
    async with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            check = (
                f"BEFORE INSERT ON requests WHEN NEW.cost_nano = {cost} BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
            await connection.execute(text(f"CREATE TRIGGER refuse {check}"))
        else:
            await connection.execute(text(f"ALTER TABLE requests ADD CHECK (cost_nano <> {cost})"))


async def calls_of(engine, request_id):
    """Return the calls of a request, which may have no row."""
    async with engine.connect() as connection:
        query = text("SELECT id FROM calls WHERE request_id = :id ORDER BY id")
        return (await connection.execute(query, {"id": request_id})).all()


def read_all(journal):
    out = []
    while journal.backlog_bytes:
        found, end = journal.read()
        out += found
        journal.drop(end)
    return out


def test_segments_are_read_in_order(tmp_path):
    """Records are read in order while more are appended, and finished segments are deleted."""
    journal = open_journal(tmp_path, "p", max_bytes=10 * BOUND)
    wide = [plan(i, "x" * 10_000) for i in range(3000)]
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


def test_only_dead_processes_are_adopted(tmp_path):
    """A locked journal belongs to a living process. After its death every complete line is read."""
    journal = open_journal(tmp_path, "p", max_bytes=BOUND)
    journal.append(records(3))
    assert list(abandoned(tmp_path, max_bytes=BOUND)) == []
    journal.close()
    with (tmp_path / "p" / "00000001.log").open("ab") as file:
        file.write(b'{"type":"Settle","hold_')
    (adopted,) = abandoned(tmp_path, max_bytes=BOUND)
    assert read_all(adopted) == records(3)
    adopted.close()


def test_old_journal_is_read(tmp_path):
    """Records that an older version wrote are read, so an upgrade loses none."""
    folder = tmp_path / "proc_old"
    folder.mkdir()
    (folder / "00000001.log").write_text(OLD_JOURNAL)
    (journal,) = abandoned(tmp_path, max_bytes=BOUND)
    assert read_all(journal) == [
        reservation("c1", 100, at=NOW, expires=NOW, request_id="r1"),
        Settlement("c1", 7),
        call("c1", "r1"),
        PlanRecord(request_id="r1", stage=2, kind="goal", sample=None, text="Find it.", chosen=True),
        request("r1"),
    ]
    journal.close()


def test_full_disk_refuses_complete_batch(tmp_path):
    """A batch that does not fit is refused completely. Records before and after it are complete."""
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


def test_full_disk_is_named(tmp_path):
    """The error names the reason that the operating system gives."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "00000001.log").symlink_to("/dev/full")
    journal = Journal(tmp_path / "p", max_bytes=BOUND)
    with pytest.raises(JournalFullError, match="No space left"):
        journal.append(records(1))


def test_size_limit(tmp_path):
    """At its size limit the journal refuses records until the database has taken some."""
    journal = open_journal(tmp_path, "p", max_bytes=100)
    while not journal.full:
        journal.append(records(1))
    with pytest.raises(JournalFullError, match="100 bytes"):
        journal.append(records(1))
    read_all(journal)
    journal.append(records(1))
    assert not journal.full
    journal.close()


def test_refused_record_blocks_no_others(url):
    """A record that the database refuses is moved to a file, and all others of its request are written."""
    good = [request(f"r{i}") for i in range(3)]

    async def work(engine):
        await refuse_cost(engine, 666)
        async with writing(engine) as writer:
            writer.submit(good[0], request("bad", cost=666), call("c-bad", "bad"), good[1], call("c1", "r1"))
            await writer.flush()
            writer.submit(good[2])
            await writer.flush()
            rejected = (writer._journal.folder.parent / REJECTED).read_text()
        calls = [r.id for name in ("bad", "r1") for r in await calls_of(engine, name)]
        return {r.id for r in await list_requests(engine, limit=9)}, calls, rejected

    ids, calls, rejected = run(url, work)
    assert ids == {"r0", "r1", "r2"}
    assert calls == ["c-bad", "c1"]
    assert '"bad"' in rejected
    assert rejected.count("\n") == 1


def test_texts_never_cost_the_record(url):
    """A record whose details the database refuses is written without them, with its money."""
    twice = request("r0", stages=(STAGE, STAGE), reason="odd")

    async def work(engine):
        async with writing(engine) as writer:
            writer.submit(twice, call("c0", "r0"))
            await writer.flush()
            assert not (writer._journal.folder.parent / REJECTED).exists()
        return await list_requests(engine, limit=9), await reports.spend(engine, by="day", zone=UTC_ZONE)

    (row,), (day,) = run(url, work)
    assert (row.id, row.cost, row.reason) == ("r0", 7, "?")
    assert (day.requests, day.cost) == (1, 7)


def test_replay_skips_existing_records(url, tmp_path):
    """If the database has some records of a dead process, they are not written again, in rows or in sums."""
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


def test_concurrent_requests_share_commits(url):
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


def test_kept_journal_is_adopted_again(tmp_path):
    """An adoption that fails after the replay leaves the folder to the next one: leases and calls are still open."""
    dead = open_journal(tmp_path, "dead", max_bytes=BOUND)
    dead.close(keep=True)
    (again,) = abandoned(tmp_path, max_bytes=BOUND)
    assert again.complete
    again.close()
    assert not list(abandoned(tmp_path, max_bytes=BOUND))
