"""A SIGHUP of a closed terminal is told apart from one that asks for a reload."""

import fcntl
import os
import pty
import subprocess
import sys
import termios

PROGRAM = """
import signal, sys
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from proxy.http import hangup
hangup.begin()
print("before", hangup.terminal_has_closed(), flush=True)
sys.stdin.readline()
print("after", hangup.terminal_has_closed(), flush=True)
"""


def ends_with_its_terminal(*args):
    """Run the program in a terminal of its own, close the terminal, and return what the program says."""
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *args],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(slave,),
        preexec_fn=take_terminal,  # noqa: PLW1509
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "before False\n"
        os.close(slave)
        os.close(master)
        out, _ = process.communicate("\n", timeout=30)
    assert process.returncode == 0
    return out


def test_closed_terminal_is_noticed():
    """The process survives the signal until it has looked."""
    assert ends_with_its_terminal() == "after True\n"


def test_nohup_keeps_its_meaning():
    """A program that was started to outlive its terminal does so."""
    assert ends_with_its_terminal("nohup") == "after False\n"
