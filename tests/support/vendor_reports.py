"""Reports of vendors in a test: pages of their APIs, and a ledger to compare them with."""

import json
from datetime import UTC, datetime
from pathlib import Path

from proxy.ledger.migrate import upgrade
from proxy.pricing.prices import Price, Usage, cost
from tests.support.commands import config_of, run_command, sqlite_url
from tests.support.ledger import call, request, run, writing

GPT_4O = Price(input=2_500_000_000, output=10_000_000_000, cached_input=1_250_000_000, source="genai-prices")
MINI = Price(input=150_000_000, output=600_000_000, cached_input=75_000_000, source="genai-prices")
HAIKU = Price(input=10**9, output=5 * 10**9, cached_input=10**8, source="genai-prices")
UPSTREAMS = """
[budgets]
timezone = "Asia/Tokyo"
[upstreams.openai]
base_url = "https://api.openai.com/v1"
models = ["gpt-4o"]
[upstreams.claude]
base_url = "https://api.anthropic.com/v1"
models = ["claude-haiku-4-5"]
"""


def at(day, hour=12, minute=0):
    return datetime(2026, 10, day, hour, minute, tzinfo=UTC)


def paid(name, day, model="openai/gpt-4o", price=GPT_4O, tokens=(10_000, 1000), **changes):
    """Return a request with one paid call. The tokens are those of prompt, completion and cached prompt."""
    prompt, completion, cached = (*tokens, 0)[:3]
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
    when = day if isinstance(day, datetime) else at(day)
    spent = changes.pop("cost", cost(price, usage))
    return [
        request(f"r{name}", started_at=when, cost=spent),
        call(
            f"c{name}", f"r{name}", spent, started_at=when, model=model, price=price, usage=usage, **changes
        ),
    ]


def fill(url, records):
    async def write(engine):
        async with writing(engine) as writer:
            writer.submit(*records)

    run(url, write)


def ledger(folder: Path, records) -> str:
    """Return the URL of a SQLite ledger with some records."""
    url = sqlite_url(folder / "ledger.db")
    upgrade(url)
    fill(url, records)
    return url


def compared(folder: Path, url: str, *arguments: str, provider="openai", month="2026-10"):
    """Compare with the command. Return its exit code and its JSON, or its message."""
    config = config_of(folder, url, UPSTREAMS)
    code, output = run_command(
        ["reconcile", *config, "--provider", provider, "--month", month, "--json", *arguments]
    )
    return code, json.loads(output) if output.startswith("{") else output


def seconds(day):
    return int(at(day, 0).timestamp())


def bucket(day, *results):
    return {
        "object": "bucket",
        "start_time": seconds(day),
        "end_time": seconds(day) + 86_400,
        "results": list(results),
    }


def page(*buckets, following=None):
    return {
        "object": "page",
        "data": list(buckets),
        "has_more": following is not None,
        "next_page": following,
    }


def used(model="gpt-4o-2024-08-06", tokens=(10_000, 1000), requests=1, **fields):
    """Return a result of OpenAI's usage API."""
    return {
        "object": "organization.usage.completions.result", "model": model, "input_tokens": tokens[0],
        "output_tokens": tokens[1], "input_cached_tokens": (*tokens, 0)[2], "num_model_requests": requests, **fields,
    }  # fmt: skip


def billed(value, item="gpt-4o-2024-08-06, input"):
    """Return a result of OpenAI's costs API."""
    return {
        "object": "organization.costs.result", "line_item": item, "amount": {"value": value, "currency": "usd"},
    }  # fmt: skip


def saved(folder: Path, *pages, name="report.json") -> str:
    """Save pages of an API. Return the path."""
    path = folder / name
    path.write_text(json.dumps(pages))
    return str(path)
