"""Compares two sets of golden decodings, token for token and score for score: compare_generation.py NEW KEPT"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


def differs(a, b) -> bool:
    if isinstance(a, dict):
        return not isinstance(b, dict) or a.keys() != b.keys() or any(differs(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return not isinstance(b, list) or len(a) != len(b) or any(differs(x, y) for x, y in zip(a, b))
    if isinstance(a, float):
        return abs(a - b) > 1e-4 * max(1.0, abs(a))
    return a != b


def main() -> int:
    new, kept = (Path(argument) for argument in sys.argv[1:])
    decodings = not differs(*(json.loads((folder / "generation.json").read_text()) for folder in (new, kept)))
    a, b = (load_file(folder / "processors.safetensors") for folder in (new, kept))
    scores = a.keys() == b.keys() and all(torch.allclose(a[key].float(), b[key].float(), atol=1e-5) for key in a)
    print(f"generation.json: {'as kept' if decodings else 'DIFFERS'}")
    print(f"processors.safetensors: {'as kept' if scores else 'DIFFERS'}")
    return 0 if decodings and scores else 1


if __name__ == "__main__":
    sys.exit(main())
