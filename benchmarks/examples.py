"""What the reader of requests finds, and what that is worth: `python benchmarks/examples.py DATA... [--run N]`.

DATA are files of items with a prompt and a reference solution (`benchmarks/problems.py`, or the data sets of HumanEval and MBPP).
No model is called. For each file:

- judged: the share of prompts for which programs are compared by what they do
- stated: the share with an example that states an outcome
- asked: the share for which the small model would be asked for inputs
- ms: the mean and the greatest processor time to read a prompt

With `--run N`, the references of the first N prompts run in the sandbox:

- satisfied: of the prompts with examples, the share whose reference passes all of them
- alike: of the references that pass, the share of the other right solutions that vote alike (only where there is one)
- wrong, passing: of mutants of the reference that fail the hidden tests, the share that passes the examples
- wrong, alike: of those mutants, the share that also votes like the reference. Only such a program can be accepted wrongly.
  Without hidden tests, a mutant counts as wrong if it fails one of them or differs on one of the sandbox's probes.
"""

import argparse
import ast
import asyncio
import copy
import json
import random
import time
from collections import Counter
from pathlib import Path

from proxy.cascade.confidence.behaviour import program, vote_on
from proxy.cascade.confidence.specification import specification
from proxy.cascade.types import Program
from proxy.sandbox import Sandbox

_MUTANTS = 6


def reference_of(item: dict) -> str:
    """Return the complete reference program of an item."""
    if "reference" in item:
        return item["reference"]
    meta = item["meta"]
    return item["prompt"] + meta["reference"] if meta["style"] == "complete" else meta["reference"]


class _Change(ast.NodeTransformer):
    """Changes the n-th place of a program that can be changed."""

    def __init__(self, place: int, rng: random.Random) -> None:
        self.left, self.rng = place, rng

    def _here(self) -> bool:
        self.left -= 1
        return self.left == -1

    def visit_Compare(self, node):
        self.generic_visit(node)
        if self._here():
            others = [ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq]
            node.ops[0] = self.rng.choice([o for o in others if not isinstance(node.ops[0], o)])()
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if self._here():
            others = [ast.Add, ast.Sub, ast.Mult, ast.FloorDiv]
            node.op = self.rng.choice([o for o in others if not isinstance(node.op, o)])()
        return node

    def visit_Constant(self, node):
        if isinstance(node.value, int) and not isinstance(node.value, bool) and self._here():
            return ast.copy_location(ast.Constant(node.value + self.rng.choice([1, -1])), node)
        if isinstance(node.value, bool) and self._here():
            return ast.copy_location(ast.Constant(not node.value), node)
        return node

    def visit_BoolOp(self, node):
        self.generic_visit(node)
        if self._here():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node

    def visit_If(self, node):
        self.generic_visit(node)
        if self._here():
            return node.body
        return node

    def visit_Return(self, node):
        self.generic_visit(node)
        if node.value is not None and self._here():
            node.value = ast.Call(ast.Name("sorted"), [node.value], [])
        return node


def mutants(source: str, rng: random.Random) -> list[str]:
    """Return programs with one small fault each, of the kind that models make: an off by one, a wrong comparison."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    out = []
    for place in rng.sample(range(60), 60):
        changed = ast.fix_missing_locations(_Change(place, rng).visit(copy.deepcopy(tree)))
        written = ast.unparse(changed)
        if written != ast.unparse(tree) and written not in out:
            out.append(written)
        if len(out) == _MUTANTS:
            break
    return out


async def passes(item: dict, source: str, runner: Sandbox) -> bool | None:
    """Return True if a program passes the hidden tests of an item, or `None` if it has none."""
    if not item.get("tests"):
        return None
    return (await runner.run(Program((source,), (item["tests"],)))).passed


async def measure(items: list[dict], runner: Sandbox) -> Counter:
    """Run the references and their mutants."""
    out = Counter()
    for item in items:
        wanted = specification(item["prompt"])
        if wanted is None or not wanted.probes:
            continue
        source = reference_of(item)
        right = await runner.run(program(wanted, source))
        if wanted.checks:
            out["stated"] += 1
            out["satisfied"] += right.passed
            if not right.passed:
                print("   not satisfied:", item["id"])
        label = await vote_on(wanted, source, runner)
        out["voted"] += label is not None
        out["could vote"] += right.passed
        if label is None:
            continue
        for other in item.get("other", []):
            again = await runner.run(program(wanted, other))
            if again.passed:
                out["others"] += 1
                out["alike"] += await vote_on(wanted, other, runner) == label
        strength = min(3, len(wanted.checks))
        for mutant in mutants(source, random.Random(item["id"])):
            if await passes(item, mutant, runner) is not False:
                continue
            passed = (await runner.run(program(wanted, mutant))).passed
            same = passed and await vote_on(wanted, mutant, runner) == label
            for key in ("wrong", f"wrong {strength}"):
                out[key] += 1
                out[f"{key} passing"] += passed
                out[f"{key} alike"] += same
    return out


def share(part: int, whole: int) -> str:
    """Write a share with its counts."""
    return f"{100 * part / whole:.1f} % ({part}/{whole})" if whole else "-"


def main() -> None:
    """Print one block for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--run", type=int, default=0)
    given = parser.parse_args()
    for path in given.data:
        items = [json.loads(line) for line in path.read_text().splitlines()]
        found, times = [], []
        for item in items:
            began = time.process_time()
            found.append(specification(item["prompt"]))
            times.append(1000 * (time.process_time() - began))
        judged = [f for f in found if f is not None and f.probes]
        asked = [f for f in found if f is not None and not f.probes]
        print(
            f"{path.stem}: {len(items)} prompts, {sum(times) / len(times):.2f} ms, at most {max(times):.1f} ms"
        )
        print(
            "   judged",
            share(len(judged), len(items)),
            " stated",
            share(sum(bool(f.checks) for f in judged), len(items)),
            " asked",
            share(len(asked), len(items)),
        )
        if given.run:
            out = asyncio.run(measure(items[: given.run], Sandbox()))
            print(
                "   satisfied",
                share(out["satisfied"], out["stated"]),
                " vote",
                share(out["voted"], out["could vote"]),
            )
            print("   other right solutions alike", share(out["alike"], out["others"]))
            for key, name in (
                ("wrong", "wrong"),
                *((f"wrong {n}", f"wrong, {n} examples") for n in range(4)),
            ):
                if out[key]:
                    print(
                        f"   {name}: passing",
                        share(out[f"{key} passing"], out[key]),
                        " alike",
                        share(out[f"{key} alike"], out[key]),
                    )


if __name__ == "__main__":
    main()
