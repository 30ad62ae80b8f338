"""The pages for developers name files, functions and packages that exist."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PAGES = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
NAMED = re.compile(r"`(?P<path>[\w./-]*(?:\.py|/))(?:: (?P<name>[\w.]+))?`")


def resolved(path: str, sibling: Path | None) -> Path | None:
    """Return a named file: from the root, from the package, or beside the file named before it in the same line."""
    folders = [ROOT, ROOT / "proxy", *([sibling.parent] if sibling else [])]
    return next((folder / path for folder in folders if (folder / path).exists()), None)


def wrong_names(text: str) -> Iterator[str]:
    """Yield each file or folder of a page that does not exist, and each name that its file does not define."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\|)", text):
        sibling = None
        for named in NAMED.finditer(re.sub(r"\s+", " ", paragraph)):
            found = resolved(named["path"], sibling)
            if found is None:
                yield named["path"]
                continue
            sibling = found
            name = (named["name"] or "").rpartition(".")[2]
            defined = rf"^\s*(?:async def|def|class) {name}\b|^{name}\b"
            if name and not re.search(defined, found.read_text(encoding="utf-8"), re.MULTILINE):
                yield named[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files(page):
    """Every file, folder and function that a page names exists."""
    assert list(wrong_names(page.read_text(encoding="utf-8"))) == []


def test_wrong_names():
    """A missing file, a missing function and a missing sibling are found."""
    text = "| `service/nothing.py` | `service/answer.py: nothing` | `service/answer.py`, `nothing.py`, `local.py` |"
    assert list(wrong_names(text)) == ["service/nothing.py", "`service/answer.py: nothing`", "nothing.py"]


def test_layers_are_listed():
    """The table of layers equals the import contract."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    contract = [
        (number, name) for number, layer in enumerate(layers, 1) for name in re.findall(r"\w+", layer)
    ]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert [(int(number), name) for number, names in rows for name in re.findall(r"\w+", names)] == contract
