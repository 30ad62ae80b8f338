"""Open text: how sure the model is of its own words."""

import math
from collections.abc import Sequence

from proxy.cascade.types import Ballot, MissingLogprobs, Sample, Standing, Task


class OpenEstimator:
    """Confidence = exp(mean token log-probability) of the best sample, i.e. 1 / perplexity."""

    usual = (0.75, 0.5)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Give every sample a label of its own."""
        likely = "" if sample.logprob is None else f" p={math.exp(sample.logprob):.2f}"
        return f"#{sample.index}{likely}"

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. Never fixed before the end: a later sample may be likelier."""
        outstanding = max(0, total - len(ballot.samples))
        winner = min(ballot.samples, key=lambda s: (-probability(s), s.index), default=None)
        low = 0.0 if winner is None else probability(winner)
        return Standing(low, 1.0 if outstanding else low, winner, fixed=not outstanding)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> None:
        """See `Estimator.needed`."""
        return

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`. All of them: the best of n is only known at the end."""
        return max(0, total - len(ballot.samples))


def probability(sample: Sample) -> float:
    """Return a sample's mean token probability, the geometric mean, at most 1.

    Raises:
        MissingLogprobs: the model sent no log-probabilities.
    """
    if sample.logprob is None:
        raise MissingLogprobs(f"the small model sent no log-probabilities for sample {sample.index}")
    return min(1.0, math.exp(sample.logprob))
