"""Match the names of models: a vendor reports snapshots, the ledger has the name that a client or the config gave."""

import re
from collections.abc import Iterable, Mapping

_SNAPSHOT = re.compile(r"-(?:20\d\d-\d\d-\d\d|20\d{6}|\d{4}|latest)$")
"""The end of `gpt-4o-2024-08-06`, `claude-haiku-4-5-20251001`, `gpt-4-0613` or `claude-3-5-sonnet-latest`."""


def family(model: str) -> str:
    """Return a model's name without its snapshot, in one spelling: "Claude Haiku 4.5" is `claude-haiku-4-5`."""
    plain = re.sub(r"[\s._]+", "-", model.strip().lower())
    return _SNAPSHOT.sub("", plain)


def spelling(model: str) -> str:
    """Return a model's full name in one spelling."""
    return re.sub(r"[\s._]+", "-", model.strip().lower())


def groups(ledger: Iterable[str], vendor: Iterable[str]) -> Mapping[str, str]:
    """Return the name under which each model is compared.

    Models whose full name both sides have are compared by it. If one side has a name without a snapshot that the other
    side lacks, such as `gpt-4o`, nobody knows which snapshot it stands for. Then the family is compared as one model.
    """
    ours, theirs = {m: spelling(m) for m in ledger}, {m: spelling(m) for m in vendor}
    whole = {
        family(name)
        for names, others in ((ours, theirs), (theirs, ours))
        for name in names.values()
        if name not in others.values() and (name == family(name) or name.endswith("-latest"))
    }
    return {
        model: family(model) if family(model) in whole else name
        for names in (ours, theirs)
        for model, name in names.items()
    }
