"""Time ranges as a person types them: "7d", "2026-10", "yesterday"."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

FORMS = "use 7d, 2w, 12h, today, yesterday, a month (2026-10), a day (2026-10-31) or an ISO time"
_FIRST_YEAR, _LAST_YEAR = 2, 9998
"""Python has no time zones at the two ends of its calendar."""
_AGO = re.compile(r"(\d{1,5})([mhdw])")
_MONTH = re.compile(r"(\d{4})-(\d{2})")


def parse_time(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    """Read the start or end of a range. Days, weeks and months begin at midnight in `zone`.

    "7d" is midnight seven days ago, so that the range consists of complete days. "12h" is twelve hours ago.

    Raises:
        ValueError: the text has none of the forms. The message lists them.
    """
    text = text.strip().lower()
    try:
        at = _time(text, now, zone)
    except OverflowError:
        raise ValueError(f"{text[:40]!r} is too far away") from None
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        raise ValueError(f"{text[:40]!r} is too far away")
    return at


def _time(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    today = datetime.combine(now.astimezone(zone).date(), time(), zone)
    if text in ("today", "yesterday"):
        return (today - timedelta(days=text == "yesterday")).astimezone(UTC)
    if _AGO.fullmatch(text):
        span = parse_span(text)
        return (today - span).astimezone(UTC) if text[-1] in "dw" else now - span
    try:
        if _MONTH.fullmatch(text):
            return month(text, zone)[0]
        given = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a time; {FORMS}") from None
    return (given if given.tzinfo else given.replace(tzinfo=zone)).astimezone(UTC)


def parse_span(text: str) -> timedelta:
    """Read a span of time such as "90d", "2w", "12h" or "30m".

    Raises:
        ValueError: the text is not a span.
    """
    parts = _AGO.fullmatch(text.strip().lower())
    if parts is None:
        raise ValueError(f"{text[:40]!r} is not a span of time; write it as 90d, 2w, 12h or 30m")
    names = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    return timedelta(**{names[parts[2]]: int(parts[1])})


def time_range(
    since: str | None, until: str | None, of_month: str | None, now: datetime, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """Read a range that is given by its ends or as one month.

    Raises:
        ValueError: an end is not a time, both forms are given, or the range ends before it begins.
    """
    if of_month is not None:
        if since or until:
            raise ValueError("a month cannot be combined with since or until")
        return month(of_month, zone)
    first = None if since is None else parse_time(since, now, zone)
    last = None if until is None else parse_time(until, now, zone)
    if first is not None and last is not None and first >= last:
        raise ValueError("the range ends before it begins")
    return first, last


def month(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return start and end of a month such as "2026-10".

    Raises:
        ValueError: the text is not a month.
    """
    parts = _MONTH.fullmatch(text)
    if parts is None or not _FIRST_YEAR <= int(parts[1]) <= _LAST_YEAR:
        raise ValueError(f"{text[:40]!r} is not a month; write it as 2026-10")
    first = date(int(parts[1]), int(parts[2]), 1)
    after = (first + timedelta(days=32)).replace(day=1)
    return tuple(datetime.combine(d, time(), zone).astimezone(UTC) for d in (first, after))  # type: ignore[return-value]
