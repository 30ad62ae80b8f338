"""The modes of a trial: the stage that answers, and its cost."""

import msgspec
from hypothesis import given

from proxy.config.policy import NEVER
from proxy.evals.modes import MODES, Thresholds
from tests.support.trials import SHARES, TRIALS, drawn


@given(TRIALS, SHARES, SHARES, SHARES)
def test_thresholds_are_monotonic(trials, one, other, stage2):
    """Raising stage 1's threshold moves items to later stages only, and so does raising stage 2's."""
    low, high = sorted((one, other))
    for mode in ("full cascade", "cascade, goals only", "cascade, no plans"):
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
        nothing = msgspec.structs.replace(trial, plain=vote, first=vote, second=None)
        for mode in ("full cascade", "cascade, goals only", "cascade, no plans"):
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
    }
    assert MODES["full cascade"](priced, Thresholds(NEVER, 0.0)).cost == 238
