"""Try to break out of the sandbox in every known way. The proxy uses the sandbox only if all attempts fail."""

import ast
import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from proxy.cascade.types import Behaviour, Program

SECRET = "COPE_SANDBOX_SELFTEST"  # noqa: S105  (a variable's name)
_SEARCH = Path(__file__).with_name("weak_spots.py")

Run = Callable[[Program], Awaitable[Behaviour]]


def attempts(port: int) -> dict[str, str]:
    """Return programs by the thing that each of them attempts. In a sound sandbox every one ends in an error.

    Args:
        port: a port with a listening socket on the loopback interface.
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


async def find_holes(run: Run) -> list[str]:
    """Return the defects of a sandbox as sentences, or an empty list if it works and isolates."""
    plain = Program(
        sources=("import math\ndef f(x): return math.sqrt(x)",),
        checks=("assert f(4) == 2",),
        probes=("f(9)",),
    )
    behaviour = await run(plain)
    if not behaviour.passed or behaviour.outcomes != ("3",):
        return [_needs()]
    os.environ[SECRET] = "1"
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        tried = attempts(listening.getsockname()[1])
        weak, results = await asyncio.gather(
            _weak_spots(run),
            asyncio.gather(*(run(Program(sources=(source,))) for source in tried.values())),
        )
    del os.environ[SECRET]
    can = [*weak, *(what for what, b in zip(tried, results, strict=True) if b.passed)]
    return [f"a program in the sandbox can {what}" for what in can]


def _needs() -> str:
    failed = f"a harmless program does not run under bubblewrap with {sys.base_prefix}"
    if os.geteuid() == 0:
        return (
            f"{failed}; as root it needs CAP_SYS_ADMIN, setpriv and a Python that every user may read: "
            "run cope-proxy as an ordinary user"
        )
    return f"{failed}; are user namespaces allowed?"


async def _weak_spots(run: Run) -> list[str]:
    search = f"{_SEARCH.read_text()}\nfound = weak_spots()\ndef tell(): return found\n"
    behaviour = await run(Program(sources=(search,), probes=("tell()",)))
    try:
        return list(ast.literal_eval(behaviour.outcomes[0]))
    except (IndexError, ValueError, SyntaxError):  # a search that did not finish has shown nothing
        return ["stop the search for writable files"]
