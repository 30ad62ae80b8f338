"""The proxy writes the export of each past day by itself."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.commands import sqlite_url
from tests.support.focus_rules import broken_rules, read_csv
from tests.support.ledger import call, request, run, writing
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow


def test_past_days_are_exported_after_a_start(make_proxy, tmp_path):
    """Both workers look at the folder, and one file for each day appears, with its manifest."""
    folder = tmp_path / "exports"
    proxy = make_proxy(exports={"folder": str(folder)}, server={"workers": 2})
    proxy.stop()
    days = [datetime.now(UTC) - timedelta(days=n) for n in (2, 3, 0)]

    async def fill(engine):
        async with writing(engine) as writer:
            for i, day in enumerate(days):
                writer.submit(request(f"r{i}", started_at=day), call(f"c{i}", f"r{i}", started_at=day))

    run(sqlite_url(proxy.database), fill)
    proxy.start()
    names = sorted(f"focus-{day:%Y-%m-%d}.{end}" for day in days[:2] for end in ("csv", "json"))
    wait_until(lambda: sorted(p.name for p in folder.glob("focus-*")) == names, "the files")
    for name in names[::2]:
        rows = read_csv(folder / name)
        assert broken_rules(rows) == []
        assert [row["ConsumedQuantity"] for row in rows] == ["15"]
