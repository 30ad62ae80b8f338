"""Budget windows and report ranges."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ledger.time_ranges import parse_span, parse_time, time_range
from proxy.ledger.windows import window_start

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 10, 25, 12, tzinfo=UTC)  # a Sunday; the clocks went back at night
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo"]
)
times = st.integers(1_100_000_000, 2_050_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))


@pytest.mark.parametrize(
    ("window", "start"),
    [
        ("total", "1970-01-01T00:00+00:00"),
        ("day", "2026-10-25T00:00+02:00"),
        ("week", "2026-10-19T00:00+02:00"),
        ("month", "2026-10-01T00:00+02:00"),
    ],
)
def test_windows_begin_at_midnight(window, start):
    """A window begins at local midnight, even on a day with 25 hours."""
    assert window_start(window, NOW, BERLIN) == datetime.fromisoformat(start)


@given(times, zones, st.sampled_from(["day", "week", "month"]))
def test_windows_do_not_overlap(at, zone, window):
    """Every moment has exactly one window."""
    zone = ZoneInfo(zone)
    start = window_start(window, at, zone)
    assert start <= at
    assert window_start(window, start, zone) == start
    longest = {"day": 2, "week": 8, "month": 32}[window]
    assert at - start < timedelta(days=longest)
    assert window_start(window, start - timedelta(seconds=1), zone) < start


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("7d", "2026-10-18T00:00+02:00"), ("2w", "2026-10-11T00:00+02:00"), ("12h", "2026-10-25T00:00+00:00"),
        ("30m", "2026-10-25T11:30+00:00"), ("today", "2026-10-25T00:00+02:00"), ("Yesterday", "2026-10-24T00:00+02:00"),
        ("2026-10", "2026-10-01T00:00+02:00"), ("2026-10-31", "2026-10-31T00:00+01:00"),
        ("2026-10-31T08:00Z", "2026-10-31T08:00+00:00"),
    ],
)  # fmt: skip
def test_typed_times(typed, meant):
    """Days begin at midnight in the zone of the budgets."""
    assert parse_time(typed, NOW, BERLIN) == datetime.fromisoformat(meant)


@pytest.mark.parametrize("typed", ["", "soon", "7", "d", "2026-13", "2026-02-30", "7y", "-3d"])
def test_invalid_times(typed):
    """The error message lists the valid forms."""
    with pytest.raises(ValueError, match="7d"):
        parse_time(typed, NOW, BERLIN)


def test_month_is_a_range():
    """A month excludes other ends, December ends in the next year, and a range may not end before it begins."""
    assert time_range(None, None, "2026-12", NOW, BERLIN) == (
        datetime.fromisoformat("2026-12-01T00:00+01:00"), datetime.fromisoformat("2027-01-01T00:00+01:00"),
    )  # fmt: skip
    for wrong in (("7d", None, "2026-12"), (None, None, "7d"), ("today", "yesterday", None)):
        with pytest.raises(ValueError, match=r"month|before"):
            time_range(*wrong, NOW, BERLIN)


def test_typed_spans():
    """Spans such as 90d are read, and other texts are refused."""
    assert parse_span("90d") == timedelta(days=90)
    with pytest.raises(ValueError, match="90d"):
        parse_span("tomorrow")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
@pytest.mark.parametrize(
    "text", ["0001-01-01", "9999-12-31", "9999-12", "0001-01", "9999-12-31T23:59:59-12:00", "99999w"]
)
def test_ends_of_the_calendar(zone, text):
    """A time at the ends of the calendar is read or refused, and never another error."""
    try:
        first, last = time_range(text, None, None, NOW, ZoneInfo(zone))
        assert first.astimezone(ZoneInfo(zone))
        assert last is None
    except ValueError:
        with pytest.raises(ValueError, match=r"too far away|is not a"):
            parse_time(text, NOW, ZoneInfo(zone))
