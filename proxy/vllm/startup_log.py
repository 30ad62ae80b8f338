"""Reads an engine's log: which step of the start-up it is at, and what it said last."""

from pathlib import Path

from proxy.vllm import supervisor

_STEPS = (
    ("Application startup complete", "answering"),
    ("Waiting for application startup", "opening the server"),
    ("KV cache", "making room for the KV cache"),
    ("Starting to load model", "loading the weights"),
    ("Loading safetensors", "loading the weights"),
    ("Loading weights", "loading the weights"),
    ("Initializing a V1 LLM engine", "starting the engine"),
    ("non-default args", "reading the model's config"),
    (supervisor.ENDED, "vLLM ended, starting it again"),
)
_FIRST = "importing vLLM"


def describe(log: str) -> str:
    """Return the step that the last meaningful line of a log tells."""
    for line in reversed(log.splitlines()):
        for mark, step in _STEPS:
            if mark in line:
                return step
    return _FIRST


def tail(log: str, lines: int = 15) -> str:
    """Return the last lines that say something, warnings about Python code left out."""
    said = [line for line in log.splitlines() if line.strip() and "Warning" not in line]
    return "\n".join(said[-lines:])


def size(log: Path) -> int:
    """Return the length of a log in bytes, 0 when there is none yet."""
    return log.stat().st_size if log.exists() else 0


def read_from(log: Path, offset: int) -> str:
    """Return what was written behind an offset."""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
