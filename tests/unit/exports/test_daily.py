"""Daily export files: complete, written once, made up for after an outage, and written again when calls come late."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Event

import pytest
from msgspec.structs import replace

from proxy.config.money import Budgets, Exports
from proxy.config.schema import Database, Large, Server, Settings
from proxy.exports.daily import export_days
from proxy.exports.focus import StoppedError
from proxy.ledger.migrate import upgrade
from tests.support.commands import sqlite_url
from tests.support.focus_rules import broken_rules, read_csv, read_parquet
from tests.support.ledger import call, request, run, writing

AT = datetime(2026, 10, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def exporting(tmp_path):
    """A ledger, and its settings with a folder for exports."""
    url = sqlite_url(tmp_path / "l.db")
    upgrade(url)
    return Settings(
        database=Database(url=url),
        exports=Exports(folder=str(tmp_path / "exports" / "daily")),
        large=Large(base_url="https://api.openai.com/v1"),
        budgets=Budgets(),
        server=Server(request_timeout_s=600),
    )


def write(settings, *calls):
    async def fill(engine):
        async with writing(engine) as writer:
            for name, at, cost in calls:
                writer.submit(
                    request(f"r{name}", started_at=at, cost=cost), call(name, f"r{name}", cost, started_at=at)
                )

    run(settings.database.url, fill)


def export(settings, now):
    return [path.name for path in export_days(settings, now, Event())]


def costs(settings, day):
    from pathlib import Path

    folder = Path(settings.exports.folder)
    rows = read_csv(folder / f"focus-{day}.csv")
    assert broken_rules(rows) == []
    manifest = json.loads((folder / f"focus-{day}.json").read_text())
    cost = sum(Decimal(row["BilledCost"]) for row in rows) * 10**9
    assert (manifest["cost_nano_usd"], manifest["rows"], manifest["focus_version"]) == (
        cost,
        len(rows),
        "1.2",
    )
    assert manifest["columns"] == list(rows[0])
    return cost


def test_a_day_is_exported_once_it_is_over(exporting):
    """Its last call may run until the time limit of requests, and a few minutes more."""
    write(exporting, ("a", AT, 7), ("b", AT + DAY, 8))
    assert export(exporting, datetime(2026, 10, 16, 0, 14, tzinfo=UTC)) == []
    assert export(exporting, datetime(2026, 10, 16, 0, 15, tzinfo=UTC)) == ["focus-2026-10-15.csv"]
    assert export(exporting, datetime(2026, 10, 16, 23, 0, tzinfo=UTC)) == []
    assert costs(exporting, "2026-10-15") == 7


def test_missed_days_are_made_up_for(exporting):
    """After weeks without a proxy, each day in the window gets its file. Older days and days without calls get none."""
    write(exporting, *((f"c{i}", AT + i * DAY, 1 + i) for i in range(0, 60, 3)))
    made = export(exporting, AT + 60 * DAY)
    assert len(made) == 11
    assert made == sorted(made)
    assert made[0] == "focus-2026-11-11.csv"


def test_late_records_are_exported_too(exporting):
    """The spool of a machine may bring in calls days later."""
    write(exporting, ("a", AT, 7))
    export(exporting, AT + DAY)
    write(exporting, ("late", AT + timedelta(hours=1), 5))
    assert export(exporting, AT + 3 * DAY) == ["focus-2026-10-15.csv"]
    assert costs(exporting, "2026-10-15") == 12
    assert export(exporting, AT + 3 * DAY) == []


def test_a_crash_leaves_no_half_file(exporting, tmp_path):
    """A process that died left a part of a file, and a file without its manifest."""
    write(exporting, ("a", AT, 7))
    folder = tmp_path / "exports" / "daily"
    folder.mkdir(parents=True)
    (folder / ".focus-2026-10-15.csv.abc.part").write_text("Billed")
    (folder / "focus-2026-10-15.csv").write_text("from an unfinished export")
    assert export(exporting, AT + DAY) == ["focus-2026-10-15.csv"]
    assert costs(exporting, "2026-10-15") == 7
    assert sorted(p.name for p in folder.iterdir()) == [
        ".lock",
        "focus-2026-10-15.csv",
        "focus-2026-10-15.json",
    ]


def test_one_of_many_writes_a_day(exporting):
    """Several processes share the folder. Each day is written by one of them."""
    write(exporting, *((f"c{i}", AT + i * DAY, 1) for i in range(5)))
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: export(exporting, AT + 6 * DAY), range(8)))
    assert sorted(name for names in made for name in names) == [
        f"focus-2026-10-{15 + i}.csv" for i in range(5)
    ]


def test_a_stop_ends_an_export(exporting, tmp_path):
    write(exporting, ("a", AT, 7))
    stop = Event()
    stop.set()
    with pytest.raises(StoppedError):
        export_days(exporting, AT + DAY, stop)
    assert [p.name for p in (tmp_path / "exports" / "daily").iterdir()] == [".lock"]


def test_parquet(exporting, tmp_path):

    settings = replace(exporting, exports=replace(exporting.exports, format="parquet"))
    write(settings, ("a", AT, 7))
    assert export(settings, AT + DAY) == ["focus-2026-10-15.parquet"]
    assert broken_rules(read_parquet(tmp_path / "exports" / "daily" / "focus-2026-10-15.parquet")) == []


def test_another_time_zone_is_not_exported_for_ever(exporting):
    """The daily sums are still of the old zone, so a file can have other sums than they. It is written once."""
    write(exporting, ("a", AT.replace(hour=20), 7), ("b", AT.replace(hour=20) + DAY, 8))
    tokyo = replace(exporting, budgets=Budgets(timezone="Asia/Tokyo"))
    assert len(export(tokyo, AT + 4 * DAY)) == 2
    assert export(tokyo, AT + 4 * DAY) == []
