"""The rows of the task kinds."""

import pytest

from proxy.cascade.kinds import KINDS
from proxy.cascade.types import TaskKind
from tests.unit.cascade.voting import vote


def test_every_kind_has_row():
    """No task kind is without a confidence."""
    assert set(KINDS) == set(TaskKind)


@pytest.mark.parametrize("kind", ["math", "choice", "code", "agent", "structured"])
def test_cut_off_answer(kind):
    """A sample that ended at its token limit joins no group."""
    assert vote(kind, "1", finish="length") is None
