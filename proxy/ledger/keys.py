"""Clients' keys: `sk-cope-<12 public>-<48 secret>`, of which only a digest is kept."""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import Key

_SHAPE = re.compile(r"sk-cope-([a-z0-9]{12})-([a-z0-9]{48})")
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; its token is not to be had again."""

    id: str
    token: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the ledger knows it."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def create_key(engine: AsyncEngine, name: str) -> NewKey:
    """Make a key."""
    public, secret = (_random(length) for length in (12, 48))
    row = {"id": public, "name": name, "secret_sha256": _digest(secret), "created_at": datetime.now(UTC)}
    async with engine.begin() as connection:
        await connection.execute(insert(Key).values(row))
    return NewKey(public, f"sk-cope-{public}-{secret}")


async def find_key(engine: AsyncEngine, token: str) -> ApiKey | None:
    """Return the key of a token, revoked ones included; `None` when it is malformed, unknown or wrong."""
    parts = _SHAPE.fullmatch(token)
    if parts is None:
        return None
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        row = (await connection.execute(select(Key.__table__).where(Key.id == parts[1]))).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, _digest(parts[2])):
        return None
    return ApiKey(row.id, row.name, row.created_at, row.revoked_at)


async def list_keys(engine: AsyncEngine) -> list[ApiKey]:
    """List all keys, oldest first."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows = await connection.execute(select(Key.__table__).order_by(Key.created_at))
        return [ApiKey(r.id, r.name, r.created_at, r.revoked_at) for r in rows]


async def revoke_key(engine: AsyncEngine, key_id: str) -> bool:
    """Revoke a key; False when no active key has this id."""
    query = update(Key).where(Key.id == key_id, Key.revoked_at.is_(None)).values(revoked_at=datetime.now(UTC))
    async with engine.begin() as connection:
        return (await connection.execute(query)).rowcount == 1


async def any_active_keys(engine: AsyncEngine) -> bool:
    """Return whether clients need a key. A revoked last key does not open the door again."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return (await connection.execute(select(Key.id).limit(1))).one_or_none() is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
