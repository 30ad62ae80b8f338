"""What the engine gains on few cores by running in one process: `python benchmarks/one_process.py [model [rounds]]`.

Starts vLLM's CPU engine twice with the bundled model (or a folder), as vLLM's defaults have it, which is the baseline, and
as cope-proxy starts it; draws n = 8 samples of one prompt at once, and prints the tokens a second of both (medians), and
their ratio.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import openai

from proxy.config.schema import Small, Vllm
from proxy.vllm import launch

SAMPLES = 8
TOKENS = 64
DEFAULTS = Vllm(
    args=("--distributed-executor-backend", "mp"),
    env={"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "auto"},
)
STARTUP_S = 420.0


async def speed(engine: launch.EngineProcess, rounds: int) -> float:
    """Return the median of the tokens a second."""
    found = []
    async with openai.AsyncOpenAI(base_url=engine.base_url, api_key=engine.api_key, timeout=600) as client:
        for _ in range(rounds + 1):
            started = time.perf_counter()
            await client.chat.completions.create(
                model=engine.model,
                messages=[{"role": "user", "content": "Tell me how a steam engine works."}],
                n=SAMPLES,
                max_tokens=TOKENS,
                temperature=0.8,
                logprobs=True,
                extra_body={"min_tokens": TOKENS},
            )
            found.append(SAMPLES * TOKENS / (time.perf_counter() - started))
    return statistics.median(found[1:])  # the first warms up


def main() -> None:
    """Measure both, and print."""
    model = sys.argv[1] if len(sys.argv) > 1 else Small().model
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    found = []
    for name, own in (("vLLM's defaults, the baseline", DEFAULTS), ("one process, all cores", Vllm())):
        with tempfile.TemporaryDirectory() as folder:
            started = Vllm(args=own.args, env=own.env, log_file=str(Path(folder) / "vllm.log"))
            with launch.start(Small(model=model, vllm=started), progress=lambda _: None) as engine:
                engine.wait_ready(lambda _: None, STARTUP_S)
                found.append(asyncio.run(speed(engine, rounds)))
        print(f"{name:32} {found[-1]:6.1f} tokens/s (median of {rounds})")
    print(f"ratio {found[1] / found[0]:.2f}")


if __name__ == "__main__":
    main()
