"""Commands whose database cannot be used."""

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from tests.support.wait import free_port


@pytest.mark.parametrize(
    "command", ["keys list", "budgets list", "spend", "ledger unsettled", "db current", "db upgrade"]
)
@pytest.mark.parametrize("kind", ["unwritable", "refused"])
def test_one_line(tmp_path, command, kind):
    """An unwritable SQLite path and a refused connection are one line that names the key."""
    urls = {
        "unwritable": f"sqlite+aiosqlite:///{tmp_path}/missing/x.db",
        "refused": f"postgresql+asyncpg://u@127.0.0.1:{free_port()}/x",
    }
    config = tmp_path / "cope.toml"
    config.write_text(f'[small.vllm]\n[database]\nurl = "{urls[kind]}"\n')
    done = CliRunner().invoke(main, [*command.split(), "--config", str(config)])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.output
    assert done.stderr.startswith("Error: database.url: ")
