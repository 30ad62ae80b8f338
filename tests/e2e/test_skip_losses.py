"""Guidelines that cost more than they save are left out, through the front door."""

import pytest

from proxy.service.guideline_records import LOGGED
from proxy.service.guideline_value import MIN_GUIDED
from tests.support.cascade import USAGE
from tests.support.config import LARGE_MODEL

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
UNSURE = {"reply": {"contents": [f"\\boxed{{{n}}}" for n in range(97)]}}
"""No two samples of a request agree."""
REASON = "a guideline would probably cost more than it saves (cascade.skip_losses)"


def ask(proxy, count, model="cope", question=MATH, **extra):
    with proxy.client() as client:
        return [
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], **extra
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
    assert stages(ask(proxy, MIN_GUIDED)) == [2] * MIN_GUIDED
    later = ask(proxy, LOGGED)
    assert stages(later[-100:]).count(2) < 20
    unguided = [a for a in later if len(a["stages"]) == 1]
    assert {(a["stage"], a["reason"]) for a in unguided} == {(3, REASON)}
    assert all(a["cost_usd"] == a["baseline_usd"] for a in unguided)
    for header in ({"X-COPE-Mode": "cascade"}, {"X-COPE-Budget-USD": "1"}, {"X-COPE-Max-Stage": "2"}):
        assert stages(ask(proxy, 5, extra_headers=header)) == [2] * 5
    assert {a["stage"] for a in ask(proxy, 5, model="small")} == {1}
    small_server.say("\\boxed{42}")
    assert {(a["stage"], a["reason"]) for a in ask(proxy, 20)} == {(1, None)}
    proxy.stop()
    assert f"guidelines for math tasks with {LARGE_MODEL}: " in proxy.output()


def test_agreement_earns_a_guideline(make_proxy, small_server, large_server):
    """Stage 2 accepts if two samples agreed in stage 1, and never if none did. Only the former go on with guidelines."""
    proxy = make_proxy(cascade={"early_stop": False})
    near = {
        "match": {"contains": "nearly"},
        "reply": {"contents": ["\\boxed{1}", "\\boxed{1}", "\\boxed{2}", "\\boxed{3}"]},
    }
    goal = {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}}
    sure = {"match": {"contains": ["nearly", "Guideline: "]}, "reply": {"content": "\\boxed{42}"}}
    small_server.script(goal, sure, near, UNSURE)
    short = {"prompt_tokens": 400, "completion_tokens": 40, "total_tokens": 440}
    large_server.script(
        {
            "match": {"contains": "tell another assistant"},
            "reply": {"content": "Look twice.", "usage": short},
        },
        {"reply": {"content": "\\boxed{42}", "usage": USAGE}},
    )
    for _ in range(30):
        ask(proxy, 3)
        ask(proxy, 3, question=f"{MATH} nearly")
    assert stages(ask(proxy, 20)).count(2) < 10
    assert {a["stage"] for a in ask(proxy, 20, question=f"{MATH} nearly")} == {2}


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
    answers = ask(proxy, MIN_GUIDED + 60)
    assert stages(answers) == [2] * len(answers)
    assert {a["reason"] for a in answers} == {None}
    assert 0 < sum(a["stage"] == 3 for a in answers) < len(answers)
