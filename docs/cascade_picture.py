"""Draws docs/images/cascade.svg: the way of a request through the stages.

`docs/generate.py` writes the file, and a test fails if it is out of date.
"""

import schemdraw
from schemdraw import flow
from schemdraw.elements import Element

FREE, PAID, ANSWER = "#e3f1e6", "#fbe6d4", "#eef0f3"
STEP_W, STEP_H, GAP = 4.6, 1.7, 2.6
schemdraw.use("svg")
schemdraw.svgconfig.text = "text"


def cascade_svg() -> str:
    """Return the picture."""
    with schemdraw.Drawing(show=False) as drawing:
        drawing.config(fontsize=11, font="sans-serif", unit=1, color="#20242a", bgcolor="white", margin=0.3)
        flow.Start(w=2.4, h=1.1).label("request").fill(ANSWER)
        first = _step("stage 1: small model\n\nn goals, n answers,\nfree", FREE)
        guideline = _step("stage 2: both models\n\na paid guideline,\nn free answers", PAID, unsure_after=first)
        third = _step("stage 3: large model\n\none answer with that\nguideline, paid", PAID, unsure_after=guideline)
        for stage, label in ((first, "enough agree"), (guideline, "enough agree"), (third, "always")):
            flow.Arrow().down(1.4).at(stage.S).label(label, loc="bottom", fontsize=10)
            flow.Start(w=2.4, h=1.1).anchor("N").label("answer").fill(ANSWER)
    return str(drawing.get_imagedata("svg").decode())


def _step(text: str, colour: str, unsure_after: Element | None = None) -> Element:
    """Draw a stage, with the arrow that leads to it."""
    arrow = flow.Arrow().right(GAP if unsure_after else 1.2)
    if unsure_after:
        arrow.at(unsure_after.E).label("unsure", loc="top", fontsize=10)
    return flow.Box(w=STEP_W, h=STEP_H).anchor("W").label(text).fill(colour)
