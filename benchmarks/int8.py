"""Round a model's matrices to int8, as the measurements did: `PYTHON benchmarks/int8.py FOLDER OUT`.

PYTHON is the engine's interpreter. FOLDER is one that transformers wrote, OUT one that vLLM serves: the weights of all
projections are int8 with a scale for each output channel, their inputs are rounded to int8 for each token as they come (W8A8 of
compressed-tensors, round to nearest, no calibration); embeddings and the output matrix stay as they are.
"""

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

SCHEME = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
            # Not symmetric: vLLM's CPU kernel for symmetric inputs takes no float32.
            "input_activations": {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "token", "dynamic": True},
        }
    },
}  # fmt: skip


def main() -> None:
    """Convert."""
    # By name, since only the engine's environment has these two.
    torch, safetensors = import_module("torch"), import_module("safetensors.torch")
    folder, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True)
    tensors = {}
    for file in sorted(folder.iterdir()):
        if file.suffix != ".safetensors":
            shutil.copy(file, out)
            continue
        for name, tensor in safetensors.load_file(file).items():
            tensors[name] = tensor
            if name.endswith("proj.weight"):
                weights = tensor.float()
                scale = weights.abs().amax(1, keepdim=True) / 127
                tensors[name] = (weights / scale).round().clamp(-127, 127).to(torch.int8)
                tensors[f"{name}_scale"] = scale
    safetensors.save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "quantization_config": SCHEME}, indent=1))


if __name__ == "__main__":
    main()
