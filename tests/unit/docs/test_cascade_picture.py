"""The picture of the cascade."""

import runpy

from tests.support.processes import ROOT


def test_picture_is_current():
    """The picture is the one that its program draws, so the two change together."""
    drawn = runpy.run_path(str(ROOT / "docs" / "cascade_picture.py"))["cascade_svg"]()
    assert (ROOT / "docs" / "images" / "cascade.svg").read_text(encoding="utf-8") == drawn, "run `make docs`"
