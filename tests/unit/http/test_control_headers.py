"""The table of control headers: every row is complete, and its values are read."""

from dataclasses import fields

import pytest

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.errors import ApiError
from proxy.http.control_headers import HEADERS, read_controls


def read(**headers: str) -> Controls:
    """Read headers from names without their prefix, `_` instead of `-`."""
    return read_controls(
        [(f"x-cope-{name.replace('_', '-')}".encode(), v.encode("latin-1")) for name, v in headers.items()], 8
    )


def test_one_row_a_field():
    """Each field of `Controls` has exactly one header."""
    assert sorted(h.field for h in HEADERS) == sorted(f.name for f in fields(Controls))


@pytest.mark.parametrize("header", HEADERS, ids=lambda h: h.field)
def test_examples_are_valid(header):
    """The example of each row has a value, and the help is a sentence."""
    assert header.values.parse(header.example) is not None
    assert header.help.endswith(".")


def test_all_values():
    """The values arrive in their fields."""
    assert read(
        budget_usd="0.05", session="s", session_budget_usd="1", on_budget="FAIL", mode="Small", user="u",
        max_stage="2", task="math", threshold="0.75,.5", samples="8",
    ) == Controls(
        budget=50_000_000, session="s", session_budget=1_000_000_000, on_budget="fail", mode="small", user="u",
        max_stage=2, task=TaskKind.MATH, thresholds=(0.75, 0.5), samples=8,
    )  # fmt: skip


def test_defaults_without_headers():
    """A request without control headers has the defaults, and `auto` is the default task."""
    assert read() == Controls() == read(task="auto")


def test_unknown_header_suggestion():
    """A misspelt header is refused with the closest known name."""
    with pytest.raises(ApiError, match="closest known header is X-COPE-Budget-USD"):
        read(budjet_usd="1")


def test_unknown_header_list():
    """A header that resembles no other is refused with the list of the known names."""
    with pytest.raises(ApiError, match="known are X-COPE-Budget-USD, X-COPE-Max-Stage"):
        read(zzzzzzzzzzzzzzzz="1")


@pytest.mark.parametrize("given", [{"samples": "9"}, {"samples": "0"}, {"session_budget_usd": "1"}])
def test_conflicts_are_refused(given):
    """More samples than the config permits, and a session budget without a session, are refused."""
    with pytest.raises(ApiError) as e:
        read(**given)
    assert e.value.code == "invalid_header"
