"""Ids and the time. A request gets both once and passes them on."""

import secrets
import time
from datetime import UTC, datetime


def new_id(prefix: str) -> str:
    """Return an id such as `req_0193f2c8a1b2c3d4e5f60718`: 48 bits of milliseconds, then 48 random bits."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
