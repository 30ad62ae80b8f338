"""Requests in the ledger, on both databases."""

from datetime import timedelta

import pytest

from proxy.ledger import reports, retention
from proxy.ledger.requests import RequestFilter, get_request, list_requests
from tests.support.ledger import NOW, UTC_ZONE, call, request, run, write


def test_repeated_batch_is_skipped(url):
    """Records that are written twice exist once, and spend is the sum of the calls."""
    records = [request("req_1"), call("c1", "req_1"), request("req_2", cost=5), call("c2", "req_2", 5)]

    async def work(engine):
        await write(engine, *records)
        await write(engine, *records)
        rows = await reports.spend(engine, by="day", zone=UTC_ZONE)
        details = await get_request(engine, "req_1")
        return rows, details

    rows, details = run(url, work)
    assert [(r.group, r.requests, r.cost, r.baseline) for r in rows] == [("2026-10-15", 2, 12, 18)]
    assert sum(c.cost for c in details.calls) == details.request.cost == 7
    assert details.request.started_at == NOW
    assert details.stages[0].agreed == 1


@pytest.mark.parametrize("by", ["day", "key", "stage", "task", "session", "user", "tag"])
@pytest.mark.parametrize("hours", [0, 1], ids=["from rollups", "from rows"])
def test_groupings_have_equal_sums(url, by, hours):
    """However spend is grouped, the total is the same."""

    async def work(engine):
        await write(
            engine, request("r1", session="a"), request("r2", task="open", stage=1, cost=0), request("r3")
        )
        midnight = NOW.replace(hour=hours)
        return await reports.spend(
            engine, by=by, zone=UTC_ZONE, since=midnight, until=midnight + timedelta(days=1)
        )

    assert sum(r.cost for r in run(url, work)) == 14


def test_key_sees_own_requests(url):
    """Another key's request is not found."""

    async def work(engine):
        await write(engine, request("r1", key_id="ann"), request("r2", key_id="bob"))
        listed = [r.id for r in await list_requests(engine, RequestFilter(key_id="ann"), limit=9)]
        return listed, await get_request(engine, "r2", key_id="ann")

    assert run(url, work) == (["r1"], None)


def test_pruning_deletes_old_requests(url):
    """Requests past their retention are deleted with their calls."""

    async def work(engine):
        await write(
            engine, request("old", started_at=NOW - timedelta(days=99)), call("c", "old"), request("new")
        )
        assert await retention.prune(engine, NOW - timedelta(days=30)) == 1
        return [r.id for r in await list_requests(engine, limit=9)]

    assert run(url, work) == ["new"]
