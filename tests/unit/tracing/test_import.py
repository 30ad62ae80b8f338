"""Tracing costs nothing while it is off."""

import subprocess
import sys

from tests.support.processes import ROOT, python_env


def test_nothing_of_opentelemetry_is_imported():
    """The proxy's modules need none of it, so the extra may be missing."""
    code = (
        "import sys, proxy.http.app, proxy.cli.main; print([m for m in sys.modules if 'opentelemetry' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=python_env(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "[]"
