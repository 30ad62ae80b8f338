"""Teams, cost centers and environments of keys, and the reports by them."""

import asyncio
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from proxy.ledger import keys, migrate, reports
from proxy.ledger.orphans import close_orphaned_requests
from proxy.ledger.rebuild import rebuild
from proxy.ledger.reports import OF_KEYS
from proxy.ledger.requests import get_request
from proxy.records import (
    LONGEST_ATTRIBUTION,
    MOST,
    UNATTRIBUTED,
    Attribution,
    attribution_name,
    without_texts,
)
from tests.support.commands import sqlite_url
from tests.support.ledger import NOW, UTC_ZONE, call, opened, request, run, write, writing

BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = datetime(2025, 12, 30, tzinfo=BERLIN)
BEFORE_TEAMS = "c7e2a95b4d13"
SEARCH = Attribution(team="search", cost_center="4711", environment="production")


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory):
    """A database file with the newest schema."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    migrate.upgrade(sqlite_url(path))
    return path


NAMES = st.sampled_from([None, "search", "ads", "Süd", "a b", "<b>"])
REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 72), st.integers(0, MOST), st.sampled_from([None, "ann", "bob"]), NAMES, NAMES, NAMES
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(REQUESTS, st.sampled_from([None, "ann"]), st.integers(1, 2))
def test_groups_add_up_to_the_total(empty_ledger, made, own, skipped_hours):
    """The costs of all groups are those of all requests to the nano-dollar, from the sums of days and from the rows."""
    records = [
        request(
            f"r{i}",
            started_at=MIDNIGHT + timedelta(hours=hour),
            cost=cost,
            key_id=key,
            team=team,
            cost_center=center,
            environment=environment,
        )
        for i, (hour, cost, key, team, center, environment) in enumerate(made)
    ]
    path = Path(shutil.copy(empty_ledger, empty_ledger.parent / "filled.db"))

    async def work():
        async with opened(sqlite_url(path)) as engine:
            async with writing(engine, BERLIN) as writer:
                writer.submit(*records)
            for since in (None, MIDNIGHT + timedelta(days=1), MIDNIGHT + timedelta(hours=skipped_hours)):
                wanted = [r for r in records if since is None or r.started_at >= since]
                wanted = [r for r in wanted if own in (None, r.key_id)]
                for by in OF_KEYS:
                    found = await reports.spend(engine, by=by, zone=BERLIN, since=since, key_id=own)
                    expected = Counter({None: 0} if wanted else {})
                    for r in wanted:
                        expected[getattr(r, by)] += r.cost
                    assert {row.group: row.cost for row in found} == dict(expected)
                    assert sum(row.cost for row in found) == sum(r.cost for r in wanted)
                    assert sum(row.requests for row in found) == len(wanted)

    asyncio.run(work())


@pytest.mark.parametrize("hours", [0, 1], ids=["from rollups", "from rows"])
def test_unattributed_share(url, hours):
    """The last row has the requests without a team and their share, however few groups are asked for."""

    async def work(engine):
        await write(
            engine,
            request("r1", team="search", cost=50),
            request("r2", team="ads", cost=20),
            request("r3", cost=30, key_id="ann"),
        )
        since = NOW.replace(hour=hours)
        return [
            await reports.spend(
                engine, by=by, zone=UTC_ZONE, since=since, until=since + timedelta(days=1), limit=1
            )
            for by in ("team", "environment")
        ]

    teams, environments = run(url, work)
    assert [(r.group, r.cost, r.share) for r in teams] == [("search", 50, 0.5), (None, 30, 0.3)]
    assert [(r.group, r.cost, r.share) for r in environments] == [(None, 100, 1.0)]


def test_everything_is_attributed(url):
    """The unattributed row is there with nothing in it. Without any cost there are no shares."""

    async def work(engine):
        await write(engine, request("r1", team="search", cost=0))
        return await reports.spend(engine, by="team", zone=UTC_ZONE)

    assert [(r.group, r.requests, r.cost, r.share) for r in run(url, work)] == [
        ("search", 1, 0, None), (None, 0, 0, None),
    ]  # fmt: skip


def test_rebuild_keeps_teams(url):
    """The sums of teams come from the requests again, and not from the keys of today."""

    async def work(engine):
        await write(engine, request("r1", team="search", cost=50), request("r2", cost=30))
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM rollups WHERE dimension LIKE 'team%'"))
        lost = await reports.spend(engine, by="team", zone=UTC_ZONE)
        await rebuild(engine, UTC_ZONE)
        return lost, await reports.spend(engine, by="team", zone=UTC_ZONE)

    lost, rebuilt = run(url, work)
    assert [(r.group, r.cost) for r in lost] == [(None, 80)]
    assert [(r.group, r.cost) for r in rebuilt] == [("search", 50), (None, 30)]


def test_keys_belong_to_teams(url):
    """A key is created with its team, and moved later. A revoked key does not move."""

    async def work(engine):
        new = await keys.create_key(engine, "ann", attribution=SEARCH)
        plain = await keys.create_key(engine, "bob")
        made = [(await keys.find_key(engine, key.token)).attribution for key in (new, plain)]
        assert await keys.attribute_key(engine, new.id, {"team": "ads", "environment": None})
        assert not await keys.attribute_key(engine, "nobody", {"team": "ads"})
        assert await keys.revoke_key(engine, plain.id)
        assert not await keys.attribute_key(engine, plain.id, {"team": "ads"})
        return made, [key.attribution for key in await keys.list_keys(engine)]

    made, listed = run(url, work)
    assert made == [SEARCH, UNATTRIBUTED]
    assert listed == [Attribution(team="ads", cost_center="4711"), UNATTRIBUTED]


def test_requests_of_dead_processes_are_attributed(url):
    """A request whose process has died gets the team of its key."""

    async def work(engine):
        key = await keys.create_key(engine, "ann", attribution=SEARCH)
        await write(engine, call("c1", "lost", key_id=key.id), call("c2", "anonymous"))
        assert (
            await close_orphaned_requests(
                engine, NOW - timedelta(hours=1), NOW + timedelta(hours=1), UTC_ZONE
            )
            == 2
        )
        found = (await get_request(engine, "lost")).request
        return found, await reports.spend(engine, by="cost_center", zone=UTC_ZONE)

    found, rows = run(url, work)
    assert (found.team, found.cost_center, found.environment) == ("search", "4711", "production")
    assert [(r.group, r.cost, r.share) for r in rows] == [("4711", 7, 0.5), (None, 7, 0.5)]


def test_old_ledgers_are_unattributed(empty_url):
    """Keys, requests and sums of an old version have no team after the migration."""
    migrate.upgrade(empty_url)

    async def fill(engine):
        await keys.create_key(engine, "ann")
        await write(engine, request("r1", key_id="ann"))

    async def read(engine):
        rows = [
            row
            for by in OF_KEYS
            for since in (None, NOW - timedelta(hours=1))
            for row in await reports.spend(engine, by=by, zone=UTC_ZONE, since=since)
        ]
        (key,) = await keys.list_keys(engine)
        return key.attribution, [(row.group, row.cost, row.share) for row in rows]

    run(empty_url, fill)
    migrate.downgrade(empty_url, BEFORE_TEAMS)
    migrate.upgrade(empty_url)
    assert run(empty_url, read) == (UNATTRIBUTED, [(None, 7, 1.0)] * 6)


def test_a_team_survives_refused_texts():
    """A record that loses its texts keeps its team, so that its money stays where it belongs."""
    record = without_texts(request("r1", team="search", cost_center="4711", environment="dev", user="zoe"))
    assert (record.team, record.cost_center, record.environment, record.user) == (
        "search",
        "4711",
        "dev",
        "?",
    )


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("search", "search"),
        (" Search Ads ", "Search Ads"),
        ("Su\u0308d", "S\u00fcd"),
        ("<b>4711</b>", "<b>4711</b>"),
        ("x" * LONGEST_ATTRIBUTION, "x" * LONGEST_ATTRIBUTION),
        ("\u691c\u7d22", "\u691c\u7d22"),
    ],
)
def test_names(given_name, stored):
    """One team has one name, whatever editor its letters come from."""
    assert attribution_name(given_name) == stored


@pytest.mark.parametrize(
    "name",
    ["", " ", "*", "Unattributed", "x" * 65, "x" * 10**6, "a\nb", "a\0b", "\x1b[31m", "a\u202eb", "a\u200bb", "\ud800", "a\u2028b"],
)  # fmt: skip
def test_other_names_are_refused(name):
    """Names that a person cannot read or tell apart, and those with a meaning of their own, are none."""
    with pytest.raises(ValueError, match=r"visible characters|meaning of its own"):
        attribution_name(name)
