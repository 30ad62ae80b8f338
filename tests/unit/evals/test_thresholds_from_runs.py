"""Thresholds for a target: what is certified holds, and what cannot be certified is not chosen."""

import random

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.types import TaskKind
from proxy.cli.main import main
from proxy.config.controls import Controls
from proxy.config.loading import load, overridden_kinds
from proxy.config.policy import NEVER, policy
from proxy.errors import ConfigError
from proxy.evals import trial as trials_of
from proxy.evals.modes import MODES, Thresholds
from proxy.evals.thresholds_from_runs import Target, calibrate, rate, ways
from proxy.evals.trial import Drawn, Paid, Trial, Vote

USUAL = (0.75, 0.5)
BEHAVIOUR = (0.5, 0.5)
VOTED = ("plain", "first", "second")
SHARES = st.sampled_from([0.25, 0.5, 0.75, 1.0])
RIGHT = st.sampled_from([0.0, 1.0])
VOTES = st.builds(Vote, confidence=SHARES, score=RIGHT)
PAID = st.builds(Paid, RIGHT, st.integers(1, 10**6), st.just(100))
TRIALS = st.lists(
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
    ),
    min_size=1,
    max_size=12,
).map(lambda found: [msgspec.structs.replace(t, item=str(i)) for i, t in enumerate(found)])


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


def test_confident_small_model_saves():
    """The certified way accepts what it is sure of, and holds the target on items that it has never seen."""
    choice = calibrate(
        drawn(600, 1, sure_right=0.99, unsure_right=0.1, large_right=0.8), Target("quality", 0.95), risk=0.05
    )
    assert choice.chosen is not None
    assert choice.chosen.cost_share < 0.75
    fresh = rate(choice.chosen.way, drawn(5000, 2, sure_right=0.99, unsure_right=0.1, large_right=0.8))
    assert fresh.quality_share >= 0.95


def test_overconfident_small_model():
    """Nothing is chosen, so the large model alone answers."""
    choice = calibrate(
        drawn(600, 3, sure_right=0.2, unsure_right=0.2, large_right=0.9), Target("quality", 0.99), risk=0.05
    )
    assert choice.chosen is None or choice.chosen.quality_share >= 0.99


def test_guarantee_over_many_calibrations():
    """Of 150 calibrations on a borderline model, hardly more than the risk certify a way that misses the target."""
    missed = 0
    for seed in range(150):
        choice = calibrate(
            drawn(120, 100 + seed, sure_right=0.78, unsure_right=0.3, large_right=0.8),
            Target("quality", 1.0),
            risk=0.1,
        )
        if choice.chosen is not None:
            truth = rate(
                choice.chosen.way, drawn(4000, 7, sure_right=0.78, unsure_right=0.3, large_right=0.8)
            )
            missed += truth.quality_share < 1.0 - 0.02  # the reference itself is a sample
    assert missed <= 150 * 0.1 + 12


def test_a_cost_target_is_held():
    """What is certified for a cost stays below it on fresh items."""
    limit = 900.0
    choice = calibrate(
        drawn(600, 4, sure_right=0.9, unsure_right=0.1, large_right=0.8), Target("cost", limit), risk=0.05
    )
    assert choice.chosen is not None
    fresh = rate(choice.chosen.way, drawn(5000, 5, sure_right=0.9, unsure_right=0.1, large_right=0.8))
    assert fresh.cost <= limit


def test_unreachable_cost():
    """The large model alone would be the dearest: what the small one says is free, and needs no test."""
    for limit in (0.0, 1.0):
        choice = calibrate(
            drawn(40, 4, sure_right=0.9, unsure_right=0.1, large_right=0.8), Target("cost", limit), risk=0.05
        )
        assert choice.chosen is not None
        assert (choice.chosen.way.stage1, choice.chosen.cost) == (0.0, 0.0)


def test_generous_cost():
    """Every way holds such a target, so the best is chosen."""
    choice = calibrate(
        drawn(40, 4, sure_right=0.9, unsure_right=0.1, large_right=0.8), Target("cost", 10.0**9), risk=0.05
    )
    assert choice.chosen is not None
    assert choice.chosen.score == max(r.score for r in choice.frontier)
    assert choice.chosen.cost > 0


def test_free_items():
    """A large model of one's own is free, too."""
    free = [
        msgspec.structs.replace(t, plan_cost=0, large=Paid(1.0, 0, 1), guided=Paid(1.0, 0, 1))
        for t in drawn(8, 4, sure_right=1, unsure_right=0, large_right=1)
    ]
    choice = calibrate(free, Target("cost", 0.0), risk=0.05)
    assert choice.chosen is not None
    assert choice.chosen.score == 1.0


def test_an_item_is_counted_once():
    """The same run named five times proves no more than once: it is refused."""
    once = drawn(20, 4, sure_right=1, unsure_right=1, large_right=1)
    with pytest.raises(ConfigError, match="math: 20 items occur twice"):
        calibrate(once * 5, Target("quality", 0.9), risk=0.05)


def test_different_sample_counts():
    """A confidence of four samples is another than one of eight: the kind is named."""
    mixed = [drawn(20, n, sure_right=1, unsure_right=1, large_right=1, n=n) for n in (4, 8)]
    with pytest.raises(ConfigError, match="math: votes of 4, 8 samples"):
        calibrate(mixed[0] + mixed[1], Target("quality", 0.9), risk=0.05)


def test_items_without_stage_2():
    """Where the planner wrote no guideline, the full cascade goes from stage 1 to stage 3."""
    bare = [
        msgspec.structs.replace(t, second=None)
        for t in drawn(20, 4, sure_right=1, unsure_right=0, large_right=1)
    ]
    assert {way.stage2 for way in ways(bare)} == {NEVER}
    assert calibrate(bare, Target("quality", 0.9), risk=0.05).frontier


def calibrated(folder, trials, own="", *target):
    """The settings of a proxy whose config names the file that `calibrate` made of a run, and what it said."""
    trials_of.write(folder, trials)
    file = folder / "found.toml"
    said = CliRunner().invoke(main, ["calibrate", str(folder), "--out", str(file), *target])
    assert said.exit_code == 0, said.output
    config = folder / "cope.toml"
    config.write_text(f'[small.vllm]\n[cascade]\ncalibration = "{file}"\n{own}')
    return load(config, {}), said.output


def code(settings, usual):
    return policy(settings.cascade, TaskKind.CODE, usual, Controls())


CODE = drawn(600, 1, sure_right=0.99, unsure_right=0.1, large_right=0.8, task="code", usual=BEHAVIOUR)


def test_calibrated_sample_count(tmp_path):
    """A run with four samples is certified for four, whatever `cascade.samples` says."""
    settings, _ = calibrated(tmp_path, CODE, "", "--quality", "0.95")
    assert (code(settings, BEHAVIOUR).samples, settings.cascade.samples) == (4, 8)
    (tmp_path / "cope.toml").write_text(
        (tmp_path / "cope.toml").read_text() + "samples = 2\nmax_samples = 2\n"
    )
    with pytest.raises(ConfigError, match=r"cascade\.thresholds\.code\.samples: 4 is more than"):
        load(tmp_path / "cope.toml", {})


def test_calibrated_scale(tmp_path):
    """Code that is compared as text has confidences of another kind, and keeps its usual thresholds."""
    settings, _ = calibrated(tmp_path, CODE, "", "--quality", "0.95")
    assert code(settings, BEHAVIOUR).stages[0].threshold == 1.0
    assert tuple(stage.threshold for stage in code(settings, USUAL).stages) == USUAL


def test_configured_thresholds_win(tmp_path):
    """Whole: thresholds of one with the plans or the n of the other were never tested. They hold on every scale."""
    settings, _ = calibrated(tmp_path, CODE, "", "--quality", "0.95")
    certified = code(settings, BEHAVIOUR)
    assert overridden_kinds(settings) == []
    settings, _ = calibrated(tmp_path, CODE, "[cascade.thresholds.code]\nstage1 = 0.9\n", "--quality", "0.95")
    assert code(settings, BEHAVIOUR).stages[0].threshold == code(settings, USUAL).stages[0].threshold == 0.9
    assert code(settings, USUAL).stages[1].threshold == 0.5
    assert (certified.samples, code(settings, BEHAVIOUR).samples) == (4, 8)
    assert overridden_kinds(settings) == ["code"]


def test_initial_config_keeps_calibration(tmp_path):
    """Every kind that was calibrated is applied, not only those that the example does not speak of."""
    maths = drawn(600, 1, sure_right=0.99, unsure_right=0.1, large_right=0.8, task="math")
    calibrated(tmp_path, maths, "", "--quality", "0.95")
    own = tmp_path / "own.toml"
    assert CliRunner().invoke(main, ["init", str(own)]).exit_code == 0
    line = '# calibration = "calibration.toml"'
    text = own.read_text()
    assert line in text
    own.write_text(text.replace(line, f'calibration = "{tmp_path / "found.toml"}"'))
    found = policy(load(own, {}).cascade, TaskKind.MATH, USUAL, Controls())
    assert (found.stages[0].threshold, found.samples) == (1.0, 4)


def test_calibration_needs_equality(tmp_path):
    """What was certified does; a config that says otherwise would send more upstream than was tested."""
    with pytest.raises(ConfigError, match=r"accept_at_threshold: a calibration accepts"):
        calibrated(tmp_path, CODE, "accept_at_threshold = false\n", "--quality", "0.95")


def test_items_on_another_scale(tmp_path):
    """A few functions without a signature do not spoil a run, and nothing is claimed for them."""
    text = drawn(5, 9, sure_right=0, unsure_right=0, large_right=1, task="code")
    settings, said = calibrated(tmp_path, CODE + text, "", "--quality", "0.95")
    assert "5 of 605 items left out" in said
    assert code(settings, BEHAVIOUR).stages[0].threshold == 1.0


def test_cost_target_stays_local(tmp_path):
    """Not when it is out of reach, and not when any way holds it."""
    for cost in ("0", "0.0001", "1000"):
        settings, _ = calibrated(tmp_path, CODE, "", "--max-usd-per-1000", cost)
        assert settings.cascade.thresholds["code"].skip is None


def test_too_few_items_certify_nothing():
    """Four items prove nothing, however well they went."""
    assert (
        calibrate(
            drawn(4, 6, sure_right=1, unsure_right=1, large_right=1), Target("quality", 0.99), risk=0.05
        ).chosen
        is None
    )


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


def spoiled(trials, share, **change):
    """The same trials, a share of them with other votes."""
    lot = random.Random(1)
    return [
        msgspec.structs.replace(t, **{name: msgspec.structs.replace(t.first, **change) for name in VOTED})
        if lot.random() < share
        else t
        for t in trials
    ]


def test_cost_with_missing_answers(tmp_path):
    """What it cannot answer is paid for: no way but a tested one may claim to hold the cost, and the file says so."""
    trials = spoiled(
        drawn(600, 1, sure_right=0.9, unsure_right=0.8, large_right=0.9), 0.4, answered=False, score=0.0
    )
    choice = calibrate(trials, Target("cost", 900), risk=0.05)
    assert choice.certified
    assert choice.chosen.cost <= 900
    nothing = calibrate(trials, Target("cost", 200), risk=0.05)
    assert (nothing.certified, nothing.chosen.cost > 200) == (0, True)
    _, _ = calibrated(tmp_path, trials, "", "--max-usd-per-1000", "0.0002")
    assert "NOT certified" in (tmp_path / "found.toml").read_text()


def test_expensive_small_model():
    """Its votes hold the quality, and so does the large model alone, for less."""
    dear = spoiled(drawn(600, 1, sure_right=1, unsure_right=1, large_right=0.8), 1, cost=2000, score=1.0)
    assert calibrate(dear, Target("quality", 0.9), risk=0.05).chosen is None


def test_many_distinct_confidences():
    """A thousand of them would be a million pairs; the lowest and the highest are always among those tried."""
    lot = random.Random(0)
    trials = [
        msgspec.structs.replace(
            t, **{name: msgspec.structs.replace(t.first, confidence=lot.random()) for name in VOTED}
        )
        for t in drawn(1000, 0, sure_right=1, unsure_right=0, large_right=1)
    ]
    found = ways(trials)
    assert len(found) < 1200
    confidences = [t.first.confidence for t in trials]
    tried = {way.stage1 for way in found if way.plans == "goals"}
    assert (min(tried), max(tried)) == (min(confidences), max(confidences))


@given(TRIALS)
def test_the_frontier_is_not_beaten(trials):
    """No way is both better and no dearer than one on the frontier."""
    choice = calibrate(trials, Target("quality", 0.9), risk=0.05)
    rated = [rate(way, trials) for way in ways(trials)]
    for best in choice.frontier:
        assert not any(r.score > best.score and r.cost <= best.cost for r in rated)
