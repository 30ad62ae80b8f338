"""Thresholds from audits: `calibrate --audited` uses the audits of the configured models and samples."""

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
from tests.support.audits import USAGE, WARNING, rows
from tests.support.cascade import ask
from tests.support.config import LARGE_MODEL, SMALL_MODEL

pytestmark = pytest.mark.slow


def test_thresholds_are_calibrated_from_audits(audited, small_server, large_server):
    """Three audits that differ certify nothing: the file says never, and so does the proxy that applies it."""
    assert "no audits in 30 days" in audited.cli("calibrate", "--audited", "--quality", "0.95").stderr
    small_server.say("\\boxed{42}")
    large_server.say("\\boxed{41}")
    for _ in range(3):
        ask(audited.client())
    rows(audited, 3)
    done = audited.cli("calibrate", "--audited", "--quality", "0.95", "--out", "found.toml")
    assert done.returncode == 0, done.stderr
    written = (audited.folder / "found.toml").read_text()
    assert written.endswith('[math]\nplans = "all"\nsamples = 4\nstage1 = "never"\nstage2 = "never"\n')
    assert "math: no audit covers stage 2, so it accepts nothing" in done.stdout
    assert "name one target" in audited.cli("calibrate", "--audited").stderr
    done = audited.cli("calibrate", "--audited", "--regret", "0.05", "--out", "limited.toml")
    assert done.returncode == 0, done.stderr
    limited = (audited.folder / "limited.toml").read_text()
    assert "at most 5 % of accepted answers differ or are unclear" in limited
    none = "stage 1: no number of such audits would certify this limit of the regret (3 given)"
    assert f"math: {none}" in done.stdout
    assert f"[math]\n# {none}\n# stage 2: no audit covers it\nplans" in limited
    assert limited.endswith('stage1 = "never"\nstage2 = "never"\n')


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
    ask(audited.client())
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


def test_missing_answers_are_audited(audited, small_server, large_server):
    """There is nothing to compare; what such a request costs is evidence all the same, at the same price."""
    small_server.say("no JSON")
    large_server.say('{"a": 1}', usage=USAGE)
    answer = ask(audited.client(), response_format={"type": "json_object"})
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
    assert "structured: none of 1 audits measures this target; it keeps its thresholds" in quality.stdout
    assert "no audit measures this target yet" in quality.stderr
    assert not (audited.folder / "none.toml").exists()


def test_judged_cost_is_estimated(audited, small_server, large_server):
    """The large model was asked for a verdict and not for an answer: baselines stand for that, which the file says."""
    small_server.say("Because of the sun.")
    large_server.say("Yes.")
    answers = [ask(audited.client(), "Why is the sky blue in the morning?") for _ in range(30)]
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
    answer = ask(audited.client())
    assert (answer.cope["stage"], answer.cope["stages"][0]["threshold"]) == (3, 1.0)
    assert len(answer.cope["stages"]) == 1


def test_old_audits_certify_no_cost(audited):
    """They still tell of quality; for a cost they are left out, by name, or refused where there are no others."""
    kept(audited, ALL_AGREE)
    refused = audited.cli("calibrate", "--audited", "--max-usd-per-1000", "1")
    assert refused.returncode == 1
    assert "no audit measures this target yet" in refused.stderr
    said, _ = from_audits(audited)
    assert any("chosen" in line and "100.0" in line for line in said.splitlines())
    kept(audited, [(f"s{i}", 1, 1.0, True, True) for i in range(200)], cost=1000)
    done = audited.cli("calibrate", "--audited", "--max-usd-per-1000", "1", "--out", "found.toml")
    assert "math: 200 audits do not say what they cost and are left out" in done.stdout
