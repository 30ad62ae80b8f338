"""Tries to break out, in every way that the walls are there for. The sandbox is used only where all of it fails."""

import asyncio
import os
import socket
import sys
from contextlib import closing

from proxy.cascade.types import Program
from proxy.sandbox.bubblewrap import Sandbox

SECRET = "COPE_SANDBOX_SELFTEST"  # noqa: S105  (a variable's name)


def attempts(port: int) -> dict[str, str]:
    """Return programs by what each of them is after; every one ends in an error where the walls stand.

    Args:
        port: one on which somebody listens, on the loopback interface of this machine.
    """
    here = os.getpid()
    return {
        "reach the network": f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)",
        "read a file of the machine": "open('/etc/passwd').read()",
        "read the proxy's program": f"open({__file__!r}).read()",
        "write outside its folder": "open('/usr/cope-selftest', 'w').write('x')",
        "write to the root": "open('/cope-selftest', 'w').write('x')",
        "read our variables": f"import os\nos.environ[{SECRET!r}]",
        "see our processes": f"import os\nassert {here} in [int(p) for p in os.listdir('/proc') if p.isdigit()]\n"
        "assert b'proxy' in b''.join(open(f'/proc/{p}/cmdline','rb').read() for p in os.listdir('/proc') if p.isdigit())",
        "start a process": "import os\nos.fork() or os._exit(0)",
        "start a program": "import subprocess\nsubprocess.run(['/usr/bin/env'], check=True)",
        "start a thread": "import threading\nthreading.Thread(target=int).start()",
        "take memory without end": "x = bytearray(2**31)",
        "take memory that outlives its use": "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "kept = libc.shmget(0, 4096, 0o1600)\nlibc.shmctl(kept, 0, None)\n"
        "assert kept >= 0 or libc.memfd_create(b'x', 0) >= 0",
        "fill the scratch folder": "for i in range(64): open(str(i), 'wb').write(bytes(2**20))",
        "write to shared memory": "open('/dev/shm/x', 'w').write('x')",
        "enter another namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
        "become somebody else": "import os\nos.setuid(0)",
        "run for ever": "while True: pass",
    }


async def find_holes(sandbox: Sandbox) -> list[str]:
    """Return what is wrong with a sandbox, in words; nothing when it works and holds."""
    plain = Program(
        sources=("import math\ndef f(x): return math.sqrt(x)",),
        checks=("assert f(4) == 2",),
        probes=("f(9)",),
    )
    behaviour = await sandbox.run(plain)
    if not behaviour.passed or behaviour.outcomes != ("3",):
        return [
            f"a harmless program does not run under bubblewrap with {sys.base_prefix}; are user namespaces allowed?"
        ]
    os.environ[SECRET] = "1"
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        tried = attempts(listening.getsockname()[1])
        results = await asyncio.gather(
            *(sandbox.run(Program(sources=(source,))) for source in tried.values())
        )
    del os.environ[SECRET]
    return [
        f"a program in the sandbox can {what}" for what, b in zip(tried, results, strict=True) if b.passed
    ]
