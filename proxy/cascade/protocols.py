"""The cascade's ports: estimators, the sandbox and both models.

The stages and their roles come from COPE, arXiv 2506.11578. Each estimator names the source of its confidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from proxy.cascade.types import Ballot, Behaviour, Guideline, Json, Program, Sample, Standing, Task
from proxy.records import Role, Stage


class Estimator(Protocol):
    """Computes the confidence of one task kind. An estimator keeps no state of a request."""

    default_thresholds: tuple[float, float]
    """The thresholds of stages 1 and 2 if the config sets none. Each estimator has its own scale."""

    forms: tuple[str, ...]
    """The sentences that ask for the form of the answer, which the samples take in turn. Only answers in the first form
    go to clients, and the others vote. Without any, all samples have the form of their kind."""

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the group of a sample: one of `groups`, a new label, or `None` if the sample joins no group.

        Labels are short and readable, because operators see them: "42", "B", "get_weather({...})".

        Args:
            task: the request.
            sample: the sample to place.
            groups: the labels of the groups so far, in order of first appearance.
        """
        ...

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """Return bounds of the final confidence (0..1) of `total` samples from the samples drawn so far.

        Raises:
            MissingLogprobsError: the confidence needs log-probabilities, and a sample has none.
        """
        ...

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int | None:
        """Return the number of votes for one group that reaches the threshold, or `total` + 1 if none does.

        Return `None` if the confidence depends on more than the number of votes.
        """
        ...

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """Return how many samples should be in flight now, from 0 to the number of outstanding samples.

        A vote share asks for the fewest samples that can end the ballot if all of them join the leading group.
        """
        ...


@runtime_checkable
class AsksInputs(Protocol):
    """An estimator that may need inputs of a function from the small model: `Task.inputs`."""

    asks_inputs: bool


class Runner(Protocol):
    """Runs programs of a model in a sandbox."""

    async def run(self, program: Program) -> Behaviour:
        """Run a program and return its behaviour. A program that fails or breaks a limit raises nothing here."""
        ...


@dataclass(frozen=True, slots=True)
class SmallRequest:
    """One generation of the small model. `body` is a chat completions request without `model`."""

    stage: Stage
    role: Role
    index: int
    body: Json = field(repr=False)


class SmallTier(Protocol):
    """The small model. The implementation records every call, including cancelled ones."""

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer. Cancelling this coroutine stops the generation in the server.

        Raises:
            SmallRefusedError: the model cannot serve this request (context too long, unknown parameter).
            SmallUnavailableError: no server answers.
        """
        ...


class LargePlanner(Protocol):
    """The large model in COPE's role of the planner of one request."""

    async def guideline(self) -> Guideline | None:
        """Pay for one guideline. Return `None` if the call failed, so that the request continues without one.

        Raises:
            NoBudgetError: the budget does not cover the worst case of the call.
        """
        ...
