"""Settings that contradict each other."""

import pytest

from proxy.config.loading import load
from proxy.errors import ConfigError

VLLM = "[small.vllm]\n"
CERTIFIED = '[cascade.thresholds.math]\nplans = "all"\ncertified = { usual = [0.75, 0.5], stage1 = 0.75, stage2 = "never" }\n'
OF_B = CERTIFIED.replace(" }", ', planner = "b" }')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f'[small]\nmodel = "m"\nbase_url = "http://h/v1"\n{VLLM}',
            "small: base_url and [small.vllm] exclude each other; remove one of them",
        ),
        (
            '[small]\nbase_url = "http://h/v1"\n',
            "small.model: name the model that the server at small.base_url serves",
        ),
        (f"{VLLM}[cascade]\nsamples = 33\n", "cascade.samples: 33 is more than cascade.max_samples (32)"),
        (
            f"{VLLM}[cascade.thresholds.math]\nsamples = 40\n",
            "cascade.thresholds.math.samples: 40 is more than cascade.max_samples (32)",
        ),
        (
            f'{VLLM}[large]\nmodel = "cope"\n',
            "large.model: 'cope' is also 'small' or in cascade.aliases; rename the alias",
        ),
        (
            f'{VLLM}[large]\nmodel = "a"\nfallbacks = ["b"]\n',
            "large.fallbacks: 'b' is none of the large models (a)",
        ),
        (
            f'{VLLM}[large]\nmodel = "a"\nmodels = ["b"]\n[cascade]\nplanner = "c"\n',
            "cascade.planner: 'c' is none of the large models (a, b)",
        ),
        (
            f'{VLLM}[large]\nmodel = "a"\nmodels = ["b"]\n[cascade]\nplanner = "b"\n{CERTIFIED}',
            'cascade.planner: math was calibrated with guidelines of a, not of b; set this to "a" or calibrate again',
        ),
        (
            f'{VLLM}[large]\nmodel = "a"\nmodels = ["b"]\n{OF_B}',
            'cascade.planner: math was calibrated with guidelines of b, not of a; set this to "b" or calibrate again',
        ),
        (
            f'{VLLM}[upstreams.azure]\nbase_url = "https://h"\n',
            "upstreams.azure.models: name the models that this upstream serves",
        ),
        (
            f'{VLLM}[large]\nbase_url = "h/v1"\n',
            "large.base_url: 'h/v1' is not a URL; it must start with http:// or https://",
        ),
        (
            f'{VLLM}[cascade.kinds]\n"system=9F86" = "code"\n',
            "cascade.kinds: 'system=9F86' has no beginning of a SHA-256; use 8 to 64 of the digits that `cope-proxy prompt-hash` prints",
        ),
        (
            f'{VLLM}[cascade.kinds]\n"model=gpt" = "code"\n',
            "cascade.kinds: 'model=gpt' names none of cope, small; the cascade answers for these only",
        ),
        (
            f'{VLLM}[cascade.kinds]\n"team" = "code"\n',
            'cascade.kinds: \'team\' is no entry; use "system=HASH", "model=ALIAS" or "key=NAME"',
        ),
        (
            f'{VLLM}[budgets]\ntimezone = "Berlin"\n',
            "budgets.timezone: 'Berlin' is not a time zone; use a name such as Europe/Berlin, or UTC",
        ),
        (
            f'{VLLM}[budgets.teams."a\\tb"]\nusd = 1\n',
            "budgets.teams: 'a\\tb' is not the name of a team: a name has 1 to 64 visible characters on one line",
        ),
        (
            f'{VLLM}[budgets.teams."search "]\nusd = 1\n',
            "budgets.teams: 'search ' names no team, because names are stored as 'search'",
        ),
        (
            f'{VLLM}[database]\nurl = "mysql://h/d"\n',
            "database.url: 'mysql' is not supported; use sqlite+aiosqlite:///FILE or postgresql+asyncpg://user@host/db",
        ),
    ],
)
def test_contradiction_is_refused(tmp_path, text, problem):
    """Each contradiction is one line with its key and a remedy."""
    path = tmp_path / "cope.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as e:
        load(path, {})
    assert e.value.problems == [problem]


@pytest.mark.parametrize("planner", ["", 'planner = "a"\n'])
def test_planner_of_a_calibration(tmp_path, planner):
    """The large model itself is the planner if none is named. Plans without a guideline need no planner."""
    path = tmp_path / "cope.toml"
    models = f'{VLLM}[large]\nmodel = "a"\nmodels = ["b"]\n'
    path.write_text(f"{models}[cascade]\n{planner}{CERTIFIED}")
    load(path, {})
    goals = CERTIFIED.replace('"all"', '"goals"')
    path.write_text(f'{models}[cascade]\nplanner = "b"\n{goals}')
    load(path, {})


def test_strict_comparison_excludes_calibration(tmp_path):
    """A calibration was made for thresholds that accept an equal confidence."""
    (tmp_path / "calibration.toml").write_text("")
    path = tmp_path / "cope.toml"
    path.write_text(
        f'{VLLM}[cascade]\naccept_at_threshold = false\ncalibration = "{tmp_path / "calibration.toml"}"\n'
    )
    with pytest.raises(ConfigError, match=r"cascade\.accept_at_threshold: a calibration accepts"):
        load(path, {})
