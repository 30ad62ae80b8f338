"""`cope-proxy demo`: start vLLM and the proxy, ask questions through the official SDK, grade them, and keep serving."""

import asyncio
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
import openai
from rich.console import Console

from proxy.cascade import confidence
from proxy.cli.demo import durations
from proxy.cli.demo.asking import ask_all, warm_up
from proxy.cli.demo.hub import choose_model
from proxy.cli.demo.questions import QUESTIONS
from proxy.cli.demo.running import running_proxy, small_for_demo, wait_for_proxy
from proxy.cli.demo.screen import PIPE_WIDTH, Board, summary
from proxy.cli.options import engine_variables
from proxy.config.schema import BUNDLED_MODEL, Vllm
from proxy.vllm import launch

LOCAL_LARGE = "demo-large"
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
# Plans for documents usually cost more than they save. Here they show stage 2: a schema keeps the answer in form, however
# poor the guideline is.
[cascade.thresholds.structured]
plans = "all"
[ledger]
store_content = true
"""
START_S, ASKING_S = 60.0, 30.0
"""Durations with the bundled model on two idle cores, before the first run."""
STATED_PRICE = """
[prices."{large}"]
input_per_mtok = 2.5
output_per_mtok = 10
"""


@click.command()
@click.option(
    "--model",
    help="A hub id, a local folder, or `bundled`. Default: a small Qwen2.5 if a hub is reachable, else the bundled one.",
)
@click.option(
    "--exit", "leave", is_flag=True, help="End after the questions. Otherwise the proxy serves until Ctrl+C."
)
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
def demo(model: str | None, leave: bool, port: int, folder: Path) -> None:
    """Answer real questions with the cascade, grade the answers and show the saving."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise click.ClickException(f"--folder: {folder} cannot be created ({e.strerror})") from e
    signal.signal(signal.SIGTERM, _end)  # so that both servers end too
    with ExitStack() as stack:
        url = _start(stack, console, _models(console, model), port, folder)
        try:
            asyncio.run(_ask(console, url, folder))
        except openai.OpenAIError as e:
            raise click.ClickException(f"{_reason(e)} The proxy's log is {folder / 'proxy.log'}") from e
        _print_usage(console, url, folder / "cope.toml")
        if not leave:
            _serve(console)


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _models(console: Console, model: str | None) -> list[str]:
    """Return the models to try, the preferred one first."""
    if model is not None:
        return [model]
    try:
        with console.status("looking for a model hub"):
            chosen, reason = choose_model()
    except launch.EngineError as e:
        raise click.ClickException(str(e)) from e
    console.print(reason)
    return list(dict.fromkeys((chosen, BUNDLED_MODEL)))


def _start(stack: ExitStack, console: Console, models: list[str], port: int, folder: Path) -> str:
    """Start both servers with the first model that works. Return the URL of the proxy.

    Raises:
        click.ClickException: a server did not start.
    """
    for model in models:
        with ExitStack() as attempt:
            try:
                url = _start_with(attempt, console, model, port, folder)
            except launch.EngineError as e:
                if model == models[-1]:
                    raise click.ClickException(str(e)) from e
                console.print(
                    f"{model} does not start, so the demo uses its bundled model. The log has the reason."
                )
                continue
            stack.enter_context(attempt.pop_all())
            return url
    raise AssertionError


def _start_with(stack: ExitStack, console: Console, model: str, port: int, folder: Path) -> str:
    paid = bool(os.environ.get("OPENAI_API_KEY"))
    large = os.environ.get("COPE_DEMO_LARGE", "gpt-4o-mini") if paid else LOCAL_LARGE
    small = small_for_demo(model, folder / "vllm.log")
    with console.status("starting") as status:

        def progress(line: str) -> None:
            status.update(line)
            if not console.is_terminal:
                console.print(f"  {line}", markup=False)

        began, expected = time.monotonic(), durations.expected_s(folder, f"start {model}", START_S)

        def waiting(line: str) -> None:
            step = line.rpartition(" (")[0]
            elapsed = time.monotonic() - began
            progress(f"vLLM: {step} ({elapsed:.0f} s, {durations.left(elapsed, expected)})")

        engine = stack.enter_context(launch.start(small, aliases=() if paid else (large,), progress=progress))
        config = _write_config(folder, model, large, engine.base_url, paid=paid)
        env = os.environ | engine_variables(engine)
        if not paid:
            env["OPENAI_API_KEY"] = engine.api_key
        proxy = stack.enter_context(running_proxy(config, port, env, folder / "proxy.log"))
        engine.wait_ready(waiting, (small.vllm or Vllm()).startup_timeout_s)
        durations.remember(folder, f"start {model}", time.monotonic() - began)
        progress("warming up vLLM (about 3 s)")
        asyncio.run(warm_up(engine.base_url, engine.api_key, engine.model))
        wait_for_proxy(proxy)
    console.print(f"vLLM and the proxy are ready after {time.monotonic() - began:.0f} s.")
    _say_who_answers(console, engine.model, large, paid=paid)
    return proxy.url


def _say_who_answers(console: Console, small: str, large: str, *, paid: bool) -> None:
    console.print(f"[bold]small model:[/] {small}, on this machine")
    if paid:
        console.print(f"[bold]large model:[/] {large}, the real API, because OPENAI_API_KEY is set")
        return
    console.print(
        f"[bold]large model:[/] {small} too, in the place of a paid model. Its price is a stand-in price: 2.50 USD per "
        "million tokens of input and 10 USD of output. Its answers are no better, and nothing is really paid."
    )


def _write_config(folder: Path, model: str, large: str, engine_url: str, *, paid: bool) -> Path:
    large_url = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1") if paid else engine_url
    text = CONFIG.format(
        database=(folder / "demo.db").resolve(), model=model, log=(folder / "vllm.log").resolve(),
        output=256 if paid else 96, large_url=large_url, large=large,
    )  # fmt: skip
    path = folder / "cope.toml"
    path.write_text(text if paid else text + STATED_PRICE.format(large=large))
    return path


async def _ask(console: Console, url: str, folder: Path) -> None:
    """Ask the questions and show the answers and the summary."""
    began, expected = time.monotonic(), durations.expected_s(folder, "asking", ASKING_S)
    console.print(f"asking {len(QUESTIONS)} questions at once (about {expected:.0f} s)\n")
    try:
        with Board(console, QUESTIONS, expected) as board:
            async for index, answer in ask_all(f"{url}/v1", QUESTIONS):
                board.add(index, answer)
    finally:
        confidence.shutdown()
    durations.remember(folder, "asking", time.monotonic() - began)
    console.print()
    for line in summary(board.answers):
        console.print(line, style="bold" if line.startswith("cost") else None, markup=False)


def _reason(error: openai.OpenAIError) -> str:
    """Return one line with the reason why a question was not answered."""
    body = error.body if isinstance(error, openai.APIError) else None
    message = body.get("message") if isinstance(body, dict) else None
    refused = isinstance(error, openai.APIError) and error.code == "upstream_authentication"
    return f"a question was not answered: {message or error}{' Is OPENAI_API_KEY right?' if refused else ''}"


def _print_usage(console: Console, url: str, config: Path) -> None:
    console.print("\nPoint a client at it:", style="bold")
    for line in (
        "  from openai import OpenAI",
        f'  client = OpenAI(base_url="{url}/v1", api_key="unused")',
        '  client.chat.completions.create(model="cope", messages=[{"role": "user", "content": "Hello!"}])',
    ):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"[bold]Dashboard:[/] {url}/dashboard", soft_wrap=True)
    console.print(f"[bold]Ledger:[/] cope-proxy requests list --config {config}", soft_wrap=True)


def _serve(console: Console) -> None:
    try:
        console.print("Serving until Ctrl+C.")
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping")
