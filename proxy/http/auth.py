"""Find the caller of a request: anonymous (no keys exist), a key, or the admin."""

import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.errors import ApiError, unauthorized
from proxy.http.known import Known
from proxy.ledger.keys import ApiKey, any_keys, find_key
from proxy.service.state import AppState

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
        self.use(app)
        self.forget()

    def use(self, app: AppState) -> None:
        """Follow a new config. What is known of the clients' keys stays.

        The admin key is read only here, because the environment does not change while the process runs.
        """
        self._app = app
        self._admin_key = os.environ.get(app.settings.server.admin_key_env, "").encode()
        self._metrics_key = os.environ.get(app.settings.metrics.key_env, "").encode()

    def forget(self) -> None:
        """Forget everything after a key has changed, also the answers that are on their way."""
        self._keys: dict[bytes, Known[Caller | None]] = {}  # by digest
        self._open = Known(self._no_key_exists)

    async def caller(self, headers: Headers) -> Caller:
        """Return the caller of a request.

        Callers are known for 5 s, so a revoked key stops working soon. While the database is unavailable, known callers
        stay valid, and their ledger rows go into the spool.

        Raises:
            ApiError: 401 for a missing or wrong key, 503 if the database is unavailable and the caller is not known.
        """
        token = _bearer_token(headers)
        if self._is_admin(token):
            return Caller(None, admin=True)
        if await self._open.value():
            return Caller(None, admin=not self._admin_key)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._keys.get(digest)
        if known is None:
            if len(self._keys) > _MAX_CACHED:
                self._keys.clear()
            known = self._keys[digest] = Known(lambda: self._find(token))
        found = await known.value()
        if found is None and self._keys.get(digest) is known:
            del self._keys[digest]  # nobody fills the memory with keys that do not exist
        if found is None or not found.still_valid:
            raise unauthorized(
                "No valid API key given. Send `Authorization: Bearer sk-cope-...` with a key made by "
                "`cope-proxy keys create`."
            )
        return found

    async def anonymous(self, headers: Headers) -> bool:
        """Return True if anybody may send this request: no key exists, and it does not carry the admin key.

        If the database cannot tell whether keys exist, a request without any key counts as anonymous. `caller` refuses
        the others.
        """
        token = _bearer_token(headers)
        if self._is_admin(token):
            return False
        try:
            return await self._open.value()
        except ApiError:
            return not token

    def may_scrape(self, headers: Headers) -> bool:
        """Return True if the metrics are public, or for the admin key or the metrics key. Never ask the database."""
        token = _bearer_token(headers)
        given = bool(self._metrics_key) and hmac.compare_digest(token.encode(), self._metrics_key)
        return self._app.settings.metrics.public or given or self._is_admin(token)

    async def _no_key_exists(self) -> bool:
        return not await any_keys(self._app.database)

    async def _find(self, token: str) -> Caller | None:
        key = await find_key(self._app.database, token)
        return None if key is None or not key.active(datetime.now(UTC)) else Caller(key)

    def _is_admin(self, token: str) -> bool:
        return bool(self._admin_key) and hmac.compare_digest(token.encode(), self._admin_key)


def _bearer_token(headers: Headers) -> str:
    given = next((v for k, v in headers if k == b"authorization"), b"").decode("latin-1")
    return given[7:].strip() if given[:7].lower() == "bearer " else ""
