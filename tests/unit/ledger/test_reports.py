"""Reports give the same answer from sums by day, sums by month and rows, for every range."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import text

from proxy.ledger import reports, retention
from proxy.ledger.database import open_database
from proxy.ledger.rebuild import rebuild
from proxy.ledger.reports import GROUPS
from proxy.ledger.rollups import OF_CALLS
from tests.support.ledger import call, opened, request, run, writing

pytestmark = pytest.mark.slow

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = datetime(2025, 11, 27, 3, tzinfo=UTC)
TIMES = [
    FIRST + timedelta(hours=31 * i) for i in range(120)
]  # five months, over a year's end and a change of clocks
TASKS = ("math", "code", None)
TEAMS = ("search", "ads", None, "search", None)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A ledger of 120 requests, and its loop and engine."""
    from proxy.ledger.migrate import upgrade

    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('ledger')}/l.db"
    upgrade(url)
    loop = asyncio.new_event_loop()
    engine = open_database(url)

    async def fill():
        async with writing(engine, BERLIN) as writer:
            writer.submit(*(made(i) for i in range(len(TIMES))))

    loop.run_until_complete(fill())
    yield lambda work: loop.run_until_complete(work(engine))
    loop.run_until_complete(engine.dispose())
    loop.close()


def made(i):
    return request(
        f"r{i:03}", started_at=TIMES[i], task=TASKS[i % 3], cost=1 + i, key_id="ann" if i % 4 else None,
        latency_ms=100 + 10 * i, tags=("a=1", f"b={i % 2}") if i % 5 else (), stage=1 + i % 3,
        team=TEAMS[i % 5], cost_center=str(4711 + i % 2) if i % 7 else None, environment="production",
    )  # fmt: skip


days = st.integers(-3, 160).map(lambda d: datetime(2025, 11, 27, tzinfo=BERLIN) + timedelta(days=d))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.none() | days, st.none() | days, st.sampled_from(["task", "key", "day", "team"]), st.booleans())
def test_range_of_complete_days(filled, since, until, by, own):
    """A range is split into months and days without a gap or an overlap."""
    if since is not None and until is not None and since >= until:
        return
    rows = filled(
        lambda engine: reports.spend(
            engine, by=by, zone=BERLIN, since=since, until=until, key_id="ann" if own else None
        )
    )
    expected = Counter()
    for i, at in enumerate(TIMES):
        r = made(i)
        if (
            (since is None or at >= since)
            and (until is None or at < until)
            and (not own or r.key_id == "ann")
        ):
            day = f"{at.astimezone(BERLIN):%Y-%m-%d}"
            group = {"task": r.task, "key": r.key_id, "day": day, "team": r.team}[by]
            expected[group] += r.cost
    if by == "team" and expected:
        expected[None] += 0  # the unattributed requests have a row even if there are none
    assert {r.group: r.cost for r in rows} == dict(expected)


@pytest.mark.parametrize("by", GROUPS)
def test_rows_equal_rollups(url, by):
    """A range of part days is summed from the rows, with errors, escalations and percentiles."""

    async def work(engine):
        async with writing(engine, BERLIN) as writer:
            for i in range(12):
                writer.submit(made(i), call(f"c{i}", f"r{i:03}", cost=1 + i))
        midnight = TIMES[0].astimezone(BERLIN).replace(hour=0)
        ranges = [(midnight, midnight + timedelta(days=99)), (midnight + timedelta(minutes=1), TIMES[-1])]
        return [
            await reports.spend(engine, by=by, zone=BERLIN, since=since, until=until)
            for since, until in (ranges if by not in OF_CALLS else [(None, None), (None, NOON)])
        ]

    stored, counted = run(url, work)
    assert stored == counted
    assert stored


NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


def test_rebuild_corrects_sums(url):
    """A rebuild gives the same sums as before and corrects wrong ones. Sums of pruned rows stay."""

    async def everything(engine):
        return [await reports.spend(engine, by=by, zone=BERLIN) for by in GROUPS]

    async def work(engine):
        async with writing(engine, BERLIN) as writer:
            for i in range(30):
                paid = call(f"c{i}", f"r{i:03}", cost=1 + i)
                writer.submit(made(i), replace(paid, started_at=TIMES[i] + timedelta(minutes=1)))
        before = await everything(engine)
        await rebuild(engine, BERLIN)
        assert await everything(engine) == before
        await retention.prune(engine, TIMES[10])
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE rollups SET cost_nano = 0 WHERE day = '2025-12-20'"))
        await rebuild(engine, BERLIN)
        return before, await everything(engine)

    before, after = run(url, work)
    assert after == before


def test_limit_keeps_the_dearest(url):
    """A limit returns the groups with the highest cost."""

    async def work(engine):
        async with writing(engine) as writer:
            writer.submit(*(request(f"r{i}", session=f"s{i}", cost=i) for i in range(9)))
        return await reports.spend(engine, by="session", zone=ZoneInfo("UTC"), limit=3)

    assert [r.group for r in run(url, work)] == ["s8", "s7", "s6"]


def test_empty_report(url):
    """An empty ledger has an empty report, from rollups and from rows."""

    async def work(engine):
        async with opened(url):
            return [
                await reports.spend(engine, by="day", zone=BERLIN, since=since) for since in (None, FIRST)
            ]

    assert run(url, work) == [[], []]
