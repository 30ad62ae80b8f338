"""Train the weights of task detection: `python benchmarks/train_detection.py DATA.jsonl [--out FILE] [--held-out]`.

DATA has one prompt a line: `source`, `label` and `body`, a chat request. Only sources with a permissive licence are used
(`SOURCES`), together with the prompts that `detection_generator` makes. With `--held-out` the script trains once for each
source without it, and prints how the complete detection does on that source.
"""

import argparse
import json
import random
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from detection_generator import prompts, with_options

from proxy.cascade.detection import weights
from proxy.cascade.detection.conversation import conversation
from proxy.cascade.detection.decide import all_signs
from proxy.cascade.detection.listed import listing
from proxy.cascade.types import TaskKind

SOURCES = {
    "gsm8k": "MIT, openai/grade-school-math",
    "math500": "MIT, openai/prm800k",
    "svamp": "MIT, arkilpatel/SVAMP",
    "humaneval": "MIT, openai/human-eval",
    "cruxeval": "MIT, facebookresearch/cruxeval",
    "mbpp": "CC-BY-4.0, Austin et al. 2021, google-research/google-research",
    "mtbench": "Apache-2.0, lm-sys/FastChat",
    "ja-mt-bench": "Apache-2.0, Stability-AI/FastChat",
    "oasst": "Apache-2.0, LAION-AI/Open-Assistant",
}
KINDS = (TaskKind.MATH, TaskKind.CHOICE, TaskKind.CODE, TaskKind.OPEN)
OUT = Path(weights.__file__).with_name(weights.TABLE)
BYTES = 250_000
EPOCHS, RATE, DECAY, SEED, LEAST_SEEN = 12, 0.35, 2e-5, 11, 3
_MISLABELLED = re.compile(r"python|\bcode\b|script|\bsql\b|function|program|```", re.IGNORECASE)

Example = tuple[TaskKind, tuple[frozenset[str], ...]]


def base(source: str) -> str:
    """Return the name of a source without the number of its row."""
    return re.sub(r"[-_]\d+$", "", source)


def example(kind: str, text: str) -> Example:
    """Return a prompt as its kind and its features, read like detection reads them."""
    (text,) = conversation({"messages": [{"role": "user", "content": text}]}).turns
    found = weights.features(text.lower(), all_signs(text.lower(), listing(text)))
    return TaskKind(kind), tuple(map(frozenset, found))


def permitted(rows: Iterable[dict]) -> Iterator[tuple[str, str, str]]:
    """Yield source, kind and text of the rows that may be used for training."""
    for row in rows:
        source, text = base(row["source"]), row["body"]["messages"][-1]["content"]
        # The set calls all of its prompts open, although some ask for code.
        if source in SOURCES and not (source == "oasst" and _MISLABELLED.search(text)):
            yield source, row["label"], text


def fitted(examples: list[Example], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and bias of a softmax regression by stochastic gradient descent with AdaGrad."""
    index = {name: i for i, name in enumerate(names)}
    table, bias = np.zeros((len(names), len(KINDS))), np.zeros(len(KINDS))
    squares, bias_squares = np.full_like(table, 1e-3), np.full_like(bias, 1e-3)
    rows = [_numbers(one, index) for one in examples]
    counts = Counter(kind for kind, _ in examples)
    share = {kind: len(examples) / (len(counts) * count) for kind, count in counts.items()}
    order = np.random.default_rng(SEED)
    for _ in range(EPOCHS):
        for i in order.permutation(len(rows)):
            where, factors = rows[i]
            kind = examples[i][0]
            totals = bias + factors @ table[where]
            powers = np.exp(totals - totals.max())
            slope = (powers / powers.sum() - (np.array(KINDS) == kind)) * share[kind] ** 0.5
            steps = factors[:, None] * slope + DECAY * table[where]
            squares[where] += steps**2
            table[where] -= RATE * 0.3 * steps / np.sqrt(squares[where])
            bias_squares += slope**2
            bias -= RATE * 0.1 * slope / np.sqrt(bias_squares)
    return table, bias


def _numbers(one: Example, index: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    where, factors = [], []
    for names in one[1]:
        known = sorted(index[name] for name in names if name in index)
        where += known
        factors += [1 / max(1, len(known)) ** 0.5] * len(known)
    return np.array(where, dtype=int), np.array(factors)


def trained(examples: list[Example], size: int = BYTES) -> bytes:
    """Return the table of at most `size` bytes, as it is stored. The same examples give the same bytes."""
    seen = Counter(name for _, groups in examples for group in groups for name in group)
    names = sorted(name for name, count in seen.items() if count >= LEAST_SEEN)
    first, _ = fitted(examples, names)
    spread = np.abs(first - first.mean(axis=1, keepdims=True)).max(axis=1)
    worth = spread * np.sqrt(np.array([seen[name] for name in names]))
    chosen, used = [], 200
    for i in np.argsort(-worth, kind="stable"):
        cost = len(names[i].encode()) + 2 + len(KINDS)
        if used + cost > size:
            break
        chosen.append(names[i])
        used += cost
    chosen.sort()
    table, bias = fitted(examples, chosen)
    scale = float(np.abs(table).max() / 127) or 1.0
    small = np.clip(np.rint(table / scale), -127, 127).astype(np.int8)
    stored = weights.Stored(
        KINDS, round(scale, 9), tuple(round(float(b), 6) for b in bias), tuple(chosen), small.tobytes()
    )
    return msgspec.msgpack.encode(stored)


def main() -> None:
    """Train and write the table, or train without each source and evaluate on it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("--out", type=Path, default=OUT)
    asked.add_argument("--held-out", action="store_true")
    args = asked.parse_args()
    with args.data.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    own = [example(kind, text) for kind, text in prompts()]
    by_source: dict[str, list[Example]] = defaultdict(list)
    rng = random.Random(SEED)
    for source, kind, text in permitted(rows):
        by_source[source].append(example(kind, text))
        if kind == TaskKind.MATH or text.endswith("?"):
            by_source[source].append(example(TaskKind.CHOICE, with_options(rng, text)))
    print(f"{len(own)} own prompts, { ({s: len(e) for s, e in by_source.items()}) }")
    if not args.held_out:
        args.out.write_bytes(trained([*own, *(e for some in by_source.values() for e in some)]))
        return
    for left in by_source:
        data = trained([*own, *(e for source, some in by_source.items() if source != left for e in some)])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / weights.TABLE
            path.write_bytes(data)
            _evaluate(left, [row for row in rows if base(row["source"]) == left], weights.read(path))


def _evaluate(source: str, rows: list[dict], table: weights.Weights) -> None:
    from proxy.cascade.detection import decide

    decide.shipped = lambda: table  # type: ignore[assignment]
    found = Counter(f"{row['label']} as {decide.detect(row['body']).kind}" for row in rows)
    print(f"without {source}:", ", ".join(f"{count} {name}" for name, count in found.most_common()))


if __name__ == "__main__":
    main()
