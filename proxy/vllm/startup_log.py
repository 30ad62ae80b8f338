"""Read an engine's log: the current step of its start and its last lines."""

from pathlib import Path

from proxy.vllm import supervisor

_STEPS = (
    ("Application startup complete", "answering"),
    ("Waiting for application startup", "opening the server"),
    ("KV cache", "allocating the KV cache"),
    ("Starting to load model", "loading the weights"),
    ("Loading safetensors", "loading the weights"),
    ("Loading weights", "loading the weights"),
    ("Initializing a V1 LLM engine", "starting the engine"),
    ("non-default args", "reading the model's config"),
    (supervisor.ENDED, "vLLM ended, restarting it"),
)
_FIRST_STEP = "importing vLLM"


def current_step(log: str) -> str:
    """Return the step of the last line that names one."""
    for line in reversed(log.splitlines()):
        for text, step in _STEPS:
            if text in line:
                return step
    return _FIRST_STEP


def tail(log: str, lines: int = 15) -> str:
    """Return the last lines of a log without empty lines and Python's warnings."""
    kept = [line for line in log.splitlines() if line.strip() and "Warning" not in line]
    return "\n".join(kept[-lines:])


def size(log: Path) -> int:
    """Return the length of a log in bytes, or 0 if it does not exist yet."""
    return log.stat().st_size if log.exists() else 0


def read_from(log: Path, offset: int) -> str:
    """Return the text after an offset."""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
