"""One real vLLM with the bundled model, for all engine tests."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.config.schema import Small, Vllm
from proxy.vllm import launch
from proxy.vllm.launch import EngineProcess

ROOT = Path(__file__).parents[2]
STARTUP_S = 420.0


@pytest.fixture(scope="session")
def engine_python() -> str:
    """The engine's interpreter: $COPE_ENGINE_PYTHON, else that of `make engine`."""
    python = os.environ.get("COPE_ENGINE_PYTHON") or str(ROOT / launch.VENV_PYTHON)
    if not Path(python).exists():
        pytest.fail("no engine: run `make engine`, or set COPE_ENGINE_PYTHON")
    return python


@pytest.fixture(scope="session")
def engine_settings(engine_python: str, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Settings of a bundled model on a small KV cache."""
    log = tmp_path_factory.mktemp("engine") / "vllm.log"
    own = Vllm(python=engine_python, env={"VLLM_CPU_KVCACHE_SPACE": "1"}, log_file=str(log))
    return Small(vllm=own)


@pytest.fixture(scope="session")
def engine(engine_settings: Small) -> Iterator[EngineProcess]:
    """A vLLM that is ready, with further names that may play the large model."""
    steps: list[str] = []
    with launch.start(
        engine_settings, aliases=("large-stand-in", "gpt-4o-mini"), progress=steps.append
    ) as process:
        process.wait_ready(steps.append, STARTUP_S)
        print("\n".join(steps))
        yield process


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """A function that polls a condition until it holds or the seconds are over."""

    def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"still not after {seconds:g} s: {what}"
            time.sleep(0.1)

    return wait
