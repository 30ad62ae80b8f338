"""Drawing samples: early stop, odds, concurrency and cancellation."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.sampling import draw
from proxy.cascade.types import Sample, Task, TaskKind
from proxy.pricing.prices import Usage

VOTES = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9)
THRESHOLDS = st.floats(0, 1) | st.decimals(0, 1, places=3).map(float)
TASK = Task(TaskKind.MATH, {}, "")


class Labelled(VoteShare):
    """An estimator that takes the texts of the samples as their votes."""

    async def vote(self, task, drawn, groups):
        return drawn.text or None


def said(index, text):
    message = {"role": "assistant", "content": text or ""}
    return Sample(index=index, message=message, finish_reason="stop", logprob=-0.5, usage=Usage())


def answer_of(verdict):
    """Return the text of the winner. A sample without a vote is told by its index."""
    winner = verdict.standing.winner
    return winner and (winner.text or winner.index)


def decided(votes, threshold, *, inclusive=True, **how):
    """Return the verdict of a ballot with these votes, one per sample."""

    async def one(index):
        return said(index, votes[index])

    task = Task(TaskKind.MATH, {}, "")
    return asyncio.run(
        draw(task, Labelled(), sample=one, total=len(votes), threshold=threshold, inclusive=inclusive, **how)
    )


@given(VOTES, THRESHOLDS, st.booleans())
def test_early_stop_matches_full_voting(votes, threshold, inclusive):
    """The same verdict and the same winning answer, and never more samples."""
    early = decided(votes, threshold, inclusive=inclusive, early_stop=True)
    full = decided(votes, threshold, inclusive=inclusive, early_stop=False)
    assert early.accepted == full.accepted
    assert len(early.ballot.samples) <= len(full.ballot.samples) == len(votes)
    if early.accepted:
        assert answer_of(early) == answer_of(full)


@pytest.mark.parametrize("total", [4, 8, 32])
@pytest.mark.parametrize("says", ["the same", None], ids=["all agree", "all differ"])
def test_samples_run_concurrently(total, says):
    """If one vote is enough, half of n start at once. The others start at once if all of them differ."""
    launched_after: list[int] = []
    finished = 0

    async def one(index):
        nonlocal finished
        launched_after.append(finished)
        for _ in range(total - index):  # the last to begin is the first to end
            await asyncio.sleep(0)
        finished += 1
        return said(index, says)

    class NoneAlone(Labelled):
        lone_may_win = False

    how = {"threshold": 1 / total, "inclusive": True, "early_stop": True}
    verdict = asyncio.run(draw(Task(TaskKind.CODE, {}, ""), NoneAlone(), sample=one, total=total, **how))
    assert len(verdict.ballot.samples) == (total / 2 if says else total)
    assert len(launched_after) == len(verdict.ballot.samples)
    assert max(launched_after) <= (0 if says else total / 2)


@given(VOTES, st.floats(0, 1), st.floats(0, 1))
def test_higher_threshold_accepts_less(votes, one, other):
    """An answer accepted at a threshold is accepted at every lower one, with early stop and without."""
    low, high = sorted((one, other))
    for early_stop in (True, False):
        strict = decided(votes, high, early_stop=early_stop)
        assert not strict.accepted or decided(votes, low, early_stop=early_stop).accepted


def test_odds_error_of_verdict():
    """Under its assumption, a uniform prior, the verdict differs from that of full voting as rarely as promised."""
    lot = random.Random(3)
    differs = drawn_early = drawn_certain = 0
    rounds, error = 3000, 0.05
    for _ in range(rounds):
        leaning = lot.random()
        votes = ["a" if lot.random() < leaning else f"other {i}" for i in range(16)]
        early = decided(votes, 0.75, early_stop=True, stop_error=error)
        certain = decided(votes, 0.75, early_stop=True)
        differs += early.accepted != certain.accepted
        drawn_early += len(early.ballot.samples)
        drawn_certain += len(certain.ballot.samples)
    assert differs <= rounds * error
    assert drawn_early < drawn_certain < rounds * 16


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.75])
def test_odds_error_of_answer(threshold):
    """With several possible winners, the verdict or the winning answer differs as rarely as promised."""
    lot = random.Random(4)
    rounds, error = 1500, 0.05
    differs = 0
    for _ in range(rounds):
        leaning = lot.random()
        votes = ["a" if lot.random() < leaning else "b" for _ in range(12)]
        early = decided(votes, threshold, early_stop=True, stop_error=error)
        full = decided(votes, threshold, early_stop=False)
        answers = [answer_of(v) for v in (early, full)]
        differs += early.accepted != full.accepted or (early.accepted and answers[0] != answers[1])
    assert differs <= rounds * error


def test_odds_consider_rivals():
    """Two of eight votes reach a threshold of a quarter, and six others overtake them."""
    early = decided("AABBBBBB", 0.25, early_stop=True, stop_error=0.05)
    assert early.standing.winner.text == "B"


def test_unneeded_samples_are_cancelled():
    """Two samples differ, so all four can no longer agree, and those still running are cancelled."""
    cancelled = []

    async def sample(index):
        try:
            if index > 1:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(index)
            raise
        return said(index, "ab"[index])

    how = {"total": 4, "threshold": 1.0, "inclusive": True, "early_stop": True}
    verdict = asyncio.run(draw(TASK, Labelled(), sample=sample, **how))
    assert not verdict.accepted
    assert (sorted(cancelled), len(verdict.ballot.samples)) == ([2, 3], 2)


@pytest.mark.parametrize("failing", [{1}, {1, 2}], ids=["one", "two at once"])
def test_failed_sample_ends_ballot(failing):
    """The error is raised once, and no sample goes on running."""
    cancelled = []

    async def sample(index):
        if index in failing:
            raise RuntimeError("the model refused")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(index)
            raise

    how = {"total": 4, "threshold": 1.0, "inclusive": True, "early_stop": True}
    with pytest.raises(RuntimeError, match="the model refused"):
        asyncio.run(draw(TASK, Labelled(), sample=sample, **how))
    assert set(cancelled) == {0, 1, 2, 3} - failing


def test_odds_are_reported():
    """After each sample that leaves the ballot open, the probability of acceptance is reported."""
    odds = []

    async def one_after_the_other(index):
        for _ in range(5 * index):
            await asyncio.sleep(0)
        return said(index, "aaab"[index])

    how = {"total": 4, "threshold": 0.75, "inclusive": True, "early_stop": False, "on_odds": odds.append}
    asyncio.run(draw(TASK, Labelled(), sample=one_after_the_other, **how))
    assert odds == sorted(odds)
    assert (len(odds), odds[-1]) == (3, 1.0)
