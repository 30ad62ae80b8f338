"""A vendor's prompt cache: which tokens of a prompt are read from it, and which are written into it.

Sources: OpenAI's guide "Prompt caching", and `PromptCacheOptionsParam` in its OpenAPI document. A prompt is cached by exact
prefix, from 1,024 tokens on. The model, the tools, the format of the answer and the settings of reasoning begin the prefix.
`prompt_cache_key` chooses the machine and with it the cache. Two ways are known:

`automatic`: models before GPT-5.6. The longest common prefix is read, in steps of 128 tokens. Writes cost nothing.
`breakpoints`: GPT-5.6 and later. A prefix is written and read only at a breakpoint. A request writes its implicit one, at the
end of its newest message, and its latest three explicit ones. In the mode `explicit` there is no implicit one, and the latest
four explicit ones are written. The latest 80 are considered for reading. Where the documents leave room, this model is strict:
in the mode `explicit` only marks of the request itself are read, and the two endpoints share nothing.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.support.standin.script import Json

Way = Literal["automatic", "breakpoints"]
STEP = 128
ROUTED_BY = 256
"""The first tokens of a prompt choose its machine. A shorter prompt is not cached, and would have another one as it grows."""
MOST_WRITTEN, MOST_READ = 4, 80
_MARK = "prompt_cache_breakpoint"
_HIDDEN = ("reasoning_effort", "reasoning", "verbosity", "parallel_tool_calls")
_NEVER_MARKED = ("assistant", "function")


class RefusedError(ValueError):
    """The vendor refuses a request. The message says why, and `param` names the field."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class CachedPrompt:
    """A prompt in tokens: all of it, those read from the cache, and those written into it."""

    tokens: int
    read: int
    written: int


@dataclass(frozen=True)
class _Block:
    """A piece of the rendered prompt. `ends` is true at the end of a message that may carry a breakpoint."""

    words: list[str]
    marked: bool = False
    ends: bool = False


@dataclass
class PromptCache:
    """The caches of all machines."""

    way: Way
    minimum: int = 1024
    _kept: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def use(self, path: str, body: Json, earlier: Iterable[Json] = ()) -> CachedPrompt:
        """Read a prompt from the cache and write it there.

        Args:
            path: the endpoint.
            body: the request.
            earlier: items of the conversation that this server keeps.

        Raises:
            RefusedError: the model does not take one of the fields.
        """
        self._check(body)
        blocks = list(_rendered(body, earlier))
        words = [word for block in blocks for word in block.words]
        start = " ".join(words[: min(ROUTED_BY, self.minimum)])
        kept = self._kept[f"{path} {body.get('model')} {body.get('prompt_cache_key')} {start}"]
        if self.way == "automatic":
            steps = range(self.minimum, len(words) + 1, STEP)
            at = _digests(words, steps)
            read = max((end for end in steps if at[end] in kept), default=0)
            kept.update(at.values())
            return CachedPrompt(len(words), read, 0)
        readable, writable = _breakpoints(blocks, body)
        at = _digests(words, [end for end in {*readable, *writable} if end >= self.minimum])
        read = max((end for end in readable if at.get(end) in kept), default=0)
        kept.update(at[end] for end in writable if end in at)
        last = max((end for end in writable if end in at), default=0)
        return CachedPrompt(len(words), read, max(0, last - read))

    def _check(self, body: Json) -> None:
        marked = _MARK in json.dumps(body.get("messages") or body.get("input") or "")
        if self.way == "automatic" and (marked or "prompt_cache_options" in body):
            name = _MARK if marked else "prompt_cache_options"
            raise RefusedError(name, f"Unknown parameter: '{name}'.")
        if "prompt_cache_retention" in body and "prompt_cache_options" in body:
            raise RefusedError("prompt_cache_retention", "It cannot be combined with 'prompt_cache_options'.")
        if body.get("tool_choice") and not body.get("tools"):
            raise RefusedError("tool_choice", "'tool_choice' is only allowed when 'tools' are specified.")
        for item in _items(body):
            role = item.get("role", item.get("type"))
            if role in _NEVER_MARKED and any(_MARK in part for part in _parts(item)):
                raise RefusedError(_MARK, f"A breakpoint is not allowed in a message of the role {role!r}.")


def _breakpoints(blocks: list[_Block], body: Json) -> tuple[list[int], list[int]]:
    """Return the ends, in tokens, at which a request may be read and those at which it is written."""
    implicit = (body.get("prompt_cache_options") or {}).get("mode", "implicit") == "implicit"
    marks, ends, length = [], [], 0
    for block in blocks:
        length += len(block.words)
        if block.marked:
            marks.append(length)
        if block.ends:
            ends.append(length)
    if not implicit:
        return marks[-MOST_READ:], marks[-MOST_WRITTEN:]
    return sorted({*marks, *ends})[-MOST_READ:], [*marks[-(MOST_WRITTEN - 1) :], *ends[-1:]]


def _rendered(body: Json, earlier: Iterable[Json]) -> Iterator[_Block]:
    """Yield the prompt as the model reads it: tools, format, settings, and then the messages."""
    text = body.get("text") or {}
    head = [body.get("tools"), body.get("response_format") or text.get("format"), text.get("verbosity")]
    head += [body.get(name) for name in _HIDDEN]
    yield _Block(["<head>", *json.dumps(head).split()])
    if body.get("instructions"):
        yield _Block(["<system>", *str(body["instructions"]).split()])
    for item in [*earlier, *_items(body)]:
        role = str(item.get("role", item.get("type")))
        others = {
            name: value for name, value in item.items()
            if name not in ("role", "type", "content", "output", "id", "status", "refusal", "annotations") and value
        }  # fmt: skip
        yield _Block([f"<{role}>", *(json.dumps(others).split() if others else [])])
        parts = list(_parts(item))
        for number, part in enumerate(parts):
            plain = part.get("text")
            shown = plain if isinstance(plain, str) else json.dumps(part)
            yield _Block(shown.split(), _MARK in part, number == len(parts) - 1 and role not in _NEVER_MARKED)


def _items(body: Json) -> list[Json]:
    given = body.get("messages") or body.get("input") or []
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


def _parts(item: Json) -> Iterator[Json]:
    content = item.get("content") if item.get("content") is not None else item.get("output")
    if isinstance(content, str):
        yield {"text": content}
    elif isinstance(content, list):
        yield from content


def _digests(words: list[str], ends: Iterable[int]) -> dict[int, str]:
    out, whole, done = {}, hashlib.sha256(), 0
    for end in sorted(ends):
        whole.update("".join(f"{word} " for word in words[done:end]).encode())
        done = end
        out[end] = whole.copy().hexdigest()
    return out
