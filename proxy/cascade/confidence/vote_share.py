"""The share of samples that agree, as a confidence (self-consistency, arXiv 2203.11171)."""

from typing import ClassVar

from proxy.cascade.confidence.votes import share_standing, votes_needed, votes_wanted
from proxy.cascade.types import Ballot, Standing


class VoteShare:
    """The part that estimators by vote share have in common. Each of them adds `vote` and its default thresholds."""

    forms: tuple[str, ...] = ()
    lone_may_win: ClassVar[bool] = True
    """Whether a sample without a vote may be returned as the answer."""

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`."""
        return share_standing(ballot, total, lone_may_win=self.lone_may_win)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.needed`."""
        return votes_needed(threshold, total, inclusive=inclusive)

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`."""
        return votes_wanted(ballot, total, self.needed(total, threshold, inclusive=inclusive))
