"""Create a virtual environment, install packages into it with pip, and show how far it is.

    python install.py FOLDER NAME MEGABYTES PIP_ARGUMENT...

pip says nothing while it unpacks, which takes minutes for vLLM. This program prints a line every few seconds instead,
with an estimate from the size that the environment will have. It only uses the standard library.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

EVERY_S = 5.0
QUOTED_LINES = 30


def install(folder: Path, name: str, megabytes: int, arguments: list[str]) -> int:
    """Return the exit status of pip. A failure is shown with the last lines that pip wrote."""
    print(f"{name}: installing {megabytes} MB into {folder}", flush=True)
    began = time.monotonic()
    venv.create(folder, with_pip=True, symlinks=True)
    empty = size_mb(folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        process = subprocess.Popen(pip, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        while not _ended(process):
            done = size_mb(folder) - empty
            print(f"{name}: {_progress(done, megabytes, time.monotonic() - began)}", flush=True)
        out.seek(0)
        if process.returncode != 0:
            print(*out.read().splitlines()[-QUOTED_LINES:], sep="\n", file=sys.stderr)
            return process.returncode
    print(f"{name}: installed in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(EVERY_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _progress(done_mb: float, megabytes: int, elapsed_s: float) -> str:
    share = done_mb / megabytes
    if (
        share < 0.03
    ):  # pip looks for all packages, and downloads what its cache lacks, before it unpacks the first
        return f"collecting the packages ({elapsed_s:.0f} s)"
    left = f"about {elapsed_s / share - elapsed_s:.0f} s left" if share < 0.98 else "nearly done"
    return f"{min(done_mb, megabytes):.0f} of {megabytes} MB unpacked ({elapsed_s:.0f} s, {left})"


def size_mb(folder: Path) -> float:
    """Return the size of a folder's files in MB. pip may move files meanwhile."""
    total, folders = 0, [str(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total / 1e6


if __name__ == "__main__":
    where, what, size, *rest = sys.argv[1:]
    sys.exit(install(Path(where), what, int(size), rest))
