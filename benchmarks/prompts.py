"""Goals compared: `python benchmarks/prompts.py BASE_URL MODEL N LIMIT DATA...`.

The small model at BASE_URL (a vLLM server) answers at most LIMIT tasks each of code and mathematics N times after each way of
asking it for a goal. Prints how many answers are right (95 % intervals over the items), the baseline being no goal, and what a
plan and an answer take in tokens. Temperatures and bounds are the cascade's.
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from proxy.cascade import prompts
from proxy.cascade.kinds import KINDS
from proxy.cascade.types import Json, TaskKind
from proxy.evals.grading import passes, same_value
from proxy.evals.items import Item, chosen, load
from proxy.sandbox import Sandbox, open_sandbox
from proxy.stats import bootstrap

AT_ONCE = 40
GOALS = {
    "no goal": None,
    "goal, as we ask": prompts.GOAL,
    "goal, asked freely": "State the goal of this task in one sentence.",
    "steps": "Do not solve this yet. Write a plan of at most three short steps.",
}


@dataclass(frozen=True)
class Model:
    """A model behind a client."""

    client: openai.AsyncOpenAI
    name: str
    limiter: asyncio.Semaphore

    async def write(self, messages: Sequence[Json], **asked: object) -> tuple[str, int]:
        """Return what it writes, and how many tokens that is."""
        async with self.limiter:
            answer = await self.client.chat.completions.create(model=self.name, messages=messages, **asked)
        return answer.choices[0].message.content or "", answer.usage.completion_tokens

    async def plan(self, messages: Sequence[Json]) -> tuple[str | None, int]:
        """Return a plan as the cascade reads it, and what it took."""
        text, tokens = await self.write(messages, max_tokens=96, temperature=0.8, stop=[prompts.PLAN_ENDS])
        return prompts.plan_in(text), tokens


@dataclass(frozen=True)
class Row:
    """One answer: whether it is right, and the tokens of its plan and its own."""

    right: float
    planned: int
    answered: int


async def right(item: Item, text: str, runner: Sandbox | None) -> float:
    return float(
        await (
            passes(item, text, runner) if item.task is TaskKind.CODE else same_value(text, str(item.answer))
        )
    )


async def answered(small: Model, item: Item, runner: Sandbox | None, asked: str | None) -> Row:
    """Let the model plan, where it is asked to, and answer."""
    messages = item.request()["messages"]
    goal, planned = (None, 0) if asked is None else await small.plan(prompts.appended(messages, asked))
    messages = prompts.execution_request(messages, KINDS[item.task].answer_form, goal=goal, guideline=None)
    text, tokens = await small.write(messages, max_tokens=400, temperature=0.4)
    return Row(await right(item, text, runner), planned, tokens)


def tell(name: str, by_item: Sequence[Sequence[Row]]) -> None:
    """Print one way's figures."""
    shares = [(sum(row.right for row in rows) / len(rows),) for rows in by_item]
    rows = [row for some in by_item for row in some]
    low, high = bootstrap.interval(shares, bootstrap.mean)
    print(
        f"| {name} | {100 * bootstrap.mean(shares):.1f} ({100 * low:.1f} to {100 * high:.1f}) "
        f"| {sum(r.planned for r in rows) / len(rows):.0f} | {sum(r.answered for r in rows) / len(rows):.0f} |",
        flush=True,
    )


async def main() -> None:
    """Go through the ways one after the other, all items of a kind at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("model")
    parser.add_argument("n", type=int)
    parser.add_argument("limit", type=int)
    parser.add_argument("data", type=Path, nargs="+")
    args = parser.parse_args()
    items = [
        i for i in chosen(load(args.data), args.limit, seed=0) if i.task in (TaskKind.CODE, TaskKind.MATH)
    ]
    runner = await open_sandbox() if any(i.task is TaskKind.CODE for i in items) else None
    small = Model(
        openai.AsyncOpenAI(base_url=args.base_url, api_key="x", timeout=1800),
        args.model,
        asyncio.Semaphore(AT_ONCE),
    )
    for kind in sorted({item.task for item in items}):
        ours = [item for item in items if item.task is kind]
        print(
            f"\n{kind}, {len(ours)} items\n\n| plan | right % (95 %) | tokens of a plan | of an answer |\n| --- | --- | ---: | ---: |"
        )
        for name, asked in GOALS.items():
            found = await asyncio.gather(
                *(
                    asyncio.gather(*(answered(small, item, runner, asked) for _ in range(args.n)))
                    for item in ours
                )
            )
            tell(name, found)


if __name__ == "__main__":
    asyncio.run(main())
