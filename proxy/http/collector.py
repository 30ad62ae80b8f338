"""The garbage collector of a process that serves: it never searches what lives as long as the process."""

import gc

YOUNG_OBJECTS = 20_000
"""New containers after which the youngest of them are searched. Python's 700 are reached within one request."""


def spare_what_lives_long() -> None:
    """Freeze every object that exists now, and search for new garbage less often.

    Call it once the process has loaded all its parts. Modules, classes and prices are some hundred thousand objects. A
    full collection would stop all requests while it searches them, and would find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
