"""The pictures of the pages: each is made by a program, and shown."""

import re
import runpy

from tests.support.processes import ROOT

IMAGES = ROOT / "docs" / "images"


def test_cascade_is_current():
    """The picture of the cascade is the one that its program draws."""
    drawn = runpy.run_path(str(ROOT / "docs" / "cascade_picture.py"))["cascade_svg"]()
    assert (IMAGES / "cascade.svg").read_text(encoding="utf-8") == drawn, "run `make docs`"


def test_pictures_are_shown():
    """Each picture has a description on some page, and the script of the screenshots makes each of the dashboard's."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    shown = set(re.findall(r"!\[[^\]]{10,}\]\(images/([\w.-]+)\)", pages))
    made = {
        f"dashboard-{name}.png" for name in runpy.run_path(str(ROOT / "docs" / "screenshots.py"))["PAGES"]
    }
    assert (
        shown == {path.name for path in IMAGES.iterdir()} == {"cascade.svg", "dashboard-request.png", *made}
    )
