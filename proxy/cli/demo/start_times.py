"""Remember how long vLLM took to start, to estimate the next start."""

import contextlib
import json
from pathlib import Path

FILE = "start_times.json"
UNKNOWN_S = 60.0
"""A first start with the bundled model on two idle cores takes about this long."""


def expected_s(folder: Path, model: str) -> float:
    """Return the expected seconds of a start: those of the last one with this model."""
    found = _read(folder).get(model, UNKNOWN_S)
    return float(found) if isinstance(found, int | float) else UNKNOWN_S


def remember(folder: Path, model: str, seconds: float) -> None:
    """Store the seconds of a start. A folder that cannot be written is no problem."""
    with contextlib.suppress(OSError):
        (folder / FILE).write_text(json.dumps({**_read(folder), model: round(seconds, 1)}))


def _read(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
