"""One request to a model, checked and decoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.formats.base import Format
from proxy.ledger.keys import ApiKey
from proxy.records import storable_text
from proxy.tracing.trace import Trace

MAX_TAGS = 16
"""OpenAI's limit."""


def clean(text: str) -> str:
    """Return a client's text as it is stored: at most 256 characters, without those that a database refuses."""
    return storable_text(text[:256])


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """One request to a model, checked and decoded. `size` is the length of its body in bytes."""

    format: Format
    id: str
    received_at: datetime
    key: ApiKey | None
    body: Mapping[str, Any]
    size: int
    controls: Controls
    audits: TaskKind | None = None
    """For an audit, which the proxy sends itself: the task kind of the audited request."""
    trace: Trace | None = None
    """None if tracing is off."""

    @property
    def key_id(self) -> str | None:
        """The id of the request's key."""
        return None if self.key is None else self.key.id

    @cached_property
    def user(self) -> str | None:
        """The end user, from the body or else from the header."""
        for name in ("user", "safety_identifier"):
            if isinstance(value := self.body.get(name), str) and value:
                return clean(value)
        return self.controls.user

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """The body's metadata as "key=value", without duplicates. An audit has one tag, `cope-audit`."""
        if self.audits is not None:
            return (f"cope-audit={self.audits}",)
        metadata = self.body.get("metadata")
        if not isinstance(metadata, Mapping):
            return ()
        pairs = (f"{clean(k)}={clean(v)}" for k, v in metadata.items() if isinstance(v, str))
        return tuple(dict.fromkeys(pairs))[:MAX_TAGS]

    @cached_property
    def stored(self) -> bool:
        """Whether the client may read the answer later. Chat completions are stored only if the client asks for it."""
        store = self.body.get("store")
        if self.format.path == "/chat/completions":
            return store is True
        return self.format.path == "/responses" and store is not False

    @cached_property
    def stream(self) -> bool:
        """Whether the client wants server-sent events."""
        return self.format.streams(self.body)
