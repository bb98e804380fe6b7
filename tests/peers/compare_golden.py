"""Compares two sets of golden folders tensor by tensor: compare_golden.py NEW KEPT"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


def main() -> int:
    new, kept = (Path(argument) for argument in sys.argv[1:])
    failures = 0
    names = sorted(path.name for path in kept.iterdir() if path.is_dir())
    if names != sorted(path.name for path in new.iterdir()):
        print("the families differ")
        return 1
    for name in names:
        for file in ("model.safetensors", "expected.safetensors"):
            a, b = load_file(new / name / file), load_file(kept / name / file)
            same = a.keys() == b.keys() and all(torch.allclose(a[key].float(), b[key].float(), atol=1e-5) for key in a)
            failures += not same
            print(f"{name}/{file}: {'as kept' if same else 'DIFFERS'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
