"""Identifiers that sort by time: a UUIDv7-like stamp in hex behind a prefix."""

import secrets
import time


def new_id(prefix: str) -> str:
    """Return an id such as `req_0193f2c8a1b2c3d4e5f60718`: 48 bits of milliseconds, 48 random ones."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"
