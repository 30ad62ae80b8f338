"""The vendor's prompt cache: each call of the large model begins with the client's own prefix, turn after turn."""

import json
import random
from contextlib import ExitStack

import openai
import pytest

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY
from tests.support.proxy_process import ProxyProcess
from tests.support.standin.prompt_cache import PromptCache
from tests.support.standin_process import StandIn

PLANNER = {"match": {"contains": "tell another assistant"}, "reply": {"content": "Multiply, and check it."}}
PRICE = {
    "input_per_mtok": 4, "output_per_mtok": 20, "cached_input_per_mtok": 0.4, "cache_write_per_mtok": 5,
}  # fmt: skip
PARAMETERS = {
    "type": "object", "required": ["to"],
    "properties": {"to": {"type": "string", "maxLength": 40}, "far": {"type": "number", "maximum": 1.50e2}},
}  # fmt: skip
LONG = " ".join(f"shelf {i} holds parcels" for i in range(400))


@pytest.fixture(scope="module")
def servers():
    """A small tier that is never sure, and vendors with a cache of each kind, from the first token on."""
    with ExitStack() as stack:
        small = stack.enter_context(StandIn([SMALL_MODEL]))
        small.say(*(f"\\boxed{{{i}}}" for i in range(64)))
        vendors = {}
        for way in ("breakpoints", "automatic"):
            options = {"require_key": UPSTREAM_KEY, "prompt_cache": way, "least_cached": 1}
            vendors[way] = stack.enter_context(StandIn([LARGE_MODEL], **options))
            vendors[way].script(PLANNER, {"reply": {"content": "It is \\boxed{42}."}})
        yield small, vendors


@pytest.fixture(scope="module")
def proxies(servers, tmp_path_factory):
    """Start a proxy for a vendor once, by the kind of the cache, the plans and the setting."""
    small, vendors = servers
    with ExitStack() as stack:
        running = {}

        def start(way, plans, prompt_cache=None):
            wanted = way, plans, prompt_cache
            if wanted not in running:
                setting = prompt_cache or {"breakpoints": "breakpoints", "automatic": "key"}[way]
                process = ProxyProcess(
                    tmp_path_factory.mktemp("proxy"),
                    small.base_url,
                    vendors[way].base_url,
                    small={"tools": True},
                    large={"prompt_cache": None if setting == "unset" else setting},
                    prices={LARGE_MODEL: PRICE},
                    cascade={"samples": 2, "plans": plans, "skip_losses": False},
                )
                running[wanted] = stack.enter_context(process)
            return running[wanted], vendors[way]

        yield start


def some_text(rng):
    """Return a few odd words."""
    words = ["crate", "Größe", "“17”", "\\n", "1e5", "😀", "tab\there", "null", "é"]
    return " ".join(rng.choices(words, k=rng.randint(1, 12)))


def content(rng, text, kind):
    """Return a content as a string or in parts."""
    if rng.random() < 0.6:
        return text
    return [{"type": kind, "text": some_text(rng)}, {"type": kind, "text": text}]


def a_chat(rng):
    """Return the fields and the messages of a random conversation."""
    tool = {"type": "function", "function": {"name": "go", "description": "Goes.", "parameters": PARAMETERS}}
    fields = {"tools": [tool]} if rng.random() < 0.5 else {}
    messages = [{"role": "system", "content": some_text(rng)}] if rng.random() < 0.7 else []
    for _ in range(rng.randint(2, 4)):
        question = f"{some_text(rng)} What is {rng.randint(2, 99)} times 7? Calculate the number."
        messages.append({"role": "user", "content": content(rng, question, "text")})
        if fields:
            calls = [
                {
                    "id": f"call_{rng.random()}",
                    "type": "function",
                    "function": {"name": "go", "arguments": json.dumps({"to": some_text(rng), "far": 1.0})},
                }
                for _ in range(rng.randint(1, 2))
            ]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": c["id"], "content": content(rng, some_text(rng), "text")}
                for c in calls
            ]
        messages.append({"role": "assistant", "content": some_text(rng)})
    return fields, messages


def a_response(rng):
    """Return the fields and the items of a random conversation of the Responses API."""
    fields, messages = a_chat(rng)
    out = {"store": rng.random() < 0.5}
    if "tools" in fields:
        out["tools"] = [{"type": "function", **tool["function"]} for tool in fields["tools"]]
    items = []
    for message in messages:
        role, said = message["role"], message.get("content")
        if isinstance(said, list):
            said = [{"type": "input_text", "text": part["text"]} for part in said]
        if role == "system" and rng.random() < 0.5:
            out["instructions"] = said
        elif role == "tool":
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": said})
        elif message.get("tool_calls"):
            items += [
                {"type": "function_call", "call_id": c["id"], **c["function"]} for c in message["tool_calls"]
            ]
        else:
            items.append({"role": role, "content": said})
    return out, items


def turns(rng, messages):
    """Cut a conversation at random after messages of the client."""
    ends = [i for i, m in enumerate(messages, 1) if m.get("role") in ("user", "tool") or "output" in m]
    chosen = sorted(rng.sample(ends, rng.randint(1, min(3, len(ends)))))
    begun = next(i for i, m in enumerate(messages, 1) if m.get("role") == "user")
    return [messages[:end] for end in chosen if end >= begun] or [messages[:begun]]


FORMATS = {
    "/v1/chat/completions": (a_chat, "messages", "prompt_tokens_details"),
    "/v1/responses": (a_response, "input", "input_tokens_details"),
}


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize("plans", ["none", "all"])
@pytest.mark.parametrize("way", ["breakpoints", "automatic"])
def test_each_turn_extends_the_last_one(proxies, way, plans, path):
    """Every call reads the whole prompt of the turn before from the cache, and stage 3 also that of stage 2."""
    proxy, vendor = proxies(way, plans)
    build, name, details = FORMATS[path]
    compared = 0
    for seed in range(5):
        rng = random.Random(f"{way} {plans} {path} {seed}")
        fields, messages = build(rng)
        before = 0
        for turn in turns(rng, messages):
            seen = len(vendor.log())
            body = {"model": "cope", **fields, name: turn}
            own = PromptCache("breakpoints", 1).use(path, body).tokens
            key = {"X-COPE-Session": f"{way}-{plans}-{path}-{seed}"} if seed % 2 else {}
            proxy.client().with_options(default_headers=key).post(
                path.removeprefix("/v1"), body=body, cast_to=object
            )
            calls = vendor.log()[seen:]
            assert {call["path"] for call in calls} == {path}
            for call in calls:
                read = call["billed"][details]["cached_tokens"]
                step = 1 if way == "breakpoints" else 128
                assert read >= (before - 1) // step * step + 1 if before else True, (seed, turn, call["body"])
                if way == "breakpoints":
                    assert read in (before, own), (seed, before, own, read, call["body"])
                before = own
                compared += 1
    assert compared > 5


def two_calls(vendor, ask):
    """Return the planner's call and the answer's."""
    seen = len(vendor.log())
    ask()
    return vendor.log()[seen:]


def input_price(call):
    """Return the price of a call's input, in prices of an uncached token."""
    details = call["billed"]["prompt_tokens_details"]
    read, written = details["cached_tokens"], details["cache_write_tokens"]
    return call["billed"]["prompt_tokens"] - read - written + 0.1 * read + 1.25 * written


def chat(proxy, *messages, headers=None, **extra):
    """Ask the cascade."""
    return proxy.client().chat.completions.create(
        model="cope", messages=list(messages), extra_headers=headers, **extra
    )


SYSTEM = {"role": "system", "content": LONG}
QUESTION = {"role": "user", "content": "What is 6 times 7? Calculate the number."}


def test_stages_2_and_3_share_one_prompt(proxies):
    """Together they cost at most 1.4 uncached prompts. Our own texts are not written."""
    proxy, vendor = proxies("breakpoints", "all")
    plan, answer = two_calls(vendor, lambda: chat(proxy, SYSTEM, QUESTION))
    whole = answer["billed"]["prompt_tokens"]
    assert input_price(plan) + input_price(answer) <= 1.4 * whole
    assert answer["billed"]["prompt_tokens_details"]["cache_write_tokens"] == 0
    assert plan["body"]["messages"][:-1] == answer["body"]["messages"][:-1]
    assert (
        plan["body"]["prompt_cache_options"] == answer["body"]["prompt_cache_options"] == {"mode": "explicit"}
    )


def test_client_chooses_its_breakpoints(proxies):
    """Its own breakpoints, options and key stay, and its messages too. In the mode `explicit` nothing is added."""
    proxy, vendor = proxies("breakpoints", "all")
    mark = {"mode": "explicit"}
    system = {"role": "system", "content": [{"type": "text", "text": LONG, "prompt_cache_breakpoint": mark}]}
    own = {"prompt_cache_options": {"mode": "explicit"}, "prompt_cache_key": "mine"}
    for call in two_calls(vendor, lambda: chat(proxy, system, QUESTION, extra_body=own)):
        assert call["body"]["messages"][:2] == [system, QUESTION]
        assert own.items() <= call["body"].items()
    plan, answer = two_calls(
        vendor, lambda: chat(proxy, system, {**QUESTION, "content": "Add 2 and 3, the sum?"})
    )
    assert plan["body"]["messages"][0] == answer["body"]["messages"][0] == system
    assert answer["billed"]["prompt_tokens_details"]["cached_tokens"] > 1600


def test_no_guideline_writes_for_nobody(proxies):
    """A planner cannot keep to a format of JSON. Its prompt begins in another way, so it is not written."""
    proxy, vendor = proxies("breakpoints", "all")
    schema = {"name": "n", "schema": {"type": "object", "properties": {"n": {"type": "number"}}}}
    format_ = {"type": "json_schema", "json_schema": schema}
    plan, answer = two_calls(vendor, lambda: chat(proxy, SYSTEM, QUESTION, response_format=format_))
    assert "response_format" not in plan["body"]
    assert plan["billed"]["prompt_tokens_details"]["cache_write_tokens"] == 0
    assert answer["body"]["response_format"] == format_


def test_others_are_sent_nothing_of_it(proxies):
    """By default an upstream that is not OpenAI's gets none of the fields. Its messages are the client's and our text."""
    proxy, vendor = proxies("breakpoints", "all", "unset")
    for call in two_calls(vendor, lambda: chat(proxy, SYSTEM, QUESTION)):
        assert "prompt_cache" not in json.dumps(call["body"])
        system, question = call["body"]["messages"]
        assert system == SYSTEM
        assert question["content"].startswith(QUESTION["content"])


def test_direct_requests_are_untouched(proxies):
    """A request for the large model itself goes out as it came."""
    proxy, vendor = proxies("breakpoints", "all")
    (call,) = two_calls(
        vendor,
        lambda: proxy.client().chat.completions.create(
            model=f"direct/{LARGE_MODEL}", messages=[SYSTEM, QUESTION]
        ),
    )
    assert call["body"]["messages"] == [SYSTEM, QUESTION]
    assert "prompt_cache" not in json.dumps(call["body"])


def test_refused_fields_are_not_sent_again(proxies):
    """The answer comes without the fields that a model refuses, and later requests do without them at once."""
    proxy, vendor = proxies("automatic", "none", "breakpoints")
    assert chat(proxy, SYSTEM, QUESTION).choices[0].message.content
    calls = two_calls(vendor, lambda: chat(proxy, SYSTEM, QUESTION))
    assert [call["status"] for call in calls] == [200]
    assert calls[0]["body"]["prompt_cache_key"].startswith("cope-")


def test_mistake_of_a_client_stays_its_own(proxies):
    """A client that sends a field that the model refuses gets its error. Others still get their breakpoints."""
    proxy, vendor = proxies("breakpoints", "none")
    wrong = {"prompt_cache_retention": "24h", "prompt_cache_options": {"ttl": "30m"}}
    with pytest.raises(openai.BadRequestError, match="prompt_cache_options"):
        chat(proxy, SYSTEM, QUESTION, extra_body=wrong)
    (call,) = two_calls(vendor, lambda: chat(proxy, SYSTEM, QUESTION))
    assert "prompt_cache_breakpoint" in json.dumps(call["body"])


def test_keys_of_conversations(proxies):
    """A key is stable over the turns, differs between tenants and sessions, and shows neither."""
    proxy, vendor = proxies("breakpoints", "goals")  # of its own, because it needs keys from now on
    secrets = [proxy.cli("keys", "create", name, check=True).stdout.strip() for name in ("ann", "bob")]

    def key(secret, *messages, session=None):
        headers = {"X-COPE-Session": session} if session else None
        seen = len(vendor.log())
        proxy.client(secret).chat.completions.create(
            model="cope", messages=[SYSTEM, *messages], extra_headers=headers
        )
        return vendor.log()[seen]["body"]["prompt_cache_key"]

    more = ({"role": "assistant", "content": "It is 42."}, {"role": "user", "content": "And 7 times 8?"})
    ann, bob = secrets
    first = key(ann, QUESTION)
    assert key(ann, QUESTION, *more) == first
    in_session = key(ann, QUESTION, session="ann-run")
    assert key(ann, *more[1:], session="ann-run") == in_session
    keys = [first, in_session, key(bob, QUESTION), key(bob, QUESTION, session="ann-run")]
    assert len(set(keys)) == 4
    assert not any(text in k for k in keys for text in ("ann", "bob", ann[:12], bob[:12]))
    assert all(len(k) <= 64 for k in keys)


def test_continued_response_reads_the_conversation(proxies):
    """The upstream keeps a response, and the next turn names it. It reads all that it was sent before."""
    proxy, vendor = proxies("breakpoints", "none")
    client = proxy.client()
    first = client.responses.create(model="cope", instructions=LONG, input=QUESTION["content"])
    seen = len(vendor.log())
    before = vendor.log()[-1]["billed"]["input_tokens"]
    client.responses.create(
        model="cope", instructions=LONG, input="And 7 times 8?", previous_response_id=first.id
    )
    (call,) = vendor.log()[seen:]
    assert call["billed"]["input_tokens_details"]["cached_tokens"] == before


def test_reservation_covers_the_write(proxies):
    """Money that pays for the prompt as input, but not for its write, is not enough. With a little more it is."""
    proxy, vendor = proxies("breakpoints", "none")
    system = {"role": "system", "content": "Shelves of the north. " + LONG}
    answer = chat(proxy, system, QUESTION, max_tokens=64, headers={"X-COPE-Session": "north"})
    details = vendor.log()[-1]["billed"]["prompt_tokens_details"]
    paid = float(answer.cope["cost_usd"])
    assert details["cache_write_tokens"] > 1600
    assert paid >= details["cache_write_tokens"] * 5e-6
    more = {"max_tokens": 64, "headers": {"X-COPE-Session": "south", "X-COPE-Budget-USD": f"{paid:.6f}"}}
    assert chat(proxy, system, QUESTION, **more).cope["stage"] < 3
    assert vendor.log()[-1]["billed"]["prompt_tokens_details"] == details


def test_client_sees_what_was_read(proxies):
    """The header and the `cope` object name the cached tokens. The baseline is direct use, which would have written once."""
    proxy, vendor = proxies("breakpoints", "all")
    system = {"role": "system", "content": "Shelves of the west. " + LONG}
    seen = len(vendor.log())
    raw = proxy.client().chat.completions.with_raw_response.create(model="cope", messages=[system, QUESTION])
    plan, answer = (call["billed"]["prompt_tokens_details"] for call in vendor.log()[seen:])
    assert raw.headers["x-cope-cached-tokens"] == str(plan["cached_tokens"] + answer["cached_tokens"])
    cope = raw.parse().cope
    assert cope["cached_tokens"] == plan["cached_tokens"] + answer["cached_tokens"] > 1600
    assert float(cope["baseline_usd"]) >= plan["cache_write_tokens"] * 5e-6
    assert float(cope["cost_usd"]) < 1.3 * float(cope["baseline_usd"])
