"""No regular expression that reads a client's or a model's text takes long, whatever the text is."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROXY = Path(importlib.import_module("proxy").__file__).parent
SOURCES = [
    *sorted((PROXY / "cascade" / "confidence").rglob("*.py")),
    *sorted((PROXY / "cascade" / "detection").glob("*.py")),
    PROXY / "cascade" / "toolcalls.py",
    PROXY / "cascade" / "schemas.py",
]
GROWTH = Path(__file__).with_name("regex_growth.py")
SECONDS = 60
READ_FROM_GLOBALS = {"pattern"}  # of a comprehension: its compiled results are found in the module
AT_A_PLACE = {"match", "fullmatch"}  # the other ways to use a pattern look for it everywhere
LOCALS = {"entry": "f"}


def module_of(path):
    dotted = path.relative_to(PROXY.parent).with_suffix("").as_posix().replace("/", ".")
    return importlib.import_module(dotted.removesuffix(".__init__"))


def compiled(value):
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from compiled(item)


def written(path, names):
    """Yield the patterns of `re.search(...)` and the like, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args:
            if node.func.attr == "escape" or (
                isinstance(node.args[0], ast.Name) and node.args[0].id in READ_FROM_GLOBALS
            ):
                continue
            flags = next((k.value for k in node.keywords if k.arg == "flags"), None)
            position = {"compile": 1, "sub": 4}.get(node.func.attr, 2)
            if node.func.attr not in ("sub", "split") and len(node.args) > position:
                flags = node.args[position]
            given = eval(ast.unparse(node.args[0]), names)
            way = node.func.attr if node.func.attr in AT_A_PLACE else "finditer"
            if node.func.attr != "compile":
                yield re.compile(given, eval(ast.unparse(flags), names) if flags else 0), {way}


def used(path, name):
    """Return the methods by which a module uses a pattern of its own that has a name."""
    nodes = ast.walk(ast.parse(path.read_text()))
    ways = {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == name}
    return ways if ways and ways <= AT_A_PLACE else {"finditer"}


def every_pattern():
    found = {}
    for path in SOURCES:
        names = {**vars(module_of(path)), **LOCALS, "re": re}
        held = [(p, used(path, name)) for name, v in vars(module_of(path)).items() for p in compiled(v)]
        for pattern, ways in (*held, *written(path, names)):
            found.setdefault((path.stem, pattern.pattern, pattern.flags), set()).update(ways)
    return [
        pytest.param(pattern, flags, sorted(ways), id=f"{stem}: {pattern[:40]!r}")
        for (stem, pattern, flags), ways in found.items()
    ]


def growth(pattern, flags, ways, seconds=SECONDS):
    """Return the complaints about a pattern; the clock of another process ends one that takes for ever."""
    asked = json.dumps([pattern, flags, ways])
    # A tracer would make it slower, and it runs nothing of the package.
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    try:
        run = subprocess.run(
            [sys.executable, str(GROWTH)],
            input=asked,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=untraced,
            check=True,
        )
    except subprocess.TimeoutExpired as e:
        return f"takes for ever: {(e.stdout or b'')[-200:]!r}"
    return run.stdout.removesuffix("done\n").rpartition("\n! ")[2] if "\n! " in run.stdout else ""


@pytest.mark.parametrize(("pattern", "flags", "ways"), every_pattern())
def test_time_is_linear(pattern, flags, ways):
    """Texts made of a pattern's own letters take it time in proportion to their length."""
    assert growth(pattern, flags, ways) == ""


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:(?:\d+)(?:, ?)?){2,}",
        r"\s*:?\s*x",
        r"\((.+?)\)",
        r"(?:a+)+b",
        r"\d+(?!\d|st|nd)",
        r"<a>(.*?)</a>",
    ],
)
def test_a_slow_pattern_is_found(pattern):
    """The test above can fail: exponential and quadratic patterns do."""
    assert growth(pattern, 0, ["finditer", "fullmatch"], seconds=4) != ""
