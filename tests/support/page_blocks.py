"""The fenced blocks of the pages, and their titles.

A title says how a test treats a block:

- `Needs ...`: it is not run, because it needs something that the tests do not have. `UNRUN` lists these blocks.
- `Postgres`: it runs on a PostgreSQL server.
- `Stop the proxy first`: the proxy does not run meanwhile.
- `Answer`: the output of the block before it has this form.
- a file name: the block is the content of this file. Later blocks use it.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>\S*)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)[ ]*$",
    re.DOTALL | re.MULTILINE,
)
UNRUN = "Needs "


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    """Of its first fence, from 1."""
    language: str
    title: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether a test runs or reads it."""
        return not self.title.startswith(UNRUN)

    @property
    def on_postgres(self) -> bool:
        """Whether it belongs to a PostgreSQL ledger."""
        return self.title == "Postgres"

    @property
    def file(self) -> str | None:
        """The file that it shows."""
        return self.title if re.fullmatch(r"[\w-]+\.[a-z]+", self.title) else None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        title = re.search(r'title="([^"]*)"', found["info"])
        yield Block(
            page=page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name,
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"],
            title=title[1] if title else "",
            text=textwrap.dedent(found["text"]),
        )
