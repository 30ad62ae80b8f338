"""The arguments of `cope-proxy calibrate`: each odd value is refused in words, before a run is read."""

import pytest
from click.testing import CliRunner

from proxy.cli.main import main

ODD = ["nan", "-nan", "inf", "-inf", "-0.01", "1.6", "5%", "0,05", "", "five"]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """A function that runs `calibrate` and returns what it says. It has to end as a wrong usage does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()

    def run(*options):
        said = CliRunner().invoke(main, ["calibrate", "run", *options])
        assert (said.exit_code, said.stdout) == (2, "")
        assert isinstance(said.exception, SystemExit)
        return said.stderr

    return run


@pytest.mark.parametrize("value", [*ODD, "1", "1.0"])
def test_regret_is_a_share(refused, value):
    """A limit of all answers is no limit."""
    assert "--regret" in refused("--regret", value)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("option", ["--quality", "--risk"])
def test_shares_are_numbers(refused, option, value):
    """Not a number lies below no limit and above none, so a comparison alone lets it through."""
    assert option in refused("--regret", "0.05", option, value)


@pytest.mark.parametrize(
    "targets",
    [
        (),
        ("--quality", "1", "--max-usd-per-1000", "1"),
        ("--quality", "1", "--max-usd-per-1000", "1", "--regret", "0.1"),
    ],
)
def test_targets_that_combine(refused, targets):
    """A quality and a cost do not. The message names all three."""
    said = refused(*targets)
    assert all(name in said for name in ("--quality", "--max-usd-per-1000", "--regret"))


@pytest.mark.parametrize("beside", [(), ("--quality", "0.9"), ("--max-usd-per-1000", "1")])
@pytest.mark.parametrize("limit", ["0", "0.05", "0.999", "1e-300", "5e-2"])
def test_good_limits(refused, limit, beside):
    """They come as far as the run, which is empty here."""
    assert "no run of `cope-proxy eval`" in refused("--regret", limit, *beside)
