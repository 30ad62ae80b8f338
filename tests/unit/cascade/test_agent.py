"""Actions of agents: calls and texts."""

import pytest

from proxy.cascade.confidence.program import program_label
from tests.unit.cascade.voting import vote

SUM = "def add(a, b):\n    return a + b"
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}}, "required": ["x"]}}},
    {"type": "function", "function": {"name": "g"}},
    {"type": "custom", "custom": {"name": "shell"}},
]  # fmt: skip


def call(name, arguments):
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("calls", "label"),
    [
        ([call("f", '{"y": "a", "x": 1.0}')], 'f({"x":1,"y":"a"})'),
        ([call("g", ""), call("f", '{"x": 1}')], 'f({"x":1}); g({})'),
        ([{"type": "custom", "custom": {"name": "shell", "input": "ls"}}], 'shell("ls")'),
        ([call("f", '{"x": "one"}')], None),
        ([call("f", "{}")], None),
        ([call("f", "{broken")], None),
        ([call("g", "[1]")], None),
        ([call("h", "{}")], None),
        ([call("g", "{}"), call("h", "{}")], None),
        (["odd"], None),
    ],
)
def test_labels_of_actions(calls, label):
    """An action is its calls in a canonical form; one that cannot be carried out stands alone."""
    assert vote("agent", None, body={"tools": TOOLS}, tool_calls=calls) == label


def test_actions_in_other_forms():
    """Text is an action of its own unless a call was demanded; `function_call` counts as a call."""
    assert vote("agent", "It  is\nsunny.", body={"tools": TOOLS}) == "text: It is sunny."
    assert vote("agent", "It is sunny.", body={"tools": TOOLS, "tool_choice": "required"}) is None
    assert vote("agent", "", body={"tools": TOOLS}) is None
    old = {"functions": [{"name": "f"}]}
    assert vote("agent", None, body=old, function_call={"name": "f", "arguments": "{}"}) == "f({})"


@pytest.mark.parametrize(
    ("question", "answer", "label"),
    [
        ("What is 6 times 7? Calculate the number.", "It is \\boxed{42.0}.", "text: 42"),
        ("What is 6 times 7? Calculate the number.", "It is \\boxed{43}.", "text: 43"),
        ("What is 6 times 7? Calculate the number.", "I cannot tell.", None),
        ("Which?\nA) x\nB) y", "Answer: B", "text: B"),
        ("Write a Python function that adds.", SUM, "text: " + str(program_label(SUM))),
        ("Write a Python function that adds.", "def add(:", None),
        ("Tell me about the sea.", "It is wide.", "text: It is wide."),
    ],
)
def test_texts_beside_tools(question, answer, label):
    """Different answers in text are different votes, and equivalent ones are equal."""
    body = {"tools": TOOLS, "messages": [{"role": "user", "content": question}]}
    groups = ("f({})", "42", "text: 42")
    assert vote("agent", answer, body=body, text=question, groups=groups) == label


def test_documents_beside_tools():
    """The format that a request wants holds for the texts of an agent, too."""
    schema = {"type": "object", "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body = {"tools": TOOLS, "response_format": wanted}
    assert vote("agent", '{"a": 1.0}', body=body) == 'text: {"a":1}'
    assert vote("agent", "{}", body=body) is None
