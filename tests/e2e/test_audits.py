"""Audits: a share of the local answers is checked against the large model, from a budget of its own."""

import asyncio
import json
import random
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.cli.audits import models_of
from proxy.config.schema import Large, Settings, Small, Vllm
from proxy.ledger.audits import Audited, Models, store_audit
from proxy.ledger.database import open_database
from tests.support.config import LARGE_MODEL, SMALL_MODEL
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
USAGE = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}  # 0.00125 USD


def ask(proxy, question=MATH, **extra):
    with proxy.client() as client:
        return client.chat.completions.create(
            model="cope", messages=[{"role": "user", "content": question}], **extra
        )


@pytest.fixture
def audited(make_proxy):
    return make_proxy(audit={"share": 1.0, "budget_usd": 1, "expect": 0.9}, large={"max_output_tokens": 100})


def rows(proxy, count):
    return wait_until(
        lambda: (
            (found := proxy.rows("SELECT * FROM audits ORDER BY created_at"))
            and len(found) == count
            and found
        ),
        f"{count} audits",
    )


def test_equal_answer_agrees(audited, small_server, large_server):
    """It is compared by value; the client has its answer at once and pays nothing for the audit."""
    small_server.say("\\boxed{42}")
    large_server.say("So it is 42.0.", usage=USAGE)
    answer = ask(audited, user="ann", metadata={"team": "x"})
    assert (answer.cope["stage"], answer.cope["cost_usd"]) == (1, "0")
    (row,) = rows(audited, 1)
    assert (row["request_id"], row["task"], row["stage"], row["agreed"]) == (
        answer.cope["request_id"],
        "math",
        1,
        1,
    )
    story = wait_until(
        lambda: (r := audited.http().get(f"/v1/spend/requests/{row['id']}")).status_code == 200 and r.json(),
        "its row",
    )
    assert (story["request"]["mode"], story["request"]["cost"]) == ("audit", 1_250_000)
    sent = large_server.chats()[-1]["body"]
    assert sent["messages"] == [{"role": "user", "content": MATH}]
    assert not {"user", "metadata", "store"} & sent.keys()


WARNING = "fewer than the expected 90 %"


def test_few_differences_may_be_chance(audited, small_server, large_server):
    """An interval around two of two is below 90 %, but one is looked at after each audit, so that some will be."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(2):
        ask(audited)
    rows(audited, 2)
    assert "below 90 %" not in audited.cli("audits").stdout
    audited.stop()
    assert WARNING not in audited.output()


def test_drift_warns_once_daily(audited, small_server, large_server):
    """Eight of eight differ: fewer agree than is expected, which the log says once and the command, too."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(8):
        ask(audited)
    rows(audited, 8)
    wait_until(lambda: WARNING in audited.output(), "the warning")
    assert "below 90 %" in audited.cli("audits").stdout
    (found,) = json.loads(audited.cli("audits", "--json").stdout)
    assert (found["task"], found["agreed"], found["differed"]) == ("math", 0, 8)
    audited.stop()
    audited.start()  # a worker that has just begun knows what has been told
    ask(audited)
    rows(audited, 9)
    audited.stop()
    assert audited.output().count(WARNING) == 1


def test_rejected_answers_are_audited(make_proxy, small_server, large_server):
    """All its samples are drawn, though two of four settle it; what refusing costs in vain is seen, and is no drift."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 100}, cascade={"samples": 4, "plans": "none"}
    )  # fmt: skip
    small_server.say(*(f"\\boxed{{{n}}}" for n in (42, 42, 42, 41, 40, 39, 38, 42)))
    large_server.say("\\boxed{42}")
    first = ask(proxy)
    rows(proxy, 1)
    second = ask(proxy)
    assert (first.cope["stages"][0]["drawn"], first.cope["stages"][0]["accepted"]) == (4, True)
    assert (second.cope["stage"], second.cope["stages"][0]["drawn"]) == (3, 4)
    found = [(r["stage"], r["confidence"], r["accepted"], r["agreed"]) for r in rows(proxy, 2)]
    assert found[0] == (1, 0.75, 1, 1)
    assert found[1][:3] == (1, 0.25, 0)
    shown = json.loads(proxy.cli("audits", "--json").stdout)
    assert [(a["accepted"], a["agreed"] + a["differed"]) for a in shown] == [(True, 1), (False, 1)]
    assert "fewer than the expected" not in proxy.output()


def test_every_stage_is_compared(make_proxy, small_server, large_server):
    """One answer of the large model serves both; an open answer is judged, each by a question of its own."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 300}, cascade={"samples": 4}
    )
    small_server.say("hm")
    large_server.say("\\boxed{42}")
    ask(proxy)
    stages = [(r["stage"], r["accepted"], r["agreed"]) for r in rows(proxy, 2)]
    assert stages == [(1, 0, 0), (2, 0, 0)]


def test_audits_keep_their_budget(make_proxy, small_server, large_server):
    """When it is used up, answers go out as before and nothing more is asked."""
    proxy = make_proxy(audit={"share": 1.0, "budget_usd": Decimal("0.003")}, large={"max_output_tokens": 100})
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}", usage=USAGE)
    for _ in range(5):
        assert ask(proxy).cope["stage"] == 1
    wait_until(lambda: proxy.output().count("was not made") >= 3, "audits without money")
    assert len(rows(proxy, 2)) == len(large_server.chats()) == 2


def test_an_open_answer_is_judged(audited, small_server, large_server):
    """There is no value to compare: the large model says whether the answer is right."""
    small_server.say("Because of the sun.")
    large_server.say("No.")
    ask(audited, "Why is the sky blue in the morning?")
    (row,) = rows(audited, 1)
    assert (row["task"], row["agreed"]) == ("open", 0)
    assert "Because of the sun." in json.dumps(large_server.chats()[-1]["body"])


def test_judge_has_reasoning_room(make_proxy, small_server):
    """Reasoning models spend tokens before they say yes; cut off there they would judge nothing."""
    with StandIn(["o3"]) as thinker:
        proxy = make_proxy(
            audit={"share": 1.0, "budget_usd": 1},
            large={"base_url": thinker.base_url, "model": "o3"},
            prices={"o3": {"input_per_mtok": 2, "output_per_mtok": 8}},
        )
        small_server.say("Because of the sun.")
        thinker.say("yes")
        ask(proxy, "Why is the sky blue in the morning?")
        assert rows(proxy, 1)[0]["agreed"] == 1
        assert thinker.chats()[-1]["body"]["max_completion_tokens"] > 1000
        proxy.stop()


def test_judge_sees_the_conversation(audited, small_server, large_server):
    """Whether "it" was explained well depends on what was said before; what is no message is not sent."""
    small_server.say("Because of the sun.")
    large_server.say("yes")
    conversation = [
        {"role": "system", "content": "You speak to children."},
        {"role": "user", "content": "Tell me of the sky."},
        {"role": "assistant", "content": "It is blue."},
        {"role": "user", "content": "Why is it so?"},
    ]
    with audited.client() as client:
        client.chat.completions.create(model="cope", messages=conversation, temperature=0.5, max_tokens=50)
    (row,) = rows(audited, 1)
    assert (row["task"], row["agreed"]) == ("open", 1)
    sent = large_server.chats()[-1]["body"]
    *before, judged, asked = sent["messages"]
    assert before == conversation
    assert judged == {"role": "assistant", "content": "Because of the sun."}
    assert asked["role"] == "user"
    assert "only yes or no" in asked["content"]
    assert sent.keys() == {"model", "messages", "max_completion_tokens"}


def test_verdict_is_one_word(audited, small_server, large_server):
    """However it is set off; what begins with another word is none."""
    verdicts = {
        "**Yes**": 1,
        "Yes.": 1,
        "\n__yes__": 1,
        "Not only is it right, it is helpful.": None,
        "Nothing is wrong with it.": None,
        "Yesterday it was.": None,
        "**No**, it is not.": 0,
        "No": 0,
    }
    small_server.say("Because of the sun.")
    large_server.script({"reply": [{"content": said} for said in verdicts]})
    for _ in verdicts:
        ask(audited, "Why is the sky blue in the morning?")
    found = [row["agreed"] for row in rows(audited, len(verdicts))]
    assert dict(zip(verdicts, found, strict=True)) == verdicts


WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
TURNS = [
    {"role": "user", "content": "Is it cold in Oslo?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "-20 degrees"},
]


@pytest.fixture
def agent(make_proxy):
    return make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 100}, small={"tools": True}
    )


def ask_agent(proxy):
    with proxy.client() as client:
        return client.chat.completions.create(model="cope", messages=TURNS, tools=WEATHER)


@pytest.mark.parametrize(("verdict", "agreed"), [("No.", 0), ("Yes.", 1)])
def test_agent_texts_are_judged(agent, small_server, large_server, verdict, agreed):
    """Both models answer rather than call, one of them wrongly: the local text is judged."""
    small_server.say("It is warm there.")
    large_server.script(
        {"match": {"contains": "It is warm there."}, "reply": {"content": verdict}},
        {"reply": {"content": "It is very cold."}},
    )
    ask_agent(agent)
    (row,) = rows(agent, 1)
    assert (row["task"], row["agreed"]) == ("agent", agreed)
    compared, judged = (entry["body"] for entry in large_server.chats())
    assert compared["messages"] == TURNS
    assert "tools" in compared
    assert judged["messages"][:-2] == TURNS
    assert "tools" not in judged
    paid = wait_until(
        lambda: len(r := agent.rows("SELECT id, mode, tags FROM requests WHERE mode = 'audit'")) == 2 and r,
        "both paid requests",
    )
    assert row["id"] in {r["id"] for r in paid}
    assert all("cope-audit=agent" in r["tags"] for r in paid)


def test_text_differs_from_call(agent, small_server, large_server):
    """That is seen without a verdict, which is not paid for."""
    small_server.say("It is warm there.")
    large_server.script({"reply": {"tool_calls": [{"name": "weather", "arguments": {}}]}})
    ask_agent(agent)
    (row,) = rows(agent, 1)
    assert (row["agreed"], len(large_server.chats())) == (0, 1)


def test_textual_calls_are_read(agent, small_server, large_server):
    """As the small model's are: behind a server that does not know its form, all its calls come as text."""
    small_server.script({"reply": {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}})
    large_server.say('```json\n{"name": "weather", "arguments": {"city": "Oslo"}}\n```')
    ask_agent(agent)
    (row,) = rows(agent, 1)
    assert (row["agreed"], len(large_server.chats())) == (1, 1)


@pytest.mark.parametrize(
    "header", [{"X-COPE-Budget-USD": "0"}, {"X-COPE-Max-Stage": "1"}, {"X-COPE-Mode": "small"}]
)
def test_local_requests_are_not_audited(audited, small_server, large_server, header):
    """A client that lets nothing leave the machine is taken at its word; the next one's answer is audited."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}")
    ask(audited, extra_headers=header)
    ask(audited, "What is 5 times 5? Calculate the number.")
    rows(audited, 1)
    assert ["5 times 5" in json.dumps(e["body"]) for e in large_server.chats()] == [True]


def test_failed_audit_is_harmless(audited, small_server, large_server):
    """The upstream is down: the client notices nothing, and the audit is not on record."""
    small_server.say("\\boxed{42}")
    large_server.script({"reply": {"status": 400, "error": {"message": "no"}}})
    assert ask(audited).cope["stage"] == 1
    wait_until(lambda: "was not made" in audited.output(), "the failed audit")
    assert not audited.rows("SELECT * FROM audits")


def test_zero_share_audits_nothing(proxy, small_server, large_server):
    """That is the default."""
    small_server.say("\\boxed{42}")
    ask(proxy)
    assert not large_server.chats()
    assert "nothing is audited" in proxy.cli("audits").stderr


def test_thresholds_are_calibrated_from_audits(audited, small_server, large_server):
    """Three audits that differ certify nothing: the file says never, and so does the proxy that applies it."""
    assert "no audits in 30 days" in audited.cli("calibrate", "--audited", "--quality", "0.95").stderr
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(3):
        ask(audited)
    rows(audited, 3)
    done = audited.cli("calibrate", "--audited", "--quality", "0.95", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    written = (audited.folder / "found.toml").read_text()
    assert written.endswith('[math]\nplans = "all"\nsamples = 4\nstage1 = "never"\nstage2 = "never"\n')
    assert "math: no audit covers stage 2, so it accepts nothing" in done.stdout
    assert "name one target" in audited.cli("calibrate", "--audited").stderr


def kept(proxy, found, *, small=SMALL_MODEL, large=LARGE_MODEL, samples=4, cost=None):
    """Put audits on record as the proxy does, `cost` nano-USD for each answer of the large model."""

    async def keep_all():
        engine = open_database(f"sqlite+aiosqlite:///{proxy.database}")
        for request, stage, confidence, accepted, agreed in found:
            await store_audit(
                engine,
                Audited(
                    id=uuid.uuid4().hex,
                    request_id=request,
                    created_at=datetime.now(UTC),
                    task="math",
                    stage=stage,
                    confidence=confidence,
                    accepted=accepted,
                    agreed=agreed,
                    small_model=small,
                    large_model=large,
                    samples=samples,
                    spent_nano=None if cost is None else 0,
                    large_nano=cost,
                ),
            )
        await engine.dispose()

    asyncio.run(keep_all())


def from_audits(proxy, *options):
    done = proxy.cli("calibrate", "--audited", "--quality", "0.9", "--out", "found.toml", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout, (proxy.folder / "found.toml").read_text()


def test_stage_2_follows_stage_1(audited):
    """Stage 1 may accept from 0.5 on; on the hard requests that it then leaves, stage 2 is always wrong."""
    hard = [(f"h{i}", stage, 0.25 * stage, False, False) for i in range(40) for stage in (1, 2)]
    easy = [(f"e{i}", stage, 0.5 * stage, stage == 2, True) for i in range(300) for stage in (1, 2)]
    kept(audited, random.Random(1).sample(hard + easy, len(hard + easy)))
    said, text = from_audits(audited)
    assert text.endswith('[math]\nplans = "all"\nsamples = 4\nstage1 = 0.5\nstage2 = "never"\n')
    assert "no audits tell" not in said


def test_split_has_a_seed(audited):
    """Few audits at the border: other halves come to other thresholds."""
    lot = random.Random(2)
    sure = [lot.choice((0.5, 0.75, 1.0)) for _ in range(120)]
    kept(audited, [(f"r{i}", 1, c, True, lot.random() < 0.9 + c / 10) for i, c in enumerate(sure)])
    assert from_audits(audited, "--seed", "0")[1] != from_audits(audited, "--seed", "1")[1]


def test_audit_names_its_models(audited, small_server, large_server):
    """A client may ask for another n than the config's."""
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}")
    ask(audited, extra_headers={"X-COPE-Samples": "3"})
    (row,) = rows(audited, 1)
    assert (row["small_model"], row["large_model"], row["samples"]) == (SMALL_MODEL, LARGE_MODEL, 3)
    ask(audited)
    rows(audited, 2)
    (found,) = json.loads(audited.cli("audits", "--json").stdout)
    assert (found["small_model"], found["large_model"], found["samples"]) == (
        SMALL_MODEL,
        LARGE_MODEL,
        [3, 4],
    )


ALL_DIFFER = [(f"r{i}", 1, 1.0, True, False) for i in range(20)]
ALL_AGREE = [(f"r{i}", 1, 1.0, True, True) for i in range(200)]


@pytest.mark.parametrize("other", [{"small": "former-small"}, {"large": "other-model"}])
def test_other_models_are_ignored(audited, small_server, large_server, other):
    """They disagreed all the time; the models at hand agree, and are neither warned of nor refused for that."""
    kept(audited, ALL_DIFFER, **other)
    shown = audited.cli("audits")
    said = f"none of the 20 audits of 7 days is of {SMALL_MODEL} and {LARGE_MODEL}, as configured"
    assert said in shown.stderr
    assert json.loads(audited.cli("audits", "--json").stdout) == []
    refused = audited.cli("calibrate", "--audited", "--quality", "0.9")
    assert refused.returncode == 1
    assert f"none of the 20 audits of 30 days is of {SMALL_MODEL} and {LARGE_MODEL}" in refused.stderr
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    ask(audited)
    rows(audited, 21)
    kept(audited, ALL_AGREE)
    (found,) = json.loads(audited.cli("audits", "--json").stdout)
    assert (found["agreed"], found["differed"]) == (200, 1)
    shown = audited.cli("audits")
    assert "below" not in shown.stdout
    assert "none of" not in shown.stderr
    assert from_audits(audited)[1].endswith(
        '[math]\nplans = "all"\nsamples = 4\nstage1 = 1.0\nstage2 = "never"\n'
    )
    audited.stop()
    assert WARNING not in audited.output()


def test_started_model_keeps_its_name():
    """The config may name a folder, or the bundled one; the proxy that noted the audit knew the engine's name."""
    started = Settings(small=Small(vllm=Vllm()), large=Large(model="big"))
    assert models_of(started) == Models("smollm2-135m-instruct", "big")
    running = Settings(small=Small(model="org/small", base_url="http://x/v1"), large=Large(model="big"))
    assert models_of(running) == Models("org/small", "big")


def test_calibration_uses_configured_samples(audited):
    """A share of 8 votes says nothing of one of 4."""
    kept(audited, ALL_AGREE, samples=8)
    refused = audited.cli("calibrate", "--audited", "--quality", "0.9")
    assert refused.returncode == 1
    assert "none of the 200 audits of 30 days is of the n that is configured" in refused.stderr
    kept(audited, ALL_DIFFER)
    said, text = from_audits(audited)
    assert "math: 200 audits are of another n than 4 and left out" in said
    assert text.endswith('[math]\nplans = "all"\nsamples = 4\nstage1 = "never"\nstage2 = "never"\n')


def test_audit_records_costs(make_proxy, small_server, large_server):
    """The large model's own answer by what it was billed; each stage by its calls, stage 2's guideline among them."""
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": 1},
        large={"max_output_tokens": 300},
        small={"price": {"input_per_mtok": 1, "output_per_mtok": 1}},
        cascade={"samples": 4, "early_stop": False},
    )
    small_server.say("hm", usage={"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20})
    large_server.say("\\boxed{42}", usage=USAGE)
    answer = ask(proxy)
    first, second = rows(proxy, 2)
    each = 20_000  # of the small model, for a goal or a sample
    assert (first["spent_nano"], second["spent_nano"]) == (8 * each, 4 * each + 1_250_000)
    assert first["large_nano"] == second["large_nano"] == 1_250_000
    assert Decimal(answer.cope["cost_usd"]) * 10**9 == 12 * each + 2 * 1_250_000


def test_missing_answers_are_audited(audited, small_server, large_server):
    """There is nothing to compare; what such a request costs is evidence all the same, at the same price."""
    small_server.say("no JSON")
    large_server.say('{"a": 1}', usage=USAGE)
    answer = ask(audited, response_format={"type": "json_object"})
    (row,) = rows(audited, 1)
    assert (answer.cope["task"], answer.cope["stage"]) == ("structured", 3)
    assert (row["stage"], row["confidence"], row["accepted"], row["agreed"]) == (1, -1, 0, None)
    assert row["large_nano"] == 1_250_000
    assert len(large_server.chats()) == 2
    (found,) = json.loads(audited.cli("audits", "--json").stdout)
    counts = [found[name] for name in ("agreed", "differed", "unclear", "unanswered")]
    assert counts == [0, 0, 0, 1]
    done = audited.cli("calibrate", "--audited", "--max-usd-per-1000", "1", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    text = (audited.folder / "found.toml").read_text()
    assert "at most 1 USD per 1,000 requests" in text
    assert text.endswith(
        "[structured]\n# NOT certified: no threshold holds the target; this is the cheapest one\n"
        'plans = "none"\nsamples = 4\nstage1 = 0.0\nstage2 = "never"\n'
    )
    assert [line for line in done.stdout.splitlines() if "never" in line and "1.25" in line]
    quality = audited.cli("calibrate", "--audited", "--quality", "0.5", "--out", "none.toml")
    assert "structured: none of 1 audits tells of this target; it keeps its thresholds" in quality.stdout
    assert "no audit tells of this target yet" in quality.stderr
    assert not (audited.folder / "none.toml").exists()


def test_audit_records_client_price(make_proxy, small_server, large_server):
    """Its prompt was cached by the client's own request a moment ago; and an answer that its budget cuts has no price."""
    cached = {**USAGE, "prompt_tokens_details": {"cached_tokens": 100}}
    proxy = make_proxy(
        audit={"share": 1.0, "budget_usd": Decimal("0.0028")}, large={"max_output_tokens": 210}
    )
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{42}", usage=cached, finish_reason="length")
    for _ in range(2):
        ask(proxy)
    whole, cut = rows(proxy, 2)
    assert (whole["large_nano"], cut["large_nano"]) == (1_250_000, None)
    assert large_server.chats()[-1]["body"]["max_completion_tokens"] < 210


def test_judged_cost_is_estimated(audited, small_server, large_server):
    """The large model was asked for a verdict and not for an answer: baselines stand for that, which the file says."""
    small_server.say("Because of the sun.")
    large_server.say("Yes.")
    answers = [ask(audited, "Why is the sky blue in the morning?") for _ in range(30)]
    assert {row["large_nano"] for row in rows(audited, 30)} == {None}
    audited.stop()
    done = audited.cli("calibrate", "--audited", "--max-usd-per-1000", "1000", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    never = next(line for line in done.stdout.splitlines() if "never" in line)
    assert f" {(1000 * Decimal(answers[0].cope['baseline_usd'])).normalize():f} " in never
    text = (audited.folder / "found.toml").read_text()
    assert "# certified as far as estimates are right: 30 of 30 prices of the large model are\n" in text


def test_cost_calibration_is_applied(audited, small_server, large_server):
    """A quarter of the answers is sure enough for each threshold; the large model's cost 1 USD per 1,000."""
    lot = random.Random(5)
    sure = [lot.choice((0.25, 0.5, 0.75, 1.0)) for _ in range(800)]
    kept(audited, [(f"r{i}", 1, c, c >= 0.75, c > 0.5) for i, c in enumerate(sure)], cost=1_000_000)
    done = audited.cli("calibrate", "--audited", "--max-usd-per-1000", "0.9", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    text = (audited.folder / "found.toml").read_text()
    assert text.endswith('[math]\nplans = "goals"\nsamples = 4\nstage1 = 1.0\nstage2 = "never"\n')
    cells = [line.strip("│ ").split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    frontier = [[cell.strip() for cell in row] for row in cells]
    assert [row[-6] for row in frontier] == ["0.25", "0.5", "0.75", "1", "never"]
    assert [row[0] for row in frontier if len(row) == 7 and row[0]] == ["chosen"]
    share = 100 * sure.count(1.0) / 800
    chosen = next(row for row in frontier if row[0] == "chosen")
    assert chosen[2:4] == [f"{share:.1f}", "100.0"]
    assert frontier[-1][-2:] == ["1", "100.0"]
    config = audited.config_file.read_text()
    audited.stop()
    audited.config_file.write_text(config.replace("[cascade]\n", '[cascade]\ncalibration = "found.toml"\n'))
    audited.start()
    small_server.say(*(f"\\boxed{{{n}}}" for n in (42, 42, 42, 41, 40, 39, 38, 42)))
    large_server.say("\\boxed{42}")
    answer = ask(audited)
    assert (answer.cope["stage"], answer.cope["stages"][0]["threshold"]) == (3, 1.0)
    assert len(answer.cope["stages"]) == 1


def test_old_audits_certify_no_cost(audited):
    """They still tell of quality; for a cost they are left out, by name, or refused where there are no others."""
    kept(audited, ALL_AGREE)
    refused = audited.cli("calibrate", "--audited", "--max-usd-per-1000", "1")
    assert refused.returncode == 1
    assert "no audit tells of this target yet" in refused.stderr
    said, _ = from_audits(audited)
    assert any("chosen" in line and "100.0" in line for line in said.splitlines())
    kept(audited, [(f"s{i}", 1, 1.0, True, True) for i in range(200)], cost=1000)
    done = audited.cli("calibrate", "--audited", "--max-usd-per-1000", "1", "--out", "found.toml")
    assert "math: 200 audits do not say what they cost and are left out" in done.stdout
