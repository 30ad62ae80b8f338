"""Convert a GGUF file to a model folder for vLLM: convert_gguf.py FILE.gguf OUT.

The engine's interpreter runs this file by its path. It therefore cannot import the proxy.
"""

import sys
from importlib import import_module
from pathlib import Path


def convert(gguf: Path, out: Path) -> None:
    """Write the model in float16 and its tokenizer to one folder."""
    # Imported by name, because the type checker's environment does not have them.
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
