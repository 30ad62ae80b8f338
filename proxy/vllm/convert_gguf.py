"""Convert a GGUF file into a folder that vLLM serves: convert_gguf.py FILE.gguf OUT.

The engine's interpreter runs this file by its path, so it imports nothing of the proxy.
"""

import sys
from importlib import import_module
from pathlib import Path


def convert(gguf: Path, out: Path) -> None:
    """Write the model in float16, and its tokenizer, beside each other."""
    # By name, since only the engine's environment has these two and the type checker's has not.
    torch, transformers = import_module("torch"), import_module("transformers")
    folder, name = str(gguf.parent), gguf.name
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        quantization_config=transformers.GgufConfig(gguf_file=name, dequantize=True),
        dtype=torch.float16,
    )
    model.save_pretrained(out)
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
