"""Whole months of both vendors, as they export them: equal to the ledger, or different where something is missing."""

from pathlib import Path

import pytest

from tests.support.vendor_reports import HAIKU, MINI, at, compared, fill, paid

MONTHS = Path(__file__).parent / "months"
OPENAI = [
    *paid("a", 2), *paid("b", at(2, 23, 59)),
    *paid("c", 5, tokens=(100_000, 1000, 60_000)),
    *(r for i in range(3) for r in paid(f"m{i}", 6, "openai/gpt-4o-mini", MINI, (100_000, 10_000))),
]  # fmt: skip
ANTHROPIC = [
    *paid("h", 3, "claude/claude-haiku-4-5", HAIKU, (10_000, 2000)),
    *paid("i", 4, "claude/claude-haiku-4-5", HAIKU, (100_000, 2000, 90_000)),
]
OTHERS = [
    *paid("local", 2, "small", tier="small", stage=1, cost=0),
    *paid("september", at(1, 0).replace(month=9, day=30, hour=23)),
    *paid("november", at(1, 0).replace(month=11)),
]


@pytest.mark.parametrize("files", [("usage", "costs"), ("usage",), ("costs",)], ids="+".join)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_month_that_agrees(url, tmp_path, provider, files):
    """Usage, costs, or both: other vendors, other months and the small tier are not counted."""
    fill(url, [*OPENAI, *ANTHROPIC, *OTHERS])
    paths = [str(MONTHS / f"{provider}_{kind}.csv") for kind in files]
    code, found = compared(tmp_path, url, *paths, provider=provider)
    assert (code, found["within"]) == (0, True), found
    assert all(line["within"] and not line["causes"] for line in found["lines"])
    assert found["ledger"] == {"openai": 318_000_000, "anthropic": 49_000_000}[provider]
    assert found["vendor"] == found["ledger"]
    assert [line["priced"] for line in found["lines"]] == [files == ("usage",)] * len(found["lines"])


def test_each_day_is_one_in_utc(url, tmp_path):
    """Budgets are in Tokyo, where half of the first day is still September's last in UTC."""
    fill(url, OPENAI)
    code, found = compared(tmp_path, url, str(MONTHS / "openai_usage.csv"), str(MONTHS / "openai_costs.csv"))
    assert code == 0
    days = [(line["day"], line["model"], line["ledger"]) for line in found["lines"]]
    assert days == [
        ("2026-10-02", "gpt-4o, gpt-4o-2024-08-06", 70_000_000),
        ("2026-10-05", "gpt-4o, gpt-4o-2024-08-06", 185_000_000),
        ("2026-10-06", "gpt-4o-mini, gpt-4o-mini-2024-07-18", 63_000_000),
    ]


def test_a_missing_call_shows(url, tmp_path):
    fill(url, [record for record in OPENAI if "m2" not in record.id])
    files = [str(MONTHS / f"openai_{kind}.csv") for kind in ("usage", "costs")]
    code, found = compared(tmp_path, url, *files)
    assert (code, found["within"]) == (3, False)
    (line,) = [line for line in found["lines"] if not line["within"]]
    assert (line["day"], line["ledger"], line["vendor"], line["difference"]) == (
        "2026-10-06", 42_000_000, 63_000_000, 21_000_000,
    )  # fmt: skip
    assert [cause["name"] for cause in line["causes"]] == ["not-through-proxy"]
    assert compared(tmp_path, url, *files, "--tolerance", "0.02")[0] == 3
    assert compared(tmp_path, url, *files, "--tolerance", "0.03")[0] == 0
    assert compared(tmp_path, url, *files, "--tolerance", "34%")[0] == 0


def test_an_empty_month(url, tmp_path):
    """No use on either side is a month that agrees. No use on the vendor's side is none."""
    empty = tmp_path / "empty.csv"
    empty.write_text((MONTHS / "openai_usage.csv").read_text().splitlines()[0] + "\n")
    assert compared(tmp_path, url, str(empty))[0] == 0
    fill(url, OPENAI)
    code, found = compared(tmp_path, url, str(empty))
    assert code == 3
    assert {cause["name"] for line in found["lines"] for cause in line["causes"]} == {"not-reported"}
