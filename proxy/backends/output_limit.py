"""The name of the output limit in chat completions: `max_tokens`, or OpenAI's newer `max_completion_tokens`.

OpenAI's reasoning models refuse the old name, and many other servers refuse the new one. A client of an alias does not know
which model answers, so the proxy sends the name that the model takes, whatever the client's was.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from proxy.config.schema import Upstream as UpstreamSettings
from proxy.formats.base import OUTPUT_LIMITS

NEW, OLD = OUTPUT_LIMITS
_PATH = "/chat/completions"
_OPENAI_HOSTS = re.compile(r"(?:^|\.)(?:openai\.com|openai\.azure\.com|cognitiveservices\.azure\.com)$")
_OLD_MODELS = re.compile(r"^(?:ft:)?(?:gpt-3|gpt-4|chatgpt-4|babbage|davinci)")
"""OpenAI's models that take both names. Azure's older API versions know only the old one."""
_UNKNOWN_FIELD = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|not recogni[sz]ed|unexpected|not permitted|forbidden|not allowed"
    r"|extra (?:inputs|fields)|invalid (?:param|field|argument)|additional propert|no longer|deprecated",
    re.IGNORECASE,
)
_SOME_FIELD = re.compile(
    r"(?:extra|unsupported|unknown|unrecogni[sz]ed|unexpected|additional)[^.]{0,30}"
    r"\b(?:inputs?|fields?|param\w*|arguments?|keys?|propert\w*)",
    re.IGNORECASE,
)
"""Words of a refusal that does not say which field it is about."""
_BELIEVED_AFTER = 2
"""Refusals in a row. A gateway may have several servers behind one name, so one refusal says little of the next call."""
_READ = 4096
"""Characters of an error that are searched."""


class OutputLimitName:
    """The name that each model of one upstream takes, as far as its refusals have shown. They are its only state."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self._fixed = settings.output_limit_field
        host = urlsplit(settings.base_url).hostname or ""
        self._openai = settings.api_version is not None or bool(_OPENAI_HOSTS.search(host))
        self._refusals: dict[tuple[str, str], int] = {}  # by model and refused name

    def applied(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a body with its output limit under the name to send first. Other endpoints have only one name."""
        return _renamed(body, self._first(str(body["model"]))) if path == _PATH else body

    def renamed_after(
        self, path: str, sent: Mapping[str, Any], status: int, error: bytes
    ) -> Mapping[str, Any] | None:
        """Return the body to send after an error, or None if the error is not about the name of the output limit."""
        name = _name_in(sent)
        if path != _PATH or self._fixed is not None or name is None or status not in (400, 422):
            return None
        said = error[:_READ].decode(errors="replace")
        if re.search(rf"\b{name}\b", said):
            about_it = _other(name) in said or _UNKNOWN_FIELD.search(said) is not None
        else:
            others = any("_" in field and field in said for field in sent)
            about_it = not others and _SOME_FIELD.search(said) is not None
        return _renamed(sent, _other(name)) if about_it else None

    def accepted(self, sent: Mapping[str, Any], *, after_refusal: bool) -> None:
        """Remember that the model takes the name in this body, and whether it has just refused the other one."""
        name = _name_in(sent)
        if name is None:
            return
        model = str(sent["model"])
        self._refusals.pop((model, name), None)
        if after_refusal:
            refused = model, _other(name)
            self._refusals[refused] = self._refusals.get(refused, 0) + 1

    def _first(self, model: str) -> str:
        if self._fixed is not None:
            return self._fixed
        first = NEW if self._openai and not _OLD_MODELS.search(model) else OLD
        believed = self._refusals.get((model, first), 0) >= _BELIEVED_AFTER
        return _other(first) if believed else first


def _renamed(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    limits = [body[n] for n in OUTPUT_LIMITS if body.get(n) is not None]
    rest = {n: value for n, value in body.items() if n not in OUTPUT_LIMITS}
    return {**rest, name: min(limits)} if limits else rest


def _name_in(body: Mapping[str, Any]) -> str | None:
    return next((name for name in OUTPUT_LIMITS if name in body), None)


def _other(name: str) -> str:
    return NEW if name == OLD else OLD
