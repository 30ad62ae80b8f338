"""What one request does on the event loop, in counts that do not depend on the machine."""

import subprocess
import sys

from tests.support.processes import ROOT, python_env


def test_counts_stay_small():
    """Calls, tasks, jobs for threads and statements of a request are within the limits of the benchmark."""
    command = [sys.executable, "benchmarks/hotpath.py", "--short"]
    done = subprocess.run(
        command, cwd=ROOT, env=python_env(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
