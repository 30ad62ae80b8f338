"""Code: do the samples agree on a program, and how sure is the model of it?"""

from collections.abc import Sequence
from dataclasses import replace

from proxy.cascade.confidence.open import probability
from proxy.cascade.confidence.program import program_label
from proxy.cascade.confidence.votes import cut_off, reaches, share, share_standing, votes_wanted
from proxy.cascade.types import Ballot, Sample, Standing, Task


class CodeEstimator:
    """Confidence = (share of the largest group of equal programs + mean token probability of its best) / 2.

    Programs are equal when their normalised syntax trees are (see `program`). The share alone would be
    too strict for code, which can be right in many forms, and the probability alone too lenient.
    """

    usual = (0.75, 0.5)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Label a sample with its program; `None` when there is none, or it does not parse."""
        return None if cut_off(sample) else program_label(sample.text)

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`."""
        for sample in ballot.samples:
            probability(sample)  # missing ones are an error whoever wins
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
        """See `Estimator.wanted`. Counts on the leader's present probability; all when that is too low."""
        winner = share_standing(ballot, total).winner
        sure = 1.0 if winner is None else probability(winner)
        if not reaches(_blend(1.0, 1.0), threshold, inclusive=inclusive):
            return 0
        enough = (
            k
            for k in range(total + 1)
            if reaches(_blend(share(k, total), sure), threshold, inclusive=inclusive)
        )
        return votes_wanted(ballot, total, next(enough, total))


def _blend(agreed: float, sure: float) -> float:
    return 0.5 * agreed + 0.5 * sure
