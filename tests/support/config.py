"""The test config, and how a test changes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.wait import LOCALHOST, Json

UPSTREAM_KEY = "sk-upstream-secret"


SMALL_MODEL, LARGE_MODEL = "small-model", "big-model"


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """Return the tables of `base` changed key by key, at every depth; a value of None removes its key."""
    out = dict(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping):
            out[key] = merged(out.get(key) or {}, value)
        else:
            out[key] = value
    return out


def toml(tables: Mapping[str, Any]) -> str:
    """Write tables as TOML; a list becomes tables of one name, and what is nested deeper becomes inline tables."""
    headed = [
        (f"[[{name}]]" if isinstance(given, list | tuple) else f"[{name}]", table)
        for name, given in tables.items()
        for table in (given if isinstance(given, list | tuple) else [given])
    ]
    return "\n".join(
        head + "\n" + "".join(f"{json.dumps(key)} = {_toml_value(value)}\n" for key, value in table.items())
        for head, table in headed
    )


def config(small_url: str, large_url: str, *, database_file: Path, port: int, **overrides: Any) -> str:
    """Return the TOML of a proxy between two servers.

    Args:
        small_url: base URL of the small tier.
        large_url: base URL of the upstream.
        database_file: where the SQLite file is to be.
        port: where the proxy listens.
        overrides: a table for each section to change, such as `cascade={"samples": 2}`; None removes a key.
    """
    defaults: Json = {
        "server": {"host": LOCALHOST, "port": port},
        "database": {"url": f"sqlite+aiosqlite:///{database_file}"},
        "small": {"model": SMALL_MODEL, "base_url": small_url},
        "large": {"base_url": large_url, "api_key_env": "OPENAI_API_KEY", "model": LARGE_MODEL},
        "prices": {
            LARGE_MODEL: {"input_per_mtok": 2.5, "cached_input_per_mtok": 1.25, "output_per_mtok": 10}
        },
        "cascade": {"samples": 4},
        "sandbox": {"enabled": False},  # its self-test takes seconds; the tests of code turn it on
    }
    return toml(merged(defaults, overrides))


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value) if isinstance(value, bool | int) else str(value)
