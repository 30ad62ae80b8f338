"""What samples save by sharing their prompt on the engine: `python benchmarks/prefix.py BASE_URL MODEL [rounds]`.

BASE_URL is a vLLM server's, such as http://127.0.0.1:8001/v1. In each round n = 8 samples of one long prompt are drawn at
once, and, as the baseline, one sample each of 8 prompts of the same length that differ from their first word on, so that
nothing can be shared. Prints the medians of the seconds that both take, and their ratio.
"""

import asyncio
import statistics
import sys
import time
import uuid

import openai

SAMPLES = 8
TOKENS = 16
FACTS = "The parcel weighs {} grams and goes from shelf {} to shelf {}. "


def prompt(seed: str) -> str:
    """Return a prompt of about 700 tokens that shares no prefix with that of another seed."""
    return (
        seed + ": " + "".join(FACTS.format(i, i + 1, i + 2) for i in range(35)) + "Which parcel is heaviest?"
    )


async def drawn(client: openai.AsyncOpenAI, model: str, prompts: list[str]) -> float:
    """Return the seconds until each prompt has an answer of exactly TOKENS tokens."""
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for text in prompts:
            group.create_task(
                client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": text}],
                    max_tokens=TOKENS,
                    temperature=0.8,
                    extra_body={"min_tokens": TOKENS},
                )
            )
    return time.perf_counter() - started


async def main() -> None:
    """Measure in turns, and print."""
    base_url, model, *rest = sys.argv[1:]
    rounds = int(rest[0]) if rest else 5
    shared, apart = [], []
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", timeout=600) as client:
        await drawn(client, model, [prompt(uuid.uuid4().hex)])  # warms up
        for _ in range(rounds):
            shared.append(await drawn(client, model, [prompt(uuid.uuid4().hex)] * SAMPLES))
            apart.append(await drawn(client, model, [prompt(uuid.uuid4().hex) for _ in range(SAMPLES)]))
    one, eight = statistics.median(shared), statistics.median(apart)
    print(f"{SAMPLES} samples of one prompt       {one:6.2f} s (median of {rounds})")
    print(f"{SAMPLES} prompts that share nothing  {eight:6.2f} s, the baseline")
    print(f"ratio {one / eight:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
