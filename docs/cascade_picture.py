"""Draw docs/images/cascade.svg, the way of a request through the stages. `make docs` runs this file."""

from pathlib import Path

import schemdraw
from schemdraw import flow
from schemdraw.elements import Element

PICTURE = Path(__file__).parent / "images" / "cascade.svg"
FREE, PAID, ANSWER = "#e3f1e6", "#fbe6d4", "#eef0f3"
STEP_W, STEP_H, GAP = 4.6, 1.7, 2.6
schemdraw.use("svg")
schemdraw.svgconfig.text = "text"


def cascade_svg() -> str:
    """Return the picture."""
    with schemdraw.Drawing(show=False) as drawing:
        drawing.config(fontsize=11, font="sans-serif", unit=1, color="#20242a", bgcolor="white", margin=0.3)
        request = flow.Start(w=2.4, h=1.1).label("request").fill(ANSWER)
        first = _step("stage 1: small model\nn goals, n answers,\nfree", FREE, request, "")
        second = _step("stage 2: both models\na paid guideline,\nn free answers", PAID, first, "unsure")
        third = _step("stage 3: large model\none answer with that\nguideline, paid", PAID, second, "unsure")
        for stage, label in ((first, "enough agree"), (second, "enough agree"), (third, "always")):
            flow.Arrow().down(1.4).at(stage.S).label(label, loc="bottom", fontsize=10)
            flow.Start(w=2.4, h=1.1).anchor("N").label("answer").fill(ANSWER)
    return str(drawing.get_imagedata("svg").decode())


def _step(text: str, colour: str, before: Element, label: str) -> Element:
    """Draw a stage, with the arrow that leads to it."""
    flow.Arrow().right(GAP if label else GAP / 2).at(before.E).label(label, loc="top", fontsize=10)
    return flow.Box(w=STEP_W, h=STEP_H).anchor("W").label(text).fill(colour)


if __name__ == "__main__":
    PICTURE.write_text(cascade_svg(), encoding="utf-8")
