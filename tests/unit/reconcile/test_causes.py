"""Each difference names its likely cause."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from proxy.ledger.unsettled import mark_expired
from proxy.pricing.prices import Price, Usage, cost_at
from proxy.pricing.published import published_price
from tests.support.ledger import call, opened, request, reservation, run, writing
from tests.support.vendor_reports import (
    at,
    billed,
    bucket,
    compared,
    ledger,
    page,
    paid,
    saved,
    used,
)

OLD = Price(input=5 * 10**9, output=15 * 10**9, source="config")
SOL = Price(input=4 * 10**9, output=20 * 10**9, cached_input=4 * 10**8, source="genai-prices")


def causes(folder, records, *buckets, options=()):
    """Compare records with a report. Return the causes by day."""
    url = ledger(folder, records)
    code, found = compared(folder, url, saved(folder, page(*buckets)), *options)
    assert code == 3, found
    return {
        line["day"][-2:]: [(c["name"], c["amount"]) for c in line["causes"]]
        for line in found["lines"]
        if line["causes"]
    }


def test_cache_writes(tmp_path):
    """20,000 tokens were written to the cache at 1.25 times the input, and booked as input."""
    records = paid("a", 2, "openai/gpt-5.6-sol", SOL, (20_000, 300))
    report = (
        used("gpt-5.6-sol", (20_000, 300), input_cache_write_tokens=20_000),
        billed("0.106", "gpt-5.6-sol, input"),
    )
    assert causes(tmp_path, records, bucket(2, *report)) == {"02": [("cache-writes", 20_000_000)]}


def test_cache_reads(tmp_path):
    """The vendor has read 60,000 tokens from its cache, and told the proxy nothing of it."""
    records = paid("a", 2, tokens=(100_000, 1000))
    report = used(tokens=(100_000, 1000, 60_000)), billed("0.185")
    assert causes(tmp_path, records, bucket(2, *report)) == {"02": [("cache-reads", -75_000_000)]}


@pytest.mark.parametrize(
    "report",
    [
        (used(tokens=(100_000, 1000), service_tier="flex"), billed("0.13")),
        (used(tokens=(100_000, 1000), batch=True), billed("0.13")),
        (used(tokens=(100_000, 1000)), billed("0.5", "priority | gpt-4o-2024-08-06, input")),
        (used(tokens=(100_000, 1000)), billed("0.13")),  # half the price, without a word
        (used(tokens=(100_000, 1000)), billed("0.52")),
    ],
)
def test_another_tier(tmp_path, report):
    assert causes(tmp_path, paid("a", 2, tokens=(100_000, 1000)), bucket(2, *report))["02"][0][0] == "tier"


def test_a_dated_price(tmp_path):
    """The config has the price of last year: 5/15 instead of 2.5/10 USD."""
    records = paid("a", 2, price=OLD, tokens=(100_000, 10_000))
    report = used(tokens=(100_000, 10_000)), billed("0.35")
    assert causes(tmp_path, records, bucket(2, *report)) == {"02": [("dated-price", -300_000_000)]}


def test_another_price(tmp_path):
    """A discount that no price list has."""
    report = used(tokens=(100_000, 10_000)), billed("0.28")
    assert causes(tmp_path, paid("a", 2, tokens=(100_000, 10_000)), bucket(2, *report))["02"][0][0] == "price"


def test_calls_of_other_programs(tmp_path):
    """More calls of a known model, a model that the ledger never had, and a product of its own."""
    report = [
        bucket(2, used(tokens=(30_000, 3000), requests=3), billed("0.105")),
        bucket(3, used("o9-huge", (10, 10)), billed("2.5", "o9-huge, output")),
        bucket(4, billed("0.4", "web search tool calls")),
        bucket(5, billed("0.4", "evals | gpt-4o-2024-08-06, input")),
    ]
    found = causes(tmp_path, paid("a", 2), *report)
    assert {day: names[0][0] for day, names in found.items()} == {
        "02": "not-through-proxy", "03": "not-through-proxy", "04": "other-fees", "05": "other-fees",
    }  # fmt: skip


def test_answers_that_were_lost(tmp_path):
    """One call broke off and was booked at 0. The vendor has billed it, and the retry too."""
    records = [
        *paid("a", 2, tokens=(0, 0), error="502 upstream_broken", finish_reason="error"),
        *paid("b", 2),
    ]
    report = used(tokens=(20_000, 2000), requests=2), billed("0.07")
    assert causes(tmp_path, records, bucket(2, *report)) == {"02": [("lost-answers", None)]}


def test_estimates(tmp_path):
    """A call that reported no usage is booked at its worst case. The vendor knows better, or has no call at all."""
    records = [*paid("a", 2), *paid("b", 2, tokens=(10_000, 16_000), estimated=True)]
    records += paid("c", 3, tokens=(10_000, 16_000), estimated=True)
    report = used(tokens=(20_000, 2000), requests=2), billed("0.07")
    assert causes(tmp_path, records, bucket(2, *report)) == {
        "02": [("estimated", None)],
        "03": [("estimated", None)],
    }


def test_unsettled_calls(tmp_path):
    """A process died during a call. It counts against the budgets, but not in the ledger's sums."""
    url = ledger(tmp_path, paid("a", 2))

    async def die(engine):
        async with writing(engine) as writer:
            held = reservation("held", 500_000_000, at=at(2), expires=at(2) + timedelta(minutes=1))
            writer.submit(held)
        async with opened(url) as other:
            assert await mark_expired(other, datetime(2026, 10, 20, tzinfo=UTC)) == 1
            async with other.begin() as connection:
                await connection.exec_driver_sql("UPDATE reservations SET model = 'openai/gpt-4o'")

    run(url, die)
    report = saved(tmp_path, page(bucket(2, used(tokens=(20_000, 2000), requests=2), billed("0.07"))))
    code, found = compared(tmp_path, url, report)
    assert code == 3
    (cause,) = found["lines"][0]["causes"]
    assert cause["name"] == "unsettled"
    assert "1 calls are unsettled, at most 0.5 USD" in cause["text"]


def test_days_of_another_zone(tmp_path):
    """The vendor has a call on the next day, or its days begin at another hour."""
    records = paid("a", at(2, 23, 59)), paid("b", 7)
    report = bucket(3, used(), billed("0.035")), bucket(7, used(), billed("0.035"))
    found = causes(tmp_path, [*records[0], *records[1]], *report)
    assert found == {"02": [("time-zone", None)], "03": [("time-zone", None)]}


def test_buckets_that_begin_at_another_hour(tmp_path):
    moved = bucket(2, used(), billed("0.07"))
    moved["start_time"] += 7 * 3600
    moved["end_time"] += 7 * 3600
    assert causes(tmp_path, paid("a", 2), moved) == {"02": [("time-zone", None)]}


def test_rounding(tmp_path):
    """The vendor rounds to cents. Without a tolerance that is a difference, and its cause is plain."""
    report = used(), billed("0.04")
    found = causes(tmp_path, paid("a", 2), bucket(2, *report), options=("--tolerance", "0"))
    assert found == {"02": [("rounding", 5_000_000)]}


def test_costs_that_are_not_divided_by_model(tmp_path):
    """The export has one amount a day. Days are compared as a whole, and models by their tokens."""
    url = ledger(tmp_path, [*paid("a", 2), *paid("b", 3)])
    files = saved(
        tmp_path,
        page(bucket(2, used()), bucket(3, used())),
        page(bucket(2, billed("0.035", None)), bucket(3, billed("0.5", None))),
    )
    code, found = compared(tmp_path, url, files)
    assert code == 3
    wrong = [
        (line["day"], line["model"], line["difference"]) for line in found["lines"] if not line["within"]
    ]
    assert wrong == [("2026-10-03", "all models", 465_000_000)]
    assert (found["ledger"], found["vendor"]) == (70_000_000, 535_000_000)


def test_published_prices_have_a_date():
    """The price of a day in the past does not change with a newer one."""
    past = published_price("gpt-4o", datetime(2026, 10, 2, tzinfo=UTC))
    assert past is not None
    assert (past.input, past.output) == (2_500_000_000, 10_000_000_000)


def test_cache_writes_that_are_booked(tmp_path):
    """Both sides have the same writes, so that another price explains the difference."""
    usage = Usage(prompt_tokens=20_000, cache_write_tokens=20_000, completion_tokens=300)
    records = paid("a", 2, "openai/gpt-5.6-sol", SOL, (20_000, 300), cost=106_000_000)
    records[1] = replace(records[1], usage=usage)
    report = (
        used("gpt-5.6-sol", (20_000, 300), input_cache_write_tokens=20_000),
        billed("0.2", "gpt-5.6-sol, input"),
    )
    assert [name for name, _ in causes(tmp_path, records, bucket(2, *report))["02"]] == ["tier"]


def test_tokens_of_each_tier(tmp_path):
    """A report without costs is priced by tier, as the ledger has booked the calls."""
    flex = published_price("gpt-5.6-sol", at(20)).of("flex")
    usage = Usage(prompt_tokens=200_000, completion_tokens=300, tier="flex")
    spent = cost_at(flex, usage)
    assert spent == 200_000 * 2000 + 300 * 10_000
    slow = [
        request("r1", started_at=at(20), cost=spent),
        call("c1", "r1", spent, started_at=at(20), model="openai/gpt-5.6-sol", price=flex, usage=usage),
    ]
    listed = paid("2", 20, "openai/gpt-5.6-sol", SOL, (20_000, 300))
    reports = used("gpt-5.6-sol", (200_000, 300), service_tier="flex"), used("gpt-5.6-sol", (20_000, 300))
    code, found = compared(
        tmp_path, ledger(tmp_path, [*slow, *listed]), saved(tmp_path, page(bucket(20, *reports)))
    )
    assert (code, found["vendor"]) == (0, found["ledger"]), found
