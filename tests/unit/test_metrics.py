"""The metrics of several processes of one machine."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.processes import python_env

NOTE = """
import os, sys, time
from proxy import metrics
metrics.LEDGER_BACKLOG.set(100)
metrics.SMALL_AVAILABLE.set(0)
metrics.VOTE_FAILURES.labels("math").inc()
print("noted", flush=True)
sys.stdin.read()
"""
COLLECT = """
from prometheus_client import generate_latest
from proxy import metrics
metrics.LEDGER_BACKLOG.set(1)
metrics.SMALL_AVAILABLE.set(1)
class Everything:
    collect = staticmethod(metrics.collect)
print(generate_latest(Everything()).decode())
"""


@pytest.fixture
def env(tmp_path):
    return {**python_env(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}


def start(env, program):
    return subprocess.Popen(
        [sys.executable, "-c", program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def collected(env):
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_dead_leave_counts_only(env):
    """A process that was killed keeps its counts, and has no gauges any more."""
    with start(env, NOTE) as other:
        assert other.stdout.readline() == "noted\n"
        both = collected(env)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        alone = collected(env)
    assert "cope_ledger_backlog_bytes 101.0" in both
    assert "cope_small_available 0.0" in both
    assert "cope_ledger_backlog_bytes 1.0" in alone
    assert "cope_small_available 1.0" in alone
    for text in (both, alone):
        assert 'cope_vote_failures_total{kind="math"} 1.0' in text


def test_names_and_texts(env):
    """Each metric has the prefix and a text, also when it is read from the files of all processes."""
    helps = [line.split(" ", 3)[2:] for line in collected(env).splitlines() if line.startswith("# HELP")]
    assert helps
    for name, text in helps:
        assert name.startswith("cope_")
        assert text != "Multiprocess metric"
