"""The README's first command."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def cope(*args):
    env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    command = [sys.executable, "-m", "proxy.cli", *args]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def nano(usd):
    return round(float(usd) * 10**9)


def test_demo_saves_money(tmp_path):
    """Without a key: a real vLLM, half of the questions answered locally and right, a saving, a ledger that agrees."""
    shown = cope("demo", "--model", "bundled", "--exit", "--port", "0", "--folder", str(tmp_path))
    (asked,) = re.findall(
        r"^(\d+) questions: (\d+) at stage 1, (\d+) at stage 2, (\d+) at stage 3$", shown, re.MULTILINE
    )
    total, *stages = map(int, asked)
    assert sum(stages) == total
    assert stages[0] > 0 < stages[2]
    assert f"{total} of {total} answered" in shown
    (local, right) = re.findall(
        r"^answered locally: (\d+) of \d+ \(\d+ %\), right: (\d+) of", shown, re.MULTILINE
    )[0]
    assert int(local) == stages[0] + stages[1]
    assert int(right) * 2 >= total
    (cost, alone, saved) = re.findall(
        r"^cost ([\d.]+) USD, .* alone ([\d.]+) USD: saved (-?\d+) %", shown, re.MULTILINE
    )[0]
    assert int(saved) > 0
    config = str(tmp_path / "cope.toml")
    rows = json.loads(cope("spend", "--by", "stage", "--json", "--config", config))
    assert sum(row["requests"] for row in rows) == total
    assert [sum(row[name] for row in rows) for name in ("cost", "baseline")] == pytest.approx(
        [nano(cost), nano(alone)], abs=500
    )
