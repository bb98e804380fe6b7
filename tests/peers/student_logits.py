"""Opens a folder with transformers and compares its logits with those that temper dumped: student_logits.py FOLDER LOGITS.safetensors"""

import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig

LARGEST_DIFFERENCE = 1e-4


def main() -> int:
    folder, dump = sys.argv[1:]
    ours = load_file(dump)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = model(ours["tokens"]).logits
    difference = (theirs - ours["logits"]).abs().max().item()
    generation = GenerationConfig.from_pretrained(folder)
    print(
        f"{folder}: {type(model).__name__}, logits {tuple(theirs.shape)}, largest difference {difference:.2e}"
        f" (largest logit {theirs.abs().max().item():.2f}), temperature {generation.temperature}"
    )
    return 0 if difference <= LARGEST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
