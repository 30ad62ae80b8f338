"""Code that cannot be run: do the samples agree on a program, and how likely is it to the model?"""

from collections.abc import Sequence
from dataclasses import replace

from proxy.cascade.confidence.open import probability
from proxy.cascade.confidence.program import vote_of
from proxy.cascade.confidence.votes import cut_off, least_votes, reaches, share_standing, votes_wanted
from proxy.cascade.types import Ballot, Sample, Standing, Task


class CodeEstimator:
    """Confidence = (share of the largest group of equal programs + mean token probability of its best) / 2.

    Programs are equal if their normalised syntax trees are equal (see `program`). The share alone would be too strict,
    because code can be right in many forms. The probability alone would be too lenient.
    """

    default_thresholds = (0.75, 0.5)
    forms: tuple[str, ...] = ()

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return a label for the program of a sample, or `None` if it has none that parses."""
        return None if cut_off(sample) else await vote_of(sample.text)

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`."""
        for sample in ballot.samples:
            probability(sample)  # raises if log-probabilities are missing, even if this sample does not win
        votes = share_standing(ballot, total)
        sure = 0.0 if votes.winner is None else probability(votes.winner)
        if len(ballot.samples) >= total:
            confidence = _blend(votes.low, sure)
            return replace(votes, low=confidence, high=confidence)
        # The winner's probability can only rise while its group leads; another group's may be anything.
        return replace(
            votes, low=_blend(votes.low, sure if votes.fixed else 0.0), high=_blend(votes.high, 1.0)
        )

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> None:
        """See `Estimator.needed`."""
        return

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`. Assumes the present probability of the leader. If that is too low, all are wanted."""
        winner = share_standing(ballot, total).winner
        sure = 1.0 if winner is None else probability(winner)
        if not reaches(_blend(1.0, 1.0), threshold, inclusive=inclusive):
            return 0
        enough = least_votes(lambda agreed: _blend(agreed, sure), threshold, total, inclusive=inclusive)
        return votes_wanted(ballot, total, min(enough, total))


def _blend(agreed: float, sure: float) -> float:
    return 0.5 * agreed + 0.5 * sure
