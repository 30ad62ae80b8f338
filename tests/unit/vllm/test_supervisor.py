"""The supervisor with a stand-in for vLLM. No process is left, whichever of them is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from proxy.vllm import supervisor
from proxy.vllm.interpreter import clean_env
from proxy.vllm.launch import supervised

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
WAIT_S = 20.0

# Writes its process id and that of a grandchild in another session, then waits.
FAMILY = """
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
with open(sys.argv[1] + ".new", "w") as f:
    f.write(f"{os.getpid()} {grandchild.pid}")
os.replace(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""

Start = Callable[..., subprocess.Popen[bytes]]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"still not after {WAIT_S:g} s: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pids: Path) -> tuple[int, int]:
    """Return child and grandchild, once the child has named them."""
    until(pids.exists, "the child runs")
    child, grandchild = map(int, pids.read_text().split())
    assert alive(child)
    assert alive(grandchild)
    return child, grandchild


def gone(*pids: int) -> bool:
    return not any(alive(pid) for pid in pids)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.fixture
def start(log: Path) -> Iterator[Start]:
    """A function that starts a Python program under a supervisor."""
    started: list[subprocess.Popen[bytes]] = []

    def run(code: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy.vllm.supervisor", "--log", str(log), *options, "--", *program],
            stdin=subprocess.PIPE,
            cwd=ROOT,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(WAIT_S)


def test_closed_stdin_ends_all(start: Start, pids: Path, log: Path):
    """When the owner closes the pipe, child and grandchild end and the supervisor exits with 0."""
    process = start(FAMILY, str(pids))
    members = family(pids)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(WAIT_S) == 0
    assert gone(*members)
    assert log.read_text().endswith("stopped\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all(start: Start, pids: Path, number: signal.Signals):
    """SIGTERM, SIGINT and SIGHUP to the supervisor do the same as the end of stdin."""
    process = start(FAMILY, str(pids))
    members = family(pids)
    process.send_signal(number)
    assert process.wait(WAIT_S) == 0
    assert gone(*members)


def test_ignored_sigterm_then_sigkill(start: Start, pids: Path):
    """A child that ignores SIGTERM gets SIGKILL after the grace period."""
    process = start(FAMILY, str(pids), "stubborn", options=("--grace-s", "0.3"))
    members = family(pids)
    process.terminate()
    assert process.wait(WAIT_S) == 0
    assert gone(*members)


OWNER = """
import os, sys
from pathlib import Path
from proxy.vllm.launch import supervised
argv = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
process = supervised(argv, dict(os.environ), Path(sys.argv[3]), restart=True)
print(process.pid, flush=True)
if sys.argv[4] == "forks" and os.fork() == 0:  # the copy keeps the supervisor's stdin open
    os.close(1)
    os.read(0, 1)
    os._exit(0)
sys.stdin.read()
"""


@pytest.mark.parametrize("habit", ["plain", "forks"])
def test_killed_owner_ends_all(pids: Path, log: Path, habit: str):
    """SIGKILL of the owner ends supervisor, child and grandchild, even if a fork of the owner keeps the pipe open."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, FAMILY, str(pids), str(log), habit],
        stdin=reader,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as owner:
        os.close(reader)
        assert owner.stdout is not None
        watcher = int(owner.stdout.readline())
        members = family(pids)
        owner.kill()
        owner.wait(WAIT_S)
        until(lambda: gone(watcher, *members), "supervisor, child and grandchild are gone")
        os.close(writer)


@pytest.mark.parametrize("habit", ["", "stubborn"])
def test_killed_supervisor_ends_all(start: Start, pids: Path, habit: str):
    """SIGKILL of the supervisor itself ends child and grandchild, even if they ignore SIGTERM."""
    process = start(FAMILY, str(pids), habit, options=("--grace-s", "0.3"))
    members = family(pids)
    process.kill()
    until(lambda: gone(*members), "child and grandchild are gone")


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_CHILD_SUBREAPER")
def test_killed_guard_replaced(start: Start, pids: Path):
    """SIGKILL of the guard between supervisor and child ends the old family and starts a new one."""
    process = start(FAMILY, str(pids))
    members = family(pids)
    pids.unlink()
    psutil.Process(process.pid).children()[0].kill()
    again = family(pids)
    assert gone(*members)
    assert again != members


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_both_killed_sends_sigterm(start: Start, pids: Path):
    """SIGKILL of supervisor and guard at once sends the child a SIGTERM."""
    process = start(FAMILY, str(pids))
    child, grandchild = family(pids)
    keeper = psutil.Process(process.pid).children()[0]
    process.send_signal(signal.SIGSTOP)
    keeper.suspend()
    process.kill()
    keeper.kill()
    until(lambda: gone(child), "the child is gone")
    os.kill(grandchild, signal.SIGKILL)


def test_dead_child_restarted(start: Start, pids: Path, log: Path):
    """After a SIGKILL of the child its grandchild is ended, and a new child is started."""
    start(FAMILY, str(pids))
    child, grandchild = family(pids)
    pids.unlink()
    os.kill(child, signal.SIGKILL)
    again, _ = family(pids)
    assert again != child
    assert gone(child, grandchild)
    assert f"{supervisor.ENDED} (SIGKILL); restart in 1 s" in log.read_text()


def test_growing_delay_can_be_stopped(start: Start, log: Path):
    """A child that fails at once is restarted after 1 s, then after 2 s. A stop ends the delay."""
    process = start("import sys; sys.exit('it is broken')")
    until(lambda: log.exists() and "restart in 2 s" in log.read_text(), "the second failure")
    process.terminate()
    began = time.monotonic()
    assert process.wait(WAIT_S) == 0
    assert time.monotonic() - began < 1.5
    text = log.read_text()
    assert text.count("it is broken") == 2
    assert f"{supervisor.ENDED} (status 1); restart in 1 s" in text


@pytest.mark.parametrize(
    ("previous", "uptime", "delay"),
    [(0, 1, 1), (1, 1, 2), (2, 1, 4), (32, 1, 60), (60, 299, 60), (60, 300, 1)],
)
def test_delays_double(previous: float, uptime: float, delay: float):
    """The delay doubles from 1 s to 60 s, and is 1 s again after five minutes of service."""
    assert supervisor.next_delay(previous, uptime) == delay


def test_no_restart(start: Start, log: Path):
    """With --no-restart the supervisor ends with status 1 when the child ends."""
    process = start("pass", options=("--no-restart",))
    assert process.wait(WAIT_S) == 1
    assert f"{supervisor.ENDED} (status 0); small.vllm.restart is off" in log.read_text()


def test_missing_program_logged(log: Path):
    """A program that cannot be run is named in the log."""
    with supervised(["/nonexistent/python"], {}, log, restart=False) as process:
        assert process.wait(WAIT_S) == 1
    assert "/nonexistent/python cannot be run: No such file or directory" in log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_socket_inherited(log: Path):
    """A listening socket of the owner, even an inheritable one, does not reach the engine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        code = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')])"
        with supervised([sys.executable, "-c", code], dict(os.environ), log, restart=False) as process:
            process.wait(WAIT_S)
    assert "\n[]\n" in log.read_text()


def test_no_secrets_inherited(log: Path):
    """Keys, the proxy's variables and Python's paths are withheld. All others are inherited."""
    environ = {
        "OPENAI_API_KEY": "s1",
        "MISTRAL_API_KEY": "s2",
        "COPE_ADMIN_KEY": "s3",
        "COPE__X__Y": "s4",
        "PGPASSWORD": "s5",
        "UPSTREAM": "s6",
        "PYTHONPATH": "s7",
        "HF_HOME": "kept",
        "PATH": os.environ["PATH"],
    }
    env = clean_env(environ, ["UPSTREAM"])
    code = "import os; print('saw', sorted(set(os.environ.values())))"
    with supervised([sys.executable, "-c", code], env, log, restart=False) as process:
        process.wait(WAIT_S)
    saw = next(line for line in log.read_text().splitlines() if line.startswith("saw"))
    assert "kept" in saw
    assert not any(f"s{n}" in saw.split("'") for n in range(1, 8))
