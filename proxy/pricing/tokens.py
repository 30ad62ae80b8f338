"""Count tokens with tiktoken, offline, and compute upper limits of prompts.

tiktoken downloads its rank files at first use. The package `bpe-openai` contains the same files. They are unpacked
once under the names of tiktoken's own cache (the SHA-1 of the URL), and tiktoken checks their SHA-256 itself.
"""

import gzip
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import msgspec
import tiktoken

_RANK_FILES = {
    "o200k_base": "o200k_base.tiktoken",
    "o200k_harmony": "o200k_base.tiktoken",
    "cl100k_base": "cl100k_base.tiktoken",
}
"""The encodings that can be used offline, and their files. All others are unknown here."""
_RANK_FILES_URL = "https://openaipublic.blob.core.windows.net/encodings/"
FALLBACK_ENCODING = "o200k_base"

# OpenAI's cookbook counts 3 tokens a message, 1 a name and 3 for the start of the reply. OpenAI does not publish how
# tools are rendered. The upper limit takes more of each.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_TOOL = 32
TOKENS_PER_REQUEST = 32
TOKENS_PER_ATTACHMENT = 100_000
"""The upper limit of one image or audio part. Its bytes do not determine its tokens."""
LONGEST_CONTEXT = 1_050_000
"""The longest context that OpenAI offers: the upper limit of a file, and of all that an upstream adds itself."""
MARGIN = 1.05
_PIECE = 50_000
"""The characters that are given to the tokenizer at once."""
_REASONING = re.compile(r"(openai/)?(o\d|gpt-5|gpt-oss|deepseek-r)")


def count_text(model: str, text: str) -> int:
    """Count the tokens of a text in the model's encoding, or in o200k_base if the encoding is unknown.

    A long text is counted in pieces, because the tokenizer panics on a million blanks. Each cut adds one token at most. A
    piece that the tokenizer cannot read counts with its bytes, which are an upper limit.
    """
    encoding = _encoding(_encoding_name(model) or FALLBACK_ENCODING)
    return sum(_count(encoding, text[i : i + _PIECE]) for i in range(0, len(text), _PIECE))


def _count(encoding: tiktoken.Encoding, piece: str) -> int:
    try:
        return len(encoding.encode_ordinary(piece))
    except Exception:  # noqa: BLE001  (a failure of the tokenizer is no reason to refuse a text)
        return _bytes(piece)
    except BaseException as e:
        if type(e).__name__ != "PanicException":  # PyO3 cannot be asked for this class
            raise
        return _bytes(piece)


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def count_prompt(model: str, body: Mapping[str, Any]) -> int:
    """Estimate the prompt tokens of a chat request: the expected number, not an upper limit."""
    messages = _messages(body)
    return sum(count_text(model, text) for text in _texts(body)) + 4 * len(messages) + 3


def prompt_bound(model: str, body: Mapping[str, Any]) -> int:
    """Return an upper limit of the prompt tokens that the upstream will bill for a chat request.

    If the encoding of the model is unknown, count UTF-8 bytes: a byte-level tokenizer never makes more tokens than bytes.
    """
    known = _encoding_name(model) is not None
    texts = sum(count_text(model, text) if known else _bytes(text) for text in _texts(body))
    messages = _messages(body)
    extra = (
        TOKENS_PER_REQUEST
        + TOKENS_PER_MESSAGE * len(messages)
        + TOKENS_PER_TOOL * (len(body.get("tools") or ()) + len(body.get("functions") or ()))
        + sum(_attachment_bound(part) for part in _attachments(messages))
    )
    return int(texts * MARGIN) + extra + 1


def count_bound(model: str, texts: Iterable[str | int]) -> int:
    """Return an upper limit of the tokens of plain texts. A number stands for a text of that many tokens."""
    known = _encoding_name(model) is not None
    total = 0
    for text in texts:
        if isinstance(text, int):
            total += text
        else:
            total += count_text(model, text) if known else _bytes(text)
    return int(total * MARGIN) + TOKENS_PER_REQUEST


def responses_bound(model: str, body: Mapping[str, Any]) -> int:
    """Return an upper limit of the prompt tokens of a Responses request, without the context that the upstream keeps."""
    given = body.get("input")
    items = given if isinstance(given, list) else [given]
    shown = (body.get(k) for k in ("tools", "text", "tool_choice", "prompt"))
    texts = [*_strings(items), body.get("instructions") or "", *(_json(v) for v in shown if v)]
    extra = TOKENS_PER_MESSAGE * (len(items) + 1) + TOKENS_PER_TOOL * len(body.get("tools") or ())
    return count_bound(model, (str(t) for t in texts)) + extra + _files_bound(items)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_FILES = ("input_image", "input_file", "input_audio")


def _strings(value: object) -> Iterator[str]:
    """Yield every text below a value, except the contents of attachments."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        if value.get("type") not in _FILES:
            for inner in value.values():
                yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)


def _files_bound(value: object) -> int:
    if isinstance(value, Mapping):
        return (
            _attachment_bound(value)
            if value.get("type") in _FILES
            else sum(map(_files_bound, value.values()))
        )
    return sum(map(_files_bound, value)) if isinstance(value, Sequence) and not isinstance(value, str) else 0


def _attachment_bound(part: Mapping[str, Any]) -> int:
    return LONGEST_CONTEXT if part.get("type") in ("file", "input_file") else TOKENS_PER_ATTACHMENT


def hides_reasoning(model: str, body: Mapping[str, Any]) -> bool:
    """Return True if the model may generate tokens that its stream does not show."""
    return bool(body.get("reasoning_effort") or body.get("reasoning")) or bool(_REASONING.match(model))


def _messages(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [m for m in body.get("messages") or () if isinstance(m, Mapping)]


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    for message in _messages(body):
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, Sequence):
            for part in content:
                if isinstance(part, Mapping):
                    yield from (v for k in ("text", "refusal") if isinstance(v := part.get(k), str))
        for key in ("name", "role", "tool_call_id", "refusal"):
            if isinstance(value := message.get(key), str):
                yield value
        for key in ("tool_calls", "function_call"):
            if message.get(key):
                yield msgspec.json.encode(message[key]).decode()
    for key in ("tools", "functions", "response_format", "tool_choice", "prediction"):
        if body.get(key):
            yield msgspec.json.encode(body[key]).decode()


def _attachments(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str):
            for part in content:
                if isinstance(part, Mapping) and part.get("type") not in ("text", "refusal"):
                    yield part
        if message.get("audio"):
            yield message


@cache
def _encoding_name(model: str) -> str | None:
    try:
        name = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None
    return name if name in _RANK_FILES else None


@cache
def _encoding(name: str) -> tiktoken.Encoding:
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(_cache_dir()))
    unpack_ranks(_RANK_FILES[name], Path(os.environ["TIKTOKEN_CACHE_DIR"]))
    return tiktoken.get_encoding(name)


def _cache_dir() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "cope-proxy" / "tiktoken"


def unpack_ranks(name: str, folder: Path) -> None:
    """Unpack a rank file into a folder, under the name of tiktoken's cache."""
    url = _RANK_FILES_URL + name
    target = folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    if target.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Not imported: that would build two tokenizers.
    packed = Path(str(distribution("bpe-openai").locate_file(f"bpe_openai/data/{name}.gz"))).read_bytes()
    # Another process may unpack at the same time. Each writes its own file and renames it.
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(gzip.decompress(packed))
    Path(file.name).replace(target)
