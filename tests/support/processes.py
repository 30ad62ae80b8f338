"""Starting programs of this checkout."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 45.0


def python_env() -> dict[str, str]:
    """Return the environment without the proxy's variables, and with this checkout on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COPE_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
