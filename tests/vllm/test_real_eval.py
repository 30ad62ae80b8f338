"""`cope-proxy eval` and `calibrate` on a real vLLM."""

import json

import pytest

from tests.support.proxy_process import ProxyProcess

LARGE = "large-stand-in"
pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ITEMS = [
    {"id": "sum", "task": "math", "prompt": "What is 2 + 3?", "answer": "5"},
    {
        "id": "inc",
        "task": "code",
        "prompt": "Write a Python function.\nassert inc(1) == 2",
        "tests": "assert inc(3) == 4",
    },
    {"id": "tale", "task": "open", "prompt": "Tell a very short tale.", "answer": ["once"]},
]


def test_a_run_on_real_models(engine, tmp_path):
    """All modes have a figure, each answer of the small model its tokens, and a calibration can be made from it."""
    proxy = ProxyProcess(
        tmp_path,
        engine.base_url,
        engine.base_url,
        env={"ENGINE_KEY": engine.api_key, "OPENAI_API_KEY": engine.api_key},
        small={"model": engine.model, "api_key_env": "ENGINE_KEY", "max_output_tokens": 32},
        large={"model": LARGE, "max_output_tokens": 32},
        prices={LARGE: {"input_per_mtok": 2.5, "output_per_mtok": 10}},
        cascade={"samples": 2, "plan_max_tokens": 16},
    )
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    done = proxy.cli("eval", "tasks.jsonl", "--out", "run", timeout_s=500)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {line["task"] for line in report["modes"]} == {"math", "code", "open"}
    assert all(line["cost"] > 0 for line in report["modes"] if line["mode"] == "large alone")
    calls = [json.loads(line) for line in (tmp_path / "run" / "calls.jsonl").read_text().splitlines()]
    answers = [c for c in calls if c["tier"] == "small" and c["tokens"]]
    assert (
        len(answers) == 2 * 2 * 3 or len(answers) == 3 * 2 * 3
    )  # a planner may say that no guideline is needed
    assert all(log_probability <= 0 < peak for c in answers for log_probability, peak in c["tokens"])
    assert proxy.cli_without_config("calibrate", "run", "--quality", "0.9").returncode == 0
