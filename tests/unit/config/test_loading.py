"""The settings are read from the file and the environment."""

from pathlib import Path

import msgspec
import pytest

from proxy.config.loading import load, overridden_kinds
from proxy.config.schema import Settings, Thresholds, Vllm
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
    small = msgspec.structs.replace(settings.small, vllm=None)
    assert msgspec.structs.replace(settings, small=small) == Settings()
    assert settings.small.vllm == Vllm()
    text = (ROOT / "config.example.toml").read_text()
    for section in (
        "server",
        "database",
        "small",
        "large",
        "cascade",
        "sandbox",
        "audit",
        "budgets",
        "ledger",
    ):
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


def test_broken_files_are_named(tmp_path):
    """A missing file, a file that is not TOML and a missing calibration are one line each."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read .*cope-proxy init"):
        load(tmp_path / "none.toml", {})
    assert "not valid TOML" in problems(tmp_path, "[")[0]
    found = problems(tmp_path, '[small.vllm]\n[cascade]\ncalibration = "/none.toml"\n')
    assert found[0].startswith("cascade.calibration: /none.toml cannot be read")


def test_config_table_replaces_calibration(tmp_path):
    """A table in the config replaces the whole table of its kind, and only this one is reported as replaced."""
    calibration = tmp_path / "calibration.toml"
    calibration.write_text("[math]\nstage1 = 0.5\nsamples = 6\n[code]\nstage1 = 0.4\n")
    path = tmp_path / "cope.toml"
    path.write_text(
        f'[small.vllm]\n[cascade]\ncalibration = "{calibration}"\n[cascade.thresholds.math]\nstage1 = 0.9\n'
    )
    settings = load(path, {})
    assert settings.cascade.thresholds["math"] == Thresholds(stage1=0.9)
    assert settings.cascade.thresholds["code"] == Thresholds(stage1=0.4)
    assert overridden_kinds(settings) == ["math"]


TEXT = '[small.vllm]\n[cascade]\nsamples = 3\n[small]\nmodel = "müller"\n'


@pytest.mark.parametrize(
    "data", [TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.replace("\n", "\r\n").encode("utf-8-sig")]
)
def test_marks_and_line_ends(tmp_path, data):
    """A byte order mark and the line ends of Windows are read."""
    path = tmp_path / "cope.toml"
    path.write_bytes(data)
    assert load(path, {}).small.model == "müller"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-32", "UTF-16"),
        ("latin-1", "not in UTF-8 (line 5)"),
    ],
)
def test_encodings_are_named(tmp_path, encoding, words):
    """A file in another encoding is named with the remedy, and so is a calibration."""
    path, calibration = tmp_path / "cope.toml", tmp_path / "calibration.toml"
    path.write_bytes(TEXT.encode(encoding))
    with pytest.raises(ConfigError) as e:
        load(path, {})
    assert words in e.value.problems[0]
    assert "save it as UTF-8" in e.value.problems[0]
    calibration.write_bytes(TEXT.encode(encoding))
    found = problems(tmp_path, f'[small.vllm]\n[cascade]\ncalibration = "{calibration}"\n')
    assert words in found[0]


@pytest.mark.parametrize(
    "table", ["cascade = 3", "cascade = []", "small = 1", "prices = 1", "[prices]\nm = 1"]
)
def test_values_for_tables(tmp_path, table):
    """A value where a table belongs is a message."""
    assert "must be a table" in "\n".join(problems(tmp_path, f"{table}\n"))


@pytest.mark.parametrize(
    "url", ["u:secret@h/d", "mysql://u:secret@h/d", "postgres://u:secret@h/d", "sqlite+aiosqlite://"]
)
def test_database_urls(tmp_path, url):
    """A URL that cannot be used is refused with the accepted forms, and without its password."""
    (found,) = problems(tmp_path, f'[small.vllm]\n[database]\nurl = "{url}"\n')
    assert found.startswith("database.url: ")
    assert "sqlite+aiosqlite:///FILE" in found
    assert "secret" not in found
