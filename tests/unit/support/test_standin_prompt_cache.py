"""The stand-in's prompt cache keeps to the vendor's documents."""

import pytest

from tests.support.standin.prompt_cache import CachedPrompt, PromptCache, RefusedError

CHAT = "/v1/chat/completions"
MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
EXPLICIT = {"prompt_cache_options": {"mode": "explicit"}}
HEAD = 8  # `<head>` and the seven settings that begin each prompt
TOOLS = [{"type": "function", "function": {"name": "go"}}]


def words(name, count):
    return " ".join(f"{name}{i}" for i in range(count))


def user(text, **mark):
    return {"role": "user", "content": [{"type": "text", "text": text, **mark}] if mark else text}


def asked(*messages, **fields):
    return {"model": "m", "messages": list(messages), **fields}


FIRST, REPLY, NEXT = user(words("a", 1200)), {"role": "assistant", "content": "b"}, user(words("c", 200))


def used(cache, *bodies):
    """Send requests one after the other. Return the tokens that each read and wrote."""
    return [((found := cache.use(CHAT, body)).read, found.written) for body in bodies]


def test_automatic():
    """The longest common prefix is read in steps of 128 tokens, and no write is counted."""
    found = used(PromptCache("automatic"), asked(FIRST), asked(FIRST), asked(FIRST, REPLY, NEXT))
    assert found == [(0, 0), (1152, 0), (1152, 0)]


@pytest.mark.parametrize("way", ["automatic", "breakpoints"])
def test_short_prompts_are_not_cached(way):
    """A prompt needs 1,024 tokens."""
    short = asked(user(words("a", 1000)))
    assert used(PromptCache(way), short, short) == [(0, 0), (0, 0)]


@pytest.mark.parametrize("way", ["automatic", "breakpoints"])
@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"},
        {"tools": TOOLS},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "low"},
    ],
    ids=["model", "tools", "format", "effort"],
)
def test_another_beginning_is_another_prefix(way, other):
    """The model, the tools, the format and the effort begin the prefix. `tool_choice` is no part of it."""
    cache = PromptCache(way)
    (_, (read, _)) = used(cache, asked(FIRST), {**asked(FIRST), **other})
    assert read == 0
    _, (read, _) = used(cache, asked(FIRST, tools=TOOLS), asked(FIRST, tools=TOOLS, tool_choice="none"))
    assert read > 1000


def test_a_key_chooses_the_cache():
    """Another `prompt_cache_key` leads to another machine."""
    _, (read, _) = used(PromptCache("automatic"), asked(FIRST), asked(FIRST, prompt_cache_key="k"))
    assert read == 0


def test_implicit_breakpoints():
    """The newest message is written, and later turns read it. A text behind it breaks the match."""
    whole = HEAD + 1 + 1200
    found = used(PromptCache("breakpoints"), asked(FIRST), asked(FIRST, REPLY, NEXT))
    assert found == [(0, whole), (whole, 2 + 1 + 200)]
    longer = user(words("a", 1200) + " our text")
    assert used(PromptCache("breakpoints"), asked(longer), asked(FIRST)) == [(0, whole + 2), (0, whole)]


def test_explicit_breakpoints():
    """Only the marks are written and read, and the text behind the last one is neither."""
    cache = PromptCache("breakpoints")
    marked = user(words("a", 1200), **MARK)
    whole = HEAD + 1 + 1200
    found = used(
        cache,
        asked(marked, user("our text"), **EXPLICIT),
        asked(marked, user("another text"), **EXPLICIT),
        asked(FIRST, REPLY, NEXT),
        asked(FIRST, **EXPLICIT),
    )
    assert found == [(0, whole), (whole, 0), (whole, 203), (0, 0)]


def test_four_breakpoints_are_written():
    """Of five marks the latest four are kept."""
    cache = PromptCache("breakpoints")
    marked = [user(words(f"m{i}-", 1100), **MARK) for i in range(5)]
    cache.use(CHAT, asked(*marked, **EXPLICIT))
    reads = [cache.use(CHAT, asked(*marked[: i + 1], **EXPLICIT)).read for i in range(2)]
    assert reads == [0, HEAD + 2 * 1101]


def test_whole_prompt_is_counted():
    """The tools are tokens too."""
    plain, tools = (PromptCache("automatic").use(CHAT, asked(FIRST, **f)) for f in ({}, {"tools": TOOLS}))
    assert plain == CachedPrompt(HEAD + 1201, 0, 0)
    assert tools.tokens > plain.tokens


@pytest.mark.parametrize(
    ("way", "body"),
    [
        ("automatic", asked(user("a", **MARK))),
        ("automatic", asked(FIRST, **EXPLICIT)),
        (
            "breakpoints",
            asked(FIRST, {"role": "assistant", "content": [{"type": "text", "text": "b", **MARK}]}),
        ),
        ("breakpoints", asked(FIRST, prompt_cache_retention="24h", **EXPLICIT)),
        ("breakpoints", asked(FIRST, tool_choice="none")),
    ],
)
def test_refused_fields(way, body):
    """Older models know no breakpoints, and an assistant's message may have none."""
    with pytest.raises(RefusedError):
        PromptCache(way).use(CHAT, body)
