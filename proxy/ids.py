"""Ids and the time. A request gets both once and passes them on."""

import os
import secrets
import time
from collections import deque
from datetime import UTC, datetime

_RANDOM_BYTES = 6
_DRAWN = 256
"""How many random parts of ids are drawn at once: a thread that asks the system for them lets all others go first."""

_parts: deque[str] = deque()
os.register_at_fork(after_in_child=_parts.clear)  # two processes may not use the same parts


def new_id(prefix: str) -> str:
    """Return an id such as `req_0193f2c8a1b2c3d4e5f60718`: 48 bits of milliseconds, then 48 random bits."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{_random_part()}"


def _random_part() -> str:
    try:
        return _parts.pop()
    except IndexError:
        drawn = secrets.token_bytes(_RANDOM_BYTES * _DRAWN).hex()
        width = 2 * _RANDOM_BYTES
        _parts.extend(drawn[i : i + width] for i in range(width, len(drawn), width))
        return drawn[:width]


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
