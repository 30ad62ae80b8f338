"""The sandbox: bubblewrap's namespaces outside, resource limits and a system-call filter inside.

A program sees an empty scratch folder in memory and its Python. It sees no network, no home directory, no environment
variables of the proxy and no other process. `inside` runs in the sandbox. `selftest` checks that the sandbox isolates.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from proxy.cascade.types import Behaviour, Program
from proxy.fairness import FairTurns
from proxy.sandbox.selftest import find_holes

SCRATCH_BYTES = 8 * 2**20
MEMORY_BYTES = 256 * 2**20
CPU_SECONDS = 3
WALL_SECONDS = 4.0
"""A program that sleeps holds its slot for this time. Usual programs take a tenth of a second."""
SLOTS = 4
"""As many as the votes that a request usually needs at once. Programs that sleep should not keep them all."""
MOST_OUTPUT_BYTES = 2**20
"""The longest report of a run. A run with a longer report counts as failed."""

_CHUNK_BYTES = 2**16
_INSIDE = Path(__file__).with_name("inside.py")
_PLACE = "/cope/inside.py"
_NOBODY = (
    "65533"  # no user has this id. 65534 stands for every user that a namespace does not map, including root
)
_AS_USER = ("--unshare-all", "--uid", _NOBODY, "--gid", _NOBODY)
_AS_ROOT = (
    *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
    *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"),
)
_LEAVE_ROOT = (
    *("setpriv", "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups"),
    *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"),
)


class SandboxError(Exception):
    """The sandbox cannot be used on this machine. The message gives the reason and a remedy."""


def command(*, root: bool) -> tuple[str, ...]:
    """Return the command line that builds the sandbox.

    Args:
        root: True if the proxy runs as root. A user namespace would then map the program to root, which is enough to
            write kernel settings. So there is no user namespace, and `setpriv` drops root before the program starts.
    """
    prefix = Path(sys.base_prefix).resolve()
    system = [
        part
        for name in ("/usr", "/lib", "/lib64", "/bin")
        if Path(name).exists()
        for part in (
            ("--symlink", str(Path(name).readlink()), name)
            if Path(name).is_symlink()
            else ("--ro-bind", name, name)
        )
    ]
    own = [] if str(prefix).startswith("/usr") else [*_folders(prefix), "--ro-bind", str(prefix), str(prefix)]
    python = Path(sys.executable).resolve()
    return (
        *("bwrap", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *(_AS_ROOT if root else _AS_USER),
        *("--hostname", "sandbox"),
        *system,
        *own,
        *_folders(Path(_PLACE)),
        *("--ro-bind", str(_INSIDE), _PLACE),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"),  # noqa: S108  (the sandbox's own)
        *("--remount-ro", "/proc", "--remount-ro", "/dev/pts", "--remount-ro", "/dev"),
        *("--remount-ro", "/", "--"),
        *(_LEAVE_ROOT if root else ()),
        *(str(python), "-I", "-S", "-B", _PLACE),
    )


def _folders(path: Path) -> list[str]:
    """Return the options that create the folders above a path. Without them only the owner could read these folders."""
    return [part for parent in reversed(path.parents[:-1]) for part in ("--dir", str(parent))]


@dataclass(frozen=True)
class Sandbox:
    """Runs programs, at most `SLOTS` at a time. Each key has a fair share of the time."""

    command: tuple[str, ...] = field(default_factory=lambda: command(root=os.geteuid() == 0))
    turns: FairTurns = field(default_factory=lambda: FairTurns(SLOTS))

    async def run(self, program: Program) -> Behaviour:
        """Run a program and return its behaviour. A program that breaks a limit has failed and raises nothing here."""
        job = {
            "sources": program.sources,
            "checks": program.checks,
            "probes": program.probes,
            "memory": MEMORY_BYTES,
            "cpu": CPU_SECONDS,
            "scratch": SCRATCH_BYTES,
        }
        async with self.turns.turn():
            return await _run(self.command, job) or Behaviour(passed=False)


async def open_sandbox() -> Sandbox:
    """Return a sandbox that has passed its self-test.

    Raises:
        SandboxError: bubblewrap is not installed, or the self-test failed.
    """
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        raise SandboxError(
            "bubblewrap (bwrap) is not installed; on Debian or Ubuntu: apt-get install bubblewrap"
        )
    sandbox = Sandbox()
    holes = await find_holes(sandbox.run)
    if holes:
        raise SandboxError("; ".join(holes))
    return sandbox


async def _run(command: tuple[str, ...], job: Mapping[str, Any]) -> Behaviour | None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        limit=MOST_OUTPUT_BYTES,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WALL_SECONDS):
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.close()
            line = await process.stdout.readline()
        return msgspec.json.decode(line, type=Behaviour)
    except (TimeoutError, ValueError, OSError, RecursionError):  # the report may be forged
        return None
    finally:
        if process.returncode is None:
            process.kill()  # ends the namespace and every process in it
        while await process.stdout.read(_CHUNK_BYTES):
            pass  # if the pipe were full, `wait` would not return
        await process.wait()
