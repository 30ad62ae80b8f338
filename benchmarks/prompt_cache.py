"""What the proxy's calls cost at a vendor that caches prompts, compared with direct use.

Run: python benchmarks/prompt_cache.py
The vendor is the stand-in with a model of OpenAI's prompt cache (`tests/support/standin/prompt_cache.py`): reads cost 0.1 of
the input, and writes 1.25 for models with breakpoints. Prints, for models of both ways of caching:

- an agent of 20 turns, which begins with 3,000 tokens of instructions and tools, against the same agent without the proxy;
- a chat of 20 questions in the same way, each of which gets a guideline of its own;
- the input of stages 2 and 3 of one request, against one uncached prompt.
"""

import sys
import tempfile
from pathlib import Path

import msgspec
import openai

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.config.schema import Upstream  # noqa: E402
from tests.support.config import SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402

TURNS = 20
MODELS = {"breakpoints": "gpt-5.6-sol", "automatic": "gpt-4.1"}
OPTIONS = {"breakpoints": "breakpoints", "automatic": "key"}
"""What `large.prompt_cache` says for each of them, as it is by default at OpenAI."""
INPUT, OUTPUT, READ, WRITE = 4.0, 20.0, 0.4, {"breakpoints": 5.0, "automatic": 4.0}
INSTRUCTIONS = "You run a parcel service. " + " ".join(
    f"Rule {i}: shelf {i} holds parcels." for i in range(250)
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"look_up_{i}",
            "description": " ".join(f"word{i}-{j}" for j in range(140)),
            "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        },
    }
    for i in range(10)
]
PLANNER = {
    "match": {"contains": "Do not answer this yet"},
    "reply": {
        "content": "Compare the weights of both parcels first, and mind that shelf numbers begin with zero."
    },
}


def facts(turn, count=250):
    """Return a text of some hundred tokens that no other turn has."""
    return " ".join(f"fact{turn}-{i}" for i in range(count))


def agent(client, model):
    """Run one agent: its model calls a tool in each turn, and gets a result of 250 tokens."""
    messages = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": "Find the heaviest parcel. " + facts("task", 40)},
    ]
    for turn in range(TURNS):
        answer = client.chat.completions.create(model=model, messages=messages, tools=TOOLS)
        message = answer.choices[0].message
        calls = [call.model_dump() for call in message.tool_calls]
        messages.append({"role": "assistant", "content": message.content, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": facts(turn)})


def chat(client, model):
    """Ask one question after the other in one conversation."""
    messages = [{"role": "system", "content": INSTRUCTIONS + " " + facts("more", 1400)}]
    for turn in range(TURNS):
        question = f"{facts(turn, 150)}. What is {turn + 11} times 7? Calculate the number."
        messages.append({"role": "user", "content": question})
        answer = client.chat.completions.create(model=model, messages=messages)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})


def scripted(large):
    """Let the large model call a tool for an agent, and answer a chat."""
    call = {"name": "look_up_1", "arguments": {"id": "17"}}
    large.script(
        PLANNER,
        {"match": {"has": "tools"}, "reply": {"tool_calls": [call]}},
        {"reply": {"content": "The number is \\boxed{77}. " + " ".join(["because"] * 60)}},
    )


def paid(entries, way):
    """Return the USD of some calls, and those of their input alone."""
    inputs = outputs = 0.0
    for entry in entries:
        usage = entry["billed"]
        details = usage["prompt_tokens_details"]
        read, written = details["cached_tokens"], details["cache_write_tokens"]
        plain = usage["prompt_tokens"] - read - written
        inputs += (plain * INPUT + read * READ + written * WRITE[way]) / 1e6
        outputs += usage["completion_tokens"] * OUTPUT / 1e6
    return inputs + outputs, inputs


def run(way, work, plans):
    """Return the large model's calls for some work: directly if `plans` is None, else through the proxy."""
    model = MODELS[way]
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn([model], require_key=UPSTREAM_KEY, prompt_cache=way) as large,
    ):
        scripted(large)
        if plans is None:
            work(large.client(), model)
            return large.chats()
        small.say(*(f"Answer \\boxed{{{i}}}." for i in range(64)))
        known = "prompt_cache" in {f.name for f in msgspec.structs.fields(Upstream)}
        price = {
            "input_per_mtok": INPUT, "output_per_mtok": OUTPUT, "cached_input_per_mtok": READ,
            **({"cache_write_per_mtok": WRITE[way]} if way == "breakpoints" else {}),
        }  # fmt: skip
        with ProxyProcess(
            Path(folder),
            small.base_url,
            large.base_url,
            small={"tools": True},
            large={"model": model, **({"prompt_cache": OPTIONS[way]} if known else {})},
            prices={"big-model": None, model: price},
            cascade={"samples": 2, "plans": plans, "skip_losses": False},
        ) as proxy:
            key = proxy.cli("keys", "create", "bench", check=True).stdout.strip()
            work(openai.OpenAI(base_url=proxy.base_url, api_key=key, max_retries=0, timeout=60), "cope")
        return large.chats()


def main():
    """Measure, and print."""
    for way, model in MODELS.items():
        print(f"{model} ({way})")
        for name, work in (("agent", agent), ("chat", chat)):
            direct, _ = paid(run(way, work, None), way)
            print(f"  {name:5} direct                     {1000 * direct:8.2f} m$")
            for plans, label in (("none", "no guideline"), ("all", "guideline, then stage 3")):
                calls = run(way, work, plans)
                total, _ = paid(calls, way)
                print(
                    f"  {name:5} {label:25} {1000 * total:8.2f} m$ = {total / direct:5.2f} x direct"
                    f"   ({len(calls)} calls)"
                )
                if plans == "all":
                    both = calls[:2]
                    _, inputs = paid(both, way)
                    whole = max(c["billed"]["prompt_tokens"] for c in both) * INPUT / 1e6
                    print(f"        its first request: input {inputs / whole:5.2f} x one uncached prompt")


if __name__ == "__main__":
    main()
