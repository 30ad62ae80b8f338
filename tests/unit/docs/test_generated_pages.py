"""The generated pages of docs/."""

import os
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def load_generator():
    spec = util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


@pytest.mark.parametrize(("path", "render"), GENERATOR.PAGES.items(), ids=lambda v: getattr(v, "name", ""))
def test_page_is_current(path, render):
    """A page says the same as the code."""
    assert path.read_text(encoding="utf-8") == render(), f"{path.name} is out of date: run `make docs`"


def test_width_is_fixed():
    """The pages do not depend on the width of the terminal."""
    script = "import runpy; g = runpy.run_path('docs/generate.py'); print(g['commands'](), end='')"
    env = {**os.environ, "COLUMNS": "40", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, check=True)
    assert done.stdout.decode() == (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_every_key_has_a_meaning():
    """No row of the configuration page is without an explanation."""
    rows = [line for line in GENERATOR.configuration().splitlines() if line.startswith("| `")]
    assert len(rows) > 70
    assert not [row for row in rows if row.endswith("|  |")]
