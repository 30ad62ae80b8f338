"""The cascade's ports: what it needs from estimators, the sandbox and both tiers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.cascade.types import Ballot, Behaviour, Json, Program, Sample, Standing, Task
from proxy.records import Role, Stage


class Estimator(Protocol):
    """A task kind's confidence. New kinds plug in here.

    An estimator holds no state of a request.
    """

    usual: tuple[float, float]
    """From which confidence on stages 1 and 2 accept, where nobody has said: each estimator has a scale of its own."""

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Say which group a sample belongs to: one of `groups`, a new label, or `None` (stands alone).

        A label is short and readable (it is shown to operators): "42", "B", "get_weather({...})".
        """
        ...

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """Bound the final confidence (0..1) of a ballot of `total` samples from those drawn so far.

        Raises:
            MissingLogprobsError: the estimate needs log-probabilities and a sample has none.
        """
        ...

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int | None:
        """Return how many of `total` votes for one group reach the threshold; `total` + 1 when none do.

        `None`: the confidence is more than a count of votes, and nobody can tell.
        """
        ...

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """Return how many samples should be in flight now, 0..`total` - drawn.

        For votes: as many as end the ballot if all of them agree with the leader, so that nothing is drawn in vain then.
        """
        ...


class Runner(Protocol):
    """Runs programs that a model wrote, in a sandbox."""

    async def run(self, program: Program) -> Behaviour:
        """Run a program and tell what it did. Whatever the program does, this raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class SmallRequest:
    """One generation asked of the small model."""

    stage: Stage
    role: Role
    index: int
    body: Json = field(repr=False)


class SmallTier(Protocol):
    """The small model. Every call, whole or cancelled, is recorded by the implementation."""

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer. Cancelling this coroutine stops the generation in the engine.

        Raises:
            SmallRefusedError: the model cannot serve this request (context too long, unknown parameter).
            SmallUnavailableError: no server answers.
        """
        ...


class LargePlanner(Protocol):
    """The large model as planner."""

    async def guideline(self, body: Json) -> str | None:
        """Pay for one guideline. Empty: the planner says that none is needed. `None`: it failed, go on without one.

        Raises:
            NoBudgetError: the worst case of the call does not fit.
        """
        ...
