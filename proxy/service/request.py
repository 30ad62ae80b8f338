"""What one request asks for: its body, its controls, and the route that both choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.formats.base import Format
from proxy.ledger.keys import ApiKey

MAX_TAGS = 16
"""As many as OpenAI takes."""


def clean(text: str) -> str:
    """Return a client's text as the ledger takes it: at most 256 characters, none that a database refuses."""
    return text[:256].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a model, checked and decoded. `size` is the body's length in bytes."""

    format: Format
    id: str
    received_at: datetime
    key: ApiKey | None
    body: Mapping[str, Any]
    size: int
    controls: Controls
    audits: TaskKind | None = None
    """The kind of the local answer that this request, the proxy's own, is to check."""

    @property
    def key_id(self) -> str | None:
        """The id of the key that asks."""
        return None if self.key is None else self.key.id

    @property
    def user(self) -> str | None:
        """The end user, as the body or else the header names it."""
        for name in ("user", "safety_identifier"):
            if isinstance(value := self.body.get(name), str) and value:
                return clean(value)
        return self.controls.user

    @property
    def tags(self) -> tuple[str, ...]:
        """The body's metadata as "key=value", each once; of an audit, what it is."""
        if self.audits is not None:
            return (f"cope-audit={self.audits}",)
        metadata = self.body.get("metadata")
        if not isinstance(metadata, Mapping):
            return ()
        pairs = (f"{clean(k)}={clean(v)}" for k, v in metadata.items() if isinstance(v, str))
        return tuple(dict.fromkeys(pairs))[:MAX_TAGS]

    @property
    def stream(self) -> bool:
        """Whether the client wants server-sent events."""
        return self.format.streams(self.body)
