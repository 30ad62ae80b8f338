"""The values of a request's `X-COPE-*` headers."""

from dataclasses import dataclass
from typing import Literal

from proxy.cascade.types import TaskKind
from proxy.records import Mode, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The control headers of a request. Amounts are nano-USD."""

    budget: int | None = None
    session: str | None = None
    session_budget: int | None = None
    on_budget: Literal["degrade", "fail"] = "degrade"
    mode: Mode | None = None
    user: str | None = None
    max_stage: Stage = 3
    task: TaskKind | None = None
    thresholds: tuple[float, float] | None = None
    samples: int | None = None
