"""The arithmetic of vote shares: thresholds, bounds and winners.

The idea is self-consistency (arXiv 2203.11171). Stopping early by odds is adaptive consistency (arXiv 2305.11860).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from proxy.cascade.types import Ballot, Sample, Standing

Group = list[Sample]
ONE_VOTE = 0.25
FEW_VOTES = 0.9
"""The highest confidence of one sample, and of so few samples that their agreement may be chance."""
_FEW = 4


def reaches(confidence: float, threshold: float, *, inclusive: bool) -> bool:
    """Return True if a confidence is enough. `inclusive` accepts equality.

    Floats are exact here. A share is one correctly rounded division, so `k / total` equals the float of its decimal.
    Products such as `0.1 * 3` are not exact, so they are never computed.
    """
    return confidence >= threshold if inclusive else confidence > threshold


def votes_needed(threshold: float, total: int, *, inclusive: bool) -> int:
    """Return the least number of votes out of `total` that reaches the threshold, or `total + 1` if none does."""
    return least_votes(lambda agreed: agreed, threshold, total, inclusive=inclusive)


def least_votes(
    confidence: Callable[[float], float], threshold: float, total: int, *, inclusive: bool
) -> int:
    """Return the least number of votes with a confidence that reaches the threshold, or `total + 1` if none does.

    `confidence` maps a share of the votes to a confidence.
    """
    sizes = range(total + 1)
    enough = (k for k in sizes if reaches(confidence(share(k, total)), threshold, inclusive=inclusive))
    return next(enough, total + 1)


def share(votes: int, total: int) -> float:
    """Return `votes` of `total` as a confidence.

    One vote agrees with nobody, so it counts like one of four at most. Two or three samples that agree are not certain.
    """
    if votes <= 1:
        return min(votes / total, ONE_VOTE) if total else 0.0
    return votes / total if total >= _FEW else min(votes / total, FEW_VOTES)


def share_standing(ballot: Ballot, total: int, *, lone_may_win: bool = True) -> Standing:
    """Return bounds of the largest group's share of `total` samples.

    Of two groups of equal size, the one with the lowest sample index leads, in whatever order the samples arrived.

    Args:
        ballot: the samples drawn so far.
        total: the number of samples to draw at most.
        lone_may_win: True if a sample without a vote counts as a group of one. Otherwise it is never the winner.
    """
    voted = list(ballot.groups().values())
    lone = _lone(ballot) if lone_may_win else []
    leader = min(voted + lone, key=_rank, default=[])
    outstanding = max(0, total - len(ballot.samples))
    # A lone sample's group cannot grow.
    most = max(len(leader), _largest(voted) + outstanding)
    return Standing(
        low=share(len(leader), total),
        high=share(min(most, total), total),
        winner=likeliest(leader),
        fixed=not _can_be_overtaken(leader, voted, _missing(ballot, total), outstanding),
    )


def votes_wanted(ballot: Ballot, total: int, needed: int) -> int:
    """Return the fewest samples that end the ballot if all of them join the leading group.

    The ballot ends once the leader has the votes that it needs and no other group can overtake it. If one vote of 8 is
    needed, that takes 4 samples.

    Args:
        ballot: the samples drawn so far.
        total: the number of samples to draw at most.
        needed: the number of votes that is enough. If it is more than `total`, no samples are wanted.
    """
    outstanding = max(0, total - len(ballot.samples))
    if needed > total:
        return 0
    missing = _missing(ballot, total)
    voted = sorted(ballot.groups().values(), key=_rank)
    # If all samples join the leader, it also gets the lowest outstanding index.
    leading, first = (len(voted[0]), min(first_index(voted[0]), missing)) if voted else (0, missing)
    rivals = [(len(g), first_index(g)) for g in voted[1:]] + [(0, total)]
    # After k more votes for the leader, `outstanding` - k may go to a rival. The lower index leads at equal size.
    behind = max(size + (first > index) for size, index in rivals) + outstanding - leading
    return min(outstanding, max(0, needed - leading, math.ceil(behind / 2)))


def odds(leading: int, drawn: int, total: int, needed: int) -> float:
    """Return the probability that a group ends with the votes that it needs.

    Each outstanding sample joins the group with the same unknown probability. Its prior is uniform (Laplace), so the number
    of further votes is beta-binomial. Source of the idea: adaptive consistency, arXiv 2305.11860.

    Args:
        leading: the votes of the group so far.
        drawn: the number of samples drawn.
        total: the number of samples to draw at most.
        needed: the number of votes that is enough.
    """
    left, a, b = total - drawn, leading + 1, drawn - leading + 1
    lacking = needed - leading
    if lacking <= 0:
        return 1.0
    # P(X = x) by recurrence, from x = 0 up.
    chance = math.exp(math.lgamma(b + left) - math.lgamma(b) - math.lgamma(a + b + left) + math.lgamma(a + b))
    below = 0.0
    for x in range(min(lacking, left + 1)):
        below += chance
        chance *= (left - x) / (x + 1) * (a + x) / max(1, b + left - x - 1)
    return max(0.0, 1.0 - below)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The probabilities of how a ballot ends, computed with `odds`.

    Attributes:
        leads: the leading group ends with the votes that it needs.
        reached: any group does. This is an upper bound, a sum over the groups.
        kept: the leading group does and still leads. This is a lower bound.
    """

    leads: float
    reached: float
    kept: float


def outlook(ballot: Ballot, total: int, needed: int) -> Outlook:
    """Return how a ballot with at least one sample is likely to end."""
    drawn, missing = len(ballot.samples), _missing(ballot, total)
    voted, lone = list(ballot.groups().values()), _lone(ballot)
    leader = min(voted + lone, key=_rank)
    may_grow = [(len(g), min(first_index(g), missing)) for g in voted if g is not leader] + [(0, missing)]
    stays_alone = leader in lone
    leads = float(needed <= 1) if stays_alone else odds(len(leader), drawn, total, needed)
    reached = leads + sum(odds(size, drawn, total, needed) for size, _ in may_grow)
    overtaken = sum(
        # The lower index leads at equal size.
        odds(size, drawn, total, len(leader) + (first_index(leader) < start))
        for size, start in may_grow
    )
    return Outlook(leads, min(1.0, reached), 0.0 if stays_alone else max(0.0, leads - overtaken))


def likeliest(group: Group) -> Sample | None:
    """Return the sample of a group with the highest mean log-probability, then the lowest index."""
    return max(group, key=lambda s: (-math.inf if s.logprob is None else s.logprob, -s.index), default=None)


def first_index(group: Group) -> int:
    """Return the lowest sample index of a group."""
    return min(s.index for s in group)


def cut_off(sample: Sample) -> bool:
    """Return True if a sample ended at its token limit, so that its answer is incomplete."""
    return sample.finish_reason == "length"


def _rank(group: Group) -> tuple[int, int]:
    return (-len(group), first_index(group))


def _largest(groups: list[Group]) -> int:
    return max(map(len, groups), default=0)


def _lone(ballot: Ballot) -> list[Group]:
    return [[s] for s, vote in zip(ballot.samples, ballot.votes, strict=True) if vote is None]


def _missing(ballot: Ballot, total: int) -> int:
    """Return the lowest index that is still outstanding."""
    drawn = {s.index for s in ballot.samples}
    return next((i for i in range(total) if i not in drawn), total)


def _can_be_overtaken(leader: Group, voted: list[Group], missing: int, outstanding: int) -> bool:
    if not outstanding:
        return False
    if not leader:
        return True
    rivals = [(len(g) + outstanding, min(first_index(g), missing)) for g in voted if g is not leader]
    rivals.append((outstanding, missing))
    return any((-size, index) < _rank(leader) for size, index in rivals)
