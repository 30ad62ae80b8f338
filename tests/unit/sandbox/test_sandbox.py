"""The sandbox isolates programs and reports their behaviour."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import closing
from itertools import pairwise

import pytest

from proxy.cascade.types import Behaviour, Program
from proxy.sandbox import Sandbox, SandboxError, open_sandbox
from proxy.sandbox.bubblewrap import WALL_SECONDS, command
from proxy.sandbox.selftest import SECRET, attempts, find_holes

SQUARE = "def f(x):\n    return x * x\n"


def run(*sources, checks=(), probes=()):
    return asyncio.run(Sandbox().run(Program(sources, checks, probes)))


def test_sandbox_holds_here():
    """The self-test runs a harmless program, and finds no way out."""
    assert asyncio.run(find_holes(Sandbox().run)) == []


def test_kernel_settings_are_read_only():
    """A setting such as core_pattern could run a program outside, as root. Nothing is written here."""
    source = """
import os
tried, opened = [], []
for folder, _, names in os.walk("/proc/sys/kernel"):
    for name in names:
        tried.append(name)
        try:
            os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
        except OSError:
            continue
        opened.append(name)
def writable(): return opened
"""
    report = run(source, checks=("assert 'core_pattern' in tried",), probes=("writable()",))
    assert report == Behaviour(passed=True, outcomes=("[]",))


def test_program_is_not_root():
    """Not even when the proxy is; and it holds no capability that would make it so."""
    source = r"""
import os, re
root = os.stat("/proc/sys/kernel").st_uid
status = dict(re.findall(r"(\w+):\s*(.*)", open("/proc/self/status").read()))
held = {int(value, 16) for name, value in status.items() if name.startswith("Cap")}
"""
    checks = ("assert os.getuid() != root", "assert held == {0}", "assert status['NoNewPrivs'] == '1'")
    assert run(source, checks=checks).passed


def holes(*given):
    return asyncio.run(find_holes(Sandbox(given).run))


def before(option, *more):
    options = command(root=os.geteuid() == 0)
    place = options.index(option)
    return (*options[:place], *more, *options[place:])


def test_writable_proc_is_found():
    """The self-test reports a sandbox with a writable /proc."""
    options = command(root=os.geteuid() == 0)
    place = next(i for i, pair in enumerate(pairwise(options)) if pair == ("--remount-ro", "/proc"))
    found = holes(*options[:place], *options[place + 2 :])
    assert found
    assert all(hole.startswith("a program in the sandbox can write to /proc/") for hole in found)


def test_writable_folder_is_found(tmp_path):
    """A folder of the machine that is open to everybody is found wherever it is mounted."""
    (tmp_path / "file").touch()
    tmp_path.chmod(0o777)
    (tmp_path / "file").chmod(0o666)
    found = holes(*before("--proc", "--bind", str(tmp_path), "/mnt"))
    assert found == [f"a program in the sandbox can write to {path}" for path in ("/mnt", "/mnt/file")]


def test_root_is_found():
    """Behind the user namespace that root makes, every user is root."""
    found = holes(*command(root=False))
    root = ["a program in the sandbox can be root outside of the sandbox"]
    assert found == (root if os.geteuid() == 0 else [])


def test_failed_search_counts():
    """Without /proc, nothing says which mounts there are."""
    assert holes(*before("--dev", "--tmpfs", "/proc")) == [
        "a program in the sandbox can stop the search for writable files"
    ]


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
    "take memory that outlives its use",
]


@pytest.mark.parametrize("what", HARMLESS_OUTSIDE)
def test_attempts_succeed_outside(what, listening):
    """Outside the sandbox the very same program succeeds: the self-test tries what would work."""
    source = attempts(listening)[what]
    done = subprocess.run(
        [sys.executable, "-c", source], env={**os.environ, SECRET: "1"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not run(source).passed


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
def test_hostile_programs(source):
    """Neither a way out nor a verdict in its favour; the next program runs as if it had not been."""
    assert not run(source, checks=("assert False",)).passed
    assert run(SQUARE, checks=("assert f(3) == 9",)).passed


@pytest.mark.parametrize(
    "report",
    [
        '{"passed": true, "outcomes": 5}',
        '{"passed": true, "outcomes": [5]}',
        '{"passed": true, "outcomes": ["\\ud800"]}',
        '{"outcomes": []}',
        "[" * 60_000,
        '{"outcomes": ' + "[" * 60_000,
        "",
    ],
    ids=lambda report: report[:48],
)
def test_malformed_report(report):
    """It is neither an error of ours nor a verdict."""
    report = run(f"import os\nos.write(3, {report!r}.encode() + b'\\n')\nos._exit(0)")
    assert report == Behaviour(passed=False)


def test_endless_report():
    """Neither its flood nor the pipe that it fills keeps the run open."""
    source = (
        'import os\nos.write(3, b\'{"passed": true, "outcomes": []}\\n\')\n'
        "while True: os.write(3, b'x' * 2**16)"
    )

    async def ended():
        async with asyncio.timeout(WALL_SECONDS + 10):
            await Sandbox().run(Program((source,)))

    asyncio.run(ended())


@pytest.mark.parametrize(
    "call",
    [
        "shmget(0, 4096, 0o1600)",
        "shmat(-1, None, 0)",
        "semget(0, 1, 0o1600)",
        "msgget(0, 0o1600)",
        "mq_open(b'/x', 0o102, 0o600, None)",
        "memfd_create(b'x', 0)",
    ],
)
def test_uncounted_memory_is_refused(call):
    """The kernel would keep it for the program beyond what its address space may hold."""
    source = f"import ctypes, errno\nctypes.CDLL(None, use_errno=True).{call}\n"
    assert run(source, checks=("assert ctypes.get_errno() == errno.EPERM",)).passed


def test_standard_library_works():
    """The filter takes nothing away that a program for a task would use."""
    used = (
        "import asyncio, bisect, collections, copy, csv, dataclasses, datetime, decimal, fractions, functools, hashlib, heapq, "
        "io, itertools, json, logging, math, operator, os, pathlib, queue, random, re, statistics, string, tempfile, "
        "textwrap, threading, time, typing, unittest, uuid, zlib\n"
        "with tempfile.TemporaryFile() as file: file.write(hashlib.sha256(uuid.uuid4().bytes).digest())\n"
        "with threading.Lock(): x = [0] * 10**6\n"
    )
    assert run(used).passed


def test_programs_share_nothing():
    """The scratch folder is each program's own."""
    assert run("open('left', 'w').write('x')").passed
    assert not run("open('left').read()").passed


def test_equal_values_read_alike():
    """Equal values have equal texts. An error is written as its type, a call without end as too long."""
    source = "def f(x):\n    return x\ndef loop():\n    while True: pass\ndef fail():\n    return 1 / 0\n"
    report = run(
        source,
        probes=("f(2.0)", "f(2)", "f({3, 1, 2})", "f({'b': 1, 'a': 2})", "loop()", "fail()", "missing"),
    )
    assert report.outcomes == (
        "2",
        "2",
        "{1, 2, 3}",
        "{'a': 2, 'b': 1}",
        "!too long",
        "!ZeroDivisionError",
        "!NameError",
    )


def test_output_changes_and_iterators():
    """What a function does is seen where it returns nothing; one without an end is seen as far as it goes."""
    source = """
def show(n):
    for i in range(n):
        print(i)
def rotate(values):
    values.append(values.pop(0))
def both(values):
    print(values.pop())
    return len(values)
def count(n):
    yield from range(n)
def grouped(text):
    import itertools
    return itertools.groupby(text)
def endless():
    while True:
        yield 0
def stuck():
    yield 0
    while True: pass
def flood():
    while True: print('x' * 1000)
"""
    probes = (
        *("show(2)", "rotate([1, 2, 3])", "rotate([1, 1])", "both([1, 2])", "count(3)", "map(str, [1])", "grouped('aab')"),
        *("endless()", "stuck()", "flood()"),
    )  # fmt: skip
    zeros = ", ".join(["0"] * 100)
    assert run(source, probes=probes).outcomes == (
        "None, printed '0\\n1\\n'",
        "None, left ([2, 3, 1])",
        "None",
        "1",
        "iter(0, 1, 2)",
        "iter('1')",
        "iter(('a', iter('a', 'a')), ('b', iter('b')))",
        f"iter({zeros})",
        "!too long",
        "!too long",
    )


def test_much_output():
    """A function may print more than fits into its memory. The beginning counts, and halves of a character end nothing."""
    source = """
import resource
def much():
    resource.setrlimit(resource.RLIMIT_AS, (150 * 10**6, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for _ in range(100):
        print('x' * 2 * 10**6)
def wide():
    print('a' + 10**6 * '\U0001f600')
"""
    much, wide = run(source, probes=("much()", "wide()")).outcomes
    assert much == f"None, printed {'x' * 1000!r}"
    assert wide == f"None, printed {'a' + 999 * chr(0x1F600)!r}"


def test_opaque_values():
    """An address would differ from run to run, so such a value is written as its type."""
    source = "from fractions import Fraction\nclass Thing: pass\ndef f(n): return [Thing(), Fraction(1, 2), range(3), f][n]\n"
    probes = ("f(0)", "f(1)", "f(2)", "f(3)", "print('x' * 9999)")
    report = run(source, probes=probes).outcomes
    assert report[:4] == ("?Thing", "Fraction(1, 2)", "range(0, 3)", "?function")
    assert report[4].startswith("None, printed 'xxx")
    assert len(report[4]) < 2100


def test_first_running_source_counts():
    """A body alone is read as the continuation of what the request began."""
    report = run("    return x * x\n", f"{SQUARE}", checks=("assert f(2) == 4",))
    assert report.passed


def test_all_checks_needed():
    """One check that fails is enough."""
    assert not run(SQUARE, checks=("assert f(2) == 4", "assert f(3) == 8")).passed


def test_bubblewrap_missing(monkeypatch):
    """The error names the package to install."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        asyncio.run(open_sandbox())
