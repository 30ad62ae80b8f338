"""`cope-proxy serve`: upgrade the database, start vLLM if the config has [small.vllm], and run the workers."""

import ipaddress
import logging.config
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from proxy.alerts.targets import target_secrets
from proxy.cli.options import (
    check_spool,
    config_option,
    engine_variables,
    pin_config,
    say,
    secret_names,
    settings_of,
    with_database,
)
from proxy.config.loading import overridden_kinds, with_engine
from proxy.config.prices import resolve_prices
from proxy.config.schema import Settings
from proxy.errors import ConfigError
from proxy.http import hangup
from proxy.http.protocol import BoundedHttpProtocol
from proxy.logs import log_config
from proxy.metrics import shared_by_workers
from proxy.service.state import upstream_apis
from proxy.tracing.setup import check_tracing
from proxy.vllm import launch

log = logging.getLogger(__name__)

DRAIN_S = 30
_APP = "proxy.http.app:create_app"


@click.command()
@config_option
@click.option("--host", help="Overrides server.host.")
@click.option("--port", type=int, help="Overrides server.port.")
@click.option("--workers", type=int, help="Overrides server.workers.")
def serve(config: str | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the proxy."""
    hangup.begin()
    pin_config(config)
    for name, value in (("HOST", host), ("PORT", port), ("WORKERS", workers)):
        if value is not None:
            os.environ[f"COPE__SERVER__{name}"] = str(value)
    settings = with_engine(settings_of(config), os.environ)
    resolve_prices(settings)
    upstream_apis(settings)
    target_secrets(settings)
    _require_key(settings)
    check_spool(settings)
    note, tell = _teller(settings, partial(click.echo, err=True)), _teller(settings, say)
    if settings.tracing.enabled:
        for warning in check_tracing():
            note(warning)
    for kind in overridden_kinds(settings):
        note(f"[cascade.thresholds.{kind}] replaces [{kind}] of {settings.cascade.calibration}")
    with ExitStack() as stack:
        if settings.small.vllm is not None:
            try:
                engine = stack.enter_context(
                    launch.start(settings.small, secrets=secret_names(settings), progress=tell)
                )
            except launch.EngineError as e:
                raise click.ClickException(str(e)) from e
            os.environ |= engine_variables(engine)
            watch = threading.Thread(
                target=_report_start, args=(engine, settings.small.vllm.startup_timeout_s, tell), daemon=True
            )
            watch.start()
        run_server(settings)


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Then finish the running requests and write the ledger."""
    server = settings.server
    options: dict[str, Any] = {
        "factory": True,
        "host": server.host,
        "port": server.port,
        "workers": server.workers,
        "http": BoundedHttpProtocol,
        "ws": "none",
        "loop": "auto",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": DRAIN_S,
        "timeout_keep_alive": 75,
        "log_config": log_config(settings.logs.format, settings.logs.level),
        "log_level": settings.logs.level,
    }
    if server.workers == 1:
        uvicorn.run(_APP, **options)
        return
    os.environ[hangup.WORKERS_PARENT] = str(os.getpid())
    with shared_by_workers():
        config = uvicorn.Config(_APP, **options)
        _Workers(config, [config.bind_socket()]).run()


class _Workers(Multiprocess):
    """Uvicorn's parent of the workers. It would replace all of them on SIGHUP. Here each one reloads its config.

    A worker that is just starting may have read the old config. So it gets the signal when it has started.
    """

    def init_processes(self) -> None:
        """Start all workers."""
        with hangup.held_back():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """Start a worker in the place of each one that has died."""
        with hangup.held_back():
            super().keep_subprocess_alive()

    def handle_hup(self) -> None:
        """Pass the signal on."""
        if hangup.terminal_has_closed():
            self.should_exit.set()
            return
        for worker in self.processes:
            if worker.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGHUP)


def _require_key(settings: Settings) -> None:
    from proxy.ledger.keys import any_keys  # noqa: PLC0415

    keys = with_database(settings, any_keys)
    if keys or settings.server.allow_anonymous or _is_loopback(settings.server.host):
        return
    problem = (
        f"server.host: {settings.server.host} is reachable from other machines and no key exists, so anybody could "
        "spend your money; run `cope-proxy keys create NAME` or set server.allow_anonymous = true"
    )
    raise ConfigError([problem])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _teller(settings: Settings, plain: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that reports the start: the given one, or one that writes lines of the log in JSON."""
    if settings.logs.format == "console":
        return plain
    logging.config.dictConfig(log_config(settings.logs.format, settings.logs.level))
    return log.info


def _report_start(engine: "launch.EngineProcess", timeout_s: float, tell: Callable[[str], None]) -> None:
    try:
        engine.wait_ready(tell, timeout_s)
        tell("ready")
    except launch.EngineError as e:
        tell(str(e))
