"""Rate limits of keys, on both databases."""

import asyncio
from datetime import timedelta

import pytest

from proxy.ledger.rate_limits import AdmissionRequest, RateLimitExceededError
from tests.support.ledger import NOW, opened, request, run, writing


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


def test_finished_requests_use_tokens(url):
    """A request is admitted while its minute has tokens left, and refused afterwards."""
    wanted = AdmissionRequest("ann", NOW, requests_per_minute=None, tokens_per_minute=30)

    async def work(engine):
        async with writing(engine) as writer:
            for i in range(2):  # 15 tokens each
                await writer.admit(wanted)
                writer.submit(request(f"r{i}", key_id="ann", started_at=NOW))
                await writer.flush()
            with pytest.raises(RateLimitExceededError) as e:
                await writer.admit(wanted)
        return e.value.unit, e.value.limit

    assert run(url, work) == ("tokens", 30)
