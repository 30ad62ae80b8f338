"""The arithmetic of votes: bounds, thresholds and winners."""

import asyncio
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.behaviour import BehaviourEstimator
from proxy.cascade.confidence.code import CodeEstimator
from proxy.cascade.confidence.computed import ComputedEstimator
from proxy.cascade.confidence.open import RUN, OpenEstimator, lowest_run
from proxy.cascade.confidence.structured import StructuredEstimator
from proxy.cascade.confidence.votes import odds, reaches, share, share_standing, votes_needed, votes_wanted
from proxy.cascade.protocols import Estimator
from proxy.cascade.types import Ballot, MissingLogprobsError, Sample, Standing
from proxy.pricing.prices import Usage
from proxy.sandbox import Sandbox

DECIMALS = st.decimals(0, 1, places=3).map(str)
INCLUSIVE = st.booleans()
VOTES = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9)


class Shares:
    def __init__(self, lone_may_win):
        self.lone = lone_may_win

    def standing(self, ballot, total):
        return share_standing(ballot, total, lone_may_win=self.lone)


ESTIMATORS = {
    "votes": Shares(True),
    "structured": StructuredEstimator(),
    "code": CodeEstimator(),
    "behaviour": BehaviourEstimator(Sandbox(), shown=False),
    "behaviour, with examples": BehaviourEstimator(Sandbox(), shown=True),
    "computed": ComputedEstimator(Sandbox()),
    "open": OpenEstimator(),
}


def sample(index: int, logprob: float | None = -0.5) -> Sample:
    message = {"role": "assistant", "content": "It is so."}
    return Sample(
        index=index,
        message=message,
        finish_reason="stop",
        logprob=logprob,
        usage=Usage(),
        lowest_logprob=logprob,
    )


@st.composite
def drawn(draw):
    votes = draw(VOTES)
    logprobs = draw(st.lists(st.floats(-3, 0), min_size=len(votes), max_size=len(votes)))
    order = draw(st.permutations(range(len(votes))))
    return Ballot(tuple(sample(i, logprobs[i]) for i in order), tuple(votes[i] for i in order))


def prefix(ballot: Ballot, length: int) -> Ballot:
    return Ballot(ballot.samples[:length], ballot.votes[:length])


def group_of(ballot: Ballot, winner: Sample | None):
    """The label of a sample's group; a lone sample is its own group, named by its index."""
    if winner is None:
        return None
    vote = dict(zip((s.index for s in ballot.samples), ballot.votes, strict=True))[winner.index]
    return winner.index if vote is None else vote


@given(DECIMALS, st.integers(1, 40), INCLUSIVE)
def test_votes_needed_is_exact(threshold, total, inclusive):
    """The votes that a decimal threshold needs are those of exact arithmetic."""
    exact = Fraction(threshold) * total
    expected = -(-exact // 1) if inclusive else exact // 1 + 1
    needed = votes_needed(float(threshold), total, inclusive=inclusive)
    if total >= 4:
        assert needed == min(expected, total + 1)
    else:  # few votes weigh less
        assert min(expected, total + 1) <= needed


@given(st.integers(1, 40))
def test_few_votes_are_unsure(total):
    """One vote reaches no default threshold, and full agreement is full certainty from four samples on only."""
    assert share(1, total) <= 0.25
    assert (share(total, total) == 1) == (total >= 4)
    assert sorted(shares := [share(k, total) for k in range(total + 1)]) == shares


@given(st.floats(0, 1) | DECIMALS.map(float), st.integers(1, 40), INCLUSIVE)
def test_needed_and_reaches_agree(threshold, total, inclusive):
    """A share reaches the threshold exactly when its votes are as many as needed."""
    needed = votes_needed(threshold, total, inclusive=inclusive)
    for k in range(total + 1):
        assert reaches(share(k, total), threshold, inclusive=inclusive) == (k >= needed)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 20), INCLUSIVE)
def test_needed_grows_with_threshold(one, other, total, inclusive):
    """Votes needed grow with the threshold, and equality is the easier rule."""
    low, high = sorted((one, other))
    assert votes_needed(low, total, inclusive=inclusive) <= votes_needed(high, total, inclusive=inclusive)
    assert votes_needed(low, total, inclusive=True) <= votes_needed(low, total, inclusive=False)


@pytest.mark.parametrize(
    ("threshold", "total", "inclusive", "needed"),
    [(0.75, 8, True, 6), (0.75, 8, False, 7), (0.1, 3, True, 1), (0.3, 3, True, 2), (0.95, 3, True, 4), (0.5, 1, True, 2), (0.3, 10, True, 3), (0.3, 10, False, 4),
     (1, 8, True, 8), (1, 8, False, 9), (0, 8, True, 0), (0.0, 8, False, 1)],
)  # fmt: skip
def test_votes_needed_examples(threshold, total, inclusive, needed):
    """Thresholds of the paper and those that trip float products need the votes that a person counts."""
    assert votes_needed(threshold, total, inclusive=inclusive) == needed


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@given(ballot=drawn(), threshold=st.floats(0, 1), inclusive=INCLUSIVE)
def test_bounds_match_full_voting(estimator: Estimator, ballot, threshold, inclusive):
    """At any prefix a certain verdict is the verdict of the full ballot, with the same winning group."""
    total = len(ballot.samples)
    final = estimator.standing(ballot, total)
    assert final.low == final.high
    assert final.fixed
    for length in range(total + 1):
        now = estimator.standing(prefix(ballot, length), total)
        assert now.low <= final.low <= now.high
        if not reaches(now.high, threshold, inclusive=inclusive):
            assert not reaches(final.low, threshold, inclusive=inclusive)
        if now.fixed:
            assert group_of(ballot, now.winner) == group_of(ballot, final.winner)
            if reaches(now.low, threshold, inclusive=inclusive):
                assert reaches(final.low, threshold, inclusive=inclusive)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@given(ballot=drawn(), data=st.data())
def test_order_of_arrival(estimator: Estimator, ballot, data):
    """The final standing is the same whatever order the samples finished in."""
    pairs = data.draw(st.permutations(list(zip(ballot.samples, ballot.votes, strict=True))))
    shuffled = Ballot(tuple(s for s, _ in pairs), tuple(v for _, v in pairs))
    total = len(pairs)
    assert estimator.standing(shuffled, total) == estimator.standing(ballot, total)


@given(ballot=drawn(), more=st.integers(1, 3))
def test_fixed_as_early_as_possible(ballot, more):
    """Where a standing is not fixed, some run of outstanding votes does change the winning group."""
    total = len(ballot.samples) + more
    now = share_standing(ballot, total)
    labels = [*{v for v in ballot.votes if v}, "fresh"]
    rest = tuple(sample(i) for i in range(len(ballot.samples), total))
    ends = [
        (full, share_standing(full, total))
        for label in labels
        for full in [Ballot(ballot.samples + rest, (*ballot.votes, *[label] * more))]
    ]
    changed = any(group_of(full, now.winner) != group_of(full, end.winner) for full, end in ends)
    assert now.fixed != changed
    assert now.high == max(end.low for _, end in ends)


@given(votes=VOTES, more=st.integers(0, 5), threshold=st.floats(0, 1), inclusive=INCLUSIVE, data=st.data())
def test_wanted_ends_ballot(votes, more, threshold, inclusive, data):
    """Whichever samples came first, no more are wanted than are outstanding, and if all agree the ballot can be closed."""
    total = len(votes) + more
    order = data.draw(st.permutations(range(total)))
    ballot = Ballot(tuple(map(sample, order[: len(votes)])), tuple(votes))
    needed = votes_needed(threshold, total, inclusive=inclusive)
    wanted = votes_wanted(ballot, total, needed)
    assert 0 <= wanted <= more
    if needed > total:
        assert wanted == 0
        return
    groups = ballot.groups()
    label = min(groups, key=lambda v: (-len(groups[v]), min(s.index for s in groups[v])), default="fresh")

    def certain_after(follow):
        missing = [i for i in range(total) if i not in {s.index for s in ballot.samples}]
        rest = tuple(sample(i) for i in missing[:follow])
        agreed = Ballot(ballot.samples + rest, (*ballot.votes, *[label] * follow))
        end = share_standing(agreed, total, lone_may_win=False)
        return reaches(end.low, threshold, inclusive=inclusive) and end.fixed

    assert certain_after(wanted) or certain_after(min(1, more)) or wanted == more
    assert wanted == 0 or not certain_after(wanted - 1)


def test_empty_ballot():
    """An empty ballot has no winner, and any confidence is possible."""
    assert share_standing(Ballot(), 4) == Standing(0.0, 1.0, None, fixed=False)
    assert votes_wanted(Ballot(), 8, needed=6) == 6
    assert votes_wanted(Ballot(), 8, needed=1) == 4
    assert votes_wanted(Ballot(), 8, needed=9) == 0


def test_lone_samples():
    """Samples without a vote are groups of one; the lowest index of them wins."""
    ballot = Ballot((sample(2), sample(1)), (None, None))
    standing = share_standing(ballot, 2)
    assert (standing.low, standing.winner.index) == (0.25, 1)


def test_ties_go_by_index():
    """Of two groups of equal size the one that holds the lowest index leads, though it came last."""
    ballot = Ballot(tuple(map(sample, (3, 1, 2, 0))), ("a", "a", "b", "b"))
    assert share_standing(ballot, 4).winner.index == 0


def test_likeliest_of_group_wins():
    """The winner has the highest mean log-probability, then the lowest index; none counts as the worst."""
    ballot = Ballot((sample(0, None), sample(1, -0.2), sample(2, -0.1), sample(3, -0.1)), ("a",) * 4)
    assert share_standing(ballot, 4).winner.index == 2


def test_no_valid_document():
    """A ballot of invalid documents has confidence 0 and nothing to return."""
    ballot = Ballot((sample(0), sample(1)), (None, None))
    assert StructuredEstimator().standing(ballot, 2) == Standing(0.0, 0.0, None, fixed=True)


@pytest.mark.parametrize("estimator", [OpenEstimator(), CodeEstimator()])
def test_missing_logprobs(estimator):
    """A sample without log-probabilities is never read as confidence."""
    with pytest.raises(MissingLogprobsError, match="sample 1"):
        estimator.standing(Ballot((sample(0), sample(1, None)), ("a", "a")), 2)


@given(ballot=drawn(), threshold=st.floats(0, 1), inclusive=INCLUSIVE)
def test_wanted_is_outstanding_at_most(ballot, threshold, inclusive):
    """Code and open text never want more samples than are outstanding; open text wants all of them."""
    total = len(ballot.samples)
    for length in range(total + 1):
        part = prefix(ballot, length)
        wanted = CodeEstimator().wanted(part, total, threshold, inclusive=inclusive)
        assert 0 <= wanted <= total - length
        assert OpenEstimator().wanted(part, total, threshold, inclusive=inclusive) == total - length


@given(st.lists(st.floats(-9, 0), max_size=60))
def test_lowest_run(logprobs):
    """Of an answer that is shorter than a run it is the mean; else that of the worst tokens in a row."""
    found = lowest_run(logprobs)
    if len(logprobs) <= RUN:
        assert found == (pytest.approx(sum(logprobs) / len(logprobs)) if logprobs else None)
    else:
        ends = range(RUN, len(logprobs) + 1)
        assert found == pytest.approx(min(sum(logprobs[end - RUN : end]) / RUN for end in ends))


def test_open_labels_are_unique():
    """Each open sample has a label of its own, which shows its probability."""
    vote = OpenEstimator().vote
    assert asyncio.run(vote(None, sample(1, 0.0), ())) == "#1 p=1.00"
    assert asyncio.run(vote(None, sample(2, None), ())) == "#2"


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.integers(0, 13))
def test_odds_match_counting(leading, drawn, total, needed):
    """The chance by recurrence is the one by summing the beta-binomial distribution exactly."""
    leading, drawn = min(leading, drawn, total), min(drawn, total)
    left, a, b = total - drawn, leading + 1, drawn - leading + 1

    def exactly(x):
        ways = Fraction(math.comb(left, x))
        for i in range(x):
            ways *= a + i
        for i in range(left - x):
            ways *= b + i
        for i in range(left):
            ways /= a + b + i
        return ways

    expected = sum(exactly(x) for x in range(left + 1) if leading + x >= needed)
    assert odds(leading, drawn, total, needed) == pytest.approx(float(expected), abs=1e-9)
