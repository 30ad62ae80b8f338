"""What each estimator reads from an answer."""

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence import shutdown
from proxy.cascade.confidence.canonical import conforms, dumps, parse, short
from proxy.cascade.confidence.code import CodeEstimator
from proxy.cascade.confidence.mathematics import equivalent, final_answer
from proxy.cascade.confidence.program import program_label
from proxy.cascade.confidence.worker import Worker
from proxy.cascade.kinds import KINDS
from proxy.cascade.types import Ballot, Sample, Task, TaskKind
from proxy.pricing.prices import Usage


@pytest.fixture(scope="module", autouse=True)
def no_worker_left():
    yield
    shutdown()


def vote(kind, content, *, body=None, text="", groups=(), finish="stop", **message):
    said = Sample(
        index=0,
        message={"role": "assistant", "content": content, **message},
        finish_reason=finish,
        logprob=-0.1,
        usage=Usage(),
    )
    return asyncio.run(
        KINDS[TaskKind(kind)].estimator.vote(Task(TaskKind(kind), body or {}, text), said, groups)
    )


def test_every_kind_has_row():
    """No task kind is without a confidence."""
    assert set(KINDS) == set(TaskKind)


@pytest.mark.parametrize("kind", ["math", "choice", "code", "agent", "structured"])
def test_cut_off_answer(kind):
    """A sample that ended at its token limit joins no group."""
    assert vote(kind, "1", finish="length") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So \\boxed{3}, no: \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{\\dfrac12}", "\\frac{1}{2}"),
        ("\\boxed{1,234}", "1234"),
        ("\\boxed{12,\\!500}", "12500"),
        ("\\boxed{(1,234)}", "(1,234)"),
        ("\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}", "(3,\\frac{\\pi}{2})"),
        ("\\boxed{50\\%}", "50"),
        ("\\boxed{5 \\text{ cm}^2}", "5"),
        ("\\boxed{90^\\circ}", "90"),
        ("\\boxed{\\text{Evelyn}}", "Evelyn"),
        ("\\boxed{x = 7}", "7"),
        ("\\boxed{unfinished and 9", "9"),
        ("It is so.\n#### 72", "72"),
        ("The final answer is 1,234.", "1234"),
        ("**Answer:** $18", "18"),
        ("The answer is $18 per day.", "18"),
        ("The answer is \\( \\frac{3}{4} \\).", "\\frac{3}{4}"),
        ("The answer is $5x - 7y + 4 = 0$.", "5x-7y+4=0"),
        ("the answer is 1, 2, and 3", "1,2,3"),
        ("Die Antwort lautet 7 Äpfel.", "7"),
        ("so x + 3 = 5y + 2", "5y+2"),
        ("She pays $1,250.50 in total.", "1250.50"),
        ("It costs 3.50.", "3.50"),
        ("The final answer is: 10 - 4 = 6", "6"),
        ("The answer is 3 + 4 = 7 dollars.", "7"),
        ("The answer is 2 * 3 + 1 = 6 + 1 = 7.", "7"),
        ("The answer is x = 5 apples in all.", "5"),
        ("It takes 2/2 = 1 bolt of white fiber, so the total is 3 bolts.", "3"),
        ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_final_answers(text, answer):
    """The final answer is found in each of the usual forms, and normalised."""
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1/2", "0.50", True),
        ("\\frac{1}{2}", "0.5", True),
        ("0.1", "0.10000001", False),
        ("x+1", "1+x", True),
        ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", True),
        ("2x", "2y", False),
        ("(1,2)", "(2,1)", False),
        ("Evelyn", "evelyn", True),
        ("9^{9^{9^9}}", "10^{50}", False),
    ],
)
def test_equivalent_answers(one, other, same):
    """Answers are compared by value, in either order."""

    async def both():
        return await equivalent(one, other), await equivalent(other, one)

    assert asyncio.run(both()) == (same, same)


def test_equivalent_answer_joins_group():
    """The label of the group that came first is kept."""
    assert vote("math", "\\boxed{0.5}", groups=("3", "1/2")) == "1/2"
    assert vote("math", "\\boxed{1+x}", groups=("3", "x+1")) == "x+1"
    assert vote("math", "\\boxed{4}", groups=("3",)) == "4"
    assert vote("math", "no idea") is None


@given(st.text(max_size=60) | st.text("\\boxed{}$().,=0123456789 frac^", max_size=60))
def test_any_text_is_read(text):
    """Extraction never fails, and what it finds is not empty."""
    assert final_answer(text) != ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 340282366920938463463374607431768211456 (about 3.4e38).", "340282366920938463463374607431768211456(about3.4e38)"),
        ("The answer is 1, 2, 3 and 4.", "1,2,3,4"),
        ("The answer is " + "$" * 10**5, None),
        ("\\boxed{" * 10**5 + "7", "7"),
        ("x" * 10**5 + "\\boxed{8}", "8"),
    ],
)  # fmt: skip
def test_answers_take_no_time(text, answer):
    """Long numbers, many signs and long texts are read in well under a second."""
    started = time.monotonic()
    assert final_answer(text) == answer
    assert time.monotonic() - started < 2


def test_slow_comparison_is_different():
    """The worker is killed in time, the loop stays free, and the next question is answered by a new one."""
    worker = Worker("equal", answer_seconds=1.5)

    async def ask():
        ticks = 0
        assert await worker.holds("x+1", "1+x")
        running = asyncio.ensure_future(worker.holds("9^{9^{9^9}}", "10^{50}"))
        while not running.done():
            await asyncio.sleep(0.05)
            ticks += 1
        return running.result(), ticks, await worker.holds("x+2", "2+x")

    started = time.monotonic()
    try:
        same, ticks, later = asyncio.run(ask())
    finally:
        worker.shutdown()
    assert (same, later) == (False, True)
    assert ticks >= 10
    assert time.monotonic() - started < 30


def test_dead_worker_is_replaced():
    """A process that was killed from outside costs one question at most."""
    worker = Worker("equal")
    try:
        assert asyncio.run(worker.holds("a+b", "b+a"))
        worker._process.kill()
        asyncio.run(worker.holds("a+c", "c+a"))
        assert asyncio.run(worker.holds("a+d", "d+a"))
    finally:
        worker.shutdown()


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B) Paris", "B"), ("**B**", "B"), ("**B) Paris**", "B"),
        ("The answer is (B).", "B"), ("the correct answer is: B", "B"), ("Answer: **C**", "C"),
        ("Since A is wrong, \\boxed{C}", "C"), ("\\boxed{\\text{(C)}}", "C"),
        ("The answer is B because option A is too small.", "B"),
        ("Die Antwort ist C", "C"), ("First I thought the answer is A. The answer is C.", "C"),
        ("A) is wrong.\nB) is right?\n", None), ("The answer is (D).", None),
        ("The answer is a matter of taste", None), ("", None),
        ("答案：B", "B"), ("答案是Ｂ。", "B"), ("正解はBです。", "B"), ("정답은 B입니다.", "B"), ("La risposta è B", "B"),
        ("A resposta é B.", "B"), ("La respuesta correcta es B.", "B"), ("Ответ: B", "B"), ("Poprawna odpowiedź to B.", "B"),
        ("الإجابة الصحيحة هي B.", "B"), ("Answer: b", "B"), ("The answer is (b).", "B"), ("b) Paris", "B"),
        ("Answer: **b**\n", "B"), ("Answer: d", None), ("Ответ: Б", None), ("Answer: a man", None),
        ("Answer: A man did it.", None), ("A resposta: A capital é Paris.", None), ("答案不是B", None), ("Answer: A because it is.", "A"),
        ("Which planet(s)? (B)", "B"),
    ],
)  # fmt: skip
def test_letters_of_answers(text, letter):
    """The letter is read from each of the usual forms, and has to be on offer."""
    assert vote("choice", text, text="Which?\nA) x\nB) y\nC) z") == letter


def test_cyrillic_letters():
    """Options of another alphabet are answered in it: a letter that only looks the same is none of them."""
    question = "Столица?\nА) Киев\nБ) Москва\nВ) Минск"
    answers = {"Ответ: Б": "Б", "б": "Б", "Б) Москва": "Б", "Ответ: В Москве": None, "Ответ: B": None}
    assert {text: vote("choice", text, text=question) for text in answers} == answers


@pytest.mark.parametrize("text", ["answer " * 10**5, "answer" + " " * 10**6, "option:" * 10**5, "(" * 10**6])
def test_letters_are_fast(text):
    """An answer that invites backtracking is read in well under a second."""
    started = time.monotonic()
    vote("choice", text, text="Which?\nA) x\nB) y")
    assert time.monotonic() - started < 2


def fenced(code, language="python"):
    return f"Here:\n```{language}\n{code}\n```\nDone."


SUM = "def add(a, b):\n    total = a + b\n    return total"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("def add(x, y):\n    '''Sum.'''\n    s = x + y  # here\n    return s", True),
        (
            "from typing import Any\n\ndef add(a: int, b: int) -> int:\n    total = (a + b)\n    return total",
            True,
        ),
        ("def plus(a, b):\n    total = a + b\n    return total", False),
        ("def add(a, b):\n    total = b + a\n    return total", False),
        ("def add(a, b):\n    total = a + c\n    return total", False),
    ],
)
def test_names_and_layout(other, same):
    """Local names, docstrings, annotations and comments do not count; the function's name does."""
    assert (program_label(fenced(other)) == program_label(fenced(SUM))) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a):\n    g = lambda x: x\n    return [g(i) for i in a]", "def f(q):\n    h = lambda y: y\n    return [h(k) for k in q]"),
        ("def f(a):\n    try:\n        pass\n    except E as e:\n        print(e)", "def f(b):\n    try:\n        pass\n    except E as x:\n        print(x)"),
        ("def f(a):\n    def g():\n        nonlocal a\n        a = 1\n    g()", "def f(b):\n    def h():\n        nonlocal b\n        b = 1\n    h()"),
        ("def f(a):\n    match a:\n        case {'k': x, **r}: return x, r\n        case [y, *z]: return y, z",
         "def f(b):\n    match b:\n        case {'k': u, **v}: return u, v\n        case [w, *t]: return w, t"),
    ],
)  # fmt: skip
def test_nested_scopes(one, other):
    """Lambdas, comprehensions, handlers, patterns and inner functions are part of the renaming."""
    assert program_label(fenced(one)) == program_label(fenced(other)) is not None


def test_globals_keep_names():
    """A global variable is not local, and its name counts."""
    one, other = (f"def f():\n    global {n}\n    {n} = 1" for n in "ab")
    assert program_label(fenced(one)) != program_label(fenced(other))


def test_program_in_answer():
    """The longest Python block counts, else the whole text; broken Python and prose are no program."""
    bare = program_label(SUM)
    assert bare is not None
    assert bare.startswith("add ")
    assert program_label(fenced("x = 1") + "\n" + fenced(SUM)) == bare
    assert program_label(fenced(SUM, "")) == bare
    assert program_label(fenced("def add(:")) is None
    assert program_label(fenced("def add(:", "")) is None
    assert program_label("I cannot write that, sorry.") is None
    assert program_label("") is None
    assert program_label("    return a + b") is not None
    assert vote("code", fenced(SUM)) == bare


def test_other_languages_as_text():
    """Comments and layout do not count, strings do."""
    one = fenced('int f() { return 1; } // one\nchar *s = "a//b";', "c")
    same = fenced('/* two */ int f() {\n  return 1; }\nchar *s = "a//b";', "c")
    different = fenced('int f() { return 1; }\nchar *s = "a//c";', "c")
    assert program_label(one) == program_label(same)
    assert program_label(one) != program_label(different)


def test_code_confidence_is_blend():
    """Half the share of the group, half the mean token probability of its best sample."""
    samples = tuple(
        Sample(index=i, message={}, finish_reason="stop", logprob=0.0, usage=Usage()) for i in range(4)
    )
    standing = CodeEstimator().standing(Ballot(samples, ("a", "a", "b", None)), 4)
    assert standing.low == standing.high == 0.75


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
def test_a_text_beside_tools_is_compared_as_its_own_kind(question, answer, label):
    """Different answers in text are different votes, and equivalent ones are equal."""
    body = {"tools": TOOLS, "messages": [{"role": "user", "content": question}]}
    groups = ("f({})", "42", "text: 42")
    assert vote("agent", answer, body=body, text=question, groups=groups) == label


def test_a_document_beside_tools_is_compared_as_one():
    """The format that a request wants holds for the texts of an agent, too."""
    body = {"tools": TOOLS, **asked({"type": "object", "required": ["a"]})}
    assert vote("agent", '{"a": 1.0}', body=body) == 'text: {"a":1}'
    assert vote("agent", "{}", body=body) is None


def asked(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}


@pytest.mark.parametrize(
    ("body", "content", "label"),
    [
        (asked({"type": "object", "required": ["a"]}), '{"b": [1, 2], "a": 1e0}', '{"a":1,"b":[1,2]}'),
        (asked({"type": "object", "required": ["a"]}), "{}", None),
        (asked({"type": "array", "items": {"type": "integer"}}), "[1.5]", None),
        (asked({"type": "nonsense"}), "[1]", "[1]"),
        (asked({"$ref": "https://example.com/s.json"}), "1", None),
        (asked({"$ref": "#/$defs/none"}), "1", None),
        (asked({"$schema": "https://example.com/s.json", "type": "integer"}), "1", "1"),
        (asked({"type": "string", "pattern": "^(?=.*1)(?!b).*$"}), '"a1"', '"a1"'),
        (asked({"type": "string", "pattern": "^(a{1000}){1000}$"}), '"a"', None),
        (asked({"$ref": "#"}), "1", "1"),
        (asked(None), "1", "1"),
        (asked("odd"), "1", "1"),
        ({"response_format": {"type": "json_object"}}, '{"a": true}', '{"a":true}'),
        ({"response_format": {"type": "json_object"}}, "[1]", None),
        ({"response_format": {"type": "json_object"}}, '```json\n{"a": 1}\n```', None),
        ({"response_format": {"type": "json_object"}}, '{"a": NaN}', None),
        ({"response_format": {"type": "json_object"}}, '{"a": 1e999}', None),
        ({}, "[" * 100_000, None),
        (asked({"type": "integer"}), "9" * 5000, None),
        (asked({"type": "array"}), "[" * 5000 + "]" * 5000, None),
        (asked({"type": "string"}), '"\\ud800"', None),
    ],
)
def test_labels_of_documents(body, content, label):
    """A document counts when it is strict JSON of the requested form; an invalid schema demands nothing."""
    assert vote("structured", content, body=body) == label


def doubling(depth):
    twice = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)}
    return {"$defs": {**twice, f"d{depth}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"allOf": [schema]}
    return schema


@pytest.mark.parametrize(
    ("schema", "valid"),
    [
        ({"pattern": "^(a+)+$"}, False),
        ({"pattern": "^(?=(a|aa)+$)"}, False),
        (doubling(50), False),
        (nested(5000), False),
        ({"enum": ["x" * 10**6]}, False),
        ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, True),
    ],
)
def test_schemas_leave_loop_free(schema, valid):
    """One that doubles, backtracks or nests without end gives no vote, and others are served meanwhile."""

    async def ask():
        await conforms("warm", {"type": "string"})
        running = asyncio.ensure_future(conforms("a" * 60 + "b", schema))
        started, longest = time.monotonic(), 0.0
        while not running.done():
            await asyncio.sleep(0.01)
            longest, started = max(longest, time.monotonic() - started), time.monotonic()
        return await running, longest, await conforms("b", {"type": "string"})

    satisfied, longest, later = asyncio.run(ask())
    assert (satisfied, later) == (valid, True)
    assert longest < 0.4


@given(
    st.dictionaries(
        st.text(max_size=3), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4
    )
)
def test_canonical_json(value):
    """Order, spaces and the way a number is written do not count."""
    turned = json.dumps(dict(reversed(value.items())), indent=2)
    assert dumps(parse(turned)) == dumps(parse(json.dumps(value)))
    assert asyncio.run(conforms(parse(turned), {"type": "object"}))


def test_long_labels_stay_distinct():
    """A label is cut, and what was cut still tells two of them apart."""
    assert len(short("a" * 500)) < 110
    assert short("a" * 500) != short("a" * 501)
