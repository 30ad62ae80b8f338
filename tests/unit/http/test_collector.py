"""The garbage collector of a process that serves."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from proxy.http.app import create_app  # loads what the server loads
from proxy.http.collector import spare_what_lives_long

class Knot:
    def __init__(self):
        self.itself = self

spare_what_lives_long()
knot = Knot()
seen = weakref.ref(knot)
del knot
gc.collect()
print(gc.get_freeze_count(), len(gc.get_objects()), seen() is None)
"""


def test_search_is_short():
    """A full collection searches only what came after the start, and still finds garbage there."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    frozen, searched, found = done.stdout.split()
    assert int(frozen) > 50_000
    assert int(searched) < 1_000
    assert found == "True"
