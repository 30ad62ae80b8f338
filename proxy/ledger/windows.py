"""Budget windows: the start of the window that contains a time."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from proxy.records import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def window_start(window: Window, at: datetime, zone: ZoneInfo) -> datetime:
    """Return the start (UTC) of the window that contains a time.

    Days begin at midnight in `zone`, and weeks on Monday.
    """
    return EPOCH if window == "total" else _start(window, at.replace(second=0, microsecond=0), zone)


def window_end(window: Window, start: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the end (UTC) of the window that starts at a time, or `None` for the total."""
    # A time that is surely in the next window, whatever the clocks do between.
    later = {
        "total": None,
        "day": timedelta(hours=36),
        "week": timedelta(days=7, hours=12),
        "month": timedelta(days=32),
    }[window]
    return None if later is None else window_start(window, start + later, zone)


@lru_cache(maxsize=256)
def _start(window: Window, minute: datetime, zone: ZoneInfo) -> datetime:
    """Return the start of the window of a minute. No zone of our time begins a day within a minute."""
    midnight = minute.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    back = {"day": 0, "week": midnight.weekday(), "month": midnight.day - 1}[window]
    # Subtract in local time: a day may have 23 or 25 hours.
    return (midnight - timedelta(days=back)).astimezone(UTC)
