"""Rate limits of keys, on both databases."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from proxy.ledger.rate_limits import AdmissionRequest, RateLimitExceededError, delete_past_minutes
from proxy.ledger.tables import RateWindowRow
from proxy.pricing.prices import Usage
from tests.support.ledger import NOW, call, opened, run, writing


def test_concurrent_requests_respect_limit(url):
    """Of 30 requests through two processes in one minute, exactly ten are admitted."""
    wanted = AdmissionRequest("ann", NOW, requests_per_minute=10, tokens_per_minute=None)

    async def work(engine):
        async with opened(url) as other, writing(engine) as one, writing(other) as two:
            outcomes = await asyncio.gather(
                *((one, two)[i % 2].admit(wanted) for i in range(30)), return_exceptions=True
            )
            await one.admit(AdmissionRequest("ann", NOW + timedelta(minutes=1), 10, None))
            await one.admit(AdmissionRequest("bob", NOW, 10, None))
        return outcomes

    outcomes = run(url, work)
    refused = [o for o in outcomes if isinstance(o, RateLimitExceededError)]
    assert len(refused) == 20
    assert {(r.unit, r.limit, r.retry_after_s) for r in refused} == {("requests", 10, 60)}


def test_calls_use_tokens(url):
    """A request is admitted while its minute has tokens left. Calls count however they ended, and of all tiers."""
    wanted = AdmissionRequest("ann", NOW, requests_per_minute=None, tokens_per_minute=30)
    used = Usage(prompt_tokens=10, completion_tokens=5)
    calls = (
        call("c0", key_id="ann", started_at=NOW, usage=used, finish_reason="disconnected", estimated=True),
        call("c1", key_id="bob", started_at=NOW, usage=used),
        call("c2", key_id="ann", started_at=NOW, usage=used, tier="small", stage=1),
    )

    async def work(engine):
        async with writing(engine) as writer:
            for one in calls:
                await writer.admit(wanted)
                writer.submit(one)
                await writer.flush()
            with pytest.raises(RateLimitExceededError) as e:
                await writer.admit(wanted)
            await writer.admit(replace(wanted, at=NOW + timedelta(minutes=1)))
        return e.value.unit, e.value.limit

    assert run(url, work) == ("tokens", 30)


def test_calls_count_when_they_end(url):
    """A call over several minutes counts in its last one, so that long streams are not free."""
    late = NOW + timedelta(minutes=3)
    long = call("c", key_id="ann", started_at=NOW, latency_ms=180_000, usage=Usage(prompt_tokens=30))

    async def work(engine):
        async with writing(engine) as writer:
            writer.submit(long)
            await writer.flush()
            await writer.admit(AdmissionRequest("ann", NOW, None, 30))
            with pytest.raises(RateLimitExceededError):
                await writer.admit(AdmissionRequest("ann", late, None, 30))

    run(url, work)


def test_past_minutes_are_deleted(url):
    """Counts of minutes that are over are not kept for ever."""

    async def work(engine):
        async with writing(engine) as writer:
            for key, at in (("ann", NOW - timedelta(hours=2)), ("bob", NOW)):
                await writer.admit(AdmissionRequest(key, at, 10, None))
        await delete_past_minutes(engine, NOW)
        async with engine.connect() as connection:
            return list(await connection.scalars(select(RateWindowRow.key_id)))

    assert run(url, work) == ["bob"]
