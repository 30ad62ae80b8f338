"""Accepted answers that are wrong, and the regret: what the report counts is what the modes accept."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evals import report
from proxy.evals.accepted import accepted, markdown
from proxy.evals.modes import Thresholds
from proxy.evals.trial import Paid
from tests.support.trials import SHARES, TRIALS, drawn

BOTH = (1, 2)


def at(stage1, stage2=0.5):
    return lambda _: Thresholds(stage1, stage2)


def rows(trials, thresholds):
    return {(a.task, a.mode, a.stages): a for a in accepted(trials, thresholds, {})}


@given(TRIALS, SHARES, SHARES)
def test_counts_by_hand(trials, stage1, stage2):
    """Stage 1 accepts from its threshold on, and stage 2 what is left. Each answer is one that a person would count."""
    found = rows(trials, at(stage1, stage2))
    for mode, vote in (
        ("cascade, no plans", "plain"),
        ("cascade, goals only", "first"),
        ("full cascade", "first"),
    ):
        taken = [t for t in trials if getattr(t, vote).confidence >= stage1]
        wrong = [t for t in taken if getattr(t, vote).score == 0]
        row = found["math", mode, (1,)]
        assert (row.items, row.accepted, row.wrong.count) == (len(trials), len(taken), len(wrong))
        assert row.regret.count == sum(t.large.score == 1 for t in wrong)
    later = [t for t in trials if t.first.confidence < stage1 and t.second and t.second.confidence >= stage2]
    assert found["math", "full cascade", (2,)].accepted == len(later)


@given(TRIALS, st.lists(st.floats(0, 1), min_size=12, max_size=12), SHARES)
def test_parts_of_the_accepted(trials, grades, threshold):
    """Regret is a part of the wrong ones, these of the accepted ones, and stages add up, whatever the grades."""
    graded = [
        msgspec.structs.replace(
            t, large=Paid(grade, 1, 1), first=msgspec.structs.replace(t.first, score=1 - grade / 2)
        )
        for t, grade in zip(trials, grades, strict=False)
    ]
    found = rows(graded, at(threshold))
    for row in found.values():
        assert 0 <= row.regret.count <= row.wrong.count + 1e-6 <= row.accepted + 2e-6
        for part in (row.wrong, row.regret):
            low, high = part.interval
            assert low < high
            assert part.share is None or low - 1e-9 <= part.share <= high + 1e-9
    one, two, both = (found["math", "full cascade", stages] for stages in ((1,), (2,), BOTH))
    assert one.accepted + two.accepted == both.accepted
    assert one.wrong.count + two.wrong.count == pytest.approx(both.wrong.count, abs=1e-5)


def test_grades_count_in_parts():
    """A judge gives 6 of 10 and the large model 9: four tenths are missing, and three of these the large model has."""
    (trial,) = drawn(1, 0, sure_right=1, unsure_right=1, large_right=1)
    graded = msgspec.structs.replace(
        trial, plain=msgspec.structs.replace(trial.plain, score=0.6), large=Paid(0.9, 1, 1)
    )
    row = rows([graded], at(0.0))["math", "cascade, no plans", (1,)]
    assert (row.wrong.count, row.regret.count) == pytest.approx((0.4, 0.3))
    better = msgspec.structs.replace(graded, large=Paid(0.2, 1, 1))
    assert rows([better], at(0.0))["math", "cascade, no plans", (1,)].regret.count == 0


def test_faultless_answers_prove_little():
    """12 right answers leave room for 26 % of wrong ones, and the table says so."""
    trials = drawn(12, 0, sure_right=1, unsure_right=1, large_right=1)
    row = rows(trials, at(0.0))["math", "cascade, no plans", (1,)]
    assert row.wrong.interval == pytest.approx((0, 0.2646), abs=1e-4)
    text = "\n".join(markdown(accepted(trials, at(0.0), {"math": "cascade, no plans"})))
    assert (
        "| math | **cascade, no plans** | 1 | 12 of 12 | 0: 0.0 % (0.0 to 26.5) | 0: 0.0 % (0.0 to 26.5) |"
        in text
    )
    assert "| math | full cascade | 2 | 0 of 12 | - | - |" in text


def test_quality_is_not_certain():
    """Twelve of twelve right is no quality of 100 to 100 %."""
    lines = report.lines(drawn(12, 0, sure_right=1, unsure_right=1, large_right=1), at(0.0))
    assert {tuple(round(end, 4) for end in line.score_interval) for line in lines} == {(0.7354, 1.0)}


def test_every_cascade_has_rows():
    """For each kind, with the one that the config runs marked."""
    trials = [
        t
        for task in ("math", "code")
        for t in drawn(4, 0, sure_right=1, unsure_right=0, large_right=1, task=task)
    ]
    found = accepted(trials, at(0.5), {"math": "full cascade"})
    assert {a.mode for a in found} == {"cascade, no plans", "cascade, goals only", "full cascade"}
    assert {(a.task, a.mode) for a in found if a.configured} == {("math", "full cascade")}
