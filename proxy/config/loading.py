"""The settings: TOML, environment and calibration file into frozen structs, every problem in one clear line.

Precedence: environment (`COPE__SECTION__KEY`), then the file, then the defaults in `schema`.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from proxy.cascade.types import TaskKind
from proxy.config.checks import _contradictions
from proxy.config.schema import Section, Settings, Thresholds
from proxy.errors import ConfigError
from proxy.pricing.money import MAX_USD

ENV_PREFIX = "COPE__"


# How `serve` tells its workers of the vLLM that it supervises.
ENGINE_URL = "COPE_ENGINE_URL"


ENGINE_MODEL = "COPE_ENGINE_MODEL"


def config_path(given: str | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """Return the config file to read: the given one, else `$COPE_CONFIG`, else ./cope.toml if it exists."""
    if given or env.get("COPE_CONFIG"):
        return Path(given or env["COPE_CONFIG"])
    default = Path("cope.toml")
    return default if default.exists() else None


def load(path: Path | None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: with one line for every problem found.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        except OSError as e:
            raise ConfigError(
                [f"{path}: cannot be read ({e.strerror}). `cope-proxy init` writes one."]
            ) from e
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise ConfigError([f"{path}: not valid TOML: {e}"]) from e
    problems = _overlay_env(table, env)
    calibration = (table.get("cascade") or {}).get("calibration")
    if isinstance(calibration, str):
        _apply(calibration, table["cascade"], problems)
    settings: Settings = _build(Settings, table, (), problems)
    if not problems:
        problems += _contradictions(settings)
    if problems:
        raise ConfigError(problems)
    return settings


def with_engine(settings: Settings, env: Mapping[str, str]) -> Settings:
    """Use the vLLM that the parent process supervises, where it names one."""
    url, model = env.get(ENGINE_URL), env.get(ENGINE_MODEL)
    if not (url and model):
        return settings
    small = msgspec.structs.replace(settings.small, base_url=url, model=model, vllm=None)
    return msgspec.structs.replace(settings, small=small)


def _apply(calibration: str, cascade: dict[str, Any], problems: list[str]) -> None:
    """Add a calibration's tables for the task kinds that the config has none for.

    Whole tables: what was certified holds for its plans, its n and its thresholds together.
    """
    try:
        found = tomllib.loads(Path(calibration).read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        problems.append(
            f"cascade.calibration: {calibration} cannot be read ({e}); `cope-proxy calibrate` writes one"
        )
        return
    own = cascade.setdefault("thresholds", {})
    if isinstance(own, dict):
        cascade["thresholds"] = found | own


def overruled(settings: Settings) -> list[str]:
    """Return the task kinds of which the config's own tables say something else than its calibration."""
    cascade = settings.cascade
    if cascade.calibration is None:
        return []
    found = tomllib.loads(Path(cascade.calibration).read_text(encoding="utf-8"), parse_float=Decimal)
    tables = _build_map(dict[TaskKind, Thresholds], found, (), [])
    return [kind for kind, table in tables.items() if cascade.thresholds.get(kind) != table]


def _overlay_env(table: dict[str, Any], env: Mapping[str, str]) -> list[str]:
    problems = []
    for name, raw in sorted(env.items()):
        if not name.startswith(ENV_PREFIX):
            continue
        keys = name.removeprefix(ENV_PREFIX).split("__")
        node = table
        # The keys of a free table ([prices."gpt-4o"]) are taken as they stand, all others in lower case.
        path = _spell(keys)
        for key in path[:-1]:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                problems.append(f"{name}: {key} is not a table")
                break
            node = child
        else:
            node[path[-1]] = _parse_env(raw)
    return problems


def _spell(keys: list[str]) -> list[str]:
    out: list[str] = []
    kind: Any = Settings
    for key in keys:
        if get_origin(kind) is dict:
            out.append(key)
            kind = get_args(kind)[1]
            continue
        out.append(key.lower())
        kind = _strip(get_type_hints(kind).get(key.lower(), Any)) if _is_section(kind) else Any
    return out


def _parse_env(raw: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}", parse_float=Decimal)["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _strip(kind: Any) -> Any:
    """Return the section or dict type inside `X | None`, else the type itself."""
    if get_origin(kind) in (Union, UnionType):
        return next((option for option in get_args(kind) if _is_section(option)), kind)
    return kind


def _build(section: type[Any], table: Any, path: tuple[str, ...], problems: list[str]) -> Any:
    """Convert one table, key by key, so that every problem is found and not only the first."""
    if not isinstance(table, dict):
        problems.append(f"{'.'.join(path)}: has to be a table, as in [{'.'.join(path)}]")
        return None
    hints = get_type_hints(section, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in table.items():
        here = ".".join((*path, key))
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(hints)}"
            problems.append(f"{here}: unknown key; {hint}")
            continue
        kind = _strip(hints[key])
        if _is_section(kind):
            values[key] = _build(kind, value, (*path, key), problems)
        elif get_origin(kind) is dict and _is_section(get_args(kind)[1]):
            values[key] = _build_map(kind, value, (*path, key), problems)
        else:
            try:
                values[key] = msgspec.convert(value, hints[key], strict=True, dec_hook=_decode)
                if isinstance(values[key], Decimal) and not 0 <= values[key] <= MAX_USD:
                    problems.append(f"{here}: {values[key]} is not an amount of USD in 0..{MAX_USD}")
            except msgspec.ValidationError as e:
                problems.append(f"{here}: {_plain(str(e))}")
    missing = [f.name for f in msgspec.structs.fields(section) if f.required and f.name not in table]
    problems += [f"{'.'.join((*path, name))}: missing; add it" for name in missing]
    if problems:
        return None
    return section(**values)


def _build_map(kind: Any, table: Any, path: tuple[str, ...], problems: list[str]) -> Any:
    key_type, value_type = get_args(kind)
    if not isinstance(table, dict):
        problems.append(f"{'.'.join(path)}: has to be a table of tables")
        return None
    allowed = tuple(key_type) if issubclass(key_type, StrEnum) else None
    problems += [
        f"{'.'.join((*path, key))}: unknown; use one of {', '.join(allowed)}"
        for key in table
        if allowed is not None and key not in allowed
    ]
    return {
        key: _build(value_type, value, (*path, f'"{key}"' if "." in key else key), problems)
        for key, value in table.items()
    }


def _decode(kind: type, value: Any) -> Any:
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _plain(message: str) -> str:
    return message[0].lower() + message[1:].split(" - at `", maxsplit=1)[0]
