"""The language of docstrings and pages: short sentences, the subject first, no relative "what" or "who".

The limits are above the measured values of httpx, svcs, stamina and uvicorn: 0 to 2 semicolons and 0 to 2 such words
in 1,000 words, and up to 10 % of sentences with more than 30 words.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

MOST_SEMICOLONS, MOST_RELATIVES, MOST_LONG = 3.0, 3.5, 0.10
LONG_WORDS = 30
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
CODE = re.compile(r"```.*?```|`[^`]*`|https?://\S+", re.DOTALL)
NO_PROSE = ("|", "#", "<", "![")


def docstrings() -> Iterator[str]:
    """Yield each docstring of the package."""
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def pages() -> Iterator[str]:
    """Yield the prose of each page: no tables, headings or code."""
    listed = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
    for path in filter(Path.exists, listed):
        lines = CODE.sub("code", path.read_text(encoding="utf-8")).splitlines()
        yield "\n".join(line for line in lines if not line.lstrip().startswith(NO_PROSE))


def sentences(text: str) -> list[str]:
    """Split a text; fewer than three words are no sentence."""
    parts = re.split(r"(?<=[.!?:])\s+|\n\s*\n|\n\s*[-*] ", CODE.sub("code", text))
    return [part for part in parts if len(WORD.findall(part)) >= 3]


@pytest.mark.parametrize("source", [docstrings, pages])
def test_prose_is_plain(source):
    """Semicolons, relative words and long sentences stay below the limits; the message lists the worst."""
    found = [sentence for text in source() for sentence in sentences(text)]
    words = sum(len(WORD.findall(sentence)) for sentence in found)
    with_semicolon = [s for s in found if ";" in s]
    relative = [s for s in found if re.search(r"\b(?:what|who|whose)\b", s, re.IGNORECASE)]
    long = [s for s in found if len(WORD.findall(s)) > LONG_WORDS]
    assert 1000 * sum(s.count(";") for s in found) / words <= MOST_SEMICOLONS, with_semicolon
    assert 1000 * len(relative) / words <= MOST_RELATIVES, relative
    assert len(long) / len(found) <= MOST_LONG, long
