"""Open text: how likely are the words to the model itself?"""

import math
from collections.abc import Sequence

from proxy.cascade.confidence.doubt import degenerate, refuses
from proxy.cascade.types import Ballot, MissingLogprobsError, Sample, Standing, Task

_SHORT = 800
_BEGINNING = 160  # characters: a refusal begins with its words, and a letter may contain them
RUN = 3
"""The length of a run in tokens: about a name or a number. The mean over all tokens would hide a wrong one."""


class OpenEstimator:
    """Confidence = exp(mean log-probability of the least likely run of tokens) of the best sample.

    Source of the idea: lowest group confidence, DeepConf, arXiv 2508.15260. COPE's paper uses the mean over all tokens
    (1 / perplexity), which separates right from wrong answers less well. `docs/evaluation.md` has the comparison.
    """

    default_thresholds = (0.85, 0.85)
    forms: tuple[str, ...] = ()

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return a unique label for a sample, or `None` if it says nothing or refuses: such texts are likely, too."""
        if degenerate(sample.text) or (len(sample.text) < _SHORT and refuses(sample.text[:_BEGINNING])):
            return None
        likely = "" if sample.lowest_logprob is None else f" p={math.exp(sample.lowest_logprob):.2f}"
        return f"#{sample.index}{likely}"

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. The winner is fixed only at the end, because a later sample may be likelier.

        A sample without a vote may be returned, with confidence 0.
        """
        outstanding = max(0, total - len(ballot.samples))
        voted = [sample for group in ballot.groups().values() for sample in group]
        ranked = sorted(ballot.samples, key=lambda s: (-lowest_probability(s), s.index))
        winner = next((s for s in ranked if s in voted), ranked[0] if ranked else None)
        low = lowest_probability(winner) if winner is not None and voted else 0.0
        return Standing(low, 1.0 if outstanding else low, winner, fixed=not outstanding)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> None:
        """See `Estimator.needed`."""
        return

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`. All samples are wanted, because the best of n is only known at the end."""
        return max(0, total - len(ballot.samples))


def lowest_probability(sample: Sample) -> float:
    """Return the geometric mean of the token probabilities of a sample's least likely run, at most 1.

    Raises:
        MissingLogprobsError: the model sent no log-probabilities.
    """
    return _probability(sample, sample.lowest_logprob)


def probability(sample: Sample) -> float:
    """Return the geometric mean of all token probabilities of a sample, at most 1.

    Raises:
        MissingLogprobsError: the model sent no log-probabilities.
    """
    return _probability(sample, sample.logprob)


def _probability(sample: Sample, logprob: float | None) -> float:
    if logprob is None:
        raise MissingLogprobsError(f"the small model sent no log-probabilities for sample {sample.index}")
    return min(1.0, math.exp(logprob))


def lowest_run(logprobs: Sequence[float], length: int = RUN) -> float | None:
    """Return the lowest mean of `length` consecutive log-probabilities.

    If there are fewer, return the mean of all. If there are none, return `None`.
    """
    if not logprobs:
        return None
    length = min(length, len(logprobs))
    return min(math.fsum(logprobs[i : i + length]) / length for i in range(len(logprobs) - length + 1))
