"""Thresholds from audits: what is certified agrees, or costs no more, and what few audits show is not called certified."""

import random
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.policy import NEVER
from proxy.evals.thresholds_from_audits import cost_from_audits, from_audits, priced
from proxy.ledger.audits import NO_ANSWER, Evidence


def audits(count, agreeing, accepted_from=0.5, stage=1, reached=()):
    """Audits whose chance to agree depends on their confidence; of the requests `reached`, else of new ones."""
    lot = random.Random(8)
    out = []
    for i in range(count):
        confidence = lot.choice(list(agreeing))
        agreed = lot.random() < agreeing[confidence]
        accepted = confidence >= accepted_from
        request = reached[i] if reached else str(i)
        at = datetime.now(UTC)
        out.append(
            Evidence(
                id=str(i),
                request_id=request,
                created_at=at,
                task="math",
                stage=stage,
                confidence=confidence,
                accepted=accepted,
                agreed=agreed,
                small_model="small",
                large_model="large",
                samples=8,
                spent_nano=0,
                large_nano=100,
                baseline_nano=90,
            )
        )
    return out


def test_threshold_is_raised():
    """What is below is not certified, and what is certified agrees as often as was asked."""
    choice, _ = from_audits(audits(900, {0.75: 0.8, 0.875: 0.99, 1.0: 1.0}), 0.95, risk=0.05)
    (chosen,) = (level for level in choice.frontier if level.threshold == choice.chosen)
    assert choice.chosen == 0.875
    assert chosen.agreed / chosen.judged >= 0.95


def test_threshold_is_lowered():
    """Refused answers are audited, too: those that the large model gives as well need not be refused."""
    found = audits(900, {0.5: 0.7, 0.625: 0.99, 0.75: 0.99, 1.0: 1.0}, accepted_from=0.75)
    assert from_audits(found, 0.95, risk=0.05)[0].chosen == 0.625


def test_distinct_confidences():
    """A probability is never seen twice: no single one may have to prove itself alone."""
    agreeing = {0.4 + i / 1000: 1.0 for i in range(600)}
    assert from_audits(audits(300, agreeing), 0.95, risk=0.05)[0].chosen < NEVER


def test_disagreement_certifies_nothing():
    """However high the confidence, and however few the audits."""
    assert from_audits(audits(500, {0.75: 0.7, 1.0: 0.8}), 0.95, risk=0.05)[0].chosen == NEVER
    assert from_audits(audits(5, {1.0: 1.0}), 0.95, risk=0.05)[0].chosen == NEVER


def refused(found):
    return [a.request_id for a in found if not a.accepted]


def test_stage_2_follows_stage_1():
    """A lower stage 1 keeps the easy requests to itself: on the hard ones alone what stage 2 is sure of is wrong."""
    first = audits(1800, {0.5: 0.0, 0.625: 1.0, 1.0: 1.0}, accepted_from=0.75)
    hard, easy = ([a.request_id for a in first if a.confidence == c] for c in (0.5, 0.625))
    sure = audits(len(easy), {1.0: 1.0}, stage=2, reached=easy)
    wrong = audits(len(hard), {i / 10: 0.0 for i in range(1, 11)}, stage=2, reached=hard)
    chosen = from_audits(first + sure + wrong, 0.85, risk=0.05)
    assert [(c.chosen, c.frontier[0].audits) for c in chosen] == [(0.625, 1800), (NEVER, len(hard))]


def test_stage_2_is_certified():
    """Stage 1 stays where it was, so that what it refuses has been audited."""
    first = audits(900, {0.5: 0.5, 1.0: 1.0}, accepted_from=0.75)
    second = audits(len(refused(first)), {0.5: 0.5, 0.75: 1.0}, stage=2, reached=refused(first))
    assert [c.chosen for c in from_audits(first + second, 0.95, risk=0.05)] == [1.0, 0.75]


def test_raised_stage_1():
    """What it accepted until now has never come to stage 2, which then accepts nothing."""
    first = audits(900, {0.5: 0.5, 0.75: 0.5, 1.0: 1.0}, accepted_from=0.75)
    second = audits(len(refused(first)), {1.0: 1.0}, stage=2, reached=refused(first))
    chosen = from_audits(first + second, 0.95, risk=0.05)
    assert [(c.chosen, len(c.frontier)) for c in chosen] == [(1.0, 4), (NEVER, 0)]


def test_stage_2_without_audits():
    """Its usual threshold has not been tested."""
    assert from_audits(audits(500, {1.0: 0.5}), 0.95, risk=0.05)[1].chosen == NEVER


SPREAD = dict.fromkeys((0.25, 0.5, 0.75, 1.0), 0.9)
"""A quarter of the answers each: of 100 nano-USD, accepting from 0.5 saves three quarters, from 1.0 one."""


def unanswered(count):
    at = datetime.now(UTC)
    return [
        Evidence(
            id=f"n{i}",
            request_id=f"n{i}",
            created_at=at,
            task="math",
            stage=1,
            confidence=NO_ANSWER,
            accepted=False,
            agreed=None,
            small_model="small",
            large_model="large",
            samples=8,
            spent_nano=0,
            large_nano=100,
            baseline_nano=90,
        )
        for i in range(count)
    ]


def test_cost_with_fewest_local_answers():
    """From 0.75 on half of the answers are local: 50 nano-USD a request. From 1.0 on it would be 75."""
    choice = cost_from_audits(audits(900, SPREAD), 65, risk=0.05)
    (chosen,) = (level for level in choice.frontier if level.threshold == choice.chosen)
    assert (choice.chosen, choice.certified) == (0.75, True)
    assert chosen.cost == pytest.approx(50, abs=5)


def test_cost_is_seldom_missed():
    """Of 300 calibrations beside a border that 0.75 passes by a little, hardly more than the risk certify it."""
    lot = random.Random(3)

    def missed():
        found = [msgspec.structs.replace(a, confidence=lot.choice(list(SPREAD))) for a in audits(200, SPREAD)]
        return cost_from_audits(found, 49.9, risk=0.1, seed=lot.randrange(10**6)).chosen >= 0.75

    assert sum(missed() for _ in range(300)) <= 15


def test_requests_without_local_answer():
    """A third of all: 33 nano-USD a request cannot be saved, and a limit below that is not called certified."""
    found = audits(600, SPREAD) + unanswered(300)
    choice = cost_from_audits(found, 20, risk=0.05)
    assert (choice.chosen, choice.certified) == (0.0, False)
    assert choice.frontier[0].cost == pytest.approx(100 / 3)
    assert cost_from_audits(found, 45, risk=0.05).certified


@pytest.mark.parametrize("limit", [0, 199, 201, 10**9])
def test_few_audits_certify_no_cost(limit):
    """However high the limit: a dearer request than those seen may come, or one without a local answer."""
    choice = cost_from_audits(audits(10, SPREAD), limit, risk=0.05)
    assert (choice.chosen, choice.certified) == (0.0, False)


def test_generous_cost_limit():
    """The large model answers all."""
    choice = cost_from_audits(audits(60, SPREAD), 10**9, risk=0.05)
    assert (choice.chosen, choice.certified) == (NEVER, True)


def test_rare_expensive_requests():
    """One in a hundred costs a thousandfold, eleven on average; the limit is half of that."""
    lot = random.Random(4)

    def missed():
        found = [
            msgspec.structs.replace(
                a, confidence=NO_ANSWER, agreed=None, large_nano=1000 if lot.random() < 0.01 else 1
            )
            for a in audits(800, SPREAD)
        ]
        return cost_from_audits(found, 5, risk=0.1, seed=lot.randrange(10**6)).certified

    assert sum(missed() for _ in range(100)) <= 10


def test_unknown_prices():
    """The client got no answer, and an audit's was cut; what was estimated is counted."""
    known, cut, lost = audits(3, SPREAD)
    cut, lost = (msgspec.structs.replace(a, large_nano=None) for a in (cut, lost))
    old = msgspec.structs.replace(known, spent_nano=None)
    found = [known, cut, msgspec.structs.replace(lost, baseline_nano=None, confidence=NO_ANSWER), old]
    assert [(a.large_nano, a.baseline_nano) for a in priced(found)] == [(100, 90), (None, 90), (None, 100)]
    choice = cost_from_audits(priced(found), 1000, risk=0.05)
    assert choice.estimated == 2
    assert choice.frontier[0].cost == pytest.approx(100 / 3)
    assert choice.frontier[-1].cost == pytest.approx(290 / 3)
    assert priced([msgspec.structs.replace(lost, baseline_nano=None)]) == []


def test_small_model_price():
    """30 nano-USD are spent on it whatever the threshold."""
    priced = [msgspec.structs.replace(a, spent_nano=30) for a in audits(900, SPREAD)]
    choice = cost_from_audits(priced, 65, risk=0.05)
    assert (choice.chosen, choice.certified) == (0.5, True)
    assert choice.frontier[-1].cost == 130
    assert choice.frontier[-1].large_cost == 100


def test_regret_is_limited():
    """What is certified differs in no more than the limit, as of 0.75 about one in fifty does."""
    found = audits(900, {0.5: 0.7, 0.75: 0.98, 1.0: 1.0})
    first, _ = from_audits(found, None, regret=0.05, risk=0.05)
    assert (first.chosen, first.needed) == (0.75, None)
    both, _ = from_audits(found, 0.999, regret=0.05, risk=0.05)
    assert both.chosen == NEVER


def test_unclear_verdicts_count_as_regret():
    """The limit is an upper one, so what nobody has confirmed is no right answer. A quality leaves it out."""
    found = audits(400, {1.0: 1.0})
    unclear = [msgspec.structs.replace(a, agreed=None) if i % 5 == 0 else a for i, a in enumerate(found)]
    assert from_audits(unclear, 0.95, risk=0.05)[0].chosen == 1.0
    assert from_audits(unclear, None, regret=0.05, risk=0.05)[0].chosen == NEVER
    assert from_audits(unclear, None, regret=0.3, risk=0.05)[0].chosen == 1.0


def test_regret_is_seldom_missed():
    """Of 200 calibrations on answers that differ a little too often, hardly more than the risk accept any."""
    lot = random.Random(6)

    def missed():
        found = [
            msgspec.structs.replace(a, confidence=lot.choice([0.5, 1.0]), agreed=lot.random() > 0.11)
            for a in audits(100, {1.0: 1.0})
        ]
        return from_audits(found, None, regret=0.1, risk=0.1, seed=lot.randrange(10**6))[0].chosen < NEVER

    assert sum(missed() for _ in range(200)) <= 33


def test_audits_needed_for_a_limit():
    """Fifty faultless audits are too few. Twice 59 suffice, and none do if one in five differs."""
    few, _ = from_audits(audits(50, {1.0: 1.0}), None, regret=0.05, risk=0.05)
    assert (few.chosen, few.needed) == (NEVER, 118)
    assert from_audits(audits(118, {1.0: 1.0}), None, regret=0.05, risk=0.05)[0].chosen == 1.0
    assert from_audits(audits(400, {1.0: 0.8}), None, regret=0.05, risk=0.05)[0].needed is None


def test_cost_beside_a_regret():
    """Both hold, or nothing is accepted: cheap and wrong is worse than dear."""
    found = audits(900, {0.25: 0.5, 0.5: 0.7, 0.75: 1.0, 1.0: 1.0})
    choice = cost_from_audits(found, 65, regret=0.05, risk=0.05)
    assert (choice.chosen, choice.certified) == (0.75, True)
    choice = cost_from_audits(found, 10**9, regret=0.05, risk=0.05)
    assert (choice.chosen, choice.certified) == (NEVER, True)
    choice = cost_from_audits(found, 20, regret=0.05, risk=0.05)
    assert (choice.chosen, choice.certified) == (NEVER, False)
    assert cost_from_audits(found, 20, risk=0.05).chosen <= 0.25


AUDITS = st.lists(
    st.builds(
        Evidence,
        id=st.just("x"),
        request_id=st.just("x"),
        created_at=st.just(datetime.now(UTC)),
        task=st.just("math"),
        stage=st.just(1),
        confidence=st.sampled_from([0.25, 0.5, 0.75, 1.0]) | st.just(NO_ANSWER),
        accepted=st.booleans(),
        agreed=st.none() | st.booleans(),
        small_model=st.just("small"),
        large_model=st.just("large"),
        samples=st.just(8),
        spent_nano=st.integers(0, 50),
        large_nano=st.integers(0, 1000),
        baseline_nano=st.none(),
    ).map(lambda a: msgspec.structs.replace(a, agreed=None) if a.confidence == NO_ANSWER else a),
    min_size=2,
    max_size=30,
)


@given(AUDITS, st.integers(0, 1200))
def test_frontier_of_audits(found, limit):
    """A higher threshold costs no less and answers no more; what is chosen is on it."""
    choice = cost_from_audits(found, limit, risk=0.05)
    costs, accepted = ([getattr(level, name) for level in choice.frontier] for name in ("cost", "accepted"))
    assert costs == sorted(costs)
    assert accepted == sorted(accepted, reverse=True)
    assert choice.chosen in [level.threshold for level in choice.frontier]
    last = choice.frontier[-1]
    assert (last.accepted, last.alike) == (0, 1)
    assert last.cost == pytest.approx(sum(a.spent_nano + a.large_nano for a in found) / len(found))


def test_levels_of_the_frontier():
    """Three of six accepted, one right, one wrong, one unclear; the refused are the large model's. One audit has no price."""
    verdicts = {0.25: False, 0.5: True, 0.75: True, 0.8: None, 1.0: False, NO_ANSWER: None}
    at = datetime.now(UTC)
    found = [
        Evidence(
            id=str(i),
            request_id=str(i),
            created_at=at,
            task="math",
            stage=1,
            confidence=c,
            accepted=True,
            agreed=v,
            small_model="small",
            large_model="large",
            samples=8,
            spent_nano=0,
            large_nano=100,
            baseline_nano=None,
        )
        for i, (c, v) in enumerate(verdicts.items())
    ]
    found[0] = msgspec.structs.replace(found[0], spent_nano=None)
    lowest, _, level, _, highest, never = from_audits(found, 0.9, risk=0.05)[0].frontier
    assert (level.threshold, level.audits, level.accepted, level.judged, level.agreed) == (0.75, 6, 3, 2, 1)
    assert (level.alike, level.cost, level.large_cost) == (0.75, 40, 100)
    assert (lowest.threshold, lowest.accepted, lowest.cost) == (0.25, 5, 20)
    assert (highest.threshold, highest.accepted, highest.agreed) == (1.0, 1, 0)
    assert (never.alike, never.cost) == (1.0, 100)
    unclear = [msgspec.structs.replace(a, agreed=None) for a in found]
    assert from_audits(unclear, 0.9, risk=0.05)[0].frontier[0].alike is None
