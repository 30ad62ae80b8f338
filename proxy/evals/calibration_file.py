"""The calibration file: the thresholds of each task kind, with the targets and their certificates as comments."""

import json
from collections.abc import Iterator, Mapping, Sequence

from proxy.cascade.types import Plans
from proxy.evals.targets import Kind
from proxy.evals.thresholds_from_audits import AuditChoice
from proxy.evals.thresholds_from_runs import Certificate, Choice
from proxy.pricing.money import format_usd


def from_runs(choices: Sequence[Choice], targets: Mapping[Kind, float], risk: float) -> list[str]:
    """Return the lines of the file for a calibration from runs."""
    lines = [f"# Written by `cope-proxy calibrate`: {_targets(targets)}, at a risk of {100 * risk:g} %."]
    for choice in choices:
        lines += ["", f"[{choice.task}]", *_table(choice, targets)]
    return lines


def _table(choice: Choice, targets: Mapping[Kind, float]) -> Iterator[str]:
    holds = "holds the targets" if len(targets) > 1 else "holds the target"
    if choice.chosen is None:
        yield f"# none of {choice.tested} ways {holds} and costs less: the large model alone"
        if missing := missing_evidence(choice, targets):
            yield f"# {missing}"
        yield "skip = true"
        return
    if choice.certificate is None:
        yield f"# NOT certified: none of {choice.tested} ways {holds}; this is the cheapest one"
    else:
        yield f"# {_certificate(choice.certificate)}"
    r = choice.chosen
    yield (
        f"# on {r.items} items, which also chose: {100 * r.quality_share:.1f} % of the quality at "
        f"{100 * r.cost_share:.1f} % of the cost, regret {r.regret:g} of {r.accepted} accepted answers"
    )
    yield f'plans = "{r.way.plans}"'
    yield f"samples = {choice.samples}"
    # An estimator with other default thresholds was not tested.
    pair = f"stage1 = {_threshold(r.way.stage1)}, stage2 = {_threshold(r.way.stage2)}"
    planner = f", planner = {json.dumps(choice.planner)}" if choice.planner and r.way.plans == "all" else ""
    yield f"certified = {{ usual = {list(choice.usual)}, {pair}{planner} }}"


def _certificate(found: Certificate) -> str:
    return (
        f"certified on {found.items} items kept for the test (p = {found.p:.2g}): regret {found.regret:g} of "
        f"{found.accepted} accepted answers"
    )


def missing_evidence(choice: Choice, targets: Mapping[Kind, float]) -> str | None:
    """Return how many items would certify the limit of the regret, or `None` if that is not the problem."""
    if "regret" not in targets or choice.certified:
        return None
    given = choice.frontier[0].items
    if choice.needed is None:
        return f"no number of such items would certify this limit of the regret ({given} given)"
    if choice.needed > given:
        return f"about {choice.needed} such items would certify this limit of the regret ({given} given)"
    if len(targets) > 1:
        return None
    return f"the {given} items are close to the border of what certifies this limit of the regret; add items"


def from_audits(tables: Sequence[str], targets: Mapping[Kind, float], risk: float) -> list[str]:
    """Return the lines of the file for a calibration from audits, with the lines of its tables."""
    said = [f"at least {100 * targets['quality']:g} % agree"] if "quality" in targets else []
    if "regret" in targets:
        said.append(f"at most {100 * targets['regret']:g} % of accepted answers differ or are unclear")
    if "cost" in targets:
        said.append(_cost(targets["cost"]))
    text = " and ".join(said)
    return [f"# Written by `cope-proxy calibrate --audited`: {text}, at a risk of {100 * risk:g} %.", *tables]


def audited_table(
    choices: Sequence[AuditChoice], targets: Mapping[Kind, float], plans: Plans, samples: int
) -> Iterator[str]:
    """Yield the table of a task kind, for one or two stages. Its thresholds only hold for these samples and plans."""
    yield ""
    yield f"[{choices[0].task}]"
    for choice in choices:
        yield from _audited_comments(choice, targets)
    yield f'plans = "{plans}"'
    yield f"samples = {samples}"
    yield f"stage1 = {_threshold(choices[0].chosen)}"
    yield f"stage2 = {_threshold(choices[1].chosen) if len(choices) > 1 else _threshold(2)}"


def _audited_comments(choice: AuditChoice, targets: Mapping[Kind, float]) -> Iterator[str]:
    if not choice.certified and "regret" in targets:
        yield "# NOT certified: no threshold holds the targets; nothing is accepted"
    elif not choice.certified:
        yield "# NOT certified: no threshold holds the target; this is the cheapest one"
    elif "cost" in targets and choice.estimated:
        of = choice.frontier[0].audits
        yield f"# certified as far as estimates are right: {choice.estimated} of {of} prices of the large model are"
    if "regret" in targets:
        yield f"# {audited_regret(choice)}"


def audited_regret(choice: AuditChoice) -> str:
    """Return the regret of a stage at its threshold, or how many audits would certify a limit."""
    stage = f"stage {choice.stage}"
    level = next((level for level in choice.frontier if level.threshold == choice.chosen), None)
    if level is not None and level.accepted:
        return (
            f"{stage}, on {level.audits} audits, which also chose: {level.accepted - level.agreed} of {level.accepted} "
            "accepted answers differ or are unclear"
        )
    if level is None or choice.chosen <= 1:
        return f"{stage}: no audit covers it"
    if choice.needed is None:
        return (
            f"{stage}: no number of such audits would certify this limit of the regret ({level.audits} given)"
        )
    if choice.needed > level.audits:
        return f"{stage}: about {choice.needed} such audits would certify this limit of the regret ({level.audits} given)"
    return f"{stage}: the {level.audits} audits are close to the border of what certifies the targets; audit more"


def _targets(targets: Mapping[Kind, float]) -> str:
    said = []
    if "quality" in targets:
        said.append(f"at least {100 * targets['quality']:g} % of the large model's quality")
    if "cost" in targets:
        said.append(_cost(targets["cost"]))
    if "regret" in targets:
        said.append(f"a regret of at most {100 * targets['regret']:g} % of accepted answers")
    return " and ".join(said)


def _cost(limit: float) -> str:
    return f"at most {format_usd(round(1000 * limit))} USD per 1,000 requests"


def _threshold(value: float) -> str:
    """Return a confidence in TOML, without rounding."""
    return '"never"' if value > 1 else repr(float(value))
