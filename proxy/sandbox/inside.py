"""The program that runs inside the sandbox. It sets limits, then runs the model's program and reports its behaviour.

It imports nothing of the proxy. The limits are on memory, processor time and files. A seccomp filter keeps a program from
starting others, because RLIMIT_NPROC has no effect in a sandbox that root has built.

A program shares the process that reports on it, so a hostile one can forge its own report. It is then a wrong answer like
any other, and does no harm.
"""

import ast
import contextlib
import ctypes
import io
import itertools
import json
import os
import platform
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

SECONDS_LOAD, SECONDS_CHECK, SECONDS_PROBE = 2.0, 3.0, 0.25
"""Processor time, so that a busy machine does not change the report on a program."""
SECONDS_PROBES = 1.0
MOST_CHARACTERS, MOST_PRINTED, MOST_YIELDED = 2000, 1000, 100

# System calls that start processes, reach the network, take memory that no limit counts, or gain privileges. The numbers are
# those of x86-64 and AArch64. "-": AArch64 has no such call.
_REFUSED = """
fork 57 -, vfork 58 -, clone 56 220, clone3 435 435, execve 59 221, execveat 322 281,
socket 41 198, socketpair 53 199, bind 49 200, listen 50 201, connect 42 203, accept 43 202, accept4 288 242,
sendto 44 206, sendmsg 46 211, recvmsg 47 212, sendmmsg 307 269,
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, pidfd_getfd 438 438, move_pages 279 239,
mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, unshare 272 97, setns 308 268,
open_tree 428 428, move_mount 429 429, fsopen 430 430, mount_setattr 442 442,
open_by_handle_at 304 265, name_to_handle_at 303 264,
bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, seccomp 317 277,
io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427,
shmget 29 194, shmat 30 196, semget 64 190, msgget 68 186, mq_open 240 180, memfd_create 319 279,
add_key 248 217, request_key 249 218, keyctl 250 219,
init_module 175 105, finit_module 313 273, delete_module 176 106,
kexec_load 246 104, kexec_file_load 320 294, reboot 169 142
"""
_COLUMNS = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}
_TOO_LONG = "!too long"
_EPERM = 0x00050001
_KILL, _ALLOW = 0x80000000, 0x7FFF0000


def main() -> None:
    """Read one job, run it, and write the report to the pipe of the original standard output."""
    job = json.loads(sys.stdin.readline())
    report = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.nice(10)  # the proxy comes first
    _limit(job["memory"], job["cpu"], job["scratch"])
    _filter()
    behaviour = _perform(job)
    os.write(report, json.dumps(behaviour).encode() + b"\n")
    os._exit(0)


def _limit(memory: int, cpu: int, scratch: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, scratch),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    sys.setrecursionlimit(2000)


def _filter() -> None:
    """Refuse the system calls above for the rest of this process (seccomp(2), classic BPF)."""
    column, machine = _COLUMNS[platform.machine()]
    numbers = [line.split()[column] for line in _REFUSED.split(",")]
    calls = [int(number) for number in numbers if number != "-"]
    load, equal, back, least = 0x20, 0x15, 0x06, 0x35
    lines = [(load, 0, 0, 4), (equal, 1, 0, machine), (back, 0, 0, _KILL), (load, 0, 0, 0)]
    lines.append((least, len(calls) + 1, 0, 0x40000000))  # x86-64's other numbering, x32
    lines += [(equal, len(calls) - i, 0, number) for i, number in enumerate(calls)]
    lines += [(back, 0, 0, _ALLOW), (back, 0, 0, _EPERM)]
    code = b"".join(struct.pack("HBBI", *line) for line in lines)
    text = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(lines), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, mode_filter, program, 0, 0):
        os._exit(3)


def _perform(job: dict[str, Any]) -> dict[str, Any]:
    namespace = _load(job["sources"])
    if namespace is None:
        return {"passed": False, "outcomes": []}
    passed = all(_check(check, namespace) for check in job["checks"])
    began, outcomes = time.process_time(), []
    for probe in job["probes"]:
        late = time.process_time() - began > SECONDS_PROBES
        outcomes.append(_TOO_LONG if late else _probe(probe, namespace))
    return {"passed": passed, "outcomes": outcomes}


def _load(sources: list[str]) -> dict[str, Any] | None:
    """Return the namespace of the first source that runs."""
    for source in sources:
        namespace: dict[str, Any] = {"__name__": "candidate"}
        try:
            _within(SECONDS_LOAD, exec, compile(source, "candidate.py", "exec"), namespace)
        except BaseException:  # noqa: BLE001, S112  (a program may raise anything)
            continue
        return namespace
    return None


def _check(check: str, namespace: dict[str, Any]) -> bool:
    try:
        _within(SECONDS_CHECK, exec, compile(check, "check.py", "exec"), namespace)
    except BaseException:  # noqa: BLE001
        return False
    return True


def _probe(probe: str, namespace: dict[str, Any]) -> str:
    """Return the observable effects of a call as text, or "!" and the type of its error."""
    try:
        return _within(SECONDS_PROBE, _called, probe, namespace)[:MOST_CHARACTERS]
    except _TooLong:
        return _TOO_LONG
    except BaseException as e:  # noqa: BLE001
        return "!" + type(e).__name__


def _called(call: str, namespace: dict[str, Any]) -> str:
    """Make a call and write its value. If it returns None, write its output and its changed arguments."""
    name = call.partition("(")[0]
    function = eval(name, namespace)  # noqa: S307
    given, named = eval(call, {name: lambda *given, **named: (given, named)})  # noqa: S307
    arguments = (*given, *named.values())
    before = _text(arguments)
    printed = io.TextIOWrapper(_Beginning(), "utf-8", "backslashreplace", write_through=True)
    with contextlib.redirect_stdout(printed):
        value = _text(function(*given, **named))  # an iterator runs only while it is read
    if value != "None":
        return value
    printed.seek(0)
    if text := printed.read(MOST_PRINTED):
        value += f", printed {text!r}"
    after = _text(arguments)
    return value if after == before else f"{value}, left {after}"


class _Beginning(io.BytesIO):
    """A file that keeps the beginning of all that is written, so that no program fills the memory with its output."""

    def write(self, data: Any) -> int:
        super().write(bytes(data)[: max(0, 4 * MOST_PRINTED - self.tell())])
        return len(data)


class _TooLong(BaseException):
    pass


def _alarm(*_: object) -> None:
    raise _TooLong


def _within(seconds: float, do: Callable[..., T], *args: Any) -> T:
    signal.signal(signal.SIGPROF, _alarm)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return do(*args)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _text(value: Any, depth: int = 0) -> str:
    """Write a value so that equal values have equal texts: 2.0 is 2, and sets and dicts are sorted.

    A value that prints as its address is written as "?" and its type.
    """
    if depth > 20:
        return "..."
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.9g}"
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(sorted(f"{_text(k, depth + 1)}: {_text(v, depth + 1)}" for k, v in value.items()))
            + "}"
        )
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(_text(v, depth + 1) for v in value)) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_text(v, depth + 1) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, Iterator):
        return f"iter({', '.join(_text(v, depth + 1) for v in itertools.islice(value, MOST_YIELDED))})"
    written = repr(value)
    opaque = " at 0x" in written and not isinstance(value, (str, bytes))
    return f"?{type(value).__name__}" if opaque else written


if __name__ == "__main__":
    ast.parse("0")  # what a program may import is loaded from the read-only library; this one is used by all
    main()
