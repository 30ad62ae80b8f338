"""The hooks that run after a request."""

from dataclasses import replace

import pytest

from proxy.cascade.engine import CascadeLog
from proxy.cascade.sampling import Verdict
from proxy.cascade.types import Ballot, Plan, Sample, Standing
from proxy.pricing.prices import Price, Usage
from proxy.records import CallRecord, storable
from proxy.service.finished import finish, plan_records, record_with_content
from proxy.service.hooks import run_hooks
from tests.support.requests import request_log


def test_a_raising_hook(caplog):
    """The hooks after it still run, and the log names it and the request."""
    seen = []

    def broken(finished):
        raise RuntimeError("boom")

    finished = finish(request_log())
    run_hooks([seen.append, broken, seen.append], finished)
    assert seen == [finished, finished]
    (record,) = caplog.records
    assert record.getMessage() == "req_1: the hook broken failed"
    assert record.exc_info is not None


def test_a_record_is_frozen():
    """What is noted after the end of a request changes nothing in its record."""
    log = request_log()
    finished = finish(log)
    log.note_error(500, "internal_error")
    log.cascade_log.plans.append(Plan(kind="goal", text="Find it.", stage=1, sample=0))
    assert (finished.record.status, finished.record.error, finished.plans) == (200, None, ())


def test_content_is_extra():
    """Prompt, answer and plans are in the ledger's records only on request."""
    log = request_log(
        answer="42",
        cascade_log=CascadeLog(plans=[Plan(kind="goal", text="Find it.", stage=1, sample=0, chosen=True)]),
    )
    finished = finish(log)
    assert (finished.record.prompt, finished.record.answer) == (None, None)
    stored = record_with_content(finished)
    assert stored.prompt == '[{"role":"user","content":"6 times 7?"}]'
    assert stored.answer == "42"
    (plan,) = plan_records(finished)
    assert (plan.request_id, plan.text, plan.chosen) == ("req_1", "Find it.", True)


@pytest.mark.parametrize(
    "content", ["\0", "\ud800", "\ud83d\ude00", 2**70, float("nan"), [{"text": "\udfff"}]]
)
def test_odd_content_is_recorded(content):
    """A prompt with any text or number becomes a record."""
    log = request_log(answer="\ud800")
    body = {**log.request.body, "messages": [{"role": "user", "content": content}]}
    log.request = replace(log.request, body=body)
    assert storable(record_with_content(finish(log))).prompt.isascii()


def test_samples_carry_votes():
    """A sample's call shows its vote; the call that planned its goal does not."""
    sample = Sample(index=0, message={"content": "42"}, finish_reason="stop", logprob=None, usage=Usage())
    verdict = Verdict(
        ballot=Ballot((sample,), ("42",)), standing=Standing(1.0, 1.0, sample, fixed=True), accepted=True
    )
    log = request_log(cascade_log=CascadeLog(verdicts={1: verdict}))
    log.calls += [_call("planner"), _call("executor")]
    assert [call.vote for call in finish(log).calls] == [None, "42"]


def _call(role):
    return CallRecord(
        id=f"call_{role}",
        request_id="req_1",
        key_id=None,
        started_at=request_log().request.received_at,
        stage=1,
        role=role,
        tier="small",
        model="small",
        sample=0,
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        cost=0,
        price=Price(input=0, output=0),
        latency_ms=1,
        finish_reason="stop",
        estimated=False,
    )
