"""Keeps one engine alive, and never outlives its owner.

    python -m proxy.vllm.supervisor --log FILE [--no-restart] -- PROGRAM ARG...

The owner holds the write end of this program's stdin. When that closes, for whatever reason (the owner
may have been killed), the engine and everything it started is ended. The standard library is all it needs,
so that it can be started by its path from any environment.
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
"""Begins each line that the supervisor writes into the engine's log."""
ENDED = "the engine ended"
GRACE_S = 10.0
MAX_DELAY_S = 60.0
_KILL_S = 5.0
_SIGNALLED = 128
"""The shell's way to tell a signal by an exit status."""
STEADY_S = 300.0
"""An engine that was up this long starts over with the shortest delay."""

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def next_delay(previous: float, uptime_s: float) -> float:
    """Return how long to wait before the next start: 1, 2, 4 .. 60 s."""
    if uptime_s >= STEADY_S:
        return 1.0
    return min(MAX_DELAY_S, max(1.0, previous * 2))


def supervise(argv: Sequence[str], log: Path, *, restart: bool = True, grace_s: float = GRACE_S) -> int:
    """Run the engine until the owner goes, or a signal asks to stop.

    Returns:
        The exit status: 0 when told to stop, 1 when the engine ended and is not to be restarted.
    """
    watch = _Watch()
    _adopt_orphans()
    delay = 0.0
    while True:
        began = time.monotonic()
        with _launch_guard(argv, log, grace_s) as guarded:
            while guarded.poll() is None and not watch.stopping():
                watch.wait(1.0)
            if watch.stopping():
                _note(log, f"stopping: {watch.reason}")
                _dismiss(guarded, grace_s)
                _note(log, "stopped")
                return 0
            _end(guarded, grace_s)
        end = f"{ENDED} ({_how(guarded.wait())})"
        if not restart:
            _note(log, f"{end}; small.vllm.restart is off")
            return 1
        delay = next_delay(delay, time.monotonic() - began)
        _note(log, f"{end}; restart in {delay:g} s")
        watch.pause(delay)
        if watch.stopping():
            _note(log, f"stopped: {watch.reason}")
            return 0


def guard(argv: Sequence[str], log: Path, *, grace_s: float) -> int:
    """Run the engine once; end it and all it started when the supervisor goes, were it by SIGKILL.

    The supervisor cleans up after its guard and the guard after its supervisor. vLLM itself cannot be
    trusted with that: its engine core outlives a killed server, and a server that starts up ignores SIGTERM.
    """
    watch = _Watch()
    _adopt_orphans()
    engine = _launch(argv)
    _note(log, f"started the engine (pid {engine.pid})")
    while engine.poll() is None and not watch.stopping():
        watch.wait(1.0)
    _end(engine, grace_s)
    status = engine.poll() or 0
    return status if status >= 0 else _SIGNALLED - status


class _Watch:
    """Tells when to stop: on a signal, at the end of stdin, or once the parent is another one."""

    def __init__(self) -> None:
        self.reason = ""
        self._parent = os.getppid()
        self._wake, writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        # A handler of its own makes the end of a child wake `wait`.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def stopping(self) -> bool:
        return bool(self.reason)

    def wait(self, timeout_s: float) -> None:
        """Return when something happened, or after the timeout."""
        ready, _, _ = select.select([0, self._wake], [], [], timeout_s)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if 0 in ready and not os.read(0, 4096):
            self.reason = self.reason or "the owner closed stdin or died"
        # Whoever the owner forked may still hold the pipe open.
        elif os.getppid() != self._parent:
            self.reason = self.reason or "the owner died"

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it is time to stop."""
        until = time.monotonic() + seconds
        while not self.stopping() and (left := until - time.monotonic()) > 0:
            self.wait(min(left, 1.0))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name


def _launch_guard(argv: Sequence[str], log: Path, grace_s: float) -> subprocess.Popen[bytes]:
    # In isolated mode nothing of the environment, which is the engine's, changes this interpreter.
    options = ["--guard", "--log", str(log), "--grace-s", str(grace_s)]
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-I", __file__, *options, "--", *argv],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def _dismiss(guarded: subprocess.Popen[bytes], grace_s: float) -> None:
    """Have the guard end the engine, then see to it that nothing is left."""
    if guarded.stdin is not None:
        guarded.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guarded.wait(grace_s + _KILL_S)
    _end(guarded, 0)


def _launch(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    wrapper = [sys.executable, "-I", __file__, "--exec-for", str(os.getpid()), "--", *argv]
    return subprocess.Popen(wrapper, stdin=subprocess.DEVNULL, start_new_session=True)


def _exec(argv: Sequence[str], parent: int) -> int:
    """Become the engine, with a SIGTERM to come should the guard be killed and the supervisor with it."""
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died before the line above took effect
            return 1
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606
    except OSError as e:
        sys.stderr.write(f"{argv[0]} cannot be run: {e.strerror}\n")
        return 127


def _adopt_orphans() -> None:
    """Have whatever loses its parent below us become our child, so that it can be found and ended."""
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _end(engine: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the engine and all it started: asked first, killed after the grace."""
    _signal(engine, signal.SIGTERM)
    patience = time.monotonic() + grace_s
    while _alive(engine) and time.monotonic() < patience:
        time.sleep(0.05)
    last = time.monotonic() + _KILL_S
    while _alive(engine) and time.monotonic() < last:
        _signal(engine, signal.SIGKILL)
        time.sleep(0.05)
    engine.poll()


def _signal(engine: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if not _LINUX:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(engine.pid, number)
        return
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _alive(engine: subprocess.Popen[bytes]) -> bool:
    engine.poll()
    if _LINUX:
        return bool(_descendants(reap_except=engine.pid))
    try:
        os.killpg(engine.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _descendants(reap_except: int | None = None) -> list[int]:
    """Return the processes below this one that still run, wherever they moved their session.

    Args:
        reap_except: clear away adopted children that are dead, all but this one, which Popen waits for.
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
    """Return process id, state and parent of each process (Linux)."""
    out = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is gone by now
            # The name in parentheses may itself hold anything, also blanks and parentheses.
            after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            out.append((int(entry.name), after_name[0], int(after_name[1])))
    return out


def _how(status: int) -> str:
    number = -status if status < 0 else status - _SIGNALLED
    return signal.Signals(number).name if number in set(signal.Signals) else f"status {status}"


def _note(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as out:
        out.write(f"{TAG} {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")


def main(arguments: Sequence[str]) -> int:
    """Parse the command line and run."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m proxy.vllm.supervisor", usage="%(prog)s [options] -- argv..."
    )
    parser.add_argument("--log", type=Path, help="file that gets the engine's output")
    parser.add_argument("--no-restart", action="store_true", help="exit when the engine ends")
    parser.add_argument("--grace-s", type=float, default=GRACE_S, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--guard", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--exec-for", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments[:split])
    argv = arguments[split + 1 :]
    if not argv:
        parser.error("no program after --")
    if options.exec_for is not None:
        return _exec(argv, options.exec_for)
    if options.log is None:
        parser.error("--log is missing")
    if options.guard:
        return guard(argv, options.log, grace_s=options.grace_s)
    return supervise(argv, options.log, restart=not options.no_restart, grace_s=options.grace_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
