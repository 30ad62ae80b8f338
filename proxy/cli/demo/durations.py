"""Remember how long the steps of the demo took, to estimate the next run."""

import contextlib
import json
from pathlib import Path

FILE = "durations.json"


def expected_s(folder: Path, step: str, default: float) -> float:
    """Return the expected seconds of a step: those of the last run, else the default."""
    found = _read(folder).get(step)
    return float(found) if isinstance(found, int | float) else default


def remember(folder: Path, step: str, seconds: float) -> None:
    """Store the seconds of a step. A folder that cannot be written is no problem."""
    with contextlib.suppress(OSError):
        (folder / FILE).write_text(json.dumps({**_read(folder), step: round(seconds, 1)}))


def left(elapsed_s: float, expected: float) -> str:
    """Return the estimated rest of a step in words."""
    if elapsed_s < expected:
        return f"about {expected - elapsed_s:.0f} s left"
    return f"longer than the expected {expected:.0f} s"


def _read(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
