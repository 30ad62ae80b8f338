"""Read server-sent events, and add up the chunks of a (chat) completion.

Source: OpenAI API reference, "Chat completions: streaming".
"""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import msgspec

from proxy.pricing.prices import Usage
from proxy.pricing.tokens import usage_from

DONE = b"[DONE]"
MAX_EVENT_BYTES = 16 * 2**20


async def events(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the payload of each `data:` event, `[DONE]` included. Comments are dropped.

    A line ends with LF, CRLF or CR, and the network may cut the stream anywhere, also inside a CRLF.

    Raises:
        ValueError: one event is larger than 16 MiB.
    """
    buffer, after_cr = b"", False
    async for piece in pieces:
        # The CR at the end of the last piece has ended its line already, so this LF does not end another one.
        rest = piece[1:] if after_cr and piece.startswith(b"\n") else piece
        after_cr = piece.endswith(b"\r")
        buffer += rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, buffer = buffer.split(b"\n\n")
        if len(buffer) > MAX_EVENT_BYTES:
            raise ValueError("an event of the stream is larger than 16 MiB")
        for block in blocks:
            data = b"\n".join(
                line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")
            )
            if data:
                yield data


class Accumulator:
    """Add up the chunks of one streamed answer. See `proxy.formats.base.Tally`.

    It can be read at any time, so the usage of an answer that is cut short is known too. `message` is
    meaningful for one choice. For several choices, `text` holds all of their text.
    """

    def __init__(self) -> None:
        self.role = "assistant"
        self.parts: list[str] = []
        self.tool_calls: list[dict[str, Any]] = []
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.error: dict[str, Any] | None = None
        self.logprobs: list[dict[str, Any]] = []
        self.chunks = 0
        self._open: set[int] = set()

    def add(self, data: bytes) -> dict[str, Any]:
        """Add one event's payload and return it decoded.

        Raises:
            ValueError: the payload is not a JSON object (msgspec.DecodeError is a ValueError).
        """
        chunk: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
        if chunk.get("error"):
            self.error = (
                chunk["error"] if isinstance(chunk["error"], dict) else {"message": str(chunk["error"])}
            )
        if chunk.get("usage"):
            self.usage = usage_from(chunk["usage"])
        for choice in chunk.get("choices") or ():
            self._add_choice(choice)
        return chunk

    def _add_choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        self._open.add(choice.get("index", 0))
        content = delta.get("content") or choice.get("text")
        if content or delta.get("reasoning") or delta.get("refusal"):
            self.chunks += 1
            if content:
                self.parts.append(content)
        for piece in delta.get("tool_calls") or ():
            self.chunks += 1
            self._add_tool_call(piece)
        if choice.get("finish_reason"):
            self.finish_reason = choice["finish_reason"]
            self._open.discard(choice.get("index", 0))
        if choice.get("logprobs"):
            self.logprobs += choice["logprobs"].get("content") or ()

    def _add_tool_call(self, piece: dict[str, Any]) -> None:
        index = piece.get("index", 0)
        while len(self.tool_calls) <= index:
            self.tool_calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call = self.tool_calls[index]
        call["id"] = piece.get("id") or call["id"]
        function = piece.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    @property
    def complete(self) -> bool:
        """Whether every choice that has begun has also finished."""
        return self.finish_reason is not None and not self._open

    @property
    def generated(self) -> str:
        """The text and the tool calls so far."""
        return self.text + (msgspec.json.encode(self.tool_calls).decode() if self.tool_calls else "")

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message so far, in OpenAI's shape."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self.tool_calls:
            return message | {"tool_calls": self.tool_calls}
        return message | {"content": self.text}

    @property
    def logprob(self) -> float | None:
        """Mean log-probability of the tokens so far, or None if the model sent none."""
        values = [entry["logprob"] for entry in self.logprobs if entry.get("logprob") is not None]
        return sum(values) / len(values) if values else None
