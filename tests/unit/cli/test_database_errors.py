"""Commands whose database cannot be used."""

import subprocess
import sys

import pytest

from tests.support.wait import free_port


@pytest.mark.parametrize("command", ["keys list", "db current", "db upgrade"])
@pytest.mark.parametrize("kind", ["unwritable", "refused"])
def test_one_line(tmp_path, command, kind):
    """An unwritable SQLite path and a refused connection are one line that names the key."""
    urls = {
        "unwritable": f"sqlite+aiosqlite:///{tmp_path}/missing/x.db",
        "refused": f"postgresql+asyncpg://u@127.0.0.1:{free_port()}/x",
    }
    config = tmp_path / "cope.toml"
    config.write_text(f'[small.vllm]\n[database]\nurl = "{urls[kind]}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", *command.split(), "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("Error: database.url: ")
