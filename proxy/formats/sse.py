"""Read server-sent events, and add up the chunks of a (chat) completion.

Sources: OpenAI API reference, "Chat completions: streaming", and the HTML standard, "Server-sent events".
"""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from proxy.formats.generated import generated_text, in_unicode, shown_text
from proxy.formats.lenient import an_object, decode_object, encode, finite, is_json, mended, objects
from proxy.pricing.prices import Usage
from proxy.pricing.reported import MOST_TOKENS, NOTHING_REPORTED, Reported, read_usage

DONE = b"[DONE]"
MAX_EVENT_BYTES = 16 * 2**20
_BOM = b"\xef\xbb\xbf"
_LOWEST_LOGPROB = -9999.0
"""OpenAI's and vLLM's number for a token that is very unlikely."""
_TOKEN_MEMBERS = {"token", "logprob", "bytes", "top_logprobs"}


def event_name(kind: object) -> str | None:
    """Return the type of an event if it can be the name of one, else None. A name may not break the line."""
    return kind if isinstance(kind, str) and kind.isascii() and kind.isprintable() else None


async def events(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the payload of each event of a stream. See `EventSplitter`.

    Raises:
        ValueError: one event is larger than 16 MiB.
    """
    splitter = EventSplitter()
    async for piece in pieces:
        for payload in splitter.feed(piece):
            yield payload
    for payload in splitter.end():
        yield payload


class EventSplitter:
    """Cut a stream into the payloads of its `data:` events, `[DONE]` included. Comments are dropped.

    A line ends with LF, CRLF or CR, and the network may cut the stream anywhere, also inside a CRLF. A byte order mark at
    the start is dropped. The end of the stream ends the last event, if that event is complete.
    """

    def __init__(self) -> None:
        self._line: list[
            bytes
        ] = []  # pieces of a line, joined once, so that many small pieces take linear time
        self._line_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._at_start, self._after_cr = True, False

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the payloads of the events that end in this piece.

        Raises:
            ValueError: one event is larger than 16 MiB. The payloads before it were returned.
        """
        self._check_size()
        if not piece:
            return []
        # The CR at the end of the last piece has ended its line already, so this LF does not end another one.
        rest = piece[1:] if self._after_cr and piece.startswith(b"\n") else piece
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in rest:
            rest = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *ended, last = rest.split(b"\n")
        found: list[bytes] = []
        for end in ended:
            self._line.append(end)
            self._end_line(found)
            if self._data_size > MAX_EVENT_BYTES:
                break
        else:
            self._line.append(last)
            self._line_size += len(last)
        if not found:
            self._check_size()
        return found

    def end(self) -> list[bytes]:
        """Return the payload of the last event, if there is one that is complete. Raise the error of `feed`."""
        self._check_size()
        found: list[bytes] = []
        if self._line_size:
            self._end_line(found)
        payload = _payload(self._data)
        if payload and (payload == DONE or is_json(payload)):  # not an event that was cut
            found.append(payload)
        return found

    def _end_line(self, found: list[bytes]) -> None:
        line = self._line[0] if len(self._line) == 1 else b"".join(self._line)
        self._line, self._line_size = [], 0
        if self._at_start:
            self._at_start, line = False, line.removeprefix(_BOM)
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._data_size += len(line)
        elif not line:
            if payload := _payload(self._data):
                found.append(payload)
            self._data, self._data_size = [], 0

    def _check_size(self) -> None:
        if max(self._line_size, self._data_size) > MAX_EVENT_BYTES:
            raise ValueError("an event of the stream is larger than 16 MiB")


def _payload(data: list[bytes]) -> bytes:
    payload = data[0] if len(data) == 1 else b"\n".join(data)
    return DONE if payload.lstrip().startswith(DONE) else payload  # as OpenAI's SDK reads it


class Accumulator:
    """Add up the chunks of one streamed answer. See `proxy.formats.base.Tally`.

    It can be read at any time, so the usage of an answer that is cut short is known too. `message` is
    meaningful for one choice. For several choices, `text` holds all of their text.

    Nothing in a chunk is an error here. Whatever cannot be read is skipped, and the chunk reaches the client anyway.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.error: dict[str, Any] | None = None
        self.logprobs: list[dict[str, Any]] = []
        self.chunks = 0
        self._parts: list[str] = []
        self._generated: list[str] = []
        self._calls: dict[object, _Call] = {}
        self._last_call: object = None
        self._open: set[int] = set()
        self._earlier = NOTHING_REPORTED
        self._last_usage: dict[str, Any] = {}
        self._usage_is_final = False
        self._tier: object = None

    def add(self, data: bytes) -> dict[str, Any]:
        """Add one event's payload and return it decoded, or {} if it is no JSON object."""
        chunk = decode_object(data)
        if chunk.get("error"):
            self.error = (
                chunk["error"] if isinstance(chunk["error"], dict) else {"message": str(chunk["error"])}
            )
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            self._add_choice(choice)
            if choice.get("usage"):  # Moonshot puts the usage into the last choice
                self._add_usage(choice["usage"])
        if chunk.get("usage"):
            self._add_usage(chunk["usage"])
        if chunk.get("service_tier"):
            self._tier = chunk["service_tier"]
        return chunk

    def _add_usage(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        # vLLM reports a usage in every chunk. Reading all of them would take most of the time.
        if not _grows(self._last_usage, usage):
            if read_usage(usage) == NOTHING_REPORTED:
                return
            self._earlier = self._earlier.merged(read_usage(self._last_usage))
        self._last_usage = usage
        self._usage_is_final = True

    def _add_choice(self, choice: dict[str, Any]) -> None:
        given = choice.get("index")
        index = given if isinstance(given, int) else 0
        self._open.add(index)
        delta = choice["delta"] if isinstance(choice.get("delta"), dict) else an_object(choice.get("message"))
        text = choice.get("text")
        calls = objects(delta["tool_calls"]) if "tool_calls" in delta else []
        generated = generated_text(delta) + (text if isinstance(text, str) else "")
        if generated:
            self._usage_is_final = False
            self.chunks += max(1, len(calls))
            self._generated.append(generated)
            self._parts.append(shown_text(delta.get("content") or text))
        for piece in calls:
            self._add_tool_call(piece)
        if choice.get("finish_reason"):
            self.finish_reason = mended(str(choice["finish_reason"])[:100])
            self._open.discard(index)
        if choice.get("logprobs"):
            self.logprobs += _token_logprobs(choice["logprobs"])

    def _add_tool_call(self, piece: dict[str, Any]) -> None:
        """Add a piece to its call: by the index, else by the id, else to the last call."""
        index, id_ = piece.get("index"), piece.get("id")
        names: list[object] = (
            [index] if isinstance(index, int) else [id_] if isinstance(id_, str) and id_ else []
        )
        self._last_call = names[0] if names else self._last_call
        self._calls.setdefault(self._last_call, _Call()).add(piece)

    @property
    def reported(self) -> Reported:
        """What all usages so far say together."""
        return self._earlier.merged(read_usage(self._last_usage)).at_tier(self._tier)

    @property
    def usage(self) -> Usage | None:
        """The usage that was reported last, or None."""
        return self.reported.usage

    @property
    def final_usage(self) -> Usage | None:
        """The usage, or None if text came after it: some vendors report the prompt alone at the beginning."""
        return self.usage if self._usage_is_final else None

    @property
    def text(self) -> str:
        """The text so far."""
        return in_unicode(self._parts)

    @property
    def complete(self) -> bool:
        """Whether every choice that has begun has also finished."""
        return self.finish_reason is not None and not self._open

    @property
    def generated(self) -> str:
        """All text so far, with reasoning and tool calls."""
        return in_unicode(self._generated)

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The tool calls so far, in OpenAI's shape and order."""
        numbered = sorted(key for key in self._calls if isinstance(key, int))
        keys = numbered if len(numbered) == len(self._calls) else self._calls
        return [self._calls[key].whole for key in keys]

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message so far, in OpenAI's shape."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if calls := self.tool_calls:
            return message | {"tool_calls": calls}
        return message | {"content": self.text}

    @property
    def logprob(self) -> float | None:
        """Mean log-probability of the tokens so far, or None if the model sent none."""
        values = [entry["logprob"] for entry in self.logprobs if entry.get("logprob") is not None]
        return sum(values) / len(values) if values else None


class _Call:
    """A tool call of which pieces arrive. A member of another type is skipped."""

    def __init__(self) -> None:
        self._id = ""
        self._names: list[str] = []
        self._arguments: list[str] = []

    def add(self, piece: dict[str, Any]) -> None:
        """Add a piece."""
        if isinstance(id_ := piece.get("id"), str):
            self._id = id_ or self._id
        function = an_object(piece.get("function"))
        if isinstance(name := function.get("name"), str):
            self._names.append(name)
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama's own form
            arguments = encode(arguments).decode()
        if isinstance(arguments, str):
            self._arguments.append(arguments)

    @property
    def whole(self) -> dict[str, Any]:
        """The call in OpenAI's shape."""
        function = {"name": in_unicode(self._names), "arguments": in_unicode(self._arguments)}
        return {"id": mended(self._id), "type": "function", "function": function}


def _grows(last: dict[str, Any], usage: dict[str, Any]) -> bool:
    """Whether a usage has plain counts that are not less than those of the last one."""
    return last.keys() == usage.keys() and all(
        type(old) is type(usage[name]) is int and 0 <= old <= usage[name] <= MOST_TOKENS
        for name, old in last.items()
    )


def _token_logprobs(logprobs: object) -> list[dict[str, Any]]:
    """Return the entries of tokens, each with a number or None as its log-probability."""
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    if isinstance(entries, list) and all(map(_is_plain, entries)):
        return entries
    return [
        _token_logprob(entry)
        | {"top_logprobs": [_token_logprob(top) for top in _tokens(entry.get("top_logprobs"))]}
        for entry in _tokens(an_object(logprobs).get("content"))
    ]


def _is_plain(entry: object) -> bool:
    """Whether an entry is like most: it needs no change."""
    if not isinstance(entry, dict) or entry.keys() != _TOKEN_MEMBERS or entry["top_logprobs"] != []:
        return False
    token, value, code = entry["token"], entry["logprob"], entry["bytes"]
    has_bytes = code is None or (isinstance(code, list) and all(type(b) is int for b in code))
    is_token = isinstance(token, str) and token.isascii()
    return has_bytes and is_token and isinstance(value, float) and _LOWEST_LOGPROB <= value <= 0


def _tokens(entries: object) -> list[dict[str, Any]]:
    return [entry for entry in objects(entries) if isinstance(entry.get("token"), str)]


def _token_logprob(entry: dict[str, Any]) -> dict[str, Any]:
    code = entry.get("bytes")
    return {
        "token": mended(entry["token"]),
        "logprob": _logprob(entry.get("logprob")),
        "bytes": code if isinstance(code, list) and all(isinstance(b, int) for b in code) else None,
    }


def _logprob(value: object) -> float | None:
    return _LOWEST_LOGPROB if value == float("-inf") else finite(value)
