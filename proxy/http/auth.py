"""Find the caller of a request: anonymous (no keys exist), a key, or the admin."""

import hashlib
import hmac
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.errors import ApiError, database_unavailable, unauthorized
from proxy.ledger.database import DatabaseError
from proxy.ledger.keys import ApiKey, any_keys, find_key
from proxy.service.state import AppState

CACHE_S = 5.0
OUTAGE_S = 3600.0
"""How long a cached key stays valid while the database does not answer."""
_MAX_CACHED = 10_000

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. `key` is None for the admin, and for everybody if no keys exist."""

    key: ApiKey | None
    admin: bool = False

    @property
    def key_id(self) -> str | None:
        """The id of the key."""
        return None if self.key is None else self.key.id

    @property
    def still_valid(self) -> bool:
        """Whether the key has not expired since it was read."""
        return self.key is None or self.key.active(datetime.now(UTC))


class Authenticator:
    """Find callers by their bearer token. What it knows of keys for a few seconds is its only state."""

    def __init__(self, app: AppState) -> None:
        self._app = app
        self._keys: dict[bytes, tuple[Caller, float]] = {}  # by digest, with the time at which it expires
        self._open: tuple[bool, float] | None = (
            None  # whether no key exists, and the time at which this expires
        )

    def forget(self) -> None:
        """Clear the caches after a key has changed."""
        self._keys.clear()
        self._open = None

    async def caller(self, headers: Headers) -> Caller:
        """Return the caller of a request.

        Callers are cached for 5 s, so a revoked key stops working soon. While the database is unavailable, cached
        callers stay valid, and their ledger rows go into the spool.

        Raises:
            ApiError: 401 for a missing or wrong key, 503 if the database is unavailable and the caller is not cached.
        """
        token = _bearer_token(headers)
        if self._is_admin(token):
            return Caller(None, admin=True)
        if await self._open_to_all():
            return Caller(None, admin=not self._admin_key())
        digest = hashlib.sha256(token.encode()).digest()
        cached, expires = self._keys.get(digest, (None, 0.0))
        if cached is not None and expires > time.monotonic():
            return cached
        try:
            caller = await self._find(token)
        except (OSError, DatabaseError) as e:
            if cached is not None and expires + OUTAGE_S > time.monotonic() and cached.still_valid:
                return cached
            raise database_unavailable() from e
        if len(self._keys) > _MAX_CACHED:
            self._keys.clear()
        self._keys[digest] = caller, time.monotonic() + CACHE_S
        return caller

    async def anonymous(self, headers: Headers) -> bool:
        """Return True if anybody may send this request: no key exists, and it does not carry the admin key.

        If the database cannot tell whether keys exist, a request without any key counts as anonymous. `caller` refuses
        the others.
        """
        token = _bearer_token(headers)
        if self._is_admin(token):
            return False
        try:
            return await self._open_to_all()
        except ApiError:
            return not token

    async def _open_to_all(self) -> bool:
        """Return True if no key exists. Raise a 503 if the database is unavailable and has not answered recently."""
        known, expires = self._open or (None, 0.0)
        if known is not None and expires > time.monotonic():
            return known
        try:
            known = not await any_keys(self._app.database)
        except (OSError, DatabaseError) as e:
            if known is not None and expires + OUTAGE_S > time.monotonic():
                return known
            raise database_unavailable() from e
        self._open = known, time.monotonic() + CACHE_S
        return known

    async def _find(self, token: str) -> Caller:
        key = await find_key(self._app.database, token)
        if key is None or not key.active(datetime.now(UTC)):
            raise unauthorized(
                "No valid API key given. Send `Authorization: Bearer sk-cope-...` with a key made by "
                "`cope-proxy keys create`."
            )
        return Caller(key)

    def _admin_key(self) -> str:
        return os.environ.get(self._app.settings.server.admin_key_env, "")

    def _is_admin(self, token: str) -> bool:
        admin = self._admin_key()
        return bool(admin) and hmac.compare_digest(token.encode(), admin.encode())


def _bearer_token(headers: Headers) -> str:
    given = next((v for k, v in headers if k == b"authorization"), b"").decode("latin-1")
    return given[7:].strip() if given[:7].lower() == "bearer " else ""
