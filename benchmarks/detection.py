"""The confusion matrix of task detection over labelled data: `python benchmarks/detection.py DATA...`."""

import sys
import time
from collections import Counter
from pathlib import Path

from proxy.cascade.tasks import detect
from proxy.cascade.types import TaskKind
from proxy.evals.items import load


def main() -> None:
    """Print how many prompts of each data set are taken for which kind; prompts alone, with no form of answer."""
    kinds = [str(kind) for kind in TaskKind]
    print(
        "| data | labelled |", " | ".join(kinds), "|\n| --- | --- |", " | ".join("---:" for _ in kinds), "|"
    )
    began, count = time.perf_counter(), 0
    for path in map(Path, sys.argv[1:]):
        found: Counter[str] = Counter()
        items = load([path])
        for item in items:
            asked = item.meta.get("messages") or [{"role": "user", "content": item.prompt}]
            fields = {name: item.meta.get(name) for name in ("tools", "response_format")}
            found[str(detect({"messages": asked, **fields}).kind)] += 1
        count += len(items)
        print(f"| {path.stem} | {items[0].task} |", " | ".join(str(found[kind] or "") for kind in kinds), "|")
    print(f"\n{1e6 * (time.perf_counter() - began) / count:.0f} microseconds a prompt, reading included")


if __name__ == "__main__":
    main()
