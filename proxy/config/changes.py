"""Compare the config of a running proxy with a new one, and name it by a digest."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from proxy.config.environment import dotted
from proxy.config.schema import Settings

_STARTED_ONCE = (
    "server.host", "server.port", "server.workers", "server.cors_origins", "server.max_bodies_bytes",
    "database", "ledger.spool_dir", "ledger.spool_max_bytes", "ledger.on_outage", "budgets.timezone",
    "large.connect_timeout_s", "small.vllm", "tracing", "logs",
)  # fmt: skip
"""Keys and tables whose parts are opened at the start, and serve until the end."""
_HIDDEN = ("database.url", "small.vllm")
"""Their values may hold secrets. Other secrets are in the environment, and the config has the names of the variables."""
_SECRET_PARTS = re.compile(r"(?<=://)[^/@\s\"]*@|\?[^\s\"]*")
_LONGEST = 120
_UNSET = "(unset)"


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value differs, with both values as texts without secrets."""

    key: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def config_digest(settings: Settings) -> str:
    """Return the short name of a config. Equal settings have the same one, in every process."""
    return sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()[:12]


def changes(old: Settings, new: Settings) -> list[Change]:
    """Return the keys that differ, in the order of their names."""
    before, after = dict(_values(msgspec.to_builtins(old))), dict(_values(msgspec.to_builtins(new)))
    return [
        Change(key, _shown(key, before), _shown(key, after))
        for key in sorted(before.keys() | after.keys())
        if before.get(key, _UNSET) != after.get(key, _UNSET)
    ]


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """Return one line for each changed key that a running proxy cannot take over."""
    once = _STARTED_ONCE if old.small.vllm is None else (*_STARTED_ONCE, "small.model")
    return [
        f"{change.key}: cannot change while the proxy runs; restart it, or take the change back"
        for change in changes(old, new)
        if any(change.key == key or change.key.startswith((f"{key}.", f"{key}[")) for key in once)
    ]


def _values(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Yield each key that is set, with its value. A list is one value."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _values(inner, (*path, str(name)))
    elif value is not None:
        yield dotted(path), value


def _shown(key: str, values: Mapping[str, object]) -> str:
    if key not in values:
        return _UNSET
    if any(key == hidden or key.startswith(f"{hidden}.") for hidden in _HIDDEN):
        return "(hidden)"
    return _SECRET_PARTS.sub("***", msgspec.json.encode(values[key]).decode())[:_LONGEST]
