"""The Litestar application: routes, errors in OpenAI's shape, and start and shutdown."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig

from proxy import __version__
from proxy.cascade import confidence
from proxy.config.changes import config_digest
from proxy.config.loading import config_path, load, with_engine
from proxy.errors import ApiError, bad_request, database_unavailable, internal_error
from proxy.http import admin, neighbours, spend
from proxy.http.collector import spare_what_lives_long
from proxy.http.cors import cors
from proxy.http.dashboard.pages import dashboard
from proxy.http.dependencies import DEPENDENCIES
from proxy.http.head import with_head
from proxy.http.health import live, ready
from proxy.http.list_models import delete_model, get_model, list_models
from proxy.http.metrics import metrics
from proxy.http.model_endpoints import model_endpoints
from proxy.http.openapi import describe_model_endpoints
from proxy.http.reload import reload_route, reloading
from proxy.http.request_lines import with_request_lines
from proxy.http.stored_objects import stored_objects
from proxy.ledger.database import DatabaseError
from proxy.logs import REQUEST_ID
from proxy.service.state import open_state

log = logging.getLogger(__name__)


def create_app() -> Litestar:
    """Build the application from `$COPE_CONFIG` and the environment. Uvicorn's factory."""
    loaded = load(config_path(None, os.environ), os.environ)
    settings = with_engine(loaded, os.environ)

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        async with (
            open_state(settings, config_digest(loaded)) as opened,
            reloading(app, opened, loaded),
        ):
            spare_what_lives_long()
            try:
                yield
            finally:
                confidence.shutdown()

    app = Litestar(
        route_handlers=[
            model_endpoints,
            *stored_objects,
            list_models,
            get_model,
            delete_model,
            live,
            ready,
            metrics,
            spend.router,
            admin.router,
            reload_route,
            dashboard,
        ],
        lifespan=[running],
        dependencies=DEPENDENCIES,
        middleware=[neighbours.middleware],
        cors_config=cors(settings.server.cors_origins),
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _framework_error,
            UnicodeDecodeError: _unreadable,
            RecursionError: _unreadable,
            Exception: _unexpected,
        },
        openapi_config=OpenAPIConfig(title="cope-proxy", version=__version__, path="/schema"),
        logging_config=None,
    )
    describe_model_endpoints(app)
    app.asgi_handler = with_request_lines(with_head(app.asgi_handler), lines=settings.logs.requests)
    return app


def _render(error: ApiError) -> Response[bytes]:
    return Response(
        msgspec.json.encode(error.body()),
        status_code=error.status,
        headers=dict(error.headers),
        media_type="application/json",
    )


def _api_error(_: Request[Any, Any, Any], error: ApiError) -> Response[bytes]:
    return _render(error)


def _framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    path = request.url.path
    messages = {
        404: (f"Unknown request URL: {request.method} {path[:200]}.", "unknown_url"),
        405: (f"Method {request.method} is not allowed for {path[:200]}.", "method_not_allowed"),
    }
    message, code = messages.get(error.status_code, (str(error.detail)[:300], "invalid_request"))
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    allow = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow")
    return _render(
        ApiError(error.status_code, message, type=kind, code=code, headers={"allow": allow} if allow else {})
    )


def _unreadable(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a body that the framework's decoder cannot read: no UTF-8, or too deep."""
    if request.method not in ("POST", "PUT", "PATCH"):
        return _unexpected(request, error)
    return _render(bad_request("The request body is not valid JSON.", code="invalid_json"))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if isinstance(error, (DatabaseError, OSError)):
        log.warning("%s: the database is unavailable (%s)", _route(request), type(error).__name__)
        return _render(database_unavailable())
    log.error("%s failed", _route(request), exc_info=error)
    return _render(internal_error(REQUEST_ID.get() or None))


def _route(request: Request[Any, Any, Any]) -> str:
    """Return the route of a request for the log. Its path itself is the client's text."""
    return f"{request.method[:10]} {request.scope.get('path_template') or '(no such path)'}"
