"""Count tokens with tiktoken, offline.

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

_PIECE = 50_000
"""The characters that are given to the tokenizer at once."""
_REASONING = re.compile(r"(openai/)?(o\d|gpt-5|gpt-oss|deepseek-r)")


def count_text(model: str, text: str) -> int:
    """Count the tokens of a text in the model's encoding, or in o200k_base if the encoding is unknown.

    A long text is counted in pieces, because the tokenizer panics on a million blanks. Each cut adds one token at most. A
    piece that the tokenizer cannot read counts with its bytes, which are an upper limit.
    """
    encoding = _encoding(_name_or_fallback(model))
    return sum(_count(encoding, text[i : i + _PIECE]) for i in range(0, len(text), _PIECE))


def _count(encoding: tiktoken.Encoding, piece: str) -> int:
    try:
        return len(encoding.encode_ordinary(piece))
    except Exception:  # noqa: BLE001  (a failure of the tokenizer is no reason to refuse a text)
        return byte_length(piece)
    except BaseException as e:
        if type(e).__name__ != "PanicException":  # PyO3 cannot be asked for this class
            raise
        return byte_length(piece)


def byte_length(text: str) -> int:
    """Return the length of a text in UTF-8. Half of a character counts like the mark that replaces it."""
    return len(text.encode(errors="surrogatepass"))


def count_prompt(model: str, body: Mapping[str, Any]) -> int:
    """Estimate the prompt tokens of a chat request: the expected number, not an upper limit."""
    messages = _messages(body)
    return sum(count_text(model, text) for text in _texts(body)) + 4 * len(messages) + 3


def has_known_encoding(model: str) -> bool:
    """Whether the texts of a model can be counted in its own encoding."""
    return _encoding_name(model) is not None


def load_encodings(models: Iterable[str]) -> None:
    """Load the encodings of models and the one for all others, so that no request waits.

    Each takes half a second of CPU time. For a quarter of it the tokenizer stops all threads of the process.
    """
    for name in {FALLBACK_ENCODING, *map(_name_or_fallback, models)}:
        _encoding(name)


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


@cache
def _encoding_name(model: str) -> str | None:
    try:
        name = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None
    return name if name in _RANK_FILES else None


def _name_or_fallback(model: str) -> str:
    return _encoding_name(model) or FALLBACK_ENCODING


@cache
def _encoding(name: str) -> tiktoken.Encoding:
    try:
        folder = Path(os.environ.get("TIKTOKEN_CACHE_DIR") or _cache_dir())
        unpack_ranks(_RANK_FILES[name], folder)
    except (OSError, RuntimeError):  # a container may have no home, and nothing but /tmp to write to
        folder = Path(_temporary_dir().name)
        unpack_ranks(_RANK_FILES[name], folder)
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return tiktoken.get_encoding(name)


def _cache_dir() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "cope-proxy" / "tiktoken"


@cache
def _temporary_dir() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="cope-proxy-")  # deleted with the process


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
