"""The forecast of a budget: integers, in the window, and never before now."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from proxy.ledger.windows import window_end, window_start
from proxy.stats.forecast import exhausted_at, projected

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut",
         "Pacific/Apia", "Asia/Kathmandu", "Africa/Cairo"]  # fmt: skip
times = st.integers(631_152_000, 4_102_444_800).map(lambda s: datetime.fromtimestamp(s, UTC))  # 1990 to 2100
zones = st.sampled_from(ZONES).map(ZoneInfo)
windows = st.sampled_from(["day", "week", "month"])
money = st.integers(0, 2**63)


@given(at=times, zone=zones, window=windows)
def test_windows_follow_each_other(at, zone, window):
    """A window ends where the next one starts, also at changes of the clock and ends of months."""
    start = window_start(window, at, zone)
    end = window_end(window, start, zone)
    assert start <= at < end
    assert window_start(window, end, zone) == end
    assert window_start(window, end - timedelta(minutes=1), zone) == start
    assert timedelta() < end - start <= timedelta(days=32)


@given(at=times, zone=zones, window=windows, used=money, limit=money)
def test_forecast_lies_ahead_in_the_window(at, zone, window, used, limit):
    """It is after now and before the end. Without one, the projected use stays within the limit."""
    start = window_start(window, at, zone)
    end = window_end(window, start, zone)
    ends = exhausted_at(used, limit, start, end, at)
    total = projected(used, start, end, at)
    assert total >= used
    if ends is not None:
        assert at <= ends < end
        assert 0 < used < limit <= total
    elif 0 < used < limit and at > start:
        assert total <= limit


def test_total_never_ends():
    """A budget without windows has no forecast."""
    assert window_end("total", datetime(1970, 1, 1, tzinfo=UTC), ZoneInfo("UTC")) is None


def test_exact_date():
    """9 of 10 after 18 of 30 days last until the 21st."""
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    now = datetime(2026, 11, 19, tzinfo=UTC)
    assert exhausted_at(9, 10, start, end, now) == datetime(2026, 11, 21, tzinfo=UTC)
    assert projected(9, start, end, now) == 15
    assert exhausted_at(6, 10, start, end, now) is None  # it lasts exactly as long as the window
    assert exhausted_at(10, 10, start, end, now) is None  # it has ended already
    assert exhausted_at(9, 10, start, end, start) is None


def test_day_of_25_hours():
    """When the clocks go back, half of the day has passed after 12 h 30 min."""
    zone = ZoneInfo("Europe/Berlin")
    start = window_start("day", datetime(2026, 10, 25, 12, tzinfo=UTC), zone)
    end = window_end("day", start, zone)
    assert end - start == timedelta(hours=25)
    assert projected(10, start, end, start + timedelta(hours=12, minutes=30)) == 20
