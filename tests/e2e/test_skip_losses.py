"""Guidelines that cost more than they save are left out, through the front door."""

import pytest

from proxy.service.guideline_value import WINDOW
from tests.support.config import LARGE_MODEL

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
UNSURE = {"reply": {"contents": [f"\\boxed{{{n}}}" for n in range(97)]}}
"""No two samples of a request agree."""
REASON = "guidelines for math tasks have lost money recently (cascade.skip_losses)"


def ask(proxy, count, model="cope", **extra):
    with proxy.client() as client:
        return [
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": MATH}], **extra
            ).cope
            for _ in range(count)
        ]


def stages(answers):
    return [len(a["stages"]) for a in answers]


def test_losing_guidelines_are_skipped(make_proxy, small_server, large_server):
    """Stage 2 is never sure; after many guidelines in vain the rest go on without, but for who asks for the cascade."""
    proxy = make_proxy()
    small_server.script(UNSURE)
    large_server.say("\\boxed{42}")
    assert stages(ask(proxy, WINDOW)) == [2] * WINDOW
    later = ask(proxy, 60)
    assert stages(later).count(2) < 20
    unguided = [a for a in later if len(a["stages"]) == 1]
    assert {(a["stage"], a["reason"]) for a in unguided} == {(3, REASON)}
    assert all(a["cost_usd"] == a["baseline_usd"] for a in unguided)
    for header in ({"X-COPE-Mode": "cascade"}, {"X-COPE-Budget-USD": "1"}, {"X-COPE-Max-Stage": "2"}):
        assert stages(ask(proxy, 5, extra_headers=header)) == [2] * 5
    assert {a["stage"] for a in ask(proxy, 5, model="small")} == {1}
    small_server.say("\\boxed{42}")
    assert {(a["stage"], a["reason"]) for a in ask(proxy, 20)} == {(1, None)}
    proxy.stop()
    assert f"guidelines for math tasks with {LARGE_MODEL} lost 0." in proxy.output()


def test_paying_guidelines_continue(make_proxy, small_server, large_server):
    """Stage 2 saves three answers in four, which cost more than all the guidelines."""
    proxy = make_proxy()
    sure = {"match": {"contains": "GUIDE"}, "reply": {"content": "\\boxed{42}"}}
    small_server.script(sure, UNSURE)
    usual = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}
    short = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    large_server.script(
        {"match": {"contains": "Follow it."}, "reply": {"content": "\\boxed{42}", "usage": usual}},
        {
            "reply": {
                "contents": ["Follow the GUIDE.", "Follow it.", *["Follow the GUIDE."] * 2],
                "usage": short,
            }
        },
    )
    answers = ask(proxy, WINDOW + 100)
    assert stages(answers) == [2] * len(answers)
    assert {a["reason"] for a in answers} == {None}
    assert 0 < sum(a["stage"] == 3 for a in answers) < len(answers)
