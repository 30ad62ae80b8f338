"""Reading the X-COPE-* request headers. A bad value is a 400 that names the header."""

import re
from collections.abc import Iterable
from typing import get_args

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.errors import bad_header
from proxy.pricing.money import parse_usd
from proxy.records import Mode, Stage

PREFIX = "x-cope-"
KNOWN = {
    "X-COPE-Budget-USD", "X-COPE-Session", "X-COPE-Session-Budget-USD", "X-COPE-On-Budget", "X-COPE-Mode",
    "X-COPE-User", "X-COPE-Max-Stage", "X-COPE-Task", "X-COPE-Threshold", "X-COPE-Samples",
}  # fmt: skip
_SPELLING = {name.lower(): name for name in KNOWN}
_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")


def read_controls(headers: Iterable[tuple[bytes, bytes]], max_samples: int) -> Controls:
    """Read the control headers of a request.

    Raises:
        ApiError: 400 `invalid_header`, for an unknown, repeated, empty or unusable one.
    """
    given: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if not name.startswith(PREFIX):
            continue
        if name not in _SPELLING:
            raise bad_header(name, f"unknown; known are {', '.join(sorted(KNOWN))}")
        if name in given:
            raise bad_header(_SPELLING[name], "given more than once")
        value = raw_value.decode("latin-1").strip()
        if not value:
            raise bad_header(_SPELLING[name], "empty")
        given[name] = value
    if not given:
        return Controls()
    session = _visible(given, "X-COPE-Session")
    session_budget = _usd(given, "X-COPE-Session-Budget-USD")
    if session_budget is not None and session is None:
        raise bad_header("X-COPE-Session-Budget-USD", "needs X-COPE-Session beside it")
    task = _one_of(given, "X-COPE-Task", ("auto", *TaskKind))
    max_stage: Stage = {"1": 1, "2": 2, "3": 3}[_one_of(given, "X-COPE-Max-Stage", ("1", "2", "3")) or "3"]  # type: ignore[assignment]
    return Controls(
        budget=_usd(given, "X-COPE-Budget-USD"),
        session=session,
        session_budget=session_budget,
        on_budget=_one_of(given, "X-COPE-On-Budget", ("degrade", "fail")) or "degrade",  # type: ignore[arg-type]
        mode=_one_of(given, "X-COPE-Mode", get_args(Mode)),  # type: ignore[arg-type]
        user=_visible(given, "X-COPE-User"),
        max_stage=max_stage,
        task=None if task in (None, "auto") else TaskKind(task),
        thresholds=_thresholds(given),
        samples=_samples(given, max_samples),
    )


def _usd(given: dict[str, str], name: str) -> int | None:
    text = given.get(name.lower())
    if text is None:
        return None
    try:
        return parse_usd(text)
    except ValueError as e:
        raise bad_header(name, f"{e}; give USD as a decimal number, such as 0.05") from None


def _visible(given: dict[str, str], name: str) -> str | None:
    text = given.get(name.lower())
    if text is not None and not _VISIBLE.fullmatch(text):
        raise bad_header(name, "has to be 1 to 128 visible ASCII characters")
    return text


def _one_of(given: dict[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    text = given.get(name.lower())
    if text is not None and text.lower() not in allowed:
        raise bad_header(name, f"{text[:40]!r} is not one of {', '.join(allowed)}")
    return None if text is None else text.lower()


def _thresholds(given: dict[str, str]) -> tuple[float, float] | None:
    text = given.get("x-cope-threshold")
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) > 2 or not all(
        re.fullmatch(r"\s*(0(\.\d{1,6})?|1(\.0{1,6})?|\.\d{1,6})\s*", p) for p in parts
    ):
        raise bad_header("X-COPE-Threshold", "give one number in 0..1, or two as stage1,stage2")
    return float(parts[0]), float(parts[-1])


def _samples(given: dict[str, str], most: int) -> int | None:
    text = given.get("x-cope-samples")
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,4}", text) or not 1 <= int(text) <= most:
        raise bad_header("X-COPE-Samples", f"has to be a whole number in 1..{most}")
    return int(text)
