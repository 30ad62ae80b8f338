"""What the cascade has saved lately, by task kind: what has saved nothing is left out, but for a try now and then.

A guideline costs about a quarter of a large answer and makes the prompt of stage 3 longer, so a stage 2 that is seldom sure
costs more than it saves (COPE, arXiv 2506.11578). Whether it is depends on both models and on the traffic. Kept in this
process's memory only: each one learns for itself, anew after a start.
"""

import logging
import random
from collections import defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

from proxy.cascade.types import TaskKind
from proxy.config import Cascade
from proxy.pricing.money import format_usd
from proxy.service.request import Controls
from proxy.service.trace import Trace

log = logging.getLogger(__name__)

WINDOW = 200
"""As many of the last requests are looked at; fewer say nothing, and chance would decide where a stage earns little."""
TRIES = 0.05
"""The share of requests for which what has saved nothing is tried again."""


class Part(NamedTuple):
    """A part of the cascade for one task kind and large model: stage 2 with its guideline, or what is before it."""

    kind: str
    large: str
    guided: bool


class Worth:
    """What the last requests of each part have saved, in nano-USD. State is its point."""

    def __init__(self, lot: Callable[[], float] = random.random) -> None:
        self._lot = lot
        self._saved: defaultdict[Part, deque[int]] = defaultdict(lambda: deque(maxlen=WINDOW))

    def note(self, part: Part, saved: int) -> None:
        """Note what one request saved; less than nothing where it cost more than the large model alone."""
        before = self.poor(part)
        self._saved[part].append(saved)
        if (poor := self.poor(part)) != before:
            total = sum(self._saved[part])
            log.warning(
                "%s %s tasks, before %s, %s in the last %d requests: %s (cascade.skip_losses)",
                "guidelines for" if part.guided else "local answers to", part.kind, part.large,
                f"cost {format_usd(-total)} USD more than they saved" if poor else f"saved {format_usd(total)} USD",
                WINDOW, f"tried once in {round(1 / TRIES)} from now on" if poor else "they are back",
            )  # fmt: skip

    def poor(self, part: Part) -> bool:
        """Return whether the last `WINDOW` requests saved nothing together."""
        saved = self._saved.get(part, ())
        return len(saved) == WINDOW and sum(saved) <= 0

    def skips(self, part: Part) -> bool:
        """Say for one request whether to leave a part out."""
        return self.poor(part) and self._lot() >= TRIES


def undecided(cascade: Cascade, kind: TaskKind, controls: Controls) -> bool:
    """Whether neither the config nor the request says how this kind of task is to run, so that its record may."""
    said = cascade.plans is not None or kind.value in cascade.thresholds
    asked = controls.mode or controls.thresholds or controls.samples or controls.max_stage < 3
    return cascade.skip_losses and not said and not asked


def learn(worth: Worth, trace: Trace, large: str) -> None:
    """Note what the part of the cascade that ran last has saved by an answer that was neither cut nor forced."""
    if trace.status != 200 or trace.error or trace.degraded or not trace.baseline or not trace.story.stages:
        return
    behind = [call for call in trace.calls if call.stage > 1]
    guided = any(call.role == "planner" or call.stage == 2 for call in behind)
    # What stage 1 costs and saves is no merit of a guideline.
    spent = sum(call.cost for call in (behind if guided else trace.calls))
    gained = 0 if guided and trace.stage == 1 else trace.baseline
    worth.note(Part(str(trace.task), large, guided), gained - spent)
