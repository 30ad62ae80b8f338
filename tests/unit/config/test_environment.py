"""Environment variables are read as the types of their keys."""

import re
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.loading import load
from proxy.config.schema import Section, Settings
from proxy.errors import ConfigError

GIVEN = {"COPE__SMALL__BASE_URL": "http://h/v1", "COPE__SMALL__MODEL": "m"}
NAMES = {
    "upstreams": "Az", "prices": "gpt-4.1", "thresholds": "math", "keys": "k", "users": "u", "teams": "search", "tags": "a=b", "env": "E",
    "kinds": "key=k", "webhooks": "ops", "mail": "ops", "tiers": "flex",
}  # fmt: skip
"""A name for each table whose keys are names."""
LIMIT = {"USD": "1"}
RATES = {"INPUT_PER_MTOK": "1", "OUTPUT_PER_MTOK": "1"}
SIBLINGS = {
    "webhooks": {"URL": "https://example.com/hook", "URL_ENV": ""},
    "mail": {"HOST": "mail.example.com", "SENDER": "a@example.com", "TO": "b@example.com"},
    "vllm": {"COPE__SMALL__BASE_URL": "", "COPE__SMALL__VLLM": "{}"},
    "upstreams": {"MODELS": "m"},
    "prices": RATES,
    "tiers": RATES,
    "long": {**RATES, "ABOVE_TOKENS": "1"},
    "keys": LIMIT,
    "users": LIMIT,
    "teams": LIMIT,
    "tags": LIMIT,
    "certified": {"USUAL": "[0.5, 0.5]", "STAGE1": "0.5", "STAGE2": "0.5", "PLANNER": "gpt-4o"},
}
"""Variables that a table needs beside the one under test."""
YES = ("true", "True", "TRUE", "yes", "on", "1", '"true"', " true ")
NO = ("false", "False", "No", "OFF", "0", "'false'")


class Key(NamedTuple):
    """A key of the schema: its variable, its attributes and names, its type, and the variables that it needs."""

    variable: str
    path: tuple[str, ...]
    type: Any
    needs: dict[str, str]


def all_keys(section=Settings, variable="COPE", path=(), needs=()):
    for name, type_ in get_type_hints(section).items():
        inner = next((o for o in get_args(type_) or (type_,) if is_section(o)), type_)
        here, steps = f"{variable}__{name.upper()}", (*path, name)
        if get_origin(type_) is dict:
            inner, here, steps = get_args(type_)[1], f"{here}__{NAMES[name]}", (*steps, NAMES[name])
        if is_section(inner):
            own = {
                k if k.startswith("COPE") else f"{here}__{k}": v for k, v in SIBLINGS.get(name, {}).items()
            }
            yield from all_keys(inner, here, steps, {**dict(needs), **own})
        else:
            yield Key(here, steps, inner, dict(needs))


def is_section(type_):
    return isinstance(type_, type) and issubclass(type_, Section)


KEYS = list(all_keys())


def read(settings, path):
    value: Any = settings
    for name in path:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def loaded(**env):
    return load(None, {**GIVEN, **env})


def problems(**env):
    with pytest.raises(ConfigError) as e:
        loaded(**env)
    return e.value.problems


def texts_of(type_):
    """Return texts for a key, each with the value that it stands for, and texts that are refused."""
    options = (type_,) if get_origin(type_) is tuple else get_args(type_) or (type_,)
    if bool in options:
        return {**dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}, ["maybe", "2"]
    if int in options:
        return {"3": 3, "+4": 4, '"5"': 5, "1_0": 10, "0x10": 16}, ["three", "2.5", "1e3", "[]", "true"]
    if Decimal in options:
        return {"3": 3, "0.10": Decimal("0.1"), "1e-3": Decimal("0.001")}, ["x", "nan", "inf", "-1"]
    if float in options:
        return {"1": 1.0, "0.25": 0.25, "1e-1": 0.1}, ["x", "nan", "1,5", "-1"]
    return {}, []


@pytest.mark.parametrize("key", KEYS, ids=[key.variable for key in KEYS])
def test_every_key_by_type(key):
    """Each key of the schema takes the usual spellings of its type. Others are refused with its variable."""
    accepted, refused = texts_of(key.type)
    for text, value in accepted.items():
        env = {**key.needs, key.variable: text}
        # A value outside of the limits of this key, or one that contradicts another key, is read all the same.
        with suppress(_LimitError):
            assert read(within_limits(env), key.path) == value
    for text in refused:
        assert key.variable in "\n".join(problems(**{**key.needs, key.variable: text})), text
    if key.variable not in GIVEN and key.variable not in key.needs:
        assert loaded(**{**key.needs, key.variable: " "}) == loaded(**key.needs)


class _LimitError(Exception):
    pass


def within_limits(env):
    try:
        return loaded(**env)
    except ConfigError as e:
        if re.search(r"expected .*[<>]|is more than", str(e)):
            raise _LimitError from e
        raise


@pytest.mark.parametrize(
    "text",
    [
        "2024-10-21",
        "3",
        "true",
        "1e5",
        "null",
        "[",
        "{",
        "a=b",
        "07:30:00",
        "nan",
        "#x",
        "a b",
        "ü",
        "1_0",
        "0x10",
    ],
)
def test_texts_stay_texts(text):
    """A text that looks like another type stays a text where the key is one."""
    settings = loaded(
        COPE__SMALL__MODEL=text, COPE__UPSTREAMS__az__API_VERSION=text, COPE__UPSTREAMS__az__MODELS="m"
    )
    assert settings.small.model == settings.upstreams["az"].api_version == text
    env = {"COPE__SMALL__VLLM__ENV__A": text, "COPE__SMALL__BASE_URL": ""}
    assert loaded(**env).small.vllm.env == {"A": text}


@pytest.mark.parametrize(
    "text", ['["a", "b-1"]', "['a', 'b-1']", "a,b-1", " a , b-1 ", "[a, b-1]", '["a","b-1",]', "a,b-1,"]
)
def test_lists_of_texts(text):
    """A list is written as in TOML, as in JSON, or with commas."""
    assert loaded(COPE__LARGE__MODELS=text).large.models == ("a", "b-1")


def test_tables_of_both_notations():
    """A table is written as in TOML or as in JSON, and single keys of it can be set beside it."""
    for text in ('{A = "1"}', '{"A": "1"}'):
        env = {"COPE__SMALL__BASE_URL": "", "COPE__SMALL__VLLM": "{}", "COPE__SMALL__VLLM__ENV": text}
        assert loaded(**env).small.vllm.env == {"A": "1"}
    for text in ("{samples = 3}", '{"samples": 3}'):
        assert loaded(COPE__CASCADE=text, COPE__CASCADE__MAX_SAMPLES="4").cascade.samples == 3
    assert "COPE__CASCADE" in problems(COPE__CASCADE="3")[0]


def test_urls_and_words():
    """One URL, a list of URLs, a word beside a number, and a task kind in capital letters are read."""
    urls = loaded(COPE__SMALL__BASE_URL='["http://a", "http://b"]').small.base_urls
    assert urls == ("http://a", "http://b")
    assert loaded(COPE__SMALL__BASE_URL="http://a/?x=1,2").small.base_urls == ("http://a/?x=1,2",)
    settings = loaded(COPE__CASCADE__SPECULATE_FROM="never", COPE__CASCADE__THRESHOLDS__MATH__STAGE1="0.5")
    assert settings.cascade.speculate_from == "never"
    assert settings.cascade.thresholds["math"].stage1 == 0.5
    assert loaded(COPE__CASCADE__SPECULATE_FROM="0.5").cascade.speculate_from == 0.5


def test_problems_name_variables():
    """Unknown keys, wrong words and values out of range name the key, the variable and what is accepted."""
    found = problems(
        COPE__SERVR__PORT="1", COPE__SERVER__PRT="1", COPE__SERVER__PORT="70000", COPE__AUDIT__WINDOW="hour",
        COPE__SANDBOX__ENABLED="perhaps",
    )  # fmt: skip
    text = "\n".join(found)
    assert "servr: unknown key; did you mean server? (environment variable COPE__SERVR__PORT)" in found
    assert "server.prt: unknown key; did you mean port? (environment variable COPE__SERVER__PRT)" in found
    assert "use one of total, day, week, month (environment variable COPE__AUDIT__WINDOW)" in text
    assert "COPE__SERVER__PORT" in text
    assert "sandbox.enabled: must be true or false" in text


def test_unknown_kind_is_refused():
    """A value that is no task kind is one line that names the kinds, whatever stands in it."""
    assert problems(**{"COPE__CASCADE__KINDS__key=k": "ma\nth"})[0].startswith(
        "cascade.kinds: invalid enum value 'ma\\nth'; use one of math, choice, code, agent, structured, open"
    )


def test_broken_prices_are_refused():
    """A price that is no finite number is a message."""
    assert "USD" in problems(COPE__PRICES="{m = {input_per_mtok = nan, output_per_mtok = inf}}")[0]


@given(st.text(max_size=30), st.sampled_from(KEYS))
def test_any_text_is_read(text, key):
    """Any text of any variable gives settings or messages of one line each."""
    try:
        found = []
        loaded(**{**key.needs, key.variable: text})
    except ConfigError as e:
        found = e.problems
    assert all("\n" not in problem for problem in found)
