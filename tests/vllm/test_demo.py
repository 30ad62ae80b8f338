"""The README's first command."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def test_demo_answers_every_question(tmp_path):
    """Without a key: a real vLLM, real questions, and a ledger that has every one of them."""
    env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    command = [sys.executable, "-m", "proxy.cli", "demo", "--folder", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 answered" in done.stdout
    (total,) = re.findall(r"^│ all +│ +(\d+) │ +(\d+) │", done.stdout, re.MULTILINE)
    assert total == ("5", "0")
