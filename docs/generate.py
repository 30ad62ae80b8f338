"""Write the pages that are generated from the code: docs/configuration.md and docs/commands.md.

`make docs` runs this file.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
import msgspec

from proxy.cli.main import main as cope_proxy
from proxy.config.schema import Settings
from proxy.config.section import Section
from proxy.http.control_headers import markdown_table

HERE = Path(__file__).parent

CONFIGURATION = """\
# Configuration

<!-- Generated from proxy/config/schema.py by `make docs`. Do not edit. -->

`cope-proxy init` writes a commented config file. `cope-proxy` reads `--config FILE`, else the file that `COPE_CONFIG`
names, else `./cope.toml`.

Every key can also be set by the environment variable in its row. The environment comes before the file, and the file
before the default. NAME, MODEL and KIND in a variable stand for a name that keeps its case.

A value of a variable is read as the type of its key:

- a string: as it is. `2024-10-21` and `3` need no quotes.
- a boolean: `true`, `yes`, `on` or `1`, and `false`, `no`, `off` or `0`, in small or capital letters.
- a list of strings: `["a", "b"]` or `a,b`.
- a table: as in TOML, `{usd = 5}`, or as in JSON, `{"usd": 5}`.
- a list of tables such as `[[alerts]]`: in JSON or TOML, in one variable, here `COPE__ALERTS`.
- An empty variable counts as unset.

The file is TOML in UTF-8. On SIGHUP or `POST /v1/admin/reload`, a running proxy reads it again. The page
[Operations](operations.md#change-the-config-while-it-runs) has the keys that need a restart.
"""

COMMANDS = """\
# Commands

<!-- Generated from `--help` by `make docs`. Do not edit. -->

`cope-proxy COMMAND --help` prints the same text. A command that finds the config or the command line wrong exits with
status 2, and with 1 if it fails for another reason.
"""

PLACEHOLDERS = {
    "upstreams": "NAME",
    "prices": "MODEL",
    "prices.MODEL.tiers": "TIER",
    "webhooks": "NAME",
    "mail": "NAME",
    "cascade.thresholds": "KIND",
    "budgets.keys": "NAME",
    "budgets.teams": "NAME",
    "budgets.users": "NAME",
    "budgets.tags": "NAME",
}
TYPE_NAMES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Decimal: "decimal",
    type(None): "",
}


def configuration() -> str:
    """Return the page of all config keys."""
    return "\n".join([CONFIGURATION, *_sections(Settings, "")]).rstrip() + "\n"


def _sections(section: type[Section], path: str) -> Iterator[str]:
    """Yield a section and the sections below it."""
    meanings = _field_docstrings(section)
    rows, below, listed = [], [], []
    for field in msgspec.structs.fields(section):
        type_ = get_type_hints(section, include_extras=True)[field.name]
        key = f"{path}.{field.name}" if path else field.name
        if kinds := _listed_sections(type_):
            listed += [(kind, key) for kind in kinds]
        elif (child := _section_in(type_)) is None:
            rows.append(_row(key, field, type_, meanings[field.name]))
        else:
            name = PLACEHOLDERS[key] if get_origin(type_) is dict else ""
            below.append((child, f"{key}.{name}" if name else key, meanings.get(field.name, "")))
    if rows:
        yield "| key | type | default | environment | meaning |"
        yield "| --- | --- | --- | --- | --- |"
        yield from rows
        yield ""
    for child, child_path, note in below:
        yield f"## `[{child_path}]`"
        yield ""
        yield " ".join(part for part in (inspect.cleandoc(child.__doc__ or ""), note) if part)
        yield ""
        yield from _sections(child, child_path)
    for kind, name in listed:
        yield from _listed(kind, name)


def _listed(section: type[Section], name: str) -> Iterator[str]:
    """Yield one kind of the tables of a list."""
    meanings = _field_docstrings(section)
    types = get_type_hints(section, include_extras=True)
    yield f'## `[[{name}]]` with `on = "{section.__struct_config__.tag}"`'
    yield ""
    yield inspect.cleandoc(section.__doc__ or "")
    yield ""
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for field in msgspec.structs.fields(section):
        cells = (f"`{field.name}`", _type(types[field.name]), _default(field), meanings[field.name])
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _field_docstrings(section: type) -> dict[str, str]:
    """Return the docstring below each field, including those of base classes."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if not cls.__module__.startswith("proxy.config."):
            continue
        body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(ast.literal_eval(text.value).split())  # type: ignore[union-attr]
    return found


def _listed_sections(type_: Any) -> tuple[type[Section], ...]:
    """Return the sections of a list of tables, whose kinds differ."""
    return (
        get_args(get_args(type_)[0]) if get_origin(type_) is tuple and _section_in(get_args(type_)[0]) else ()
    )


def _section_in(type_: Any) -> type[Section] | None:
    """Return the section of `Section`, `Section | None` or `dict[str, Section]`."""
    options = (type_, *get_args(type_))
    return next((o for o in options if isinstance(o, type) and issubclass(o, Section)), None)


def _row(key: str, field: msgspec.structs.FieldInfo, type_: Any, meaning: str) -> str:
    variable = "COPE__" + "__".join(p if p.isupper() else p.upper() for p in key.split("."))
    cells = (f"`{field.name}`", _type(type_), _default(field), f"`{variable}`", meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(type_: Any) -> str:
    """Return a type in words, with its limits."""
    if hasattr(type_, "__metadata__"):
        limits = type_.__metadata__[0]
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        bounds = [f"{sign} {value}" for n, sign in signs.items() if (value := getattr(limits, n)) is not None]
        return f"{_type(type_.__origin__)} {', '.join(bounds)}".rstrip()
    if type_ in TYPE_NAMES:
        return TYPE_NAMES[type_]
    origin, args = get_origin(type_), get_args(type_)
    if origin is Literal:
        return " or ".join(f'`"{value}"`' for value in args)
    if origin is tuple:
        return (
            f"list of {_plural(_type(args[0]))}"
            if args[-1] is Ellipsis
            else f"list of {len(args)} ({_type(args[0])})"
        )
    if origin is dict:
        return f"table of {_type(args[1])}s"
    return " or ".join(text for text in map(_type, args) if text)


def _plural(type_name: str) -> str:
    """Return the name of a type in the plural, if it is a word."""
    word, space, limits = type_name.partition(" ")
    return f"{word}s{space}{limits}" if word in TYPE_NAMES.values() else type_name


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "unset" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def commands() -> str:
    """Return the page of all commands, as `--help` prints them."""
    return "\n".join([COMMANDS, *_helps(cope_proxy, None, "cope-proxy")]).rstrip() + "\n"


def _helps(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """Yield the help of a command and of its subcommands."""
    # A fixed width keeps the page independent of the terminal.
    context = click.Context(
        command, parent, name, terminal_width=100, color=False, **command.context_settings
    )
    path = context.command_path
    help_ = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield from (f"## {path}", "", "```text", help_, "```", "")
    for child_name in sorted(getattr(command, "commands", {})):
        yield from _helps(command.commands[child_name], context, child_name)  # type: ignore[attr-defined]


def headers() -> str:
    """Return the page on headers, with the current table of request headers."""
    page = (HERE / "headers.md").read_text(encoding="utf-8")
    before, start, rest = page.partition("<!-- control headers -->\n")
    _, end, after = rest.partition("\n<!-- end -->")
    return f"{before}{start}{markdown_table()}{end}{after}"


PAGES = {
    HERE / "configuration.md": configuration,
    HERE / "commands.md": commands,
    HERE / "headers.md": headers,
}


def main() -> None:
    """Write the pages and name those that changed."""
    for path, render in PAGES.items():
        text = render()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(HERE.parent)}\n")


if __name__ == "__main__":
    main()
