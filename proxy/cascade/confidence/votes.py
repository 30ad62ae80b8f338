"""Confidence as the share of samples that agree: the arithmetic that all voting task kinds use."""

import math
from dataclasses import dataclass

from proxy.cascade.types import Ballot, Sample, Standing

Group = list[Sample]


def reaches(confidence: float, threshold: float, *, inclusive: bool) -> bool:
    """Say whether a confidence is enough; `inclusive` accepts at equality.

    Plain floats are exact here: a share is one correctly rounded division, so `k / total` is the very
    float that its decimal reads as. Products (`0.75 * 8`) are not, and are never formed.
    """
    return confidence >= threshold if inclusive else confidence > threshold


def votes_needed(threshold: float, total: int, *, inclusive: bool) -> int:
    """Return the least number of votes out of `total` that reaches the threshold; `total + 1`: none does."""
    sizes = range(total + 1)
    return next((k for k in sizes if reaches(share(k, total), threshold, inclusive=inclusive)), total + 1)


def share(votes: int, total: int) -> float:
    """Return `votes` of `total` as a confidence."""
    return votes / total if total else 0.0


def share_standing(ballot: Ballot, total: int, *, lone_may_win: bool = True) -> Standing:
    """Bound the largest group's share of `total` samples.

    Of groups of equal size the one with the lowest sample index leads, whatever order they came in.

    Args:
        ballot: the samples drawn so far.
        total: how many are drawn at most.
        lone_may_win: whether a sample without a vote counts as a group of one; otherwise it can
            neither lead nor be returned.
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
        winner=best(leader),
        fixed=not _can_be_overtaken(leader, voted, _missing(ballot, total), outstanding),
    )


def votes_wanted(ballot: Ballot, total: int, needed: int) -> int:
    """Return how many samples should be in flight: as many as end the ballot if all of them agree with the leader.

    That is once the leader has the votes it needs, and no other group can overtake it: with one vote needed of 8, 4 samples.

    Args:
        ballot: the samples drawn so far.
        total: how many are drawn at most.
        needed: how many votes are enough; more than `total`: it is hopeless, and none are wanted.
    """
    outstanding = max(0, total - len(ballot.samples))
    if needed > total:
        return 0
    missing = _missing(ballot, total)
    voted = sorted(ballot.groups().values(), key=_rank)
    # If all agree with the leader, it is the one that gets the lowest index which is outstanding.
    leading, since = (len(voted[0]), min(first_index(voted[0]), missing)) if voted else (0, missing)
    rivals = [(len(g), first_index(g)) for g in voted[1:]] + [(0, total)]
    # After k more votes for the leader, `outstanding` - k may go to a rival. Of equals the one with the lower index leads.
    behind = max(size + (since > index) for size, index in rivals) + outstanding - leading
    return min(outstanding, max(0, needed - leading, math.ceil(behind / 2)))


def odds(leading: int, drawn: int, total: int, needed: int) -> float:
    """Return the chance that the leading group ends with the votes it needs, from those that it has.

    Each outstanding sample joins it with an unknown chance that any value of 0..1 was as likely for beforehand (Laplace),
    so the votes to come are beta-binomial. Source of the idea: adaptive consistency, arXiv 2305.11860.

    Args:
        leading: votes of the largest group.
        drawn: samples drawn.
        total: samples that are drawn at most.
        needed: votes that the threshold asks for.
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
    """Chances of how a ballot ends, by `odds`.

    Attributes:
        leads: that the leader ends with the votes needed.
        reached: that any group does, at most: a sum over the groups.
        kept: that the leader does and still leads, at least.
    """

    leads: float
    reached: float
    kept: float


def outlook(ballot: Ballot, total: int, needed: int) -> Outlook:
    """Return how a ballot that has begun is likely to end."""
    drawn, missing = len(ballot.samples), _missing(ballot, total)
    voted, lone = list(ballot.groups().values()), _lone(ballot)
    leader = min(voted + lone, key=_rank)
    may_grow = [(len(g), min(first_index(g), missing)) for g in voted if g is not leader] + [(0, missing)]
    stays_alone = leader in lone
    leads = float(needed <= 1) if stays_alone else odds(len(leader), drawn, total, needed)
    reached = leads + sum(odds(size, drawn, total, needed) for size, _ in may_grow)
    overtaken = sum(
        # Of equals the one with the lower index leads.
        odds(size, drawn, total, len(leader) + (first_index(leader) < start))
        for size, start in may_grow
    )
    return Outlook(leads, min(1.0, reached), 0.0 if stays_alone else max(0.0, leads - overtaken))


def best(group: Group) -> Sample | None:
    """Return a group's likeliest sample, by mean log-probability, then lowest index."""
    return max(group, key=lambda s: (-math.inf if s.logprob is None else s.logprob, -s.index), default=None)


def first_index(group: Group) -> int:
    """Return a group's lowest sample index."""
    return min(s.index for s in group)


def cut_off(sample: Sample) -> bool:
    """Say whether a sample ended at its token limit, so that its answer is not whole."""
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
