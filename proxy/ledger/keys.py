"""Clients' keys: `sk-cope-<12 public>-<48 secret>`, of which only a digest is kept."""

import hashlib
import hmac
import re
import secrets
import string
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import KeyRow
from proxy.records import Window

_SHAPE = re.compile(r"sk-cope-([a-z0-9]{12})-([a-z0-9]{48})")
_ALPHABET = string.ascii_lowercase + string.digits


class KeyRules(Struct, frozen=True):
    """What a key may do. Empty lists allow everything; the budget is in nano-USD."""

    expires_at: datetime | None = None
    budget: int | None = None
    budget_window: Window = "total"
    models: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class NewKey(Struct, frozen=True):
    """A key just made or rotated; its token is not to be had again."""

    id: str
    token: str


class ApiKey(Struct, frozen=True):
    """A key as the ledger knows it."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None
    rules: KeyRules

    @property
    def prefix(self) -> str:
        """The public part, by which client and operator can speak of it."""
        return f"sk-cope-{self.id}"

    def active(self, at: datetime) -> bool:
        """Whether it opens the door."""
        return self.revoked_at is None and (self.rules.expires_at is None or at < self.rules.expires_at)


async def create_key(engine: AsyncEngine, name: str, rules: KeyRules | None = None) -> NewKey:
    """Make a key."""
    rules = rules or KeyRules()
    public, secret = _random(12), _random(48)
    row = {
        "id": public, "name": name, "secret_sha256": _digest(secret), "created_at": datetime.now(UTC),
        "expires_at": rules.expires_at, "budget_nano": rules.budget, "budget_window": rules.budget_window,
        "models": list(rules.models), "modes": list(rules.modes),
        "requests_per_minute": rules.requests_per_minute, "tokens_per_minute": rules.tokens_per_minute,
    }  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(KeyRow).values(row))
    return NewKey(public, _token(public, secret))


async def rotate_key(engine: AsyncEngine, key_id: str, grace: timedelta) -> NewKey | None:
    """Give an active key a new secret. Its id, rules, budget and history stay; the old secret works for `grace`."""
    secret, at = _random(48), datetime.now(UTC)
    query = (
        update(KeyRow)
        .where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None))
        .values(
            previous_sha256=KeyRow.secret_sha256, previous_until=at + grace, secret_sha256=_digest(secret)
        )
    )
    async with engine.begin() as connection:
        if (await connection.execute(query)).rowcount != 1:
            return None
    return NewKey(key_id, _token(key_id, secret))


async def find_key(engine: AsyncEngine, token: str) -> ApiKey | None:
    """Return the key of a token, dead ones included; `None` when it is malformed, unknown or wrong."""
    parts = _SHAPE.fullmatch(token)
    if parts is None:
        return None
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        row = (await connection.execute(select(KeyRow.__table__).where(KeyRow.id == parts[1]))).one_or_none()
    if row is None:
        return None
    digest = _digest(parts[2])
    if hmac.compare_digest(row.secret_sha256, digest):
        return _key(row)
    old = row.previous_until is not None and datetime.now(UTC) < row.previous_until
    return _key(row) if old and hmac.compare_digest(row.previous_sha256, digest) else None


async def list_keys(engine: AsyncEngine) -> list[ApiKey]:
    """List all keys, oldest first."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [
            _key(r) for r in await connection.execute(select(KeyRow.__table__).order_by(KeyRow.created_at))
        ]


async def revoke_key(engine: AsyncEngine, key_id: str) -> bool:
    """Revoke a key; False when no active key has this id."""
    query = (
        update(KeyRow)
        .where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC))
    )
    async with engine.begin() as connection:
        return (await connection.execute(query)).rowcount == 1


async def set_key_budget(engine: AsyncEngine, key_id: str, budget: int | None, window: Window) -> bool:
    """Set or remove a key's own budget (nano-USD); False when there is no such key."""
    query = update(KeyRow).where(KeyRow.id == key_id).values(budget_nano=budget, budget_window=window)
    async with engine.begin() as connection:
        return (await connection.execute(query)).rowcount == 1


async def any_keys(engine: AsyncEngine) -> bool:
    """Return whether clients need a key. A revoked last key does not open the door again."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return (await connection.execute(select(KeyRow.id).limit(1))).one_or_none() is not None


def _key(row: Any) -> ApiKey:
    rules = KeyRules(
        row.expires_at, row.budget_nano, row.budget_window or "total", tuple(row.models), tuple(row.modes),
        row.requests_per_minute, row.tokens_per_minute,
    )  # fmt: skip
    return ApiKey(row.id, row.name, row.created_at, row.revoked_at, rules)


def _token(public: str, secret: str) -> str:
    return f"sk-cope-{public}-{secret}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
