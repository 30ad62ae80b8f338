"""The settings."""

from pathlib import Path

import pytest

from proxy.config.loading import load
from proxy.config.schema import Settings
from proxy.errors import ConfigError

ROOT = Path(__file__).parents[3]


def problems(tmp_path, text, env=None):
    path = tmp_path / "cope.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as e:
        load(path, env or {})
    return e.value.problems


def test_example_has_all_defaults():
    """The example has every key, with the default of the code."""
    settings = load(ROOT / "config.example.toml", {})
    assert settings.server == Settings().server
    assert settings.large == Settings().large
    assert settings.small.on_unavailable == Settings().small.on_unavailable
    text = (ROOT / "config.example.toml").read_text()
    for section in ("server", "database", "small", "large", "cascade", "budgets", "ledger"):
        for name in type(getattr(settings, section)).__struct_fields__:
            assert name in text, f"{section}.{name} is not in the example"


def test_every_problem_reported(tmp_path):
    """Unknown keys, wrong types and missing values are all reported at once."""
    found = problems(
        tmp_path, '[servr]\n[server]\nprt = 1\nport = "x"\n[small.vllm]\n[prices.m]\ninput_per_mtok = -1\n'
    )
    assert found == [
        "servr: unknown key; did you mean server?",
        "server.prt: unknown key; did you mean port?",
        "server.port: expected `int`, got `str`",
        "prices.m.input_per_mtok: -1 is not an amount of USD in 0..1000000000",
        "prices.m.output_per_mtok: missing; add it",
    ]


def test_environment_overrides_file(tmp_path):
    """COPE__SECTION__KEY overrides the file and keeps the case of a model's name."""
    path = tmp_path / "cope.toml"
    path.write_text("[small.vllm]\n[cascade]\nsamples = 3\n")
    env = {
        "COPE__CASCADE__SAMPLES": "5",
        "COPE__PRICES__Big-1.0__INPUT_PER_MTOK": "1",
        "COPE__PRICES__Big-1.0__OUTPUT_PER_MTOK": "2.5",
    }
    settings = load(path, env)
    assert settings.cascade.samples == 5
    assert "Big-1.0" in settings.prices


def test_missing_small_model(tmp_path):
    """Without a URL and [small.vllm] the error names both remedies."""
    assert "small.base_url" in problems(tmp_path, "")[0]
