"""Reload the config of a running proxy: by SIGHUP, and by POST /v1/admin/reload.

A new config is read and checked as a whole. If it can be used, one new `AppState` takes the place of the old one. Requests
under way keep the old one, so each request has one config from its beginning to its end.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from litestar import Litestar, Request, post

from proxy.alerts.runner import alerting
from proxy.alerts.targets import target_secrets
from proxy.audits.runner import auditing
from proxy.config.changes import Change, changes, config_digest, needs_restart
from proxy.config.loading import config_path, load, with_engine
from proxy.config.schema import Settings
from proxy.errors import ConfigError, bad_request
from proxy.http.dependencies import app_state, set_state
from proxy.http.guards import requires_admin
from proxy.http.hangup import WORKERS_PARENT, release, survive, terminal_has_closed
from proxy.service.background import in_background
from proxy.service.health import health_noted
from proxy.service.state import AppState, changed_state

log = logging.getLogger(__name__)


class Reloader:
    """Replaces the state of this process, one config after the other."""

    def __init__(self, app: Litestar, loaded: Settings) -> None:
        self._app = app
        self._loaded = loaded
        self._turn = asyncio.Lock()
        self._background = AsyncExitStack()
        self._hang_ups: set[asyncio.Task[None]] = set()

    @property
    def config(self) -> str:
        """The digest of the config that new requests have."""
        return app_state(self._app).config

    async def reload(self) -> list[Change]:
        """Read the config, and use it for all requests from now on. Return the keys that have changed.

        Raises:
            ConfigError: it cannot be used, or not without a restart. Nothing has changed then.
        """
        async with self._turn:
            new = await asyncio.to_thread(load, config_path(None, os.environ), os.environ)
            if problems := needs_restart(self._loaded, new):
                raise ConfigError(problems)
            target_secrets(new)
            changed = changes(self._loaded, new)
            digest = config_digest(new)
            if not changed:
                log.info("the config %s has not changed", digest)
                return []
            state = await changed_state(app_state(self._app), with_engine(new, os.environ), digest)
            set_state(self._app, state)
            self._loaded = new
            await self.stop()
            await self.start(state)
            log.info("the config is %s now: %s", digest, "; ".join(map(str, changed)))
            return changed

    async def start(self, state: AppState) -> None:
        """Start the work in the background, which has the settings of its start."""
        for part in (in_background(state), health_noted(state), alerting(state)):
            await self._background.enter_async_context(part)

    async def stop(self) -> None:
        """End the work in the background."""
        await self._background.aclose()

    def hang_up(self) -> None:
        """Reload after a SIGHUP. If it came because the terminal has closed, end the process."""
        if terminal_has_closed():
            os.kill(os.getpid(), signal.SIGTERM)
            return
        task = asyncio.create_task(self._reload_or_log())
        self._hang_ups.add(task)
        task.add_done_callback(self._hang_ups.discard)

    async def _reload_or_log(self) -> None:
        try:
            await self.reload()
        except ConfigError as e:
            log.error("the config is not reloaded, and nothing has changed: %s", "; ".join(e.problems))  # noqa: TRY400
        except Exception:
            log.exception("the config is not reloaded")


@asynccontextmanager
async def reloading(app: Litestar, opened: AppState, loaded: Settings) -> AsyncIterator[None]:
    """Serve with a state, and with others that later configs make, until the context ends."""
    set_state(app, opened)
    reloader = Reloader(app, loaded)
    app.state.reloader = reloader
    async with auditing(lambda: app_state(app)):
        await reloader.start(opened)
        try:
            with _called_by_sighup(reloader):
                yield
        finally:
            await reloader.stop()


@contextmanager
def _called_by_sighup(reloader: Reloader) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reloader.hang_up)
    release()
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        survive()  # until the last record is written


@post("/v1/admin/reload", status_code=200, guards=[requires_admin])
async def reload_route(request: Request[Any, Any, Any], app: AppState) -> dict[str, object]:
    """Reload the config. Nothing changes if it cannot be used. The other workers follow within a second."""
    reloader: Reloader = request.app.state.reloader
    try:
        changed = await reloader.reload()
    except ConfigError as e:
        raise bad_request(
            f"The config is not reloaded, and nothing has changed: {'; '.join(e.problems)}",
            param=e.problems[0].partition(": ")[0],
            code="invalid_config",
        ) from e
    if os.environ.get(WORKERS_PARENT) == str(os.getppid()):
        os.kill(os.getppid(), signal.SIGHUP)
    return {
        "object": "reload",
        "config": reloader.config,
        "workers": app.settings.server.workers,
        "changed": [{"key": change.key, "old": change.old, "new": change.new} for change in changed],
    }
