"""Run the engine's interpreter. vLLM is installed in its own environment, apart from the proxy."""

import fnmatch
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

VENV_PYTHON = Path(".venv-vllm/bin/python")
"""The interpreter that `make engine` installs, relative to the working directory."""

WITHHELD = (
    *("*_API_KEY", "COPE_*", "PGPASSWORD"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
    "PROMETHEUS_MULTIPROC_DIR",
)
"""Variables that the engine does not inherit: secrets, paths to the proxy's packages and the folder of its metrics."""


class EngineError(Exception):
    """The local engine cannot be started. The message names a remedy."""


def clean_env(environ: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """Return the variables that the engine may inherit.

    Args:
        environ: the proxy's variables.
        secrets: further names to withhold, such as the value of `large.api_key_env`.
    """
    return {
        name: value
        for name, value in environ.items()
        if name not in secrets and not any(fnmatch.fnmatchcase(name, pattern) for pattern in WITHHELD)
    }


def run(python: str, args: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    """Run the engine's interpreter to its end and return its output.

    Raises:
        EngineError: it cannot be started, fails or takes too long. The message quotes its last lines.
    """
    try:
        done = subprocess.run(
            [python, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**clean_env(os.environ), **(env or {})},
            check=False,
        )
    except OSError as e:
        raise EngineError(f"small.vllm.python: {python} cannot be run ({e.strerror})") from e
    except subprocess.TimeoutExpired as e:
        raise EngineError(f"{python} took longer than {timeout_s:g} s") from e
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise EngineError(f"{python} failed with status {done.returncode}:\n{tail}")
    return done.stdout.strip()
