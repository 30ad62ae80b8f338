"""A hook of mkdocs: pages and examples outside docs/ become part of the site, and links to them follow.

In the repository, a page of docs/ links to `../CONTRIBUTING.md`, and that page links to `docs/architecture.md`. On the
site, all of them lie in one folder.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
EXAMPLES = "examples"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the examples as downloads."""
    examples = [path for path in sorted((ROOT / EXAMPLES).iterdir()) if path.is_file()]
    for path in (*(ROOT / name for name in PAGES), *examples):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return a page with its links as they are on the site."""
    if page.file.src_uri in PAGES:
        return re.sub(r"\]\(docs/", "](", markdown)
    return re.sub(r"\]\(\.\./", "](", markdown)
