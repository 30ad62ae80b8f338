"""The facts that a client sees: response headers and the `cope` object."""

from proxy.cascade.engine import CascadeLog
from proxy.cascade.types import TaskKind
from proxy.records import StageRecord
from proxy.service.facts import FINAL_HEADERS, cope_object, response_headers
from tests.support.requests import request_log


def test_headers_before_the_cost():
    """The headers of a stream go out before its cost is known; None is left out."""
    log = request_log(task=TaskKind.MATH, stage=3, model="gpt", baseline=900)
    assert response_headers(log, final=False) == {
        "x-request-id": "req_1",
        "x-cope-request-id": "req_1",
        "x-cope-task": "math",
        "x-cope-stage": "3",
        "x-cope-model": "gpt",
    }
    final = response_headers(log, final=True)
    assert {name for name in final if name in FINAL_HEADERS} == {"x-cope-cost-usd", "x-cope-baseline-usd"}
    assert final["x-cope-baseline-usd"] == "0.0000009"


def test_upstream_headers_pass():
    """The upstream's headers are passed on, but never instead of the proxy's own."""
    log = request_log(upstream_headers={"openai-version": "2020-10-01", "x-cope-request-id": "theirs"})
    headers = response_headers(log, final=False)
    assert (headers["openai-version"], headers["x-cope-request-id"]) == ("2020-10-01", "req_1")


def test_stages_in_cope_object():
    """Each sampled stage is one object, with its confidence rounded."""
    stage = StageRecord(
        stage=1, drawn=3, planned=4, agreed=2, confidence=2 / 3, threshold=0.75, accepted=False
    )
    (seen,) = cope_object(request_log(cascade_log=CascadeLog(stages=[stage])))["stages"]
    assert seen == {
        "stage": 1,
        "drawn": 3,
        "of": 4,
        "agreed": 2,
        "confidence": 0.6667,
        "threshold": 0.75,
        "accepted": False,
    }


STAGES = [
    StageRecord(stage=1, drawn=2, planned=4, agreed=1, confidence=0.25, threshold=0.75, accepted=False),
    StageRecord(stage=2, drawn=3, planned=4, agreed=3, confidence=0.75, threshold=0.75, accepted=True),
]


def test_votes_of_deciding_stage():
    """The counts stand beside the confidence that they led to, and say whether it is a bound."""
    log = request_log(
        task=TaskKind.MATH, stage=2, confidence=0.75, cascade_log=CascadeLog(stages=list(STAGES))
    )
    assert cope_object(log)["votes"] == {"agreed": 3, "drawn": 3, "planned": 4, "bound": True}
    assert response_headers(log, final=False)["x-cope-votes"] == "3 of 3 drawn agree, 4 planned"


def test_no_votes_without_confidence():
    """An answer of the large model has no votes, and neither has an open one."""
    for task, stage, confidence in ((TaskKind.MATH, 3, None), (TaskKind.OPEN, 2, 0.9)):
        log = request_log(
            task=task, stage=stage, confidence=confidence, cascade_log=CascadeLog(stages=list(STAGES))
        )
        assert cope_object(log)["votes"] is None
        assert "x-cope-votes" not in response_headers(log, final=True)
