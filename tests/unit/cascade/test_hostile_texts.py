"""Whatever a client or a model writes, detection and the votes of all kinds end, and raise nothing."""

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.cascade import prompts
from proxy.cascade.detection import detect, with_kind
from proxy.cascade.guard import Guarded, safe_detect, safe_estimator
from proxy.cascade.kinds import KINDS, estimator_for
from proxy.cascade.plan_cache import goes_on, page_of
from proxy.cascade.toolcalls import with_calls
from proxy.cascade.types import Behaviour, Sample, Task, TaskKind
from proxy.pricing.bounds import body_bound
from proxy.pricing.prices import Usage
from proxy.pricing.tokens import count_prompt, count_text
from tests.support.hostile import SCHEMAS, in_places, texts

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
FIELDS = {
    TaskKind.AGENT: {"tools": TOOLS},
    TaskKind.STRUCTURED: in_places({"type": "object", "properties": {"a": {"type": "string"}}})[0],
}
SIZE = 9_000
LONG = 1_000_000
PIECES = ["\\boxed{", "}", "$", "1", "0", "9" * 50, "1e999", "/", "^", "{", "(", ")", "A", "B", "\n", " ", ",", "def f(x):\n",
          "    return ", "f(", "==", "assert ", "```", "python\n", '"', "'", "[", "]", ":", "inf", "None", "answer is",
          "\ud83d", "\0", "\u0301", "-", "*", "<tool_call>", "</tool_call>", "null", "\\frac", "#### ", "x"]  # fmt: skip


class Anything:
    """A sandbox whose programs do anything."""

    async def run(self, program):
        return Behaviour(True, ("!", "\ud83d", "None")[: len(program.probes)])


def request(text, kind=None):
    fields = FIELDS.get(kind, {})
    return {"messages": [{"role": "user", "content": text}], **fields}


def sample(text, fields):
    message = with_calls({"role": "assistant", "content": text}, fields.get("tools"))
    return Sample(
        index=0, message=message, finish_reason="stop", logprob=-0.1, usage=Usage(), lowest_logprob=-0.1
    )


async def votes(kind, text, question="What is 1 + 1?"):
    """Let a text be the answer to a question of a kind, twice, with and without a sandbox."""
    body = request(question, kind)
    task = with_kind(detect(body), kind)
    answer = sample(text, body)
    for runner in (None, Anything()):
        estimator = estimator_for(task, runner)
        label = await estimator.vote(task, answer, ())
        assert label is None or isinstance(label, str)
        assert await estimator.vote(task, answer, () if label is None else ("7", label)) == label
    return label


def read(text):
    """Do with a request all that is done before a model is asked."""
    body = request(text)
    task = detect(body)
    for runner in (None, Anything()):
        estimator_for(with_kind(task, TaskKind.CODE), runner)
    goes_on(task.kind, body)
    prompts.execution_request(body["messages"], "form", goal="g", guideline=None)
    prompts.plan_in(text)
    assert count_text("gpt-4o", text) <= len(text.encode(errors="surrogatepass"))
    return task


@pytest.mark.parametrize("kind", list(KINDS))
def test_answers_of_any_kind(kind):
    """Each hostile text as an answer gives a label, or no vote."""

    async def all_votes():
        for name, text in texts(SIZE).items():
            try:
                await votes(kind, text)
            except Exception as e:
                raise AssertionError(name) from e

    asyncio.run(all_votes())


def test_requests_of_any_kind():
    """Each hostile text as a request has a kind, and its own answer gives no error."""

    async def all_reads():
        for name, text in texts(SIZE).items():
            try:
                task = read(text)
                await votes(task.kind, text, question=text)
            except Exception as e:
                raise AssertionError(name) from e

    asyncio.run(all_reads())


@pytest.mark.parametrize("unit", ["a", "1", " ", "\n", "\u0301", "\ud83d", "<tool_call>", "[", "f(1) == 2\n"])
def test_million_letters(unit):
    """A megabyte of one thing is read by its end, or not at all."""
    text = unit * (LONG // len(unit))

    async def all_votes():
        for kind in KINDS:
            await votes(kind, text)
        read(text)

    asyncio.run(all_votes())


@pytest.mark.parametrize("unit", [" ", "\t", "\n", "\u3000"])
def test_tokenizer_never_panics(unit):
    """A text that the tokenizer cannot read in one piece has a count, and a bound that is not below it."""
    body = {"messages": [{"role": "user", "content": unit * LONG}]}
    count = count_prompt("gpt-4o", body)
    assert count <= body_bound("gpt-4o", body)
    assert body_bound("unknown-model", body) >= LONG


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=30).map("".join),
    st.sampled_from(list(KINDS)),
)
def test_mixed_pieces(text, kind):
    """So do texts made of the pieces that the readers look for."""
    asyncio.run(votes(kind, text, question=text))


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_of_any_kind(name):
    """A hostile schema gives a label or no vote, of structured answers and of calls."""

    async def both():
        for fields in in_places(SCHEMAS[name]):
            body = {**request("x"), **fields}
            task = detect(body)
            text = '{"a": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}'
            called = f'{{"name": "look", "arguments": {text}}}'
            await KINDS[task.kind].estimator.vote(task, sample(called if "tools" in body else text, body), ())
            page_of((None, None, "m"), task.kind, body)

    asyncio.run(both())


class Broken:
    """An estimator with a programming error, or without an end."""

    default_thresholds = (0.5, 0.5)
    forms = ()

    def __init__(self, endless=False):
        self.endless = endless

    async def vote(self, task, sample, groups):
        if self.endless:
            await asyncio.Event().wait()
        raise ZeroDivisionError("a bug")


def test_guard_reports_errors():
    """A vote that raises is no vote, and its error is reported with the kind."""
    reported = []
    guarded = Guarded(Broken(), lambda kind, error: reported.append((kind, error)))
    task = Task(TaskKind.MATH, {}, "")
    assert asyncio.run(guarded.vote(task, sample("7", {}), ())) is None
    assert [(kind, type(error)) for kind, error in reported] == [(TaskKind.MATH, ZeroDivisionError)]


def test_late_vote_counts_none():
    """A vote that does not end in time is no vote."""
    guarded = Guarded(Broken(endless=True), lambda *_: None, seconds=0.01)
    assert asyncio.run(guarded.vote(Task(TaskKind.MATH, {}, ""), sample("7", {}), ())) is None


def test_failed_detection_is_open():
    """A request that detection fails on is open, and programs of a request that cannot be read are compared as text."""
    reported = []
    assert (
        safe_detect(
            {"messages": [{"role": "user", "content": Unreadable()}]}, lambda *r: reported.append(r)
        ).kind
        == "open"
    )
    task = Task(TaskKind.CODE, {}, Unreadable())
    assert safe_estimator(task, Anything(), lambda *r: reported.append(r)).default_thresholds
    assert len(reported) == 2


class Unreadable(str):
    """A text that cannot be cut."""

    __slots__ = ()

    def __getitem__(self, _):
        raise ValueError("a bug")

    def __len__(self):
        return 10**9

    def __hash__(self):
        return random.randrange(10**9)
