"""A data set of sums, the rules that answer it, and runs of `cope-proxy eval` on it."""

import json

ITEMS = [
    {"id": f"sum-{i}", "task": "math", "prompt": f"What is {i} + {i}?", "answer": str(2 * i)}
    for i in range(1, 9)
]
GOAL = {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the sum."}}
GUIDELINE = {"match": {"contains": "tell another assistant"}, "reply": {"content": "Add."}}


def right(numbers):
    """Rules that answer these items rightly."""
    return [
        {"match": {"contains": f"What is {i} + {i}?"}, "reply": {"content": f"\\boxed{{{2 * i}}}"}}
        for i in numbers
    ]


def at_length(rules):
    """The same answers, reasoned over 200 tokens."""
    usage = {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220}
    return [{**rule, "reply": {**rule["reply"], "usage": usage}} for rule in rules]


def report(proxy):
    whole = json.loads((proxy.folder / "run" / "report.json").read_text())
    return {line["mode"]: line for line in whole["modes"]}, whole


def evaluate(proxy, data, *options):
    return proxy.cli("eval", str(data), "--out", "run", *options)
