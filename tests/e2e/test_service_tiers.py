"""Service tiers, token classes and the upstream's own cost, through the front door: ledger and budget agree."""

import pytest

from proxy.pricing.money import format_usd
from tests.support.config import LARGE_MODEL, UPSTREAM_KEY
from tests.support.spending import ADMIN, ADMIN_ENV, ask
from tests.support.standin_process import StandIn
from tests.support.vendor_bills import VendorCall, chat, nano_of, response
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

SOL = "gpt-5.6-sol"
PUBLISHED = {"large": {"model": SOL}, "prices": {LARGE_MODEL: None}}
"""A proxy with the published prices of a model that has tiers."""
LONG = [{"role": "user", "content": "word " * 12_100}]
RATES = {"input_per_mtok": 2.5, "cached_input_per_mtok": 1.25, "output_per_mtok": 10}
ROW = """SELECT cost_nano, service_tier, input_per_mtok_nano, cache_write_tokens, cache_write_1h_tokens, estimated, overrun,
    reported_cost_nano, computed_cost_nano FROM calls WHERE tier = 'large'"""


@pytest.fixture(scope="module")
def vendor_process():
    with StandIn([SOL], require_key=UPSTREAM_KEY) as server:
        yield server


@pytest.fixture
def vendor(vendor_process):
    """A vendor that serves the model."""
    vendor_process.reset()
    return vendor_process


def rows(proxy, count=1):
    """Return the rows of the paid calls, in order, as soon as there are so many."""
    return wait_until(lambda: len(found := proxy.rows(f"{ROW} ORDER BY id")) == count and found, "the rows")


def spent(proxy):
    """Return what is spent of the global budget."""
    (budget,) = proxy.rows("SELECT spent_nano, reserved_nano FROM budgets")
    return budget["spent_nano"], budget["reserved_nano"]


def served_at(server, tier, usage, **more):
    server.script({"reply": {"content": "hi", "usage": usage, "extra": {"service_tier": tier}, **more}})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tier", ["priority", "flex", "batch", "default"])
def test_priced_at_the_tier_of_the_answer(make_proxy, vendor, tier, stream):
    """The request names none, so the vendor's project decides. Row and budget have the price of the answer's tier."""
    answer = chat(12_000, 300, tier=tier, cached_tokens=8192, cache_write_tokens=3000)
    served_at(vendor, tier, answer["usage"])
    proxy = make_proxy(large_url=vendor.base_url, budgets={"global_usd": 5}, **PUBLISHED)
    made = ask(proxy, model=f"direct/{SOL}", stream=stream, messages=LONG, max_tokens=300)
    if stream:
        list(made)
    context = {"processing": "batch"} if tier == "batch" else None
    bill = nano_of(VendorCall(SOL, answer, context=context))
    (row,) = rows(proxy)
    assert (row["cost_nano"], row["service_tier"], row["estimated"], row["overrun"]) == (bill, tier, 0, 0)
    assert spent(proxy) == (bill, 0)


def test_tier_of_a_response(make_proxy, vendor):
    """The object of a response names its tier too. The "auto" of its beginning is none."""
    served_at(vendor, "priority", chat(9000, 500)["usage"])
    proxy = make_proxy(large_url=vendor.base_url, budgets={"global_usd": 5}, **PUBLISHED)
    made = proxy.client().responses.create(
        model=f"direct/{SOL}", input="word " * 9100, max_output_tokens=500, service_tier="priority"
    )
    bill = nano_of(VendorCall(SOL, response(9000, 500, tier="priority"), reader=("openai", "responses")))
    (row,) = rows(proxy)
    assert (row["cost_nano"], row["service_tier"]) == (bill, "priority")
    assert made.cope["cost_usd"] == format_usd(bill)


@pytest.mark.parametrize(
    ("asked", "project", "factor"),
    [(None, None, 2), ("auto", None, 2), ("priority", None, 2), ("default", None, 1), ("flex", None, 1),
     (None, "default", 1), ("priority", "default", 2)],
)  # fmt: skip
def test_reservation_covers_the_dearest_tier(make_proxy, vendor, asked, project, factor):
    """A budget that pays for 400 tokens at the list price pays for 200 if the call may be served at priority."""
    vendor.say("hi", usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
    proxy = make_proxy(
        large_url=vendor.base_url, **{**PUBLISHED, "large": {"model": SOL, "service_tier": project}}
    )
    body = {"messages": [{"role": "user", "content": "Hi."}], "max_tokens": 10_000, "model": f"direct/{SOL}"}
    tier = {} if asked is None else {"service_tier": asked}
    ask(proxy, headers={"X-COPE-Budget-USD": "0.1"}, **body, **tier)
    (sent,) = vendor.chats()
    limit = sent["body"].get("max_completion_tokens") or sent["body"]["max_tokens"]
    assert 4700 / factor < limit <= 5000 / factor


def test_unknown_tier_is_refused(make_proxy, vendor):
    """A budget refuses a tier whose price nobody knows."""
    proxy = make_proxy(large_url=vendor.base_url, budgets={"global_usd": 5}, **PUBLISHED)
    body = {
        "model": f"direct/{SOL}",
        "messages": [{"role": "user", "content": "Hi."}],
        "service_tier": "scale",
    }
    refusal = proxy.http().post("/v1/chat/completions", json=body)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (400, "unbounded_cost")
    assert vendor.chats() == []


def test_tiers_of_the_config(make_proxy, large_server):
    """A table has prices of tiers and of long prompts. A rate that a tier lacks grows like its input."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}}
    served_at(large_server, "priority", usage)
    tiers = {"priority": {"input_per_mtok": 5, "output_per_mtok": 17}}
    proxy = make_proxy(prices={LARGE_MODEL: {**RATES, "tiers": tiers}})
    ask(proxy, max_tokens=100)
    (row,) = rows(proxy)
    assert row["cost_nano"] == 600 * 5000 + 400 * 2500 + 100 * 17_000
    assert row["input_per_mtok_nano"] == 5 * 10**9


@pytest.mark.parametrize("split", [True, False], ids=["told apart", "not told apart"])
def test_cache_writes_for_an_hour(make_proxy, large_server, split):
    """A request for an hour is served under a budget if its price is known, and booked at that rate."""
    parts = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2000}
    usage = {"prompt_tokens": 2500, "completion_tokens": 10, "cache_creation_input_tokens": 2000}
    large_server.say("hi", usage={**usage, **({"cache_creation": parts} if split else {})})
    price = {**RATES, "cache_write_per_mtok": 3.125, "cache_write_1h_per_mtok": 5}
    proxy = make_proxy(budgets={"global_usd": 5}, prices={LARGE_MODEL: price})
    text = {"type": "text", "text": "word " * 100, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ask(proxy, messages=[{"role": "user", "content": [text]}])
    (row,) = rows(proxy)
    assert row["cost_nano"] == 500 * 2500 + 2000 * 5000 + 10 * 10_000
    assert (row["cache_write_tokens"], row["cache_write_1h_tokens"], row["estimated"]) == (2000, 2000, 0)
    assert spent(proxy) == (row["cost_nano"], 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rule", ["use", "ignore"])
def test_cost_of_the_upstream(make_proxy, large_server, rule, stream):
    """The upstream's own cost is booked, or ignored by the config. The ledger keeps both numbers."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "cost": 0.0041234567891}
    large_server.say("hi", usage=usage)
    proxy = make_proxy(budgets={"global_usd": 5}, large={"reported_cost": rule}, env=ADMIN_ENV)
    made = ask(proxy, stream=stream)
    if stream:
        list(made)
    theirs, ours = 4_123_457, 3_500_000
    booked = theirs if rule == "use" else ours
    (row,) = rows(proxy)
    assert (row["cost_nano"], row["reported_cost_nano"], row["computed_cost_nano"]) == (booked, theirs, ours)
    assert spent(proxy) == (booked, 0)
    (listed,) = proxy.http(headers=ADMIN).get("/v1/spend/requests").json()["data"]
    (call,) = proxy.http(headers=ADMIN).get(f"/v1/spend/requests/{listed['id']}").json()["calls"]
    assert (call["cost"], call["reported_cost_usd"], call["computed_cost_usd"]) == (
        booked,
        "0.004123457",
        "0.0035",
    )


def test_cache_shares_in_reports(make_proxy, large_server):
    """What the upstream's cache has read and written is in reports and metrics."""
    counts = {"prompt_tokens": 4000, "completion_tokens": 10}
    details = {"cached_tokens": 3000, "cache_write_tokens": 1000}
    large_server.say("hi", usage={**counts, "total_tokens": 4010, "prompt_tokens_details": details})
    proxy = make_proxy(env=ADMIN_ENV)
    ask(proxy)
    rows(proxy)
    for by in ("day", "model", "task"):
        (row,) = proxy.http(headers=ADMIN).get("/v1/spend", params={"by": by}).json()["data"]
        assert (row["sent_tokens"], row["read_tokens"], row["written_tokens"]) == (4000, 3000, 1000)
    (row,) = proxy.http(headers=ADMIN).get("/v1/spend", params={"since": "1h"}).json()["data"]
    assert (row["sent_tokens"], row["read_tokens"], row["written_tokens"]) == (4000, 3000, 1000)
    table = proxy.cli("spend", "--by", "model", check=True).stdout
    assert "75 %" in table
    assert "25 %" in table
    metrics = proxy.http(headers=ADMIN).get("/metrics").text
    assert any(
        line.startswith("cope_cache_write_tokens_total{") and line.endswith(" 1000.0")
        for line in metrics.splitlines()
    )
