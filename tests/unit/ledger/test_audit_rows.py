"""Stored audits, on both databases: results of one pair of models are separate from all others."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from proxy.ledger import audits, migrate
from proxy.ledger.audits import Audited, Models
from proxy.ledger.database import open_database
from tests.support.ledger import request, write

BEFORE_MODELS = "2c94d5e8b7f1"
AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
OURS = Models("small", "large")


def run(url, work):
    async def main():
        engine = open_database(url)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(main())


def audited(name, **changes):
    fields = {
        "id": name, "request_id": "r", "created_at": AT, "task": "math", "stage": 1, "confidence": 1.0, "accepted": True,
        "agreed": True, "small_model": "small", "large_model": "large", "samples": 8,
        "spent_nano": 0, "large_nano": 7,
    }  # fmt: skip
    return Audited(**{**fields, **changes})


def test_audits_without_models(empty_url):
    """Audits without their models stay and count only in the total. After a downgrade they are as before."""
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, BEFORE_MODELS)
    columns = "id, stage, request_id, created_at, task, confidence, accepted, agreed"

    async def insert(engine):
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    f"INSERT INTO audits ({columns}) VALUES ('old', 1, 'r', :at, 'math', 0.75, true, false)"
                ),
                {"at": AT if "postgresql" in empty_url else "2026-11-25 12:00:00.000000"},
            )

    async def rows(engine):
        async with engine.connect() as connection:
            return [dict(r._mapping) for r in await connection.execute(text("SELECT * FROM audits"))]

    run(empty_url, insert)
    before = run(empty_url, rows)
    migrate.upgrade(empty_url)
    (row,) = run(empty_url, rows)
    assert row == {
        **before[0],
        "small_model": None,
        "large_model": None,
        "samples": None,
        "spent_nano": None,
        "large_nano": None,
    }

    async def read(engine):
        await audits.store_audit(engine, audited("new"))
        await audits.store_audit(
            engine, audited("none", confidence=audits.NO_ANSWER, accepted=False, agreed=None, request_id="r2")
        )
        found = await audits.verdicts(engine, AT, OURS)
        return found, await audits.agreements(engine, AT, OURS), await audits.total(engine, AT)

    found, (counted, _), made = run(empty_url, read)
    assert [a.id for a in found] == ["new"]
    assert (counted.agreed, counted.differed, made) == (1, 0, 3)
    migrate.downgrade(empty_url, BEFORE_MODELS)
    assert sorted(row["id"] for row in run(empty_url, rows)) == ["new", "old"]
    assert before[0] in run(empty_url, rows)


def test_audits_of_one_pair(url):
    """Audits are read in order of time, for one pair of models or one of its stages, and counted by outcome."""

    async def work(engine):
        for one in (
            audited("b", samples=4, created_at=AT + timedelta(minutes=1)),
            audited("a", created_at=AT + timedelta(minutes=2), agreed=False),
            audited("c"),
            audited("d", agreed=None),
            audited("e", accepted=False),
            audited("f", stage=2),
            audited("g", small_model="other"),
            audited("h", large_model="other"),
            audited("i", created_at=AT - timedelta(minutes=1)),
        ):
            await audits.store_audit(engine, one)
        return (
            await audits.agreements(engine, AT, OURS),
            await audits.verdicts(engine, AT, OURS, of=("math", 1)),
            await audits.verdicts(engine, AT, OURS),
        )

    counted, first, found = run(url, work)
    assert [(a.stage, a.accepted, a.agreed, a.differed, a.unclear, a.samples) for a in counted] == [
        (1, True, 2, 1, 1, [4, 8]),
        (1, False, 1, 0, 0, [8]),
        (2, True, 1, 0, 0, [8]),
    ]
    assert {(a.small_model, a.large_model) for a in counted} == {("small", "large")}
    assert [a.id for a in first] == ["c", "b", "a"]
    assert [a.id for a in found] == ["c", "e", "f", "b", "a"]


def test_evidence_has_the_baseline(url):
    """The baseline is missing if another large model answered the request, or if the request was deleted."""

    async def work(engine):
        local, paid = (
            request("local", stage=1, model="small", baseline=9),
            request("paid", model="large", baseline=8),
        )
        await write(engine, local, paid, request("fallback", model="other", baseline=100))
        for minute, (name, reply) in enumerate(
            {"a": "local", "b": "paid", "c": "fallback", "d": "gone"}.items()
        ):
            await audits.store_audit(
                engine, audited(name, request_id=reply, created_at=AT + timedelta(minutes=minute))
            )
        none = audited(
            "e", confidence=audits.NO_ANSWER, accepted=False, agreed=None, request_id="paid", stage=2
        )
        await audits.store_audit(engine, none)
        await audits.store_audit(engine, audited("f", large_model="other"))
        return (
            await audits.evidence(engine, AT, OURS),
            await audits.agreements(engine, AT, OURS),
            await audits.total(engine, AT),
        )

    found, counted, made = run(url, work)
    assert [(a.id, a.baseline_nano) for a in found] == [
        ("a", 9),
        ("e", 8),
        ("b", 8),
        ("c", None),
        ("d", None),
    ]
    assert [(a.accepted, a.agreed, a.unclear, a.unanswered) for a in counted] == [
        (True, 4, 0, 0),
        (False, 0, 0, 1),
    ]
    assert made == 6
