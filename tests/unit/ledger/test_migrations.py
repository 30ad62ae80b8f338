"""Migrations keep the data, on both databases."""

from datetime import UTC, datetime

from alembic import command
from sqlalchemy import text

from proxy.ledger import migrate
from proxy.ledger.budgets import list_budgets
from proxy.ledger.kept_responses import KeptResponse, find_response
from proxy.ledger.unsettled import list_unsettled, mark_orphaned, resolve
from proxy.ledger.windows import EPOCH
from tests.support.ledger import budget, run, writing

BEFORE_RENAMES = "b3e6d0917c48"
BEFORE_STORED_ANSWERS = "4d7e92a0c6f3"
AT = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_migrations_match_the_tables(empty_url):
    """After upgrade, downgrade to nothing and upgrade, autogenerate finds no difference."""
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == migrate.head()
    migrate.downgrade(empty_url, "base")
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    command.check(migrate._config(empty_url))


def test_renames_keep_reservations(empty_url):
    """A reservation of an old version is still marked and resolved. After a downgrade all rows are as before."""
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, BEFORE_RENAMES)
    run(empty_url, lambda engine: insert_old_rows(engine, postgres="postgresql" in empty_url))
    before = run(empty_url, rows)

    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, BEFORE_RENAMES)
    assert run(empty_url, rows) == before

    migrate.upgrade(empty_url)

    async def recover(engine):
        assert await mark_orphaned(engine, "proc_old") == 1
        listed = sorted((row.id, row.amount) for row in await list_unsettled(engine))
        assert await resolve(engine, "call_open", 70)
        return listed, [(b.spent, b.reserved, b.unsettled) for b in await list_budgets(engine)]

    assert run(empty_url, recover) == ([("call_lost", 50), ("call_open", 100)], [(370, 0, 50)])


def test_renames_keep_lowest_header(empty_url):
    """A header that an old version has seen does not lower the limit again."""
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, BEFORE_RENAMES)
    run(empty_url, lambda engine: insert_old_rows(engine, postgres="postgresql" in empty_url))
    migrate.upgrade(empty_url)

    async def work(engine):
        seen = []
        async with writing(engine) as writer:
            for limit in (400, 399):
                await writer.open_budgets((budget(limit=limit),))
                seen.append((await list_budgets(engine))[0].limit)
        return seen

    assert run(empty_url, work) == [1000, 399]


def test_downgrade_keeps_sessions(empty_url):
    """Sessions of two keys with one name are still two after a downgrade, and the first one keeps its name."""
    migrate.upgrade(empty_url)

    async def open_both(engine):
        async with writing(engine) as writer:
            for owner in ("ann", "bob"):
                await writer.open_budgets((budget(owner=owner),))

    async def names(engine):
        return sorted((b.owner, b.name) for b in await list_budgets(engine))

    run(empty_url, open_both)
    migrate.downgrade(empty_url, "4d7e92a0c6f3")
    migrate.upgrade(empty_url)
    assert run(empty_url, names) == [("ann", "s"), ("bob", "s of bob")]


def test_old_responses_stay_known(empty_url):
    """A response of an old version keeps its owner and its conversation. It has no answer that can be read."""
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, BEFORE_STORED_ANSWERS)

    async def insert(engine):
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    """INSERT INTO responses (id, key_id, created_at, context_tokens, items)
                    VALUES ('resp_req_1', 'ann', :at, 0, '[{"role": "user"}]'), ('resp_2', 'bob', :at, 70, NULL)"""
                ),
                {"at": AT if "postgresql" in empty_url else "2026-11-25 12:00:00.000000"},
            )

    run(empty_url, insert)
    migrate.upgrade(empty_url)

    async def read(engine):
        return [await find_response(engine, id_) for id_ in ("resp_req_1", "resp_2")]

    old = {"created_at": AT, "model": None, "answer": None}
    assert run(empty_url, read) == [
        KeptResponse(id="resp_req_1", key_id="ann", context_tokens=0, items=[{"role": "user"}], **old),
        KeptResponse(id="resp_2", key_id="bob", context_tokens=70, items=None, **old),
    ]


async def insert_old_rows(engine, *, postgres):
    """Insert a session's budget, which an administrator has raised, with an open and an unsettled reservation."""
    start, at = (EPOCH, AT) if postgres else ("1970-01-01 00:00:00.000000", "2026-11-25 12:00:00.000000")
    async with engine.begin() as connection:
        await connection.execute(
            text(
                """INSERT INTO budgets (id, scope, name, "window", window_start, limit_nano, asked_nano, spent_nano,
                reserved_nano, unsettled_nano, owner)
                VALUES (1, 'session', 's', 'total', :start, 1000, 400, 300, 100, 50, '')"""
            ),
            {"start": start},
        )
        for name, amount, state in (("call_open", 100, "held"), ("call_lost", 50, "unsettled")):
            await connection.execute(
                text(
                    f"""INSERT INTO reservations (id, request_id, model, amount_nano, state, holder, budget_ids,
                    created_at, expires_at)
                    VALUES ('{name}', 'req', 'm', {amount}, '{state}', 'proc_old', '["1"]', :at, :at)"""
                ),
                {"at": at},
            )


async def rows(engine):
    """Return all rows of budgets and reservations."""
    async with engine.connect() as connection:
        return [
            dict(row._mapping)
            for table in ("budgets", "reservations")
            for row in await connection.execute(text(f"SELECT * FROM {table} ORDER BY id"))
        ]
