"""Guards of routes. A guard runs before the request's body is read."""

import os
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from proxy.errors import forbidden
from proxy.http.dependencies import app_state, authenticator


async def may_scrape(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Admit the metrics key and the admin key, everybody if the metrics are public, and the machine without any key.

    Raises:
        ApiError: 401 without a valid key, 403 for a client's key: the metrics are about all clients.
    """
    callers, headers = authenticator(connection.app), connection.scope["headers"]
    if callers.may_scrape(headers) or (await callers.caller(headers)).admin:
        return
    settings = app_state(connection.app).settings
    names = f"{settings.metrics.key_env} or {settings.server.admin_key_env}"
    raise forbidden(
        f"The metrics need the key that the proxy was started with as {names}.", code="metrics_key_needed"
    )


async def requires_admin(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Admit the admin key only. No client's key can create or widen a key.

    Raises:
        ApiError: 403 if no admin key is set, or for any other caller.
    """
    name = app_state(connection.app).settings.server.admin_key_env
    if not os.environ.get(name):
        raise forbidden(f"No admin key is set: start the proxy with {name}.", code="admin_key_not_set")
    caller = await authenticator(connection.app).caller(connection.scope["headers"])
    if not caller.admin:
        raise forbidden(f"This needs the admin key ({name}).", code="admin_key_needed")
