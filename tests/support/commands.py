"""The commands of the proxy in this process, with a config whose servers are never asked."""

from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner

from proxy.cli.main import main

CONFIG = """
[small]
base_url = "http://127.0.0.1:9/v1"
model = "m"
[large]
base_url = "http://127.0.0.1:9/v1"
[sandbox]
enabled = false
[database]
url = "{url}"
"""


def sqlite_url(path: Path | str) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite+aiosqlite:///{path}"


def config_of(folder: Path, url: str, more: str = "") -> list[str]:
    """Write a config with a database and some more lines. Return the options that name it."""
    config = folder / "cope.toml"
    config.write_text(CONFIG.format(url=url) + more)
    return ["--config", str(config)]


def run_command(arguments: Sequence[str]) -> tuple[int, str]:
    """Run a command as `cope-proxy` does. Return its exit code and what it wrote."""
    done = CliRunner().invoke(main, arguments, env={"OPENAI_API_KEY": "k"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output
