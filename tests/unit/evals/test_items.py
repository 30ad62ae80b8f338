"""Data sets: what an item's grade needs is there before anything is asked, and its kind says what that is."""

import json

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.errors import ConfigError
from proxy.evals import items

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
OFFERED = "Which one?\nA) red\nB) green\nC) blue"
CHOICE = {"task": "choice", "prompt": OFFERED}
AGENT = {"task": "agent", "prompt": "Find it.", "meta": {"tools": TOOLS}}
FIELDS = {"task": "structured", "prompt": "As JSON.", "meta": {"accepted": True}}
CODE = {"task": "code", "prompt": "Write inc."}


def loaded(folder, *lines):
    """Load a file of these items, each with an id of its own."""
    path = folder / "tasks.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), **line}) + "\n" for n, line in enumerate(lines)))
    return items.load([path])


@pytest.mark.parametrize(
    "item",
    [
        {"task": "math", "prompt": "1 + 1?", "answer": "2"},
        {"task": "math", "prompt": "1 - 1?", "answer": 0},
        {**CHOICE, "answer": "C"},
        {"task": "choice", "prompt": "Pick one, please.", "answer": "J"},
        {"task": "choice", "prompt": "Что?\nА) да\nБ) нет", "answer": "Б"},
        {**CODE, "tests": "assert inc(1) == 2"},
        {**AGENT, "answer": [{"find": {"what": ["it", ""]}}, {"find": {}}]},
        {**AGENT, "answer": []},
        {**FIELDS, "answer": {"city": ["Paris"], "days": [2, ""]}},
        {"task": "structured", "prompt": "As JSON.", "answer": []},
        {"task": "open", "prompt": "Tell a tale."},
        {"task": "open", "prompt": "Which city?", "answer": "Paris"},
        {"task": "open", "prompt": "Which city?", "answer": ["Paris", "—"]},
        {"task": "open", "prompt": "", "meta": {"messages": [{"role": "user", "content": "Tell."}]}},
        {"task": "open", "prompt": "Tell.", "meta": {"messages": None, "tools": [], "response_format": None}},
    ],
)
def test_valid_items(tmp_path, item):
    """Each kind has its own form of a right answer; an open one may do without."""
    (found,) = loaded(tmp_path, item)
    assert (found.task, found.answer) == (item["task"], item.get("answer"))


@pytest.mark.parametrize("written", ["b", "(B)", "B)", "(b)", " B. ", "**B**", "Ｂ"])
def test_letters_are_normalised(tmp_path, written):
    """A label in another form than the grade's would make every answer wrong."""
    (found,) = loaded(tmp_path, {**CHOICE, "answer": written})
    assert found.answer == "B"


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (CHOICE, "answer: must be the letter of an option (A, B, C)"),
        ({**CHOICE, "answer": "D"}, 'answer: must be the letter of an option (A, B, C), not "D"'),
        ({**CHOICE, "answer": "green"}, "answer: must be the letter"),
        ({**CHOICE, "answer": "A or B"}, "answer: must be the letter"),
        ({**CHOICE, "answer": 1}, "answer: must be the letter"),
        ({**CHOICE, "answer": ["B"]}, "answer: must be the letter"),
        (CODE, "tests: must be Python source"),
        ({**CODE, "tests": " \n"}, "tests: must be Python source"),
        ({"task": "math", "prompt": "1 + 1?"}, "answer: must be the right value"),
        ({"task": "math", "prompt": "1 + 1?", "answer": " "}, "answer: must be the right value"),
        ({"task": "math", "prompt": "1 + 1?", "answer": True}, "answer: must be the right value"),
        ({"task": "math", "prompt": "1 + 1?", "answer": ["2"]}, "answer: must be the right value"),
        (AGENT, "answer: must be a list of calls"),
        ({**AGENT, "answer": {"find": {"what": ["it"]}}}, "answer: must be a list of calls"),
        ({**AGENT, "answer": ["find"]}, "answer: must be a list of calls"),
        ({**AGENT, "answer": [{}]}, "answer: must be a list of calls"),
        ({**AGENT, "answer": [{"find": ["it"]}]}, "answer: must be a list of calls"),
        ({**AGENT, "answer": [{"find": {"what": "it"}}]}, "answer: must be a list of calls"),
        ({**AGENT, "answer": [{"find": {"what": []}}]}, "answer: must be a list of calls"),
        ({"task": "agent", "prompt": "Find it.", "answer": [{"find": {}}]}, "meta.tools: must list"),
        ({"task": "structured", "prompt": "As JSON."}, "answer: must be the right JSON value"),
        (FIELDS, "answer: must be an object that has a list of accepted values for each field"),
        ({**FIELDS, "answer": ["Paris"]}, "answer: must be an object"),
        ({**FIELDS, "answer": {"city": "Paris"}}, "answer: must be an object"),
        ({"task": "open", "prompt": "Which city?", "answer": 3}, "answer: must be a name"),
        ({"task": "open", "prompt": "Which city?", "answer": False}, "answer: must be a name"),
        ({"task": "open", "prompt": "Which city?", "answer": {"a": 1}}, "answer: must be a name"),
        ({"task": "open", "prompt": "Which city?", "answer": ["Paris", 3]}, "answer: must be a name"),
        ({"task": "open", "prompt": "Which city?", "answer": ["", "—"]}, "answer: must be a name"),
        ({"task": "open", "prompt": " "}, "prompt: is empty"),
        ({"task": "open", "prompt": "", "meta": {"messages": []}}, "prompt: is empty"),
        ({"task": "open", "prompt": "Tell.", "meta": {"messages": "Tell."}}, "meta.messages: must be a list"),
        ({"task": "open", "prompt": "Tell.", "meta": {"messages": ["Tell."]}}, "meta.messages: must be a list"),
        ({"task": "open", "prompt": "Tell.", "meta": {"tools": {"find": {}}}}, "meta.tools: must be a list"),
        ({"task": "open", "prompt": "Tell.", "meta": {"response_format": "json"}}, "meta.response_format: must be"),
    ],
)  # fmt: skip
def test_ungradable_items_are_refused(tmp_path, item, problem):
    """Its grade would be the same whatever is answered, or break off a run that has been paid for."""
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, {"task": "open", "prompt": "Tell."}, item)
    (line,) = refused.value.problems
    assert line.startswith(f"{tmp_path / 'tasks.jsonl'}:2: {problem}")


def test_all_problems_at_once(tmp_path):
    """A line for each problem, not only for the first."""
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, {"task": "math", "prompt": ""}, CODE)
    assert [line.removeprefix(f"{tmp_path}/tasks.jsonl:")[:9] for line in refused.value.problems] == [
        "1: prompt",
        "1: answer",
        "2: tests:",
    ]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"id": "x", "task": "open", "prompt": "caf\xe9?"}\n', ":1: is no UTF-8"),
        (b"\n \n", ": has no item"),
        (b"", ": has no item"),
    ],
)
def test_unreadable_files(tmp_path, monkeypatch, raw, problem):
    """On the command line: what is wrong, and no traceback."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(raw)
    config = tmp_path / "cope.toml"
    config.write_text("[small.vllm]\n")
    said = CliRunner().invoke(main, ["eval", str(path), "--config", str(config)])
    assert (said.exit_code, said.stderr.count("\n")) == (2, 1)
    assert f"config: {path}{problem}" in said.stderr
