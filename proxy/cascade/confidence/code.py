"""Code that cannot be run: do the samples agree on a program, and how likely is it to the model?"""

from collections.abc import Sequence
from dataclasses import replace

from proxy.cascade.confidence.open import probability
from proxy.cascade.confidence.program import vote_of
from proxy.cascade.confidence.votes import cut_off, reaches, share, share_standing, votes_wanted
from proxy.cascade.types import Ballot, Sample, Standing, Task


class CodeEstimator:
    """Confidence = (share of the largest group of equal programs + mean token probability of its best) / 2.

    Programs are equal if their normalised syntax trees are equal (see `program`). The share alone would be too strict,
    because code can be right in many forms. The probability alone would be too lenient. A program that no other sample
    repeats has the share alone. A text without a program has no confidence.
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
        votes = share_standing(ballot, total, lone_may_win=False)
        outstanding = max(0, total - len(ballot.samples))
        if votes.winner is None:
            alone = share_standing(ballot, total)
            return replace(alone, low=0.0, high=_confidence(outstanding, total, 1.0), fixed=not outstanding)
        sizes = [len(group) for group in ballot.groups().values()]
        sure = probability(votes.winner)
        if not outstanding:
            confidence = _confidence(max(sizes), total, sure)
            return replace(votes, low=confidence, high=confidence)
        # The winner's probability can only rise while its group leads; another group's may be anything.
        low = _confidence(max(sizes), total, sure if votes.fixed else 0.0)
        return replace(votes, low=low, high=_confidence(max(sizes) + outstanding, total, 1.0))

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> None:
        """See `Estimator.needed`."""
        return

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`. Assumes the present probability of the leader. If that is too low, all are wanted."""
        winner = share_standing(ballot, total, lone_may_win=False).winner
        sure = 1.0 if winner is None else probability(winner)
        if not reaches(_confidence(total, total, 1.0), threshold, inclusive=inclusive):
            return 0
        sizes = range(total + 1)
        enough = (k for k in sizes if reaches(_confidence(k, total, sure), threshold, inclusive=inclusive))
        return votes_wanted(ballot, total, next(enough, total))


def _confidence(agreed: int, total: int, sure: float) -> float:
    """Return the confidence of a group of so many of `total` samples, whose best has the probability `sure`."""
    agreed = min(agreed, total)
    return 0.5 * share(agreed, total) + 0.5 * sure if agreed > 1 else share(agreed, total)
