"""Read the settings from the TOML file, the environment and the calibration file.

The environment (`COPE__SECTION__KEY`) comes first, then the file, then the defaults in `schema`. Every problem is
reported at once, in one line each.
"""

import codecs
import difflib
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from proxy.cascade.types import TaskKind
from proxy.config.checks import contradictions
from proxy.config.environment import overlay_environment
from proxy.config.schema import Settings, Thresholds
from proxy.config.section import Section
from proxy.errors import ConfigError
from proxy.pricing.money import MAX_USD

# `serve` sets these three for its workers when it supervises a vLLM.
ENGINE_URL = "COPE_ENGINE_URL"
ENGINE_MODEL = "COPE_ENGINE_MODEL"
ENGINE_KEY = "COPE_ENGINE_KEY"


def config_path(given: str | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """Return the config file to read: the given one, else `$COPE_CONFIG`, else ./cope.toml if it exists."""
    if given or env.get("COPE_CONFIG"):
        return Path(given or env["COPE_CONFIG"])
    default = Path("cope.toml")
    return default if default.exists() else None


def load(path: Path | None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the settings.

    Raises:
        ConfigError: the settings cannot be used. It has one line for every problem.
    """
    table: dict[str, Any] = {}
    problems: list[str] = []
    if path is not None:
        try:
            table = _read_toml(path)
        except OSError as e:
            raise ConfigError(
                [f"{path}: cannot be read ({e.strerror}). `cope-proxy init` writes one."]
            ) from e
        except ValueError as e:
            raise ConfigError([f"{path}: {e}"]) from e
    sources = overlay_environment(table, env, problems)
    cascade = table.get("cascade")
    if isinstance(cascade, dict) and isinstance(cascade.get("calibration"), str):
        _add_calibration(cascade["calibration"], cascade, problems)
    settings: Settings = _build(Settings, table, (), problems)
    if not problems:
        problems += contradictions(settings)
    if problems:
        # A problem is one line, also if it cites a value of several.
        raise ConfigError([_with_source(problem, sources).replace("\n", "\\n") for problem in problems])
    return settings


def _with_source(problem: str, sources: Mapping[str, str]) -> str:
    """Add the environment variable that has set the key of a problem."""
    key = problem.partition(": ")[0]
    named = (
        name
        for path, name in sources.items()
        if path == key or (": unknown" in problem and path.startswith(f"{key}."))
    )
    variable = None if "environment variable" in problem else next(named, None)
    return problem if variable is None else f"{problem} (environment variable {variable})"


def _read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not TOML in UTF-8. The message says what it is.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise ValueError("the file is in UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise ValueError(f"the file is not in UTF-8 (line {line}); save it as UTF-8") from e
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except RecursionError:
        raise ValueError("not valid TOML: it is nested too deeply") from None
    except ValueError as e:
        raise ValueError(f"not valid TOML: {e}") from e


def with_engine(settings: Settings, env: Mapping[str, str]) -> Settings:
    """Use the vLLM that the parent process supervises, if the environment names one."""
    url, model = env.get(ENGINE_URL), env.get(ENGINE_MODEL)
    if not (url and model):
        return settings
    small = msgspec.structs.replace(
        settings.small, base_url=url, api_key_env=ENGINE_KEY, model=model, vllm=None
    )
    return msgspec.structs.replace(settings, small=small)


def _add_calibration(calibration: str, cascade: dict[str, Any], problems: list[str]) -> None:
    """Add a calibration's table for every task kind that has no table in the config.

    Tables are never mixed, because the guarantee holds for the thresholds, samples and plans together.
    """
    try:
        calibrated = _read_toml(Path(calibration))
    except (OSError, ValueError) as e:
        problems.append(
            f"cascade.calibration: {calibration} cannot be read ({e}); `cope-proxy calibrate` writes one"
        )
        return
    own = cascade.setdefault("thresholds", {})
    if isinstance(own, dict):
        cascade["thresholds"] = calibrated | own


def overridden_kinds(settings: Settings) -> list[str]:
    """Return the task kinds for which the config replaces the table of its calibration by another one."""
    cascade = settings.cascade
    if cascade.calibration is None:
        return []
    found = _read_toml(Path(cascade.calibration))
    tables = _build_map(dict[TaskKind, Thresholds], found, (), [])
    return [kind for kind, table in tables.items() if cascade.thresholds.get(kind) != table]


def _is_section(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Section)


def _is_union_of_sections(type_: Any) -> bool:
    return get_origin(type_) in (Union, UnionType) and all(map(_is_section, get_args(type_)))


def _section_type(type_: Any) -> Any:
    """Return the section inside `Section | None`, else the type itself."""
    if get_origin(type_) in (Union, UnionType):
        return next((option for option in get_args(type_) if _is_section(option)), type_)
    return type_


def _build(section: type[Any], table: Any, path: tuple[str, ...], problems: list[str]) -> Any:
    """Convert one table key by key, so that every problem is found and not only the first."""
    if not isinstance(table, dict):
        problems.append(f"{'.'.join(path)}: must be a table, as in [{'.'.join(path)}]")
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
        type_ = _section_type(hints[key])
        if _is_section(type_):
            values[key] = _build(type_, value, (*path, key), problems)
        elif get_origin(type_) is dict and _is_section(get_args(type_)[1]):
            values[key] = _build_map(type_, value, (*path, key), problems)
        elif get_origin(type_) is tuple and _is_union_of_sections(get_args(type_)[0]):
            values[key] = _build_list(type_, value, here, problems)
        else:
            try:
                values[key] = msgspec.convert(value, hints[key], strict=True, dec_hook=_decode)
                if isinstance(values[key], Decimal) and not _is_amount(values[key]):
                    problems.append(f"{here}: {values[key]} is not an amount of USD in 0..{MAX_USD}")
            except msgspec.ValidationError as e:
                problems.append(f"{here}: {_without_path(str(e))}{_accepted_words(hints[key])}")
    missing = [f.name for f in msgspec.structs.fields(section) if f.required and f.name not in table]
    problems += [f"{'.'.join((*path, name))}: missing; add it" for name in missing]
    if problems:
        return None
    return section(**values)


def _build_map(type_: Any, table: Any, path: tuple[str, ...], problems: list[str]) -> Any:
    """Convert a table that has names as keys, such as `[prices]`."""
    key_type, value_type = get_args(type_)
    if not isinstance(table, dict):
        problems.append(f"{'.'.join(path)}: must be a table of tables")
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


def _build_list(type_: Any, tables: Any, path: str, problems: list[str]) -> Any:
    """Convert a list of tables such as `[[alerts]]`, whose sections differ by their key `on`."""
    if not isinstance(tables, list):
        problems.append(f"{path}: must be a list of tables, as in [[{path}]]")
        return None
    sections = {section.__struct_config__.tag: section for section in get_args(get_args(type_)[0])}
    built = []
    for i, table in enumerate(tables):
        here = f"{path}[{i}]"
        kind = table.get("on") if isinstance(table, dict) else None
        if isinstance(kind, str) and kind in sections:
            own = {key: value for key, value in table.items() if key != "on"}
            built.append(_build(sections[kind], own, (here,), problems))
        else:
            problems.append(f"{here}.on: must be one of {', '.join(sections)}")
    return tuple(built)


def _is_amount(usd: Decimal) -> bool:
    return usd.is_finite() and 0 <= usd <= MAX_USD


def _decode(type_: type, value: Any) -> Any:
    raise msgspec.ValidationError(f"Expected `{type_.__name__}`, got `{type(value).__name__}`")


def _accepted_words(type_: Any) -> str:
    """Return the words that a key accepts, if it accepts nothing else."""
    options = get_args(type_) if get_origin(type_) in (Union, UnionType) else (type_,)
    words = [str(word) for option in options if get_origin(option) is Literal for word in get_args(option)]
    if get_origin(type_) is dict and issubclass(get_args(type_)[1], StrEnum):
        words = list(get_args(type_)[1])
    return f"; use one of {', '.join(words)}" if words else ""


def _without_path(message: str) -> str:
    """Return a message of msgspec in lower case and without its JSON path. The key stands before it already."""
    return message[0].lower() + message[1:].split(" - at `", maxsplit=1)[0]
