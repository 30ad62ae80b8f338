"""The queue of audits."""

import asyncio

import pytest

from proxy.cascade.types import Task, TaskKind
from proxy.config.schema import LargeModel
from proxy.service.audit_queue import MAX_QUEUED, AuditJob, AuditQueue, drawn


def job(number):
    return AuditJob(
        request_id=f"req_{number}",
        task=Task(TaskKind.MATH, {"messages": []}, ""),
        estimator=None,
        small_model="small",
        large_model=LargeModel(name="gpt", id="gpt", upstream=""),
        samples=4,
        answers=(),
    )


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_extreme_shares(share):
    """A share of 0 draws no request, a share of 1 every one."""
    assert {drawn(share) for _ in range(200)} == {bool(share)}


def test_a_full_queue(caplog):
    """Audits beyond the limit are dropped with a warning; the others keep their order."""
    queue = AuditQueue()
    for number in range(MAX_QUEUED + 1):
        queue.add(job(number))
    assert [r.getMessage() for r in caplog.records] == [
        f"req_{MAX_QUEUED} is not audited: {MAX_QUEUED} audits are queued already"
    ]

    async def first_two():
        return [(await queue.next()).request_id for _ in range(2)]

    assert asyncio.run(first_two()) == ["req_0", "req_1"]
