"""Trials of evaluations, drawn by a seed or by hypothesis."""

import random

import msgspec
from hypothesis import strategies as st

from proxy.evals.trial import Drawn, Paid, Planned, Trial, Vote

USUAL = (0.75, 0.5)
BEHAVIOUR = (0.5, 0.5)
VOTED = ("plain", "first", "second")
SHARES = st.sampled_from([0.25, 0.5, 0.75, 1.0])
RIGHT = st.sampled_from([0.0, 1.0])
VOTES = st.builds(Vote, confidence=SHARES, score=RIGHT)
PAID = st.builds(Paid, RIGHT, st.integers(1, 10**6), st.just(100))
PLANNED = st.builds(
    Planned, planner=st.just("mini"), cost=st.integers(0, 100), second=st.none() | VOTES, guided=PAID
)


def _trials(separate):
    return st.lists(
        st.builds(
            Trial,
            item=st.just("x"),
            task=st.just("math"),
            detected=st.just("math"),
            usual=st.just(USUAL),
            single=RIGHT,
            plain=VOTES,
            first=VOTES,
            second=st.none() | VOTES,
            plan_cost=st.integers(0, 1000),
            large=PAID,
            guided=PAID,
            separate=separate,
        ),
        min_size=1,
        max_size=12,
    ).map(lambda found: [msgspec.structs.replace(t, item=str(i)) for i, t in enumerate(found)])


TRIALS = _trials(st.none()) | _trials(PLANNED)


def drawn(count, seed, *, sure_right, unsure_right, large_right, n=4, task="math", usual=USUAL):
    """Trials of a small model that is sure of half of the items."""
    lot = random.Random(seed)
    out = []
    for i in range(count):
        sure = lot.random() < 0.5
        score = float(lot.random() < (sure_right if sure else unsure_right))
        vote = Vote(confidence=1.0 if sure else 0.25, score=score, samples=[Drawn("42", score, 10, None)] * n)
        large = Paid(float(lot.random() < large_right), 1000, 100)
        item = f"{usual}-{seed}-{i}"
        out.append(
            Trial(
                item=item,
                task=task,
                detected=task,
                usual=usual,
                single=score,
                plain=vote,
                first=vote,
                second=vote,
                plan_cost=200,
                large=large,
                guided=large,
            )
        )
    return out


def spoiled(trials, share, **change):
    """The same trials, a share of them with other votes."""
    lot = random.Random(1)
    return [
        msgspec.structs.replace(t, **{name: msgspec.structs.replace(t.first, **change) for name in VOTED})
        if lot.random() < share
        else t
        for t in trials
    ]


def planned_apart(trials, *, cost=10, confidence=1.0, score=1.0, planner="mini"):
    """The same trials, with guidelines of a separate planner under which stage 2 has this confidence and score."""
    return [
        msgspec.structs.replace(
            t,
            separate=Planned(
                planner=planner,
                cost=cost,
                second=msgspec.structs.replace(t.first, confidence=confidence, score=score),
                guided=t.guided,
            ),
        )
        for t in trials
    ]
