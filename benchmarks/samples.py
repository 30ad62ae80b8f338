"""Plain samples to compare confidences on: `python benchmarks/samples.py BASE_URL MODEL OUT N LIMIT DATA...`.

Draws N samples (temperature 0.4, at most 400 tokens) of each of at most LIMIT items of each task kind from a vLLM server, and writes
them to OUT/calls.jsonl, in the form of a run of `cope-proxy eval`, which draws others as well and pays a large model.
`confidence.py OUT DATA...` reads them.
"""

import asyncio
import sys
from pathlib import Path

import openai

from proxy.evals.items import Item, chosen, load
from proxy.evals.record import Answer, Record
from proxy.pricing.prices import Usage

AT_ONCE = 40


async def drawn(client: openai.AsyncOpenAI, model: str, item: Item, index: int) -> Answer:
    """Return one sample of an item."""
    asked = {"max_tokens": 400, "temperature": 0.4, "logprobs": True, "top_logprobs": 5}
    answer = await client.chat.completions.create(model=model, **item.request(), **asked)
    choice = answer.choices[0]
    tokens = [
        (t.logprob, -sum(top.logprob for top in t.top_logprobs) / len(t.top_logprobs))
        for t in choice.logprobs.content
    ]
    return Answer(
        key=f"{item.id} {index}",
        item=item.id,
        tier="small",
        message={"role": "assistant", "content": choice.message.content},
        finish_reason=choice.finish_reason,
        usage=Usage(
            prompt_tokens=answer.usage.prompt_tokens, completion_tokens=answer.usage.completion_tokens
        ),
        logprob=sum(logprob for logprob, _ in tokens) / max(1, len(tokens)),
        tokens=tokens,
    )


async def main() -> None:
    """Draw what OUT does not have yet."""
    base_url, model, out, count, limit, *data = sys.argv[1:]
    record = Record(Path(out) / "calls.jsonl")
    items = chosen(load(map(Path, data)), int(limit), seed=0)
    limiter = asyncio.Semaphore(AT_ONCE)
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", timeout=1800) as client:

        async def one(item: Item, index: int) -> None:
            if record.find(f"{item.id} {index}") is None:
                async with limiter:
                    record.add(await drawn(client, model, item, index))

        async with asyncio.TaskGroup() as group:
            for item in items:
                for index in range(int(count)):
                    group.create_task(one(item, index))


if __name__ == "__main__":
    asyncio.run(main())
