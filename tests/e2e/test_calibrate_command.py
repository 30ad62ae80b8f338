"""`cope-proxy calibrate` on a run, and the proxy that applies its file."""

import pytest

from tests.support.config import LARGE_MODEL
from tests.support.evals import evaluate
from tests.support.proxy_process import ProxyProcess

pytestmark = pytest.mark.slow


def test_proxy_applies_a_calibration(bench, small_server, large_server):
    """Too few items certify nothing; what the file says is what the proxy then does, and the config's own tables win."""
    proxy, data = bench
    assert evaluate(proxy, data).returncode == 0
    done = proxy.cli_without_config("calibrate", "run", "--quality", "0.9", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    assert "large model alone" in done.stdout
    assert "skip = true" in (proxy.folder / "found.toml").read_text()
    changed = ProxyProcess(
        proxy.folder,
        small_server.base_url,
        large_server.base_url,
        cascade={"calibration": str(proxy.folder / "found.toml")},
    )
    with changed:
        answer = changed.client().chat.completions.create(
            model="cope", messages=[{"role": "user", "content": "What is 1 + 1?"}]
        )
        assert (answer.cope["stage"], answer.cope["model"]) == (3, LARGE_MODEL)
        assert answer.cope["reason"] == "math goes to the large model (cascade.thresholds.math.skip)"
        by_name = changed.client().chat.completions.create(
            model="cope",
            messages=[{"role": "user", "content": "What is 1 + 1?"}],
            extra_headers={"X-COPE-Mode": "cascade"},
        )
        assert by_name.cope["stage"] == 1


def test_unreachable_cost_stays_local(bench, small_server, large_server):
    """Nothing is free but the small model: it answers whatever it votes for, at the n of the run."""
    proxy, data = bench
    assert evaluate(proxy, data, "--samples", "2").returncode == 0
    done = proxy.cli_without_config("calibrate", "run", "--max-usd-per-1000", "0", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    changed = ProxyProcess(
        proxy.folder,
        small_server.base_url,
        large_server.base_url,
        cascade={"calibration": str(proxy.folder / "found.toml")},
    )
    with changed:
        answer = changed.client().chat.completions.create(
            model="cope", messages=[{"role": "user", "content": "What is 8 + 8?"}]
        )
    assert (answer.cope["stage"], answer.cope["cost_usd"]) == (1, "0")
    assert answer.cope["stages"][0]["of"] == 2


def test_duplicate_runs_are_refused(bench):
    """Its items would be counted as new evidence."""
    proxy, data = bench
    assert evaluate(proxy, data).returncode == 0
    done = proxy.cli_without_config("calibrate", "run", "run", "--quality", "0.9")
    assert done.returncode != 0
    assert "math: 8 items occur twice" in done.stderr


def test_one_target_is_needed(bench):
    """Without one, or with two, the command says what to name."""
    proxy, _ = bench
    (proxy.folder / "run").mkdir()
    assert "name one target" in proxy.cli_without_config("calibrate", "run").stderr
    done = proxy.cli_without_config("calibrate", "run", "--quality", "1")
    assert "no run of `cope-proxy eval`" in done.stderr
