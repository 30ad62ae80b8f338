"""Find the caller of a request: anonymous (no keys exist), a key, or the admin."""

import hmac
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.errors import database_unavailable, unauthorized
from proxy.ledger.database import DatabaseError
from proxy.ledger.keys import ApiKey, any_keys, find_key
from proxy.service.state import AppState

CACHE_S = 5.0
OUTAGE_S = 3600.0
"""How long a cached key stays valid while the database does not answer."""
_MAX_CACHED = 10_000


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
    """Find callers by their bearer token. The cache of known tokens is its only state."""

    def __init__(self, app: AppState) -> None:
        self._app = app
        self._cache: dict[str, tuple[Caller, float]] = {}  # with the time at which it expires

    def forget(self) -> None:
        """Clear the cache after a key has changed."""
        self._cache.clear()

    async def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Return the caller of a request.

        Callers are cached for 5 s, so a revoked key stops working soon. While the database is unavailable, cached
        callers stay valid, and their ledger rows go into the spool.

        Raises:
            ApiError: 401 for a missing or wrong key, 503 if the database is unavailable and the caller is not cached.
        """
        token = _bearer_token(headers)
        admin = os.environ.get(self._app.settings.server.admin_key_env, "")
        if admin and hmac.compare_digest(token.encode(), admin.encode()):
            return Caller(None, admin=True)
        cached, expires = self._cache.get(token, (None, 0.0))
        if cached is not None and expires > time.monotonic():
            return cached
        try:
            caller = await self._find(token, anonymous_is_admin=not admin)
        except (OSError, DatabaseError) as e:
            if cached is not None and expires + OUTAGE_S > time.monotonic() and cached.still_valid:
                return cached
            raise database_unavailable() from e
        if len(self._cache) > _MAX_CACHED:
            self._cache.clear()
        self._cache[token] = caller, time.monotonic() + CACHE_S
        return caller

    async def _find(self, token: str, *, anonymous_is_admin: bool) -> Caller:
        if not await any_keys(self._app.database):
            return Caller(None, admin=anonymous_is_admin)
        key = await find_key(self._app.database, token)
        if key is None or not key.active(datetime.now(UTC)):
            raise unauthorized(
                "No valid API key given. Send `Authorization: Bearer sk-cope-...` with a key made by "
                "`cope-proxy keys create`."
            )
        return Caller(key)


def _bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    given = next((v for k, v in headers if k == b"authorization"), b"").decode("latin-1")
    return given[7:].strip() if given[:7].lower() == "bearer " else ""
