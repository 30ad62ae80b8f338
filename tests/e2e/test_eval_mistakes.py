"""What an operator gets wrong with `cope-proxy eval` and `calibrate` is said in a line, before it costs anything."""

import json
import stat

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.evals import trial as trials_of
from proxy.evals.record import Answer, Record
from proxy.evals.trial import Drawn, Paid, Trial, Vote
from proxy.pricing.prices import Usage

ITEM = {"id": "sum", "task": "math", "prompt": "What is 1 + 1?", "answer": "2"}
PRICES = '[prices."big"]\ninput_per_mtok = 1\noutput_per_mtok = 1\n'
KEY = {"COPE_TEST_KEY": "sk-x"}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A folder to run in: a data set, and a config whose vLLM leaves a file when it is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COPE_TEST_KEY", raising=False)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "cope.toml").write_text(
        f'[small.vllm]\npython = "{python}"\n[large]\nmodel = "big"\napi_key_env = "COPE_TEST_KEY"\n{PRICES}'
    )
    (tmp_path / "tasks.jsonl").write_text(json.dumps(ITEM) + "\n")
    return tmp_path


def told(*command, code, env=None):
    """Run a command that has to end in one line, and return that."""
    said = CliRunner().invoke(main, command, env=env)
    assert (said.exit_code, said.stderr.count("\n")) == (code, 1), said.output
    assert said.exception is None or isinstance(said.exception, SystemExit)
    return said.stderr


def evaluated(*options, code, env=KEY):
    return told("eval", "tasks.jsonl", *options, code=code, env=env)


def test_vllm_is_started_last(bench):
    """The other tests of this file would pass for a config that is refused for another reason."""
    assert "failed with status 1" in CliRunner().invoke(main, ["eval", "tasks.jsonl"], env=KEY).stderr
    assert (bench / "started").exists()


def test_missing_key_stops_early(bench):
    """Its start takes a minute."""
    assert "COPE_TEST_KEY is not set" in evaluated(code=2, env={})
    assert not (bench / "started").exists()


def test_missing_price_stops_early(bench):
    """So does that."""
    config = bench / "cope.toml"
    config.write_text(config.read_text().replace(PRICES, ""))
    assert 'prices."big": no price' in evaluated(code=2)
    assert not (bench / "started").exists()


@pytest.mark.parametrize("out", ["tasks.jsonl", "tasks.jsonl/run", "taken"])
def test_unwritable_run_is_refused(bench, out):
    """A file where the folder should be, or above it, or a folder where a file should be."""
    (bench / "taken" / "calls.jsonl").mkdir(parents=True)
    assert f"--out: {out} " in evaluated("--out", out, code=1)
    assert not (bench / "started").exists()
    assert (bench / "tasks.jsonl").read_text() == json.dumps(ITEM) + "\n"


@pytest.mark.parametrize("broken", [b'{"key": "torn', b'{"key": "caf\xe9"}', b'{"key": "x"}'])
def test_broken_record_names_its_line(bench, broken):
    """Only a torn end is mended: what is before it was paid for, and a person decides."""
    record = Record(bench / "run" / "calls.jsonl")
    record.add(
        Answer(
            key="a",
            item="sum",
            tier="large",
            message={"content": "2"},
            finish_reason="stop",
            usage=Usage(prompt_tokens=1, completion_tokens=1),
        )
    )
    record.close()
    path = bench / "run" / "calls.jsonl"
    whole = path.read_bytes() + broken + b"\n" + path.read_bytes()
    path.write_bytes(whole)
    said = evaluated("--out", "run", code=2)
    assert "config: run/calls.jsonl:2: " in said
    assert "delete the line" in said
    assert path.read_bytes() == whole
    assert not (bench / "started").exists()


def run_of(folder, count):
    """Write the trials of a run."""
    vote = Vote(confidence=1.0, score=1.0, samples=[Drawn("2", 1.0, 9, None)] * 4)
    paid = Paid(1.0, 1000, 100)
    folder.mkdir()
    trials_of.write(
        folder,
        [
            Trial(
                item=str(i),
                task="math",
                detected="math",
                usual=(0.75, 0.5),
                single=1.0,
                plain=vote,
                first=vote,
                second=vote,
                plan_cost=9,
                large=paid,
                guided=paid,
            )
            for i in range(count)
        ],
    )


@pytest.mark.parametrize("out", ["run", "missing/found.toml", "tasks.jsonl/found.toml"])
def test_unwritable_calibration_is_refused(bench, out):
    """It takes minutes, and was lost."""
    run_of(bench / "run", 8)
    said = CliRunner().invoke(main, ["calibrate", "run", "--quality", "0.9", "--out", out])
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith(f"Error: --out: {out} cannot be written (")
    assert said.stderr.count("\n") == 1


def test_refusal_keeps_earlier_file(bench):
    """Trying whether it can be written neither empties nor makes it."""
    run_of(bench / "run", 0)
    (bench / "found.toml").write_text("# an earlier one\n")
    for out in ("found.toml", "new.toml"):
        said = told("calibrate", "run", "--quality", "0.9", "--out", out, code=2)
        assert "config: run: trials.jsonl is empty" in said
    assert (bench / "found.toml").read_text() == "# an earlier one\n"
    assert not (bench / "new.toml").exists()


def test_unreadable_trials_are_refused(bench):
    """In whatever way they are broken."""
    run_of(bench / "run", 1)
    (bench / "run" / "trials.jsonl").write_bytes(b'{"item": "caf\xe9"}\n')
    assert "config: run: no run of" in told("calibrate", "run", "--quality", "0.9", code=2)
