"""The site of the pages: it builds with strict links, and its pages load nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.processes import ROOT

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
RELATIONS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "manifest"}


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site from a checkout."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--config-file",
            source / "mkdocs.yml",
            "--site-dir",
            site,
        ],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


class Loads(HTMLParser):
    """Collects the addresses that a page loads by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and not RELATIONS & set((given.get("rel") or "").split()):
            return
        if address := given.get(LOADING.get(tag, "")):
            self.found.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_site_is_complete(site):
    """Each page of docs/ and of the root is there, and the examples too."""
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"CONTRIBUTING", "SECURITY", "CHANGELOG"}
    assert {path.stem for path in site.glob("*.html")} - {"404"} == pages
    assert (site / "examples" / "python_sdk.py").is_file()
    assert not list(site.glob("*.py"))


def test_site_works_offline(site):
    """No page loads anything from another host, and each file that it loads is there."""
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for address in Loads(text).found:
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
            if page.name != "404.html":
                assert (site / address.partition("?")[0]).is_file(), f"{page.name}: {address}"
        assert 'class="mermaid"' not in text  # the theme would load its script from a network


def test_unlisted_page(tmp_path):
    """A page that is missing from the navigation, and a wrong link, end the build with a message that names them."""
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for path in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml"):
        shutil.copy(path, tmp_path)
    (tmp_path / "docs" / "new.md").write_text("# New\n\n[Wrong](operations.md#nowhere)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert 'not included in the "nav" configuration:\n  - new.md' in done.stderr
    assert "does not contain an anchor '#nowhere'" in done.stderr
