"""A path that cannot be written is one line, which names it."""

import json

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from tests.support.commands import config_of, run_command, sqlite_url

NOWHERE = "/sys/none"
"""Not even root can create it."""
COMMANDS = {
    "eval": ["eval", "{folder}/items.jsonl", "--out", NOWHERE],
    "calibrate": ["calibrate", "--audited", "--quality", "0.9", "--out", NOWHERE],
    "parquet": ["spend", "--parquet", NOWHERE],
    "serve": ["serve"],
    "doctor": ["doctor"],
}


def run(folder, arguments):
    config = config_of(folder, sqlite_url(folder / "x.db"), f'[ledger]\nspool_dir = "{NOWHERE}"\n')
    item = {"id": "1", "task": "math", "prompt": "1+1?", "answer": "2"}
    (folder / "items.jsonl").write_text(json.dumps(item) + "\n")
    code, output = run_command([*(a.format(folder=folder) for a in arguments), *config])
    return code, [line for line in output.splitlines() if NOWHERE in line], output


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_name_the_path(tmp_path, name):
    """Each command that writes a file names it in one line."""
    code, lines, output = run(tmp_path, COMMANDS[name])
    assert code in (1, 2), output
    assert len(lines) == 1, output
    assert name == "doctor" or output.splitlines() == lines, output
    if name in ("serve", "doctor"):
        assert f"ledger.spool_dir: {NOWHERE} cannot be written" in output


def test_init_names_the_path(tmp_path):
    """`init` names a file that it cannot write, and a config that is a folder is named as well."""
    done = CliRunner().invoke(main, ["init", NOWHERE])
    assert (done.exit_code, done.output) == (1, f"Error: {NOWHERE}: Permission denied\n")
    done = CliRunner().invoke(main, ["spend", "--config", str(tmp_path)])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert f"config: {tmp_path}: cannot be read" in done.output
