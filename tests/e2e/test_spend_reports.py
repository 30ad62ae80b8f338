"""Reports, prices and pruning, as operators and accountants meet them."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from tests.support.config import LARGE_MODEL
from tests.support.spending import USAGE, ask

pytestmark = pytest.mark.slow


def test_prices_of_the_past_stay(make_proxy, large_server):
    """A changed price bills new calls; what is on record keeps the price that it was billed at."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy()
    before = ask(proxy).cope["request_id"]
    proxy.stop()
    text = proxy.config_file.read_text().replace('"output_per_mtok" = 10', '"output_per_mtok" = 20')
    text = text.replace("output_per_mtok = 10", "output_per_mtok = 20")
    proxy.config_file.write_text(text)
    proxy.start()
    assert ask(proxy).cope["cost_usd"] == "0.0045"
    proxy.http().get("/v1/spend")  # waits until the rows are there
    prices = proxy.rows(
        "SELECT output_per_mtok_nano AS o, cost_nano AS c, price_source AS s FROM calls ORDER BY started_at"
    )
    assert [(p["o"], p["c"], p["s"]) for p in prices] == [
        (10_000_000_000, 3_500_000, "config"), (20_000_000_000, 4_500_000, "config"),
    ]  # fmt: skip
    assert "0.0035" in proxy.cli("requests", "show", before).stdout
    assert "20" in proxy.cli("prices", "list").stdout


def test_prices_match_published_ones(make_proxy):
    """A config that says something else than the vendor is told so, by the exit code too."""
    proxy = make_proxy(
        large={"model": "gpt-4o", "models": ["gpt-4o-mini"]},
        prices={LARGE_MODEL: None, "gpt-4o-mini": {"input_per_mtok": 99, "output_per_mtok": 99}},
    )
    done = proxy.cli("prices", "check")
    assert done.returncode == 1
    assert "DIFF  99/99 in the config, 0.15/0.6 published: gpt-4o-mini" in done.stdout
    assert "genai-prices" in proxy.cli("prices", "list").stdout


def test_reports_in_every_form(make_proxy, small_server, large_server):
    """The same figures as a table, JSON, CSV and Parquet, for the ranges that a person types."""
    import pyarrow.parquet as pq

    small_server.say("\\boxed{4}")
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy()
    for i in range(3):
        ask(proxy, user="zoe", metadata={"team": f"t{i % 2}"})
    ask(proxy, model="cope", messages=[{"role": "user", "content": "What is 2 + 2?"}])
    assert len(proxy.http().get("/v1/spend/requests").json()["data"]) == 4

    def spend(*args):
        return json.loads(proxy.cli("spend", "--json", *args, check=True).stdout)

    month = f"{datetime.now(UTC):%Y-%m}"
    for when in (
        (),
        ("--since", "7d"),
        ("--since", "2h"),
        ("--month", month),
        ("--since", "today", "--until", "9998-01-01"),
    ):
        (day,) = spend("--by", "day", *when)
        assert (day["requests"], day["cost_usd"], day["escalated"]) == (4, "0.0105", 0), when
        assert day["p50_ms"] is not None
    assert spend("--month", "2020-01") == []
    assert {r["group"]: r["requests"] for r in spend("--by", "tag")} == {"team=t0": 2, "team=t1": 1, None: 1}
    assert {r["group"]: r["cost_usd"] for r in spend("--by", "user")} == {"zoe": "0.0105", None: "0"}
    assert {r["group"]: r["requests"] for r in spend("--by", "tier")}["large"] == 3
    assert {r["group"]: r["cost_usd"] for r in spend("--by", "model")}[LARGE_MODEL] == "0.0105"
    (row,) = csv.DictReader(io.StringIO(proxy.cli("spend", "--csv", check=True).stdout))
    assert row["cost_usd"] == "0.0105"
    proxy.cli("spend", "--parquet", str(proxy.folder / "spend.parquet"), check=True)
    (line,) = pq.read_table(proxy.folder / "spend.parquet").to_pylist()
    assert str(line["cost_usd"]) == "0.010500000"
    assert "large model" in proxy.cli("spend").stdout
    bad = proxy.cli("spend", "--since", "soon")
    assert bad.returncode == 2
    assert "7d" in bad.stderr
    api = proxy.http().get("/v1/spend", params={"by": "tag", "since": "7d"}).json()
    assert {r["group"]: r["cost_usd"] for r in api["data"]}["team=t0"] == "0.007"
    assert proxy.http().get("/v1/spend", params={"since": "soon"}).status_code == 400


def test_content_goes_sooner_than_numbers(make_proxy, large_server):
    """Pruning text leaves the figures, pruning rows leaves the sums."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(ledger={"store_content": True})
    ask(proxy)
    proxy.stop()
    assert proxy.rows("SELECT prompt FROM requests")[0]["prompt"]
    assert "1 requests" in proxy.cli("ledger", "prune", "--content-only", "--older-than", "0").stdout
    assert proxy.rows("SELECT prompt, answer, cost_nano FROM requests") == [
        {"prompt": None, "answer": None, "cost_nano": 3_500_000}
    ]
    assert "1 requests" in proxy.cli("ledger", "prune", "--older-than", "0").stdout
    assert proxy.rows("SELECT id FROM requests") == []
    (day,) = json.loads(proxy.cli("spend", "--json").stdout)
    assert day["cost_usd"] == "0.0035"
