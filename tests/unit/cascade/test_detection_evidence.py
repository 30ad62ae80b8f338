"""Evidence that outranks the weights: system messages, earlier turns, markings of options, schemas; and the table itself."""

import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cascade.detection import detect, options, prompt_hash, weights
from proxy.cascade.types import TaskKind

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {}, optional={"role": JSON | st.sampled_from(["user", "system"]), "content": JSON | st.lists(JSON)}
)


def talk(*texts, system=None):
    roles = ["user", "assistant"] * len(texts)
    said = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return {"messages": [*([{"role": "system", "content": system}] if system else []), *said]}


@pytest.mark.parametrize(
    ("system", "text", "kind"),
    [
        ("Reply with JSON only, no prose.", "How many nights, and who comes?", "structured"),
        ("Antworte ausschließlich mit JSON.", "Was kostet es?", "structured"),
        ("You are a SQL assistant.", "How many users signed up in May?", "code"),
        ("Turn the question into a PostgreSQL query.", "Who has the most orders?", "code"),
        ("Schema: boats(id, name, built). Write a query.", "How many are older than 30?", "code"),
    ],
)
def test_system_message_decides(system, text, kind):
    """What the system message demands outranks the words of the question."""
    assert detect(talk(text, system=system)).kind == kind


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["What is 17 * 23?", "391", "and for 7?"], "math"),
        (["A baker needs 450 g of flour for 18 rolls. How much flour for 40 rolls?", "1000 g", "same for 25"], "math"),
        (["Write a Python function that sorts a list.", "def f...", "now without sorted()"], "code"),
        (["What is 17 * 23?", "391", "in Python please"], "code"),
        (["What is 17 * 23?", "391", "Thanks! Now write a poem about the sea for my mother."], "open"),
    ],
)  # fmt: skip
def test_follow_up_inherits(texts, kind):
    """A short follow-up has the kind of its predecessor, unless it tells its own."""
    assert detect(talk(*texts)).kind == kind


@pytest.mark.parametrize("mark", ["({})", "[{}]", "{}.", "{})", "{}:", "【{}】", "**{}.**"])
@pytest.mark.parametrize("join", ["\n", "  "])
def test_any_marking_counts(mark, join):
    """Options in any marking, on lines or in one, make a question a choice."""
    listed = join.join(
        f"{mark.format(letter)} {city}"
        for letter, city in zip("ABCD", ("Perth", "Sydney", "Canberra", "Hobart"), strict=True)
    )
    asked = f"Which city is the capital of Australia?\n{listed}"
    assert detect(talk(asked)).kind == "choice"


def test_options_of_one_line():
    """Options of one line are read in order."""
    assert "".join(options("Find the takings. A:575 B:585 C:595 D:605")) == "ABCD"


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON), JSON | st.lists(JSON | MESSAGE), JSON)
def test_any_json_has_kind(fields, messages, format_):
    """Whatever stands at any path of a request, detection answers."""
    body = {**fields, "messages": messages, "response_format": format_}
    assert detect(body).kind in TaskKind


@pytest.mark.parametrize("size", [10**4, 10**7])
def test_bounded_part_is_read(size):
    """The middle of a text does not count, however long it is."""
    asked = "How many apples are left if Anna has 7 apples and eats 3 of them? "
    assert detect(talk(asked + "x" * size + asked)).kind == detect(talk(asked + "y" * 2 * size + asked)).kind


def test_many_messages_end():
    """A request with very many messages and parts has a kind."""
    parts = [{"type": "text", "text": "so"}] * 10**5
    assert detect({"messages": [{"role": "user", "content": parts}] * 10**5}).kind in TaskKind


def test_training_is_reproducible(tmp_path):
    """The same prompts give the same bytes, and the table that they give tells them apart."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import train_detection as training
    finally:
        sys.path.remove(str(BENCHMARKS))
    asked = [("math", f"How many are {n} and {n + 1} apples?") for n in range(5)]
    asked += [("code", f"Write a Java method number {n} that sorts.") for n in range(5)]
    examples = [training.example(kind, text) for kind, text in asked]
    first, second = training.trained(examples), training.trained(examples)
    assert first == second
    (tmp_path / "table").write_bytes(first)
    shares = weights.read(tmp_path / "table").shares("how many are 3 and 4 apples?", [])
    assert max(shares, key=shares.get) == "math"
    assert sum(shares.values()) == pytest.approx(1)


def test_misfit_table_is_refused(tmp_path):
    """A table whose weights do not fit its features is not read."""
    stored = weights.Stored((TaskKind.MATH,), 1.0, (0.0,), ("a", "b"), b"\0")
    (tmp_path / "table").write_bytes(msgspec.msgpack.encode(stored))
    with pytest.raises(ValueError, match="do not fit"):
        weights.read(tmp_path / "table")


def test_blanks_around_prompt_vanish():
    """The hash of a system prompt does not depend on blanks around it, as files end with a line feed."""
    assert prompt_hash("Be kind.\n") == prompt_hash("Be kind.") != prompt_hash("Be  kind.")
