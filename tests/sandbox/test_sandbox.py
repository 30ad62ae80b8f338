"""The sandbox holds, and tells what programs do."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from proxy.cascade.types import Program
from proxy.sandbox import Sandbox, SandboxError, open_sandbox
from proxy.sandbox.selftest import SECRET, attempts, find_holes

SQUARE = "def f(x):\n    return x * x\n"


def run(*sources, checks=(), probes=()):
    return asyncio.run(Sandbox().run(Program(sources, checks, probes)))


def test_the_walls_stand_on_this_machine():
    """The self-test runs a harmless program, and finds no way out."""
    assert asyncio.run(find_holes(Sandbox())) == []


@pytest.fixture(scope="module")
def listening():
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


HARMLESS_OUTSIDE = [
    "reach the network",
    "read a file of the machine",
    "read the proxy's program",
    "read our variables",
    "start a program",
    "start a thread",
]


@pytest.mark.parametrize("what", HARMLESS_OUTSIDE)
def test_an_attempt_fails_because_of_the_walls_alone(what, listening):
    """Outside the sandbox the very same program succeeds: the self-test tries what would work."""
    source = attempts(listening)[what]
    done = subprocess.run(
        [sys.executable, "-c", source], env={**os.environ, SECRET: "1"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not run(source).loaded


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.kill(1, 9)",
        "import os\nos.execv('/bin/sh', ['sh'])",
        "import socket\nsocket.socket(socket.AF_UNIX)",
        "import os\nos.symlink('/etc', 'x'); print(open('x/passwd').read())",
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.write(1, b'x' * 2**24)\nos._exit(0)",
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'garbage' * 2**20)\n    except OSError: pass\nos._exit(0)",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nx = bytearray(2**31)",
        "import sys\nsys.exit(0)",
        "def f(): f()\nf()",
        "x = 'a' * 10**12",
        "raise KeyboardInterrupt",
    ],
)
def test_a_hostile_program_gains_nothing(source):
    """Neither a way out nor a verdict in its favour; the next program runs as if it had not been."""
    assert not run(source, checks=("assert False",)).passed
    assert run(SQUARE, checks=("assert f(3) == 9",)).passed


def test_nothing_is_left_from_one_program_to_the_next():
    """The scratch folder is each program's own."""
    assert run("open('left', 'w').write('x')").loaded
    assert not run("open('left').read()").loaded


def test_probes_tell_values_so_that_equal_ones_read_alike():
    """Values are written the one way; an error is told by its kind, an endless one by its length."""
    source = "def f(x):\n    return x\ndef loop():\n    while True: pass\ndef fail():\n    return 1 / 0\n"
    told = run(
        source,
        probes=("f(2.0)", "f(2)", "f({3, 1, 2})", "f({'b': 1, 'a': 2})", "loop()", "fail()", "missing"),
    )
    assert told.outcomes == (
        "2",
        "2",
        "{1, 2, 3}",
        "{'a': 2, 'b': 1}",
        "!too long",
        "!ZeroDivisionError",
        "!NameError",
    )


def test_the_first_source_that_runs_counts():
    """A body alone is read as the continuation of what the request began."""
    told = run("    return x * x\n", f"{SQUARE}", checks=("assert f(2) == 4",))
    assert told.passed


def test_checks_are_all_needed():
    """One check that fails is enough."""
    assert not run(SQUARE, checks=("assert f(2) == 4", "assert f(3) == 8")).passed


def test_without_bubblewrap_the_reason_and_the_remedy_are_told(monkeypatch):
    """A machine that lacks it is told what to install."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        asyncio.run(open_sandbox())
