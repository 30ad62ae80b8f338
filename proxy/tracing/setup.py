"""Start tracing, if the config enables it and the packages of the extra `otel` are installed."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec

from proxy.errors import ConfigError
from proxy.tracing.attributes import Semconv
from proxy.tracing.spans import ModelServer
from proxy.tracing.trace import Tracer

CLOSE_S = 5.0
"""Longest wait at the end for a collector to take the last spans."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_EXPORTER = "OTEL_TRACES_EXPORTER"


def require_tracing() -> None:
    """Check that traces can be exported from here.

    Raises:
        ConfigError: the packages are not installed, or a variable asks for something else than OTLP over HTTP.
    """
    problems = []
    if not _is_installed():
        problems.append(
            "tracing.enabled: the packages for it are not installed; "
            "run `pip install 'cope-proxy[otel]'` or set tracing.enabled = false"
        )
    problems += [
        # The message has no value: an address may contain a password.
        f"{name}: it is not a URL; it must start with http:// or https://"
        for name in _ENDPOINTS
        if (url := os.environ.get(name)) and not url.startswith(("http://", "https://"))
    ]
    problems += [
        f"{name}: {protocol[:20]!r} is not supported; use {_PROTOCOL}, which has port 4318 in most collectors"
        for name in _PROTOCOLS
        if (protocol := os.environ.get(name)) and protocol != _PROTOCOL
    ]
    if (exporter := os.environ.get(_EXPORTER, "otlp")) not in ("otlp", "none", ""):
        problems.append(f"{_EXPORTER}: {exporter[:20]!r} is not supported; use otlp, or none for no traces")
    if problems:
        raise ConfigError(problems)


def check_tracing() -> list[str]:
    """Check that traces can be exported from here, and return warnings about the OTEL_ variables.

    Raises:
        ConfigError: they cannot; see `require_tracing`.
    """
    require_tracing()
    if _is_disabled():
        return []
    from proxy.tracing.tracer import warnings_about_variables  # noqa: PLC0415 - needs the packages of the extra

    return warnings_about_variables()


@asynccontextmanager
async def tracing(
    *, enabled: bool, semconv: Semconv, servers: Mapping[str, ModelServer]
) -> AsyncIterator[Tracer | None]:
    """Yield the tracer of this process, or None if tracing is off. On exit, the last spans get `CLOSE_S`.

    Args:
        enabled: whether to trace. `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none` go before it.
        semconv: the version of the attributes' names.
        servers: the servers of the large models, by the names of the models.

    Raises:
        ConfigError: traces cannot be exported from here.
    """
    if not enabled or _is_disabled():
        yield None
        return
    require_tracing()
    from proxy.tracing.tracer import open_tracer  # noqa: PLC0415 - needs the packages of the extra

    tracer = open_tracer(semconv, servers)
    try:
        yield tracer
    finally:
        # The collector may be slow. A thread of the loop's executor would be waited for at the end of the process.
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            tracer.close()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="close-traces", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await closed.wait()


def _is_disabled() -> bool:
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return disabled or os.environ.get(_EXPORTER) == "none"


def _is_installed() -> bool:
    try:
        return all(
            find_spec(name) is not None
            for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http", "requests")
        )
    except ModuleNotFoundError:
        return False
