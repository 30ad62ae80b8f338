"""Choose the small model of the demo: a capable one if a hub is reachable, else the bundled one."""

import os
import threading
from collections.abc import Mapping
from urllib.error import URLError
from urllib.request import Request, urlopen

from proxy.config.schema import BUNDLED_MODEL
from proxy.vllm import launch

CAPABLE = "Qwen/Qwen2.5-1.5B-Instruct"
LIGHT = "Qwen/Qwen2.5-0.5B-Instruct"
"""For a machine whose processor would take minutes for each answer of CAPABLE."""
MANY_CORES = 8
WAIT_S = 4.0
_SWITCHED_OFF = ("", "0", "false", "no", "off")


def choose_model(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the model and a sentence with the reason. It takes at most WAIT_S.

    Raises:
        EngineError: there is no vLLM.
    """
    engine = launch.probe(launch.engine_python(None))
    if environ.get("HF_HUB_OFFLINE", "").lower() not in _SWITCHED_OFF:
        return BUNDLED_MODEL, "HF_HUB_OFFLINE is set, so the demo uses its bundled model."
    able = engine.kind == "gpu" or launch.usable_cores() >= MANY_CORES
    model = CAPABLE if able else LIGHT
    address = environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if not _has(f"{address.rstrip('/')}/{model}/resolve/main/config.json"):
        return BUNDLED_MODEL, f"{address} is not reachable, so the demo uses its bundled model."
    return model, f"{address} is reachable, so the demo uses {model}. The first start downloads it."


def _has(url: str) -> bool:
    """Return True if a file can be read within WAIT_S, including the time for the name of the host."""
    found = threading.Event()

    def look() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=WAIT_S):  # noqa: S310  (the user's own hub)
                found.set()
        except (URLError, OSError, ValueError):
            return

    # The look-up of a name has no timeout of its own, so it may outlive the wait.
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(WAIT_S)
    return found.is_set()
