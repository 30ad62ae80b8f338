"""Run the two servers of the demo: vLLM and the proxy. They start at the same time."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import click

from proxy.config.schema import Small, Vllm
from proxy.vllm import launch

_PROXY_START_S = 60.0
_SMALL_SEEN_S = 20.0
_POLL_S = 0.2
_OPENER = build_opener(ProxyHandler({}))
"""Requests to the proxy on this machine. They never go through HTTP_PROXY."""


def small_for_demo(model: str, log: Path) -> Small:
    """Return the settings of the small model.

    On few cores the engine leaves one to the proxy. Its threads wait for one another many times a token, so a core
    that is busy with something else would stop all of them.
    """
    cores = launch.usable_cores()
    free = cores <= launch.FEW_CORES and "OMP_NUM_THREADS" not in os.environ
    env = {"OMP_NUM_THREADS": str(max(1, cores - 1))} if free else {}
    return Small(model=model, vllm=Vllm(log_file=str(log), env=env))


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """The URL, the process and the log of the proxy."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def running_proxy(config: Path, port: int, env: dict[str, str], log: Path) -> Iterator[RunningProxy]:
    """Run the proxy until the block ends, on the given port if it is free. Yield it at once."""
    port = launch.free_port(port)
    address = ["--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config), *address]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield RunningProxy(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.terminate()
        process.wait()


def wait_for_proxy(proxy: RunningProxy) -> None:
    """Wait until the proxy answers and knows that its small model does.

    Raises:
        click.ClickException: it did not start. The message has the last lines of its log.
    """
    _until(lambda: _answers(proxy) or proxy.process.poll() is not None, _PROXY_START_S)
    if not _answers(proxy):
        raise click.ClickException(f"the proxy did not start:\n{proxy.log.read_text()[-2000:]}")
    # Without its small model the proxy serves too: the questions then go to the large one.
    _until(lambda: bool((_get(f"{proxy.url}/health/ready") or {}).get("small")), _SMALL_SEEN_S)


def _answers(proxy: RunningProxy) -> bool:
    return _get(f"{proxy.url}/health/live") is not None


def _until(holds: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _get(url: str) -> dict[str, object] | None:
    """Return the JSON object at a URL of the proxy, or `None` if it does not answer."""
    with contextlib.suppress(URLError, OSError, ValueError):
        try:
            with _OPENER.open(url, timeout=5) as response:
                return dict(json.load(response))
        except HTTPError as e:
            return dict(json.load(e))
    return None
