"""Programs as votes in mathematics: what do they change? Two steps, on the same samples.

`python benchmarks/programs.py draw BASE_URL MODEL OUT N LIMIT DATA...` draws N texts and N programs (temperature 0.4, at most 400
tokens) of each of LIMIT items of each data set from a vLLM server, and writes them to OUT/calls.jsonl as `samples.py` does.
`python benchmarks/programs.py large BASE_URL MODEL OUT LIMIT DATA...` adds the large model's greedy answers (at most 600 tokens), at
2.50/10 USD per million tokens.

`python benchmarks/programs.py compare OUT DATA...` holds the ballots again: n = 4 texts as without programs, and 2 texts with
2 programs, averaged over all such choices of the drawn samples. Programs run in the sandbox. For each data set it prints what
the cascade without plans would answer and pay at each confidence that occurs as a threshold:

- winner right: the share of winners that are right, accepted or not
- accepted, so many of them right: the most answers that are accepted at the precision of 4 texts at their default threshold
- accepted, right: the share of items that stay local, and how many of these are right
- quality, cost: of the cascade, in points against the large model alone, and as a share of its cost
- wrong, regret: accepted answers that are wrong, and those of them that the large model has right, as shares of the accepted

The items are split at random into halves. The first half chooses the threshold of a design: the cheapest one with at most 5 %
regret. The second half reports it.
"""

import asyncio
import itertools
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from proxy.cascade import prompts
from proxy.cascade.confidence import shutdown
from proxy.cascade.confidence.computed import ComputedEstimator
from proxy.cascade.confidence.mathematics import MathEstimator, equivalent
from proxy.cascade.confidence.quantities import normalised
from proxy.cascade.protocols import Estimator
from proxy.cascade.types import Ballot, Sample, Task, TaskKind
from proxy.evals.grading import same_value
from proxy.evals.items import Item, chosen, load
from proxy.evals.record import Answer, Record
from proxy.evals.record import answers as recorded
from proxy.pricing.prices import Usage
from proxy.sandbox import open_sandbox
from proxy.stats import bootstrap

AT_ONCE = 48
PROGRAM, TEXT = "program", "text"
TODAY = "4 texts"
INPUT, OUTPUT = 2500, 10_000  # nano-USD a token
MOST_REGRET = 0.05


# --- drawing ---


def items_of(data: Iterable[str], limit: int | None) -> list[Item]:
    """Return at most `limit` random items of each data set, one data set after the other."""
    return [item for path in data for item in chosen(load([Path(path)]), limit, seed=0)]


def asked(item: Item, form: str) -> list[dict]:
    """Return the messages that ask for an answer in a form, as the proxy writes them."""
    sentence = prompts.PROGRAM_FORM if form == PROGRAM else prompts.MATH_FORM
    return prompts.execution_request(item.request()["messages"], sentence, goal=None, guideline=None)


async def drawn(client: openai.AsyncOpenAI, model: str, item: Item, form: str, key: str) -> Answer:
    """Return one sample of an item in a form, or the large model's answer if there is no form."""
    how = (
        {"temperature": 0.4, "max_tokens": 400, "logprobs": True, "top_logprobs": 5}
        if form
        else {"temperature": 0, "max_tokens": 600}
    )
    answer = await client.chat.completions.create(
        model=model, messages=asked(item, form or TEXT), extra_body=how
    )
    choice, usage = answer.choices[0], answer.usage
    tokens = [
        (t.logprob, -sum(top.logprob for top in t.top_logprobs) / len(t.top_logprobs))
        for t in (choice.logprobs.content if choice.logprobs else [])
    ]
    return Answer(
        key=key,
        item=item.id,
        tier="small" if form else "large",
        message={"role": "assistant", "content": choice.message.content},
        finish_reason=choice.finish_reason,
        usage=Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens),
        logprob=sum(logprob for logprob, _ in tokens) / len(tokens) if tokens else None,
        tokens=tokens,
        cost=None if form else usage.prompt_tokens * INPUT + usage.completion_tokens * OUTPUT,
    )


async def draw(base_url: str, model: str, out: str, wanted: list[tuple[Item, str, str]]) -> None:
    """Draw what OUT does not have yet. `wanted` has an item, a form and a key for each answer."""
    record = Record(Path(out) / "calls.jsonl")
    limiter = asyncio.Semaphore(AT_ONCE)
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", timeout=1800) as client:

        async def one(item: Item, form: str, key: str) -> None:
            if record.find(key) is None:
                async with limiter:
                    record.add(await drawn(client, model, item, form, key))

        async with asyncio.TaskGroup() as group:
            for item, form, key in wanted:
                group.create_task(one(item, form, key))


# --- comparing ---


@dataclass(frozen=True, slots=True)
class Voted:
    """A sample with its vote and its form."""

    answer: Answer
    vote: str | None
    form: str


@dataclass(frozen=True, slots=True)
class Held:
    """A ballot: its confidence, whether its winner is right (0 or 1), and whether only programs computed the winner."""

    confidence: float
    score: float
    to_word: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One item: its ballots by design, and the large model alone."""

    ballots: dict[str, list[Held]]
    large: float
    cost: int


def sample_of(answer: Answer, index: int) -> Sample:
    return Sample(
        index=index,
        message=answer.message,
        finish_reason=answer.finish_reason,
        logprob=answer.logprob,
        usage=answer.usage,
    )


async def row_of(item: Item, found: dict[str, list[Answer]], large: Answer, runner) -> Row:
    """Vote on all samples of an item once, and hold the ballots of each design."""
    halved, shares, task = ComputedEstimator(runner), MathEstimator(), Task(TaskKind.MATH, {}, "")
    votes: dict[str, list[Voted]] = {TEXT: [], PROGRAM: []}
    labels: list[str] = []
    for form, index in ((TEXT, 0), (PROGRAM, 1)):
        for answer in found[form]:
            vote = await halved.vote(task, sample_of(answer, index), tuple(labels))
            votes[form].append(Voted(answer, vote, form))
            labels += [vote] if vote and vote not in labels else []
    right = {label: float(await equivalent(label, normalised(str(item.answer)))) for label in labels}

    def held(rule: Estimator, texts: Sequence[Voted], programs: Sequence[Voted] = ()) -> Held:
        mixed = [one for pair in itertools.zip_longest(texts, programs) for one in pair if one]
        samples = tuple(sample_of(one.answer, i) for i, one in enumerate(mixed))
        ballot = Ballot(samples, tuple(one.vote for one in mixed))
        standing = rule.standing(ballot, len(mixed))
        vote = None if standing.winner is None else mixed[standing.winner.index].vote
        if vote is None:
            return Held(0.0 if programs else standing.low, 0.0)
        in_text = any(one.vote == vote and one.form == TEXT for one in mixed)
        return Held(standing.low, right[vote], to_word=not in_text)

    def some(form: str, count: int) -> list[tuple[Voted, ...]]:
        return list(itertools.combinations(votes[form], count))

    def mixes(rule: Estimator, count: int) -> list[Held]:
        return [held(rule, *mix) for mix in itertools.product(some(TEXT, count), some(PROGRAM, count))]

    return Row(
        ballots={
            TODAY: [held(shares, votes[TEXT])],
            "4 programs": [held(shares, votes[PROGRAM])],
            "1 text, 1 program": mixes(halved, 1),
            "2 texts, 2 programs, plain share": mixes(shares, 2),
            "2 texts, 2 programs": mixes(halved, 2),
            "4 texts, 4 programs": mixes(halved, 4),
        },
        large=float(await same_value(large.text, str(item.answer))),
        cost=large.cost or 0,
    )


def levels(rows: Sequence[Row], design: str) -> list[float]:
    """Return the confidences that occur, as thresholds."""
    return sorted({h.confidence for row in rows for h in row.ballots[design] if h.confidence > 0})


def outcome(row: Row, design: str, threshold: float) -> tuple[float, ...]:
    """Return means over the ballots of an item.

    They are: accepted, accepted and right, accepted and wrong, that with a right large model, quality and its large model's,
    cost and its large model's, to word.
    """
    ballots = row.ballots[design]
    taken = [h for h in ballots if h.confidence >= threshold]
    n = len(ballots)
    accepted, right = len(taken) / n, sum(h.score for h in taken) / n
    wrong, words = accepted - right, sum(h.to_word for h in taken) / n
    left = 1 - accepted
    return (
        accepted,
        right,
        wrong,
        wrong * row.large,
        right + left * row.large,
        row.large,
        left * row.cost,
        row.cost,
        words,
    )


def part(above: int, below: int) -> Callable[[Sequence[tuple[float, ...]]], float]:
    """Return a figure: the sum of one column as a percentage of another's."""
    return lambda rows: 100 * bootstrap.ratio([(r[above], r[below]) for r in rows])


def accepted(rows: Sequence[tuple[float, ...]]) -> float:
    return 100 * bootstrap.mean(rows)


def gain(rows: Sequence[tuple[float, ...]]) -> float:
    return 100 * bootstrap.difference([r[4:] for r in rows])


def winners(rows: Sequence[tuple]) -> float:
    """Return the AUROC over the ballots of all items."""
    return bootstrap.auroc([pair for row in rows for pair in row])


FIGURES = (accepted, part(1, 0), gain, part(6, 7), part(2, 0), part(3, 0))


def cells(rows: Sequence[Row], design: str, threshold: float) -> str:
    """Return the figures of a design at a threshold as cells of a table."""
    outcomes = [outcome(row, design, threshold) for row in rows]
    out = []
    for figure in FIGURES:
        low, high = bootstrap.interval(outcomes, figure)
        out.append(f"{figure(outcomes):.1f} ({low:.1f} to {high:.1f})")
    return f"{threshold:g} | {' | '.join(out)} | {100 * sum(o[8] for o in outcomes) / len(rows):.1f}"


HEAD = """
| design | threshold | accepted % | of these right % | points against large | cost, % of large | wrong, % of accepted | regret, % of accepted | words needed % |
| --- | ---: | --- | --- | --- | --- | --- | --- | ---: |"""


def report(name: str, rows: list[Row]) -> None:
    """Print the tables of one data set."""
    large = 100 * sum(row.large for row in rows) / len(rows)
    print(f"\n## {name}: {len(rows)} items, large alone {large:.1f} % right\n")
    precise = part(1, 0)([outcome(row, TODAY, MathEstimator.default_thresholds[0]) for row in rows])
    print(f"| design | winner right % | AUROC (95 %) | accepted %, {precise:.1f} % of them right |")
    print("| --- | ---: | --- | ---: |")
    for design in rows[0].ballots:
        pairs = [tuple((h.confidence, h.score) for h in row.ballots[design]) for row in rows]
        low, high = bootstrap.interval(pairs, winners)
        best = 100 * bootstrap.mean([(bootstrap.mean([(score,) for _, score in row]),) for row in pairs])
        most = max(map(accepted, at_least(rows, design, precise)), default=0.0)
        print(f"| {design} | {best:.1f} | {winners(pairs):.3f} ({low:.2f} to {high:.2f}) | {most:.1f} |")
    print(HEAD)
    for design in rows[0].ballots:
        for threshold in levels(rows, design):
            print(f"| {design} | {cells(rows, design, threshold)} |")
    order = random.Random(1).sample(rows, len(rows))
    first, second = order[: len(rows) // 2], order[len(rows) // 2 :]
    print(f"\nThresholds chosen on {len(first)} items, reported on the other {len(second)}:\n{HEAD}")
    for design in rows[0].ballots:
        threshold = choose(first, design)
        if threshold is None:
            print(f"| {design} | none | | | | | | | |")
        else:
            print(f"| {design} | {cells(second, design, threshold)} |")


def at_least(rows: Sequence[Row], design: str, precision: float) -> Iterable[list[tuple[float, ...]]]:
    """Yield the outcomes at each threshold at which so many percent of the accepted answers are right."""
    for threshold in levels(rows, design):
        outcomes = [outcome(row, design, threshold) for row in rows]
        if part(1, 0)(outcomes) >= precision:
            yield outcomes


def choose(rows: Sequence[Row], design: str) -> float | None:
    """Return the lowest threshold that keeps the regret within its limit."""
    for threshold in levels(rows, design):
        outcomes = [outcome(row, design, threshold) for row in rows]
        if part(3, 0)(outcomes) <= 100 * MOST_REGRET:
            return threshold
    return None


async def compare(out: str, data: list[str]) -> None:
    """Hold the ballots of all items that have every sample, and print."""
    sandbox = await open_sandbox()
    found: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for answer in recorded(Path(out) / "calls.jsonl"):
        found[answer.item][answer.key.split()[1]].append(answer)
    for path in data:
        rows = []
        for item in load([Path(path)]):
            own = found[item.id]
            if own["large"] and len(own[TEXT]) >= 4 and len(own[PROGRAM]) >= 4:
                rows.append(await row_of(item, own, own["large"][0], sandbox))
        if rows:
            report(Path(path).stem, rows)
    shutdown()


def main() -> None:
    """Draw or compare."""
    step, *given = sys.argv[1:]
    if step == "compare":
        asyncio.run(compare(given[0], given[1:]))
        return
    base_url, model, out, *rest = given
    if step == "large":
        wanted = [(item, "", f"{item.id} large 0") for item in items_of(rest[1:], int(rest[0]))]
    else:
        wanted = [
            (item, form, f"{item.id} {form} {index}")
            for item in items_of(rest[2:], int(rest[1]))
            for form in (TEXT, PROGRAM)
            for index in range(int(rest[0]))
        ]
    asyncio.run(draw(base_url, model, out, wanted))


if __name__ == "__main__":
    main()
