"""The commands, on a running proxy's config."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_doctor_reads_new_config(tmp_path):
    """`init` writes the commented example, and does not replace a file."""
    first, second = (
        subprocess.run(
            [sys.executable, "-m", "proxy.cli", "init", str(tmp_path / "cope.toml")],
            capture_output=True,
            text=True,
            check=False,
        )
        for _ in range(2)
    )
    assert first.returncode == 0
    assert "[cascade]" in (tmp_path / "cope.toml").read_text()
    assert second.returncode != 0
    assert "--force" in second.stderr


def test_doctor_checks_every_part(proxy):
    """With both servers up everything is ok."""
    done = proxy.cli("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("config", "prices", "tokenizers", "database", "small tier", "upstream"):
        assert f"ok    {part}" in done.stdout


def test_doctor_names_what_is_down(make_proxy):
    """A small tier that is away fails its line and the exit code."""
    done = make_proxy(small_url="http://127.0.0.1:9/v1").cli("doctor")
    assert done.returncode == 1
    assert "FAIL  small tier" in done.stdout


def test_two_workers_share_tiers(make_proxy, small_server):
    """`server.workers = 2` serves, and every request is in the one ledger."""
    small_server.say("\\boxed{1}")
    proxy = make_proxy(server={"workers": 2})
    for _ in range(6):
        proxy.client().chat.completions.create(
            model="cope", messages=[{"role": "user", "content": "What is 0 + 1?"}]
        )
    assert proxy.stop() in (0, -15)
    assert proxy.rows("SELECT count(*) AS n FROM requests")[0]["n"] == 6
    assert proxy.rows("SELECT count(*) AS n FROM reservations")[0]["n"] == 0


def test_an_open_door_is_refused(make_proxy):
    """A proxy that others can reach does not start without a key."""
    import pytest

    with pytest.raises(Exception, match="keys create"):
        make_proxy(server={"host": "0.0.0.0"})
