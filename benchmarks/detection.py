"""The confusion matrix of task detection over labelled data: `python benchmarks/detection.py DATA... [--errors N]`.

A row of DATA is an item of `cope-proxy eval`, or has `label` and `body` (a chat request) or `messages`, and perhaps a `source`.
Sources are shown by family. *Confident wrong* is a wrong kind under which texts vote: all but `open`.
"""

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.cascade.detection import detect
from proxy.cascade.types import TaskKind

KINDS = [str(kind) for kind in TaskKind]


def requests(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the family, the label and the chat request of each row."""
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            meta = row.get("meta") or {}
            messages = (
                row.get("messages")
                or meta.get("messages")
                or [{"role": "user", "content": row.get("prompt")}]
            )
            fields = {name: meta[name] for name in ("tools", "response_format") if name in meta}
            yield (
                family(row.get("source", ""), path),
                row.get("label") or row["task"],
                row.get("body") or {"messages": messages, **fields},
            )


def family(source: str, path: Path) -> str:
    """Return the source without numbers and languages, or the name of the file if a source is an address."""
    if not source or "/" in source:
        return path.stem
    return re.sub(r"[-_ ]?\d+$", "", re.sub(r"^(belle|humaneval-xl|t0|wizardlm)-.*", r"\1", source))


def main() -> None:
    """Print how many prompts of each source are taken for which kind; prompts alone, with no form of answer."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path, nargs="+")
    asked.add_argument("--only", help="regular expression for the families to read")
    asked.add_argument(
        "--errors", type=int, default=0, help="also print so many wrong prompts of each source"
    )
    args = asked.parse_args()
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    wrong: list[str] = []
    spent: list[float] = []
    for name, label, body in (one for path in args.data for one in requests(path)):
        if args.only and not re.search(args.only, name):
            continue
        began = time.process_time()
        kind = str(detect(body).kind)
        spent.append(time.process_time() - began)
        found[name, label][kind] += 1
        if kind != label and found[name, label].total() - found[name, label][label] <= args.errors:
            wrong.append(f"{name}: {label} as {kind}: {str(body['messages'][-1]['content'])[:300]!r}")
    print("| data | labelled |", " | ".join(KINDS), "| right | confident wrong |")
    print("| --- | --- |", " | ".join("---:" for _ in (*KINDS, 1, 1)), "|")
    for (name, label), kinds in sorted(found.items()):
        print(
            f"| {name} | {label} |",
            " | ".join(str(kinds[kind] or "") for kind in KINDS),
            "|",
            _shares([(label, kinds)]),
        )
    print(
        f"\nall {len(spent)}: right, confident wrong: {_shares([(label, kinds) for (_, label), kinds in found.items()])}"
    )
    spent.sort()
    print(
        f"{1e6 * sum(spent) / len(spent):.0f} microseconds of CPU a prompt, at most {1e6 * spent[-1]:.0f}, without the highest 1 % {1e6 * spent[int(0.99 * len(spent))]:.0f}"
    )
    print("\n".join(wrong))


def _shares(rows: list[tuple[str, Counter[str]]]) -> str:
    count = sum(kinds.total() for _, kinds in rows)
    right = sum(kinds[label] for label, kinds in rows)
    confident = sum(n for label, kinds in rows for kind, n in kinds.items() if kind not in (label, "open"))
    return f"{100 * right / count:.1f} % | {100 * confident / count:.1f} % |"


if __name__ == "__main__":
    main()
