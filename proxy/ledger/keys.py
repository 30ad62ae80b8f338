"""Keys of clients: `sk-cope-<12 public>-<48 secret>`. Only a digest of the secret part is kept."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import KeyRow
from proxy.ledger.views import view
from proxy.records import UNATTRIBUTED, Attribution, Window

_SHAPE = re.compile(r"sk-cope-([a-z0-9]{12})-([a-z0-9]{48})")
_ALPHABET = string.ascii_lowercase + string.digits


class KeyRules(Struct, frozen=True, kw_only=True):
    """The rules of a key. Empty lists allow everything. The budget is in nano-USD."""

    expires_at: datetime | None = None
    budget: int | None = None
    budget_window: Window = "total"
    models: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class NewKey(Struct, frozen=True):
    """A key that was just created or rotated. Its token cannot be read again."""

    id: str
    token: str


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key, without its secret."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None
    rules: KeyRules
    attribution: Attribution = UNATTRIBUTED

    @property
    def prefix(self) -> str:
        """The public part of the token, which names the key."""
        return f"sk-cope-{self.id}"

    def active(self, at: datetime) -> bool:
        """Return True if the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.rules.expires_at is None or at < self.rules.expires_at)


async def create_key(
    engine: AsyncEngine, name: str, rules: KeyRules | None = None, attribution: Attribution = UNATTRIBUTED
) -> NewKey:
    """Create a key."""
    rules = rules or KeyRules()
    public, secret = _random(12), _random(48)
    row = {
        "id": public, "name": name, "secret_sha256": _digest(secret), "created_at": datetime.now(UTC),
        "expires_at": rules.expires_at, "budget_nano": rules.budget, "budget_window": rules.budget_window,
        "models": list(rules.models), "modes": list(rules.modes),
        "requests_per_minute": rules.requests_per_minute, "tokens_per_minute": rules.tokens_per_minute,
        **asdict(attribution),
    }  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(KeyRow).values(row))
    return NewKey(public, _token(public, secret))


async def rotate_key(engine: AsyncEngine, key_id: str, grace: timedelta) -> NewKey | None:
    """Give an active key a new secret. Its id, rules and budget stay. The old secret works for `grace`."""
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
    """Return the key of a token, even if it is revoked or expired. Return `None` if the token is invalid."""
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


async def get_key(engine: AsyncEngine, key_id: str) -> tuple[ApiKey, str] | None:
    """Return a key and the digest of its secret, or `None`. The digest changes when the key gets a new secret."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        row = (await connection.execute(select(KeyRow.__table__).where(KeyRow.id == key_id))).one_or_none()
    return None if row is None else (_key(row), row.secret_sha256)


async def list_keys(engine: AsyncEngine) -> list[ApiKey]:
    """List all keys, oldest first."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [
            _key(r) for r in await connection.execute(select(KeyRow.__table__).order_by(KeyRow.created_at))
        ]


async def key_names(engine: AsyncEngine, ids: Collection[str]) -> dict[str, str]:
    """Return the names of keys by their ids."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows = await connection.execute(select(KeyRow.id, KeyRow.name).where(KeyRow.id.in_(ids)))
        return {row.id: row.name for row in rows}


async def revoke_key(engine: AsyncEngine, key_id: str) -> bool:
    """Revoke a key. Return False if no active key has this id."""
    query = (
        update(KeyRow)
        .where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC))
    )
    async with engine.begin() as connection:
        return (await connection.execute(query)).rowcount == 1


async def set_key_budget(engine: AsyncEngine, key_id: str, budget: int | None, window: Window) -> bool:
    """Set or remove a key's own budget (nano-USD). Return False if the key does not exist."""
    query = update(KeyRow).where(KeyRow.id == key_id).values(budget_nano=budget, budget_window=window)
    async with engine.begin() as connection:
        return (await connection.execute(query)).rowcount == 1


async def attribute_key(engine: AsyncEngine, key_id: str, changes: Mapping[str, str | None]) -> bool:
    """Change the fields of a key's `Attribution`. Return False if no active key has this id.

    Requests that have begun keep the attribution that the key had.
    """
    query = update(KeyRow).where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None)).values(dict(changes))
    async with engine.begin() as connection:
        return (await connection.execute(query)).rowcount == 1


async def any_keys(engine: AsyncEngine) -> bool:
    """Return True if clients need a key. This stays so after the last key is revoked."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return (await connection.execute(select(KeyRow.id).limit(1))).one_or_none() is not None


def _key(row: Any) -> ApiKey:
    rules = view(
        KeyRules,
        row,
        budget=row.budget_nano,
        budget_window=row.budget_window or "total",
        models=tuple(row.models),
        modes=tuple(row.modes),
    )
    return view(ApiKey, row, rules=rules, attribution=view(Attribution, row))


def _token(public: str, secret: str) -> str:
    return f"sk-cope-{public}-{secret}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
