"""The engine's interpreter: vLLM lives in an environment of its own, apart from the proxy's."""

import fnmatch
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

VENV_PYTHON = Path(".venv-vllm/bin/python")
"""Where `make engine` puts the engine, seen from the working directory."""

WITHHELD = ("*_API_KEY", "COPE_*", "PGPASSWORD", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that an engine never gets: the proxy's secrets, and what leads Python to the proxy's packages."""


class EngineError(Exception):
    """The local engine cannot be started; the message says what to do."""


def clean_env(environ: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """Return the variables that the engine may see.

    Args:
        environ: the proxy's own variables.
        secrets: names to withhold besides `WITHHELD`, such as the one that `large.api_key_env` names.
    """
    return {
        name: value
        for name, value in environ.items()
        if name not in secrets and not any(fnmatch.fnmatchcase(name, pattern) for pattern in WITHHELD)
    }


def run(python: str, args: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    """Run the engine's interpreter to its end and return what it printed.

    Raises:
        EngineError: when it cannot be started, fails or takes too long; the message quotes its last lines.
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
