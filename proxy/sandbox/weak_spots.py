"""Run inside the sandbox and look for anything that a program could change. It opens files but writes to none."""

import os
import re
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

SCRATCH = "/tmp"  # noqa: S108  (the sandbox's own)
HARMLESS_DEVICES = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}
"""null, zero, full, random, urandom, tty (a program has none) and ptmx (it leads to no terminal but its own)."""
MOST_ENTRIES = 10_000
"""The number of entries to try on a read-only mount, where the kernel refuses all of them for one reason."""


def weak_spots() -> list[str]:
    """Return a few things that a program can do but should not, as phrases."""
    return [*_privileges(), *islice((f"write to {path[:200]}" for path in _writable()), 5)]


def _privileges() -> list[str]:
    status = dict(re.findall(r"(\w+):\s*(.*)", Path("/proc/self/status").read_text()))
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16)]
    found = [f"have capabilities ({name})" for name in held]
    if Path("/proc/sys/kernel").stat().st_uid == os.getuid():  # root's, by the name that root has in here
        found.append("be root outside of the sandbox")
    if status["NoNewPrivs"] != "1":
        found.append("gain privileges")
    return found


def _writable() -> Iterator[str]:
    escaped = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mounts = {re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), path) for path in escaped}
    for mount in sorted(mounts - {SCRATCH}):
        flags = os.statvfs(mount).f_flag
        entries = _entries(mount, mounts)
        nodev = bool(flags & os.ST_NODEV)
        tried = islice(entries, MOST_ENTRIES) if flags & os.ST_RDONLY and nodev else entries
        for path, mode, device in tried:
            if _opens(path, mode, device, nodev):
                yield path


def _entries(top: str, mounts: set[str]) -> Iterator[tuple[str, int, int]]:
    """Yield a path and the entries below it, without other mounts."""
    status = os.lstat(top)
    yield top, status.st_mode, status.st_rdev
    folders = [top] if stat.S_ISDIR(status.st_mode) else []
    while folders:
        try:
            names = os.listdir(folder := folders.pop())  # noqa: PTH208  (there are thousands, and little time)
        except OSError:
            continue
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            if path in mounts:
                continue
            try:
                status = os.lstat(path)
            except OSError:
                continue
            yield path, status.st_mode, status.st_rdev
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)


def _opens(path: str, mode: int, device: int, nodev: bool) -> bool:
    if stat.S_ISLNK(mode):
        return False
    if stat.S_ISDIR(mode):
        return os.access(path, os.W_OK)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # some act when they are opened
        harmless = stat.S_ISCHR(mode) and (os.major(device), os.minor(device)) in HARMLESS_DEVICES
        return not harmless and not nodev and os.access(path, os.W_OK)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return False
    return True
