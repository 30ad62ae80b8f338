"""A config that names the file of a calibration: what was certified is applied."""

import re

import pytest
from click.testing import CliRunner

from proxy.cascade.types import TaskKind
from proxy.cli.main import main
from proxy.config.controls import Controls
from proxy.config.loading import load, overridden_kinds
from proxy.config.policy import policy
from proxy.errors import ConfigError
from proxy.evals import trial as trials_of
from proxy.evals.thresholds_from_runs import Target, calibrate
from tests.support.trials import BEHAVIOUR, USUAL, drawn, planned_apart, spoiled


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


@pytest.mark.parametrize("other", [(), ("--quality", "0.9"), ("--max-usd-per-1000", "0.0009")])
def test_limit_of_the_regret(tmp_path, other):
    """The file names the limit and its certificate, and the proxy applies what was certified."""
    settings, _ = calibrated(tmp_path, CODE, "", "--regret", "0.05", *other)
    text = (tmp_path / "found.toml").read_text()
    assert "a regret of at most 5 % of accepted answers, at a risk of 5 %" in text.splitlines()[0]
    assert re.search(
        r"# certified on 300 items kept for the test \(p = [\d.e-]+\): regret \d of \d+ accepted", text
    )
    assert (code(settings, BEHAVIOUR).stages[0].threshold, settings.cascade.thresholds["code"].skip) == (
        1.0,
        None,
    )


def test_uncertified_regret(tmp_path):
    """The large model answers alone, and the file and the command say how many items would do."""
    settings, said = calibrated(tmp_path, CODE[:60], "", "--regret", "0.05")
    assert settings.cascade.thresholds["code"].skip
    found = re.search(r"about \d+ such items would certify this limit of the regret \(60 given\)", said)
    assert found is not None
    assert found[0] in (tmp_path / "found.toml").read_text()
    settings, said = calibrated(tmp_path, CODE, "", "--regret", "0")
    assert settings.cascade.thresholds["code"].skip
    assert "no number of such items would certify this limit of the regret (600 given)" in said


def test_planner_of_the_calibration(tmp_path):
    """A run with a separate planner is calibrated with its guidelines. The config has to keep this planner."""
    unsure = drawn(600, 1, sure_right=0.5, unsure_right=0.5, large_right=0.8)
    found = planned_apart(unsure, confidence=1.0, score=1.0)
    own = 'planner = "mini"\n[large]\nmodels = ["mini"]\n'
    settings, _ = calibrated(tmp_path, found, own, "--quality", "0.95")
    table = settings.cascade.thresholds[TaskKind.MATH]
    assert (table.plans, table.certified.planner) == ("all", "mini")
    config = (tmp_path / "cope.toml").read_text()
    (tmp_path / "cope.toml").write_text(config.replace('planner = "mini"', ""))
    with pytest.raises(ConfigError) as e:
        load(tmp_path / "cope.toml", {})
    assert "math was calibrated with guidelines of mini" in e.value.problems[0]
