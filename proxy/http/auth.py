"""Who is calling: nobody (no keys are configured), a key, or the admin."""

import hmac
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from proxy.errors import unauthorized, unavailable
from proxy.ledger.database import DatabaseError
from proxy.ledger.keys import ApiKey, any_keys, find_key

CACHE_S = 5.0
OUTAGE_S = 3600.0
"""For how long a key that was good goes on being good while the database does not answer."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that may enter. `key` is None for an open proxy and for the admin."""

    key: ApiKey | None
    admin: bool = False

    @property
    def key_id(self) -> str | None:
        """The id of the key."""
        return None if self.key is None else self.key.id


async def authenticate(state: Any, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """Find out who calls. Known answers are kept for 5 s, so that a revoked key stops working soon.

    While the database is away, who was let in before is let in: its rows go into the spool.

    Raises:
        ApiError: 401 for a missing or wrong key; 503 for a stranger while the database is away.
    """
    given = next((v for k, v in headers if k == b"authorization"), b"").decode("latin-1")
    token = given[7:].strip() if given[:7].lower() == "bearer " else ""
    gateway = state.gateway
    admin = os.environ.get(gateway.settings.server.admin_key_env, "")
    if admin and hmac.compare_digest(token.encode(), admin.encode()):
        return Caller(None, admin=True)
    cached = state.callers.get(token)
    if cached is not None and cached[1] > time.monotonic():
        return cached[0]  # type: ignore[no-any-return]
    try:
        if not await any_keys(gateway.database):
            caller = Caller(None, admin=not admin)
        else:
            key = await find_key(gateway.database, token)
            if key is None or not key.active(datetime.now(UTC)):
                raise unauthorized(
                    "No valid API key given. Send `Authorization: Bearer sk-cope-...` with a key made by "
                    "`cope-proxy keys create`."
                )
            caller = Caller(key)
    except (OSError, DatabaseError) as e:
        if cached is not None and cached[1] + OUTAGE_S > time.monotonic() and _still_good(cached[0]):
            return cached[0]  # type: ignore[no-any-return]
        raise unavailable("The database is away.", code="database_unavailable", retry_after_s=5) from e
    if len(state.callers) > 10_000:
        state.callers.clear()
    state.callers[token] = (caller, time.monotonic() + CACHE_S)
    return caller


def _still_good(caller: Caller) -> bool:
    return caller.key is None or caller.key.active(datetime.now(UTC))
