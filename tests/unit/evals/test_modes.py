"""The modes of a trial: the stage that answers, and its cost."""

import msgspec
from hypothesis import given

from proxy.config.policy import NEVER
from proxy.evals import trial as trials_of
from proxy.evals.modes import MODES, Thresholds, cascade_name, modes_of
from tests.support.trials import SHARES, TRIALS, drawn, planned_apart

APART = "full cascade, separate planner"


@given(TRIALS, SHARES, SHARES, SHARES)
def test_thresholds_are_monotonic(trials, one, other, stage2):
    """Raising stage 1's threshold moves items to later stages only, and so does raising stage 2's."""
    low, high = sorted((one, other))
    for mode in ("full cascade", APART, "cascade, goals only", "cascade, no plans"):
        for trial in trials:
            assert (
                MODES[mode](trial, Thresholds(low, stage2)).stage
                <= MODES[mode](trial, Thresholds(high, stage2)).stage
            )
            assert (
                MODES[mode](trial, Thresholds(stage2, low)).stage
                <= MODES[mode](trial, Thresholds(stage2, high)).stage
            )


@given(TRIALS, SHARES)
def test_invalid_votes_escalate(trials, confidence):
    """Whatever the threshold: the proxy has nothing to send then, and pays the large model."""
    none = [msgspec.structs.replace(t.first, answered=False, confidence=confidence) for t in trials]
    for trial, vote in zip(trials, none, strict=True):
        nothing = msgspec.structs.replace(trial, plain=vote, first=vote, second=None, separate=None)
        for mode in ("full cascade", APART, "cascade, goals only", "cascade, no plans"):
            assert MODES[mode](nothing, Thresholds(0.0, 0.0)).stage == 3


def test_confidence_at_the_threshold():
    """As `cascade.accept_at_threshold` has it."""
    (trial,) = drawn(1, 0, sure_right=1, unsure_right=1, large_right=1)
    level = trial.first.confidence
    stages = [
        MODES["full cascade"](trial, Thresholds(level, NEVER, inclusive)).stage for inclusive in (True, False)
    ]
    assert stages == [1, 3]


def test_small_model_price_counts():
    """Stage 1's calls are paid for also where stage 2 or 3 answers."""
    (trial,) = drawn(1, 0, sure_right=1, unsure_right=1, large_right=1)
    first, second = (msgspec.structs.replace(trial.first, cost=cost) for cost in (8, 30))
    priced = msgspec.structs.replace(trial, plain=first, first=first, second=second)
    costs = {mode: MODES[mode](priced, Thresholds(NEVER, NEVER)).cost for mode in MODES}
    assert costs == {
        "small alone": 2,
        "small, voting": 8,
        "large alone": 1000,
        "large, own plan": 1200,
        "cascade, no plans": 1008,
        "cascade, goals only": 1008,
        "full cascade": 1238,
        APART: 1238,  # without one, the large model plans
    }
    assert MODES["full cascade"](priced, Thresholds(NEVER, 0.0)).cost == 238


def test_separate_planner_is_paid_apart():
    """Its mode has its guideline, the vote under it, and stage 3 under it. The other modes do not change."""
    (trial,) = drawn(1, 0, sure_right=0, unsure_right=0, large_right=1)
    (apart,) = planned_apart([trial], cost=10, confidence=0.5)
    never = Thresholds(NEVER, NEVER)
    assert {name: MODES[name](apart, never) for name in MODES if name != APART} == {
        name: MODES[name](trial, never) for name in MODES if name != APART
    }
    assert MODES[APART](apart, never).cost == 10 + trial.guided.cost
    accepted = MODES[APART](apart, Thresholds(NEVER, 0.5))
    assert (accepted.stage, accepted.cost, accepted.score) == (2, 10, 1.0)


def test_mode_of_the_planner_needs_its_calls():
    """It is a mode of trials that all have them, and then the one that the config runs for all plans."""
    trials = drawn(2, 0, sure_right=1, unsure_right=1, large_right=1)
    apart = planned_apart(trials)
    assert APART not in modes_of([apart[0], trials[1]])
    assert modes_of(apart).keys() == MODES.keys()
    assert cascade_name("all", trials) == "full cascade"
    assert cascade_name("all", apart) == APART
    assert cascade_name("goals", apart) == "cascade, goals only"


def test_trials_of_earlier_versions_are_read(tmp_path):
    """They have neither a size nor a planner. What is written comes back."""
    trials = planned_apart(drawn(3, 0, sure_right=1, unsure_right=1, large_right=1))
    trials_of.write(tmp_path, trials)
    assert trials_of.read(tmp_path) == trials
    old = [msgspec.to_builtins(t) for t in trials]
    lines = [msgspec.json.encode({k: v for k, v in t.items() if k not in ("separate", "size")}) for t in old]
    (tmp_path / "trials.jsonl").write_bytes(b"\n".join(lines))
    assert {(t.separate, t.size) for t in trials_of.read(tmp_path)} == {(None, 0)}
