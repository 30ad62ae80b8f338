"""Run one engine and restart it when it ends. Stop it when the owner ends.

    python -m proxy.vllm.supervisor --log FILE [--no-restart] -- PROGRAM ARG...

The owner has the write end of this program's stdin. The pipe also closes if the owner is killed. The supervisor then
ends the engine and all processes that the engine started. This file only uses the standard library, so any
interpreter can run it by its path.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

TAG = "cope-supervisor:"
"""The prefix of each line that the supervisor writes to the engine's log."""
ENDED = "the engine ended"
GRACE_S = 10.0
MAX_DELAY_S = 60.0
_KILL_S = 5.0
_SIGNALLED = 128
"""A shell adds this to the number of the signal that ended a program, and exits with the sum."""
STEADY_S = 300.0
"""An engine that ran this long is restarted after the shortest delay."""

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def next_delay(previous: float, uptime_s: float) -> float:
    """Return the seconds to wait before the next start: 1, 2, 4 .. 60."""
    if uptime_s >= STEADY_S:
        return 1.0
    return min(MAX_DELAY_S, max(1.0, previous * 2))


def supervise(argv: Sequence[str], log: Path, *, restart: bool = True, grace_s: float = GRACE_S) -> int:
    """Run the engine until the owner ends or a signal arrives.

    Returns:
        The exit status: 0 after a request to stop, 1 if the engine ended and must not be restarted.
    """
    stop = _StopRequest()
    _become_subreaper()
    delay = 0.0
    while True:
        began = time.monotonic()
        with _start_guard(argv, log, grace_s) as guard_process:
            while guard_process.poll() is None and not stop.requested():
                stop.wait(1.0)
            if stop.requested():
                _write_log(log, f"stopping: {stop.reason}")
                _stop_guard(guard_process, grace_s)
                _write_log(log, "stopped")
                return 0
            _terminate(guard_process, grace_s)
        end = f"{ENDED} ({_describe_exit(guard_process.wait())})"
        if not restart:
            _write_log(log, f"{end}; small.vllm.restart is off")
            return 1
        delay = next_delay(delay, time.monotonic() - began)
        _write_log(log, f"{end}; restart in {delay:g} s")
        stop.sleep(delay)
        if stop.requested():
            _write_log(log, f"stopped: {stop.reason}")
            return 0


def guard(argv: Sequence[str], log: Path, *, grace_s: float) -> int:
    """Run the engine once. End it and all its processes when the supervisor ends, even by SIGKILL.

    The supervisor and the guard clean up after each other. vLLM does not clean up reliably. Its engine core survives
    when its server is killed, and a server that is starting ignores SIGTERM.
    """
    stop = _StopRequest()
    _become_subreaper()
    engine = _start_engine(argv)
    _write_log(log, f"started the engine (pid {engine.pid})")
    while engine.poll() is None and not stop.requested():
        stop.wait(1.0)
    _terminate(engine, grace_s)
    status = engine.poll() or 0
    return status if status >= 0 else _SIGNALLED - status


class _StopRequest:
    """A request to stop: a signal, the end of stdin or the death of the parent."""

    def __init__(self) -> None:
        self.reason = ""
        self._parent = os.getppid()
        self._wake, writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        # Without a handler the end of a child would not wake `wait`.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def requested(self) -> bool:
        return bool(self.reason)

    def wait(self, timeout_s: float) -> None:
        """Wait for a signal, the end of a child or the end of stdin, at most for the timeout."""
        ready, _, _ = select.select([0, self._wake], [], [], timeout_s)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if 0 in ready and not os.read(0, 4096):
            self.reason = self.reason or "the owner closed stdin or died"
        # A fork of the owner may keep the pipe open.
        elif os.getppid() != self._parent:
            self.reason = self.reason or "the owner died"

    def sleep(self, seconds: float) -> None:
        """Sleep until the seconds are over or a stop is requested."""
        until = time.monotonic() + seconds
        while not self.requested() and (left := until - time.monotonic()) > 0:
            self.wait(min(left, 1.0))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name


def _start_guard(argv: Sequence[str], log: Path, grace_s: float) -> subprocess.Popen[bytes]:
    # The environment is the engine's. In isolated mode it does not affect this interpreter.
    options = ["--guard", "--log", str(log), "--grace-s", str(grace_s)]
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-I", __file__, *options, "--", *argv],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def _stop_guard(guard_process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Let the guard end the engine, then end all processes that are left."""
    if guard_process.stdin is not None:
        guard_process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guard_process.wait(grace_s + _KILL_S)
    _terminate(guard_process, 0)


def _start_engine(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    wrapper = [sys.executable, "-I", __file__, "--exec-for", str(os.getpid()), "--", *argv]
    return subprocess.Popen(wrapper, stdin=subprocess.DEVNULL, start_new_session=True)


def _exec_engine(argv: Sequence[str], parent: int) -> int:
    """Become the engine. Linux sends it a SIGTERM if guard and supervisor are both killed."""
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # the parent died before the line above took effect
            return 1
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606
    except OSError as e:
        sys.stderr.write(f"{argv[0]} cannot be run: {e.strerror}\n")
        return 127


def _become_subreaper() -> None:
    """Become the parent of descendants that lose theirs, so that they can be found and ended."""
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _terminate(engine: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the engine and all its processes. Send SIGTERM first, and SIGKILL after the grace period."""
    _send_signal(engine, signal.SIGTERM)
    term_deadline = time.monotonic() + grace_s
    while _any_alive(engine) and time.monotonic() < term_deadline:
        time.sleep(0.05)
    kill_deadline = time.monotonic() + _KILL_S
    while _any_alive(engine) and time.monotonic() < kill_deadline:
        _send_signal(engine, signal.SIGKILL)
        time.sleep(0.05)
    engine.poll()


def _send_signal(engine: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if not _LINUX:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(engine.pid, number)
        return
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _any_alive(engine: subprocess.Popen[bytes]) -> bool:
    engine.poll()
    if _LINUX:
        return bool(_descendants(reap_except=engine.pid))
    try:
        os.killpg(engine.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _descendants(reap_except: int | None = None) -> list[int]:
    """Return the ids of the running descendants of this process, in any session.

    Args:
        reap_except: if given, reap all dead children except this one. Popen reaps this one itself.
    """
    me = os.getpid()
    children: dict[int, list[int]] = {}
    dead: set[int] = set()
    for pid, state, parent in _processes():
        children.setdefault(parent, []).append(pid)
        if state in "ZX":
            dead.add(pid)
            if reap_except is not None and parent == me and pid != reap_except:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
    below, found = list(children.get(me, [])), []
    while below:
        pid = below.pop()
        found.append(pid)
        below += children.get(pid, [])
    return [pid for pid in found if pid not in dead]


def _processes() -> list[tuple[int, str, int]]:
    """Return the id, the state and the parent's id of each process (Linux)."""
    out = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process ended meanwhile
            # The name stands in parentheses and may itself contain spaces and parentheses.
            after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            out.append((int(entry.name), after_name[0], int(after_name[1])))
    return out


def _describe_exit(status: int) -> str:
    number = -status if status < 0 else status - _SIGNALLED
    return signal.Signals(number).name if number in set(signal.Signals) else f"status {status}"


def _write_log(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as out:
        out.write(f"{TAG} {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")


def main(arguments: Sequence[str]) -> int:
    """Parse the command line and run the supervisor, the guard or the engine."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m proxy.vllm.supervisor", usage="%(prog)s [options] -- argv..."
    )
    parser.add_argument("--log", type=Path, help="File that receives the engine's output.")
    parser.add_argument("--no-restart", action="store_true", help="Exit when the engine ends.")
    parser.add_argument("--grace-s", type=float, default=GRACE_S, help="Seconds between SIGTERM and SIGKILL.")
    parser.add_argument("--guard", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--exec-for", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments[:split])
    argv = arguments[split + 1 :]
    if not argv:
        parser.error("no program after --")
    if options.exec_for is not None:
        return _exec_engine(argv, options.exec_for)
    if options.log is None:
        parser.error("--log is missing")
    if options.guard:
        return guard(argv, options.log, grace_s=options.grace_s)
    return supervise(argv, options.log, restart=not options.no_restart, grace_s=options.grace_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
