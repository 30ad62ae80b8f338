"""The cascade's policy for one request."""

import pytest

from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.config.policy import NEVER, policy, runner_for
from proxy.config.schema import Cascade, Thresholds

DEFAULTS = (0.6, 0.7)


def levels(found):
    """Return the thresholds of both stages."""
    return tuple(stage.threshold for stage in found.stages)


def test_headers_override_settings():
    """The headers come first, then the table of the kind, then the general settings, then the estimator's defaults."""
    cascade = Cascade(samples=4, thresholds={"math": Thresholds(stage1=0.8, samples=6, plans="goals")})
    table = policy(cascade, TaskKind.MATH, DEFAULTS, Controls())
    assert (table.samples, *levels(table), table.plans) == (6, 0.8, 0.7, "goals")
    headers = policy(
        cascade, TaskKind.MATH, DEFAULTS, Controls(samples=2, thresholds=(0.1, 0.2), max_stage=1)
    )
    assert (headers.samples, *levels(headers), headers.max_stage) == (2, 0.1, 0.2, 1)
    other = policy(cascade, TaskKind.CHOICE, DEFAULTS, Controls())
    assert (other.samples, *levels(other), other.plans) == (4, 0.6, 0.7, "all")


def test_samples_have_a_limit():
    """A header cannot ask for more than `max_samples`."""
    assert policy(Cascade(max_samples=10), TaskKind.MATH, DEFAULTS, Controls(samples=50)).samples == 10


@pytest.mark.parametrize(
    ("kind", "plans"), [("math", "all"), ("code", "goals"), ("structured", "none"), ("open", "none")]
)
def test_default_plans(kind, plans):
    """The default plans depend on the kind, and `cascade.plans` replaces them for all kinds."""
    assert policy(Cascade(), TaskKind(kind), DEFAULTS, Controls()).plans == plans
    assert policy(Cascade(plans="goals"), TaskKind(kind), DEFAULTS, Controls()).plans == "goals"


def test_plans_with_programs():
    """Only mathematics gets other plans if programs vote, and settings come first."""
    found = {
        kind: policy(Cascade(), kind, DEFAULTS, Controls(), programs=True).plans
        for kind in (TaskKind.MATH, TaskKind.CODE, TaskKind.CHOICE)
    }
    assert found == {"math": "none", "code": "goals", "choice": "all"}
    settings = Cascade(plans="all")
    assert policy(settings, TaskKind.MATH, DEFAULTS, Controls(), programs=True).plans == "all"


def test_programs_switched_off():
    """Without programs, mathematics runs nothing, and code still does."""
    sandbox = object()
    off = Cascade(programs=False)
    assert runner_for(off, TaskKind.MATH, sandbox) is None
    assert runner_for(off, TaskKind.CODE, sandbox) is sandbox
    assert runner_for(Cascade(), TaskKind.MATH, sandbox) is sandbox


def test_never_accepts_nothing():
    """The threshold "never" is above every confidence."""
    cascade = Cascade(thresholds={"math": Thresholds(stage1="never", stage2=0)}, speculate_from="never")
    found = policy(cascade, TaskKind.MATH, DEFAULTS, Controls())
    assert (*levels(found), found.speculate_from) == (NEVER, 0, NEVER)
    assert NEVER > 1
