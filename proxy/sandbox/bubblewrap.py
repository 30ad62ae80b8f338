"""The walls: bubblewrap's namespaces around, resource limits and a system-call filter inside.

A program sees an empty scratch folder in memory, the Python it runs on, and nothing else: no network, no home, no
variables of ours, no other process. `inside` is what runs there, and `selftest` makes sure that the walls stand.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from proxy.cascade.types import Behaviour, Program

SCRATCH_BYTES = 8 * 2**20
MEMORY_BYTES = 512 * 2**20
CPU_SECONDS = 10
WALL_SECONDS = 20.0
MOST_OUTPUT_BYTES = 2**20
"""What a run may tell us; the rest is left unread and the run counts as failed."""

_CHUNK_BYTES = 2**16
_INSIDE = Path(__file__).with_name("inside.py")
_PLACE = "/cope/inside.py"


class SandboxError(Exception):
    """The sandbox cannot be used on this machine; the message says why and how to mend it."""


@dataclass(frozen=True)
class Sandbox:
    """Runs programs, a few at a time."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    async def run(self, program: Program) -> Behaviour:
        """Run a program and tell what it did. A program that breaks a limit has failed; it raises nothing here."""
        job = {
            "sources": program.sources,
            "checks": program.checks,
            "probes": program.probes,
            "memory": MEMORY_BYTES,
            "cpu": CPU_SECONDS,
            "scratch": SCRATCH_BYTES,
        }
        async with self.slots:
            return await _run(job) or Behaviour(loaded=False, passed=False)


async def open_sandbox() -> Sandbox:
    """Return a sandbox that has been tried.

    Raises:
        SandboxError: its walls do not stand here.
    """
    from proxy.sandbox.selftest import find_holes  # noqa: PLC0415  (it uses this module)

    if sys.platform != "linux" or shutil.which("bwrap") is None:
        raise SandboxError(
            "bubblewrap (bwrap) is not installed; on Debian or Ubuntu: apt-get install bubblewrap"
        )
    sandbox = Sandbox()
    holes = await find_holes(sandbox)
    if holes:
        raise SandboxError("; ".join(holes))
    return sandbox


def command() -> list[str]:
    """Return the command line that builds the walls."""
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
    own = [] if str(prefix).startswith("/usr") else ["--ro-bind", str(prefix), str(prefix)]
    python = Path(sys.executable).resolve()
    return [
        *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *("--uid", "65534", "--gid", "65534", "--hostname", "sandbox"),
        *system,
        *own,
        *("--ro-bind", str(_INSIDE), _PLACE),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"),  # noqa: S108  (the sandbox's own)
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--", str(python), "-I", "-S", "-B", _PLACE),
    ]


async def _run(job: Mapping[str, Any]) -> Behaviour | None:
    process = await asyncio.create_subprocess_exec(
        *command(),
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
            process.kill()  # ends the namespace, and with it all that the program has started
        while await process.stdout.read(_CHUNK_BYTES):
            pass  # a pipe that is full would keep `wait` from returning
        await process.wait()
