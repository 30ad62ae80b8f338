"""A value of any kind at any path of an answer: the answer passes, and its cost is near the truth."""

import asyncio
import json

import pytest

from proxy.formats.chat import Chat
from proxy.formats.completions import Completions
from proxy.formats.embeddings import Embeddings
from proxy.formats.responses import Responses
from proxy.pricing.reported import MOST_TOKENS
from proxy.spending.calls import complete, stream
from proxy.spending.paid import paid
from tests.support.odd import BODIES, COMPLETE, STREAMED, mutants, raw, same, sse
from tests.support.odd_server import OddServer
from tests.unit.spending.parts import LIMITS, MODEL, FixedBudget, connected, spending

FORMATS = {f.path: f for f in (Chat(), Completions(), Embeddings(), Responses())}
FACTS = {"stage": 3}
WORST = LIMITS.asked
"""More tokens than any of the answers has."""


def lacks_its_end(name):
    """Whether a mutant of a response's stream lacks the event that ends it."""
    return name.startswith(("(3,)", "(3, 'type')"))


async def answers(path, cases, use):
    """Make one paid call for each case. Return the results of `use(call, body)` and the records of the calls."""
    async with OddServer() as server, connected(server) as upstream:
        server.cases = cases
        parts = spending(FixedBudget(10**18), upstream)
        results = []
        for case in cases:
            async with paid(
                parts, stage=3, role="executor", model=MODEL, format_=FORMATS[path], limits=LIMITS
            ) as call:
                results.append(await use(call, {**BODIES[path], "user": case}))
        return results, parts.calls


async def streamed(call, body):
    return [data async for chunks in stream(call, {**body, "stream": True}) for data, _ in chunks]


@pytest.mark.parametrize("path", list(COMPLETE))
def test_every_path_of_answers(path):
    """An answer arrives with its own bytes, and what is usable of its usage is booked."""
    cases = {name: raw(answer) for name, answer in mutants(COMPLETE[path])}
    results, records = asyncio.run(answers(path, cases, complete))
    assert len(cases) > 100
    for (name, sent), got, record in zip(cases.items(), results, records, strict=True):
        assert got == sent, name
        with_facts = json.loads(FORMATS[path].with_facts(got, 2, FACTS))
        assert with_facts["cope"] == FACTS, name
        assert same(without_facts(with_facts), without_facts(json.loads(sent))), name
        check_record(name, record)
        if "usage" not in name:
            assert (record.usage.prompt_tokens, record.estimated) == (11, False), name


@pytest.mark.parametrize("path", list(STREAMED))
def test_every_path_of_streams(path):
    """A stream arrives event by event, and what is usable of its usage is booked."""
    done = path != "/responses"
    chunks = {name: events for name, events in mutants(STREAMED[path]) if done or not lacks_its_end(name)}
    cases = {name: sse(events, done=done) for name, events in chunks.items()}
    results, records = asyncio.run(answers(path, cases, streamed))
    assert len(cases) > 100
    for (name, events), got, record in zip(chunks.items(), results, records, strict=True):
        assert got == [raw(event) for event in events], name
        check_record(name, record)
        if not name.startswith(f"({len(STREAMED[path]) - 1},"):
            assert (record.usage.prompt_tokens, record.usage.completion_tokens, record.estimated) == (
                11,
                7,
                False,
            ), name
        last = json.loads(FORMATS[path].with_facts(got[-1], 2, FACTS)) if got else None
        assert not got or same(without_facts(last), without_facts(json.loads(got[-1]))), name


def without_facts(answer):
    """Return an answer, or an event with a response, without the members that `with_facts` changes."""
    if not isinstance(answer, dict):
        return answer
    out = {k: v for k, v in answer.items() if k not in ("usage", "cope")}
    return {**out, "response": without_facts(out["response"])} if "response" in out else out


def check_record(name, record):
    """The booked usage is possible, and far below the worst case."""
    usage = record.usage
    assert record.error is None, name
    assert 0 <= usage.prompt_tokens <= MOST_TOKENS, name
    assert 0 <= usage.completion_tokens < WORST, name
