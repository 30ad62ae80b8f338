"""The Node example runs as its users run it, against the real proxy."""

import os
import re
import shutil
import subprocess

import pytest

from tests.support.processes import ROOT

pytestmark = [pytest.mark.node, pytest.mark.slow]


def test_node_sdk_example(proxy, small_server, large_server, node_packages):
    """The small model's samples agree, so the answer is local and costs nothing."""
    small_server.say("\\boxed{84}")
    shutil.copy(ROOT / "examples/node_sdk.mjs", node_packages)
    done = subprocess.run(
        ["node", "node_sdk.mjs"],
        cwd=node_packages,
        env={**os.environ, "OPENAI_BASE_URL": proxy.base_url, "OPENAI_API_KEY": "anything"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer, facts, money = done.stdout.splitlines()
    assert answer == "\\boxed{84}"
    assert re.fullmatch(r"task math, stage 1, confidence (0\.75|1), model small-model", facts)
    assert money.startswith("cost 0 USD, the large model alone about 0.0")
    assert large_server.chats() == []
