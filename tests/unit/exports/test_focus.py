"""FOCUS exports: valid by the published rules, and equal to the reports to the nano-dollar."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.ledger import reports
from proxy.ledger.keys import create_key
from proxy.ledger.migrate import upgrade
from proxy.ledger.retention import prune
from proxy.pricing.prices import FREE, Price, Usage, cost
from tests.support.commands import config_of, run_command, sqlite_url
from tests.support.focus_rules import broken_rules, read_csv, read_parquet
from tests.support.ledger import call, opened, request, run, writing

BERLIN = ZoneInfo("Europe/Berlin")
NANO = Decimal(10) ** 9
GPT = Price(input=2_500_000_000, output=10_000_000_000, cached_input=1_250_000_000, source="genai-prices")
ODD = Price(input=333_333_333, output=7, cached_input=1, source="config")
WRITES = Price(input=10**9, output=10**9, cache_write=2 * 10**9, request=500)
AT = datetime(2026, 10, 31, 22, 30, tzinfo=UTC)  # in Berlin, half an hour to midnight


def paid(name, price=GPT, usage=None, at=AT, **changes):
    """Return a request with its one call."""
    usage = usage or Usage(prompt_tokens=101, cached_tokens=33, completion_tokens=17, reasoning_tokens=5)
    spent = changes.pop("cost", cost(price, usage))
    of_request = {n: changes.pop(n) for n in ("tags", "team", "cost_center", "environment") if n in changes}
    return [
        request(f"r{name}", started_at=at, key_id=changes.get("key_id"), cost=spent, **of_request),
        call(f"c{name}", f"r{name}", spent, started_at=at, price=price, usage=usage, **changes),
    ]


def filled(url, records, zone=BERLIN):
    async def fill(engine):
        async with writing(engine, zone) as writer:
            writer.submit(*records)

    run(url, fill)


def focus(url, folder: Path, *options, name="out.csv", more=""):
    """Export with the command, and return the rows."""
    config = config_of(folder, url, '[budgets]\ntimezone = "Europe/Berlin"\n' + more)
    code, output = run_command(["spend", *config, "--focus", "1.2", str(folder / name), *options])
    assert code == 0, output
    return (read_csv if name.endswith("csv") else read_parquet)(folder / name)


def total(rows, column="BilledCost"):
    return sum((Decimal(row[column]) for row in rows), Decimal(0)) * NANO


async def spent(engine, since=None, until=None):
    rows = await reports.spend(engine, by="model", zone=BERLIN, since=since, until=until)
    return sum(row.cost for row in rows)


async def rows_of_every_kind(engine):
    key = await create_key(engine, "ann")
    return [
        *paid("a", key_id=key.id, tags=("project=alpha", "trace=1")),
        *paid("b", key_id=key.id, tags=("trace=2", "project=alpha")),
        *paid("c", model="eu/gpt-4o", price=ODD),
        *paid("d", model="small", tier="small", price=FREE, stage=1),
        *paid("e", price=WRITES, usage=Usage(prompt_tokens=100, cache_write_tokens=90, completion_tokens=1)),
        *paid("own", cost=191_000),
        *paid("f", usage=Usage(), cost=0),
        *paid("g", at=AT + timedelta(hours=1)),
    ]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_every_row_is_valid(url, tmp_path, name):
    filled(url, run(url, rows_of_every_kind))
    rows = focus(url, tmp_path, name=name)
    assert broken_rules(rows) == []
    assert total(rows) == total(rows, "EffectiveCost") == run(url, spent)
    classes = Counter(row["x_TokenClass"] for row in rows)
    assert classes == {
        "input": 5, "cached_input": 4, "output": 5, "reasoning": 4, "total": 1, "cache_write": 1, "request": 1,
    }  # fmt: skip
    alpha = next(r for r in rows if r["SubAccountName"] == "ann" and r["x_TokenClass"] == "cached_input")
    assert json.loads(alpha["Tags"]) == {
        "project": "alpha"
    }  # "trace" is not configured, so calls share a row
    assert (alpha["ConsumedQuantity"], alpha["ConsumedUnit"], alpha["x_Calls"]) == ("66", "Tokens", "2")
    assert (alpha["ListUnitPrice"], alpha["ListCost"]) == ("0.00000125", "0.0000825")
    assert (alpha["ChargePeriodStart"], alpha["ChargePeriodEnd"]) == (
        "2026-10-30T23:00:00Z",
        "2026-10-31T23:00:00Z",
    )
    assert (alpha["BillingPeriodStart"], alpha["BillingPeriodEnd"]) == (
        "2026-09-30T22:00:00Z",
        "2026-10-31T23:00:00Z",
    )
    later = {row["BillingPeriodStart"] for row in rows if row["ChargePeriodStart"] == "2026-10-31T23:00:00Z"}
    assert later == {"2026-10-31T23:00:00Z"}
    local = next(row for row in rows if row["x_Tier"] == "small")
    assert (local["ProviderName"], local["BilledCost"]) == ("Self-hosted", "0")
    whole = next(row for row in rows if row["x_TokenClass"] == "total")
    assert (whole["PricingUnit"], whole["ListUnitPrice"]) == ("USD", "1")
    assert whole["PricingQuantity"] == whole["BilledCost"] == "0.000191"
    fee = next(row for row in rows if row["x_TokenClass"] == "request")
    assert (fee["ConsumedQuantity"], fee["PricingUnit"], fee["ListUnitPrice"]) == (
        "1",
        "Requests",
        "0.0000005",
    )
    written = next(row for row in rows if row["x_TokenClass"] == "cache_write")
    assert (written["ConsumedQuantity"], written["BilledCost"]) == ("90", "0.00018")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_rows_carry_the_team(url, tmp_path, name):
    """Rows are divided by the team that a call had. It stands for itself and wins over a client's own tag."""
    team = {"team": "search", "cost_center": "4711", "environment": "production"}
    records = [
        *paid("a", key_id="k", tags=("team=spoofed", "project=alpha"), **team),
        *paid("b", key_id="k", **{**team, "team": "Süd <b>"}),
        *paid("c", key_id="k", tags=("team=mine",)),
    ]
    filled(url, records)
    rows = focus(url, tmp_path, name=name)
    assert broken_rules(rows) == []
    assert total(rows) == run(url, spent)
    found = {
        (row["x_Team"] or None, row["x_CostCenter"] or None, row["x_Environment"] or None): json.loads(
            row["Tags"]
        )
        for row in rows
    }
    assert found == {
        ("search", "4711", "production"): {**team, "project": "alpha"},
        ("Süd <b>", "4711", "production"): {**team, "team": "Süd <b>"},
        (None, None, None): {"team": "mine"},
    }
    sums = Counter()
    for row in rows:
        sums[row["x_Team"] or None] += int(Decimal(row["BilledCost"]) * NANO)
    reported = run(url, lambda engine: reports.spend(engine, by="team", zone=BERLIN))
    assert dict(sums) == {row.group: row.cost for row in reported}


def test_providers_come_from_the_upstreams(url, tmp_path):
    filled(url, [*paid("a", model="gpt-4o"), *paid("b", model="claude/sonnet"), *paid("c", model="own/x")])
    more = (
        '[upstreams.claude]\nbase_url = "https://api.anthropic.com/v1"\nmodels = ["sonnet"]\n'
        '[upstreams.own]\nbase_url = "http://gpu.example:8000/v1"\nmodels = ["x"]\n'
    )
    rows = focus(url, tmp_path, more=more)
    providers = {row["ResourceId"]: row["ProviderName"] for row in rows}
    assert providers == {"gpt-4o": "127.0.0.1", "claude/sonnet": "Anthropic", "own/x": "gpu.example"}


def test_pruned_calls_keep_their_cost(url, tmp_path):
    """Daily sums outlive the calls. They are exported without classes."""
    filled(url, [*paid("a"), *paid("b", at=AT + timedelta(days=2)), *paid("c", model="other")])
    before = run(url, spent)
    run(url, lambda engine: prune(engine, AT + timedelta(days=1)))
    rows = focus(url, tmp_path)
    assert broken_rules(rows) == []
    assert total(rows) == before
    assert Counter(r["x_TokenClass"] for r in rows)["total"] == 2


def test_a_range_cuts_days(url, tmp_path):
    filled(
        url, [*paid("a"), *paid("b", at=AT + timedelta(minutes=10)), *paid("c", at=AT + timedelta(days=1))]
    )
    since, until = AT + timedelta(minutes=5), AT + timedelta(minutes=15)
    rows = focus(url, tmp_path, "--since", since.isoformat(), "--until", until.isoformat())
    assert total(rows) == run(url, lambda engine: spent(engine, since, until)) > 0
    assert {row["ChargePeriodStart"] for row in rows} == {"2026-10-31T22:35:00Z"}
    assert focus(url, tmp_path, "--month", "2020-01") == []


usages = st.builds(
    lambda prompt, cached, out, reasoning, written: Usage(
        prompt_tokens=prompt, cached_tokens=cached, completion_tokens=out, reasoning_tokens=reasoning,
        cache_write_tokens=written,
    ),
    *(st.integers(0, 10**6) for _ in range(5)),
)  # fmt: skip
prices = st.builds(
    Price, input=st.integers(0, 10**12), output=st.integers(0, 10**12), cached_input=st.none() | st.integers(0, 10**12),
    cache_write=st.none() | st.integers(0, 10**12), request=st.sampled_from([0, 0, 5]),
)  # fmt: skip
calls = st.tuples(
    usages, prices, st.integers(0, 40 * 24), st.sampled_from(["m", "n", "eu/m"]), st.sampled_from([None, "k1", "k2"]),
    st.sampled_from([(), ("project=a",), ("project=b", "project=a"), ("team",), ("x=1",)]), st.booleans(),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(calls, max_size=25), st.integers(0, 45))
def test_random_ledgers_add_up(tmp_path_factory, drawn, pruned_days):
    """All rows, also after pruning: the same nano-dollars as `spend`, by day and in all."""
    folder = tmp_path_factory.mktemp("ledger")
    url = sqlite_url(folder / "l.db")
    upgrade(url)
    records = []
    for i, (usage, price, hours, model, key, tags, estimated) in enumerate(drawn):
        at = AT + timedelta(hours=hours)
        records += paid(i, price, usage, at, model=model, key_id=key, tags=tags, estimated=estimated)
    filled(url, records)

    async def work(engine):
        await prune(engine, AT + timedelta(days=pruned_days))
        return await spent(engine), await reports.spend(engine, by="day", zone=BERLIN)

    booked, days = run(url, work)
    rows = focus(url, folder)
    assert broken_rules(rows) == []
    assert total(rows) == booked
    of_days = Counter()
    for row in rows:
        day = datetime.fromisoformat(row["ChargePeriodStart"]).astimezone(BERLIN)
        of_days[f"{day:%Y-%m-%d}"] += Decimal(row["BilledCost"]) * NANO
    assert dict(of_days) == {d.group: d.cost for d in days if d.cost or d.group in of_days}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["1.0", "x.csv"], "version 1.0 is not supported; use 1.2"),
        (["1.2", "x.json"], "ends in neither .csv nor .parquet"),
        (["1.2", "missing/x.csv"], "the folder missing does not exist"),
    ],
)
def test_what_cannot_be_exported(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, sqlite_url(tmp_path / "l.db"))
    code, output = run_command(["spend", *config, "--focus", *arguments])
    assert code == 2
    assert reason in output
    assert not Path("x.csv").exists()


def test_a_failed_export_leaves_the_older_file(tmp_path):
    """A damaged ledger stops the export half way. The file of yesterday stays, and no part file."""
    url = sqlite_url(tmp_path / "l.db")
    upgrade(url)
    filled(url, paid("a"))
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.csv").write_text("older")

    async def damage(engine):
        async with engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE calls SET prompt_tokens = 'many'")

    asyncio.run(_on(url, damage))
    config = config_of(tmp_path, url)
    with pytest.raises(TypeError):
        run_raw(["spend", *config, "--focus", "1.2", str(out / "x.csv")])
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("x.csv", "older")]


async def _on(url, work):
    async with opened(url) as engine:
        await work(engine)


def run_raw(arguments):
    from proxy.cli.main import main

    main(arguments, standalone_mode=False)
