"""The servers that tests talk to. The stand-ins live for the session and are reset for each test."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY
from tests.support.processes import ROOT
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn
from tests.support.wait import Json

# The time of an example depends on the load of the machine, and says nothing about the code.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

NODE_CLIENT = Path(__file__).parent / "clients" / "node"


@pytest.fixture(scope="session")
def small_server() -> Iterator[StandIn]:
    """The small tier: a vLLM with a context of 4096 words."""
    with StandIn([SMALL_MODEL], max_model_len=4096) as server:
        yield server


@pytest.fixture(scope="session")
def large_server() -> Iterator[StandIn]:
    """The paid upstream, which takes only the right key."""
    with StandIn([LARGE_MODEL, "other-model"], require_key=UPSTREAM_KEY) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _no_workers_left() -> Iterator[None]:
    """End the processes that compare answers, which would outlive the tests."""
    yield
    if (confidence := sys.modules.get("proxy.cascade.confidence")) is not None:
        confidence.shutdown()


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """Take back what a command that ran in this process has set, such as the path of its config."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"})


@pytest.fixture(autouse=True)
def _fresh_stand_ins(request: pytest.FixtureRequest) -> None:
    for name in ("small_server", "large_server"):
        if name in request.fixturenames:
            request.getfixturevalue(name).reset()


@pytest.fixture(scope="module")
def proxy(
    small_server: StandIn, large_server: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with the default test config, shared by the tests of a module."""
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"), small_server.base_url, large_server.base_url
    ) as process:
        yield process


@pytest.fixture
def make_proxy(
    small_server: StandIn, large_server: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ProxyProcess]]:
    """Start a proxy with some settings changed; the keywords are those of `ProxyProcess`."""
    with ExitStack() as stack:

        def make(
            *, small_url: str | None = None, large_url: str | None = None, **changes: Any
        ) -> ProxyProcess:
            folder = tmp_path_factory.mktemp("proxy")
            urls = small_url or small_server.base_url, large_url or large_server.base_url
            return stack.enter_context(ProxyProcess(folder, *urls, **changes))

        yield make


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The interpreter that has other people's client libraries."""
    python = Path(os.environ.get("COPE_CLIENTS_PYTHON") or ROOT / ".venv-clients/bin/python")
    if not python.exists():
        pytest.fail(f"{python} is missing: run `make .venv-clients/.ready`")
    return python


@pytest.fixture(scope="session")
def node_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the scripts of `tests/clients/node` and the packages that they need."""
    if shutil.which("npm") is None:
        pytest.fail("npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    for source in NODE_CLIENT.iterdir():
        if source.is_file():
            shutil.copy(source, folder)
    subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def node_run(node_packages: Path) -> Callable[..., Json]:
    """Run a script of `tests/clients/node` with some arguments and return what it printed."""

    def run(script: str, *args: str) -> Json:
        done = subprocess.run(
            ["node", script, *args],
            cwd=node_packages,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return dict(json.loads(done.stdout))

    return run


@pytest.fixture(scope="session")
def node_chat(node_run: Callable[..., Json]) -> Callable[..., Json]:
    """Run a scenario of the OpenAI Node SDK against a base URL and return what it got."""

    def chat(base_url: str, scenario: str, model: str = "cope", api_key: str = "anything") -> Json:
        return node_run("chat.mjs", base_url, scenario, model, api_key)

    return chat
