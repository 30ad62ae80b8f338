"""`cope-proxy demo`: start vLLM and the proxy and ask some questions through the official SDK."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener
from zoneinfo import ZoneInfo

import click
import openai
from rich.console import Console
from rich.table import Table

from proxy.cli.options import engine_variables, settings_of, started, with_database
from proxy.cli.spend import spend_table
from proxy.config.schema import BUNDLED_MODEL, Settings, Small, Vllm
from proxy.ledger import reports
from proxy.vllm.launch import free_port

LOCAL_LARGE = "demo-large"
QUESTIONS = (
    "What is the capital of France?",
    "Which planet is known as the Red Planet? A) Venus B) Mars C) Jupiter D) Saturn",
    "What is 2 + 3?",
    "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?",
    "Write a Python function `add(a, b)` that returns the sum of two numbers.",
)
CONFIG = """\
[database]
url = "sqlite+aiosqlite:///{database}"
[small]
model = "{model}"
max_output_tokens = {output}
[small.vllm]
log_file = "{log}"
[large]
base_url = "{large_url}"
model = "{large}"
max_output_tokens = {output}
[cascade]
samples = 4
plan_max_tokens = 48
[ledger]
store_content = true
"""
STATED_PRICE = """
[prices."{large}"]
input_per_mtok = 2.5
output_per_mtok = 10
"""

_OPENER = build_opener(ProxyHandler({}))
"""Requests to the proxy on this machine. They never go through HTTP_PROXY."""


@click.command()
@click.option("--model", default=BUNDLED_MODEL, show_default=True, help="A hub id or a local folder.")
@click.option("--serve", "stay", is_flag=True, help="Keep serving after the questions.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the proxy. If it is taken, another free port is used.",
)
@click.option(
    "--folder",
    default=".cope-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the database, the config and the logs.",
)
def demo(model: str, stay: bool, port: int, folder: Path) -> None:
    """Answer real questions with the cascade and show the spend."""
    console = Console(width=None if sys.stdout.isatty() else 130)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise click.ClickException(f"--folder: {folder} cannot be created ({e.strerror})") from e
    paid = bool(os.environ.get("OPENAI_API_KEY"))
    large = os.environ.get("COPE_DEMO_LARGE", "gpt-4o-mini") if paid else LOCAL_LARGE
    small = Small(model=model, vllm=Vllm(log_file=str(folder / "vllm.log")))
    console.print("[bold]1/4[/] starting vLLM with the small model (log: %s)" % (folder / "vllm.log"))
    with started(small, aliases=() if paid else (large,)) as engine:
        config = _write_config(folder, model, large, engine.base_url, paid=paid)
        env = os.environ | engine_variables(engine)
        if not paid:
            env["OPENAI_API_KEY"] = engine.api_key
            console.print(
                "[yellow]No OPENAI_API_KEY: the small model also serves as the large one, 'demo-large', at a price of "
                "2.50/10 USD per million tokens. Answers of stage 3 are therefore no better.[/]"
            )
        console.print("[bold]2/4[/] starting the proxy")
        with _running_proxy(config, port, env, folder / "proxy.log") as base_url:
            console.print("[bold]3/4[/] sending questions with the openai SDK")
            try:
                console.print(_ask(console, base_url))
            except openai.OpenAIError as e:
                raise click.ClickException(f"{_reason(e)} The proxy's log is {folder / 'proxy.log'}") from e
            console.print("[bold]4/4[/] the ledger")
            _report(console, settings_of(str(config)), base_url)
            _print_usage(console, base_url, config)
            if stay:
                console.print("serving until Ctrl-C")
                try:
                    while True:
                        time.sleep(3600)
                except KeyboardInterrupt:
                    console.print("stopping")


def _write_config(folder: Path, model: str, large: str, engine_url: str, *, paid: bool) -> Path:
    large_url = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1") if paid else engine_url
    text = CONFIG.format(
        database=(folder / "demo.db").resolve(), model=model, log=(folder / "vllm.log").resolve(),
        output=256 if paid else 96, large_url=large_url, large=large,
    )  # fmt: skip
    path = folder / "cope.toml"
    path.write_text(text if paid else text + STATED_PRICE.format(large=large))
    return path


@contextmanager
def _running_proxy(config: Path, port: int, env: dict[str, str], log: Path) -> Iterator[str]:
    """Run the proxy until the block ends, on the given port if it is free."""
    port = free_port(port)
    with_database(settings_of(str(config)), _no_work)
    address = ["--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config), *address]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait_live(process, f"http://127.0.0.1:{port}/health/live", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


async def _no_work(_: object) -> None:
    """Leave the database as it is. `with_database` has brought its schema up to date."""


def _wait_live(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with _OPENER.open(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise click.ClickException(f"the proxy did not start:\n{log.read_text()[-2000:]}")


def _ask(console: Console, base_url: str) -> Table:
    """Ask all questions at once. vLLM batches them."""
    table = Table("question", "task", "stage", "votes", "confidence", "cost USD", "large alone USD", "answer")
    with (
        openai.OpenAI(
            base_url=base_url,
            api_key="unused",
            timeout=600,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        ) as client,
        ThreadPoolExecutor(len(QUESTIONS)) as threads,
        console.status("asking") as status,
    ):

        def ask(question: str) -> openai.types.chat.ChatCompletion:
            return client.chat.completions.create(
                model="cope", messages=[{"role": "user", "content": question}]
            )

        pending = [threads.submit(ask, question) for question in QUESTIONS]
        for count, done in enumerate(as_completed(pending), start=1):
            status.update(f"{count} of {len(pending)} answered")
            if not console.is_terminal:
                console.print(f"  {count} of {len(pending)} answered: {QUESTIONS[pending.index(done)][:60]}")
        answers = [done.result() for done in pending]
    for question, answer in zip(QUESTIONS, answers, strict=True):
        cope = (answer.model_extra or {})["cope"]
        votes = ", ".join(f"{s['agreed']} of {s['drawn']}/{s['of']}" for s in cope["stages"])
        confidence = "-" if cope["confidence"] is None else f"{cope['confidence']:.2f}"
        text = " ".join((answer.choices[0].message.content or "").split())
        table.add_row(
            question[:44], cope["task"], str(cope["stage"]), votes, confidence, cope["cost_usd"],
            cope["baseline_usd"], text[:48],
        )  # fmt: skip
    return table


def _reason(error: openai.OpenAIError) -> str:
    """Return one line with the reason why a question was not answered."""
    body = error.body if isinstance(error, openai.APIError) else None
    message = body.get("message") if isinstance(body, dict) else None
    refused = isinstance(error, openai.APIError) and error.code == "upstream_authentication"
    return f"a question was not answered: {message or error}{' Is OPENAI_API_KEY right?' if refused else ''}"


def _report(console: Console, settings: Settings, base_url: str) -> None:
    with _OPENER.open(f"{base_url}/spend", timeout=10):
        pass  # the proxy writes its journal to the database before it answers
    rows = with_database(settings, lambda engine: reports.spend(engine, by="stage", zone=ZoneInfo("UTC")))
    console.print(spend_table(rows, "stage"))


def _print_usage(console: Console, base_url: str, config: Path) -> None:
    console.print("Use it with an existing client:", style="bold")
    console.print(
        f'  client = OpenAI(base_url="{base_url}", api_key="unused")', highlight=False, markup=False
    )
    console.print(
        '  client.chat.completions.create(model="cope", messages=[...])', highlight=False, markup=False
    )
    console.print(f"  cope-proxy requests list --config {config}", highlight=False, markup=False)
