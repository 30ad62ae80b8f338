"""When money ends at the mean rate since a window began. Amounts are integers, so nothing is lost to rounding."""

from datetime import datetime, timedelta

_TICK = timedelta(microseconds=1)


def projected(used: int, start: datetime, end: datetime, now: datetime) -> int:
    """Return the amount that will be used at the end of a window.

    Args:
        used: the amount used so far.
        start: the start of the window.
        end: its end.
        now: a time in the window. At its start the rate is unknown, and the result is `used`.
    """
    elapsed = (now - start) // _TICK
    return used if elapsed <= 0 else used * ((end - start) // _TICK) // elapsed


def exhausted_at(used: int, limit: int, start: datetime, end: datetime, now: datetime) -> datetime | None:
    """Return when a limit will be reached, or `None` if that is not within the window or has happened already.

    Args:
        used: the amount used so far.
        limit: the limit.
        start: the start of the window.
        end: its end.
        now: a time in the window.
    """
    elapsed, length = (now - start) // _TICK, (end - start) // _TICK
    # used / elapsed is the rate, so limit * elapsed / used is the time that the limit lasts.
    if not 0 < elapsed < length or not 0 < used < limit or limit * elapsed >= used * length:
        return None
    return start + (limit * elapsed // used) * _TICK
