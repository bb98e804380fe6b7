"""Temperature scaling by L-BFGS over stored logits, which calibration.sh compares temper with. Each command prints one line of JSON.

  pytorch_calibration.py make FILE TOKENS VOCAB    logits whose labels were drawn at T = 2, and the T that fits them best
  pytorch_calibration.py fit FILE LR BEST          the usual recipe: T from 1.5, torch.optim.LBFGS with max_iter 50, over all logits at once;
                                                   step() again until |T - BEST| <= 1e-4. The peer is told BEST, and stops within step()
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ.get("THREADS", "2")

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

DRAWN_AT, CLOSE, MOST_PASSES = 2.0, 1e-4, 20000


class Done(Exception):
    pass


def status_mib(field: str) -> float:
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(field + ":"))


def make(file: str, tokens: str, vocab: str) -> dict:
    torch.manual_seed(1)
    logits = torch.randn(int(tokens), int(vocab)).mul_(4)  # (N, V)
    labels = torch.empty(len(logits), dtype=torch.int64)  # (N)
    for rows in torch.arange(len(logits)).split(64):
        labels[rows] = torch.multinomial((logits[rows] / DRAWN_AT).softmax(1), 1).squeeze(1)
    save_file({"logits": logits, "labels": labels}, file)
    beta = 1 / DRAWN_AT  # Newton in float64
    for _ in range(20):
        slope = curvature = 0.0
        for z, label in zip(logits.split(64), labels.split(64)):
            z = z.double()
            p = (beta * z).softmax(1)
            mean = (p * z).sum(1, keepdim=True)
            slope += (mean - z.gather(1, label[:, None])).sum().item()
            curvature += (p * (z - mean) ** 2).sum().item()
        beta -= slope / curvature
        if abs(slope / curvature) < 1e-12:
            break
    return dict(best=1 / beta)


def fit(file: str, lr: str, best: str) -> dict:
    stored = load_file(file)
    logits, labels = stored["logits"].clone(), stored["labels"].clone()
    del stored
    temperature = torch.nn.Parameter(torch.ones(1) * 1.5)
    optimizer = torch.optim.LBFGS([temperature], lr=float(lr), max_iter=50)
    passes = 0

    def closure():
        nonlocal passes
        if abs(temperature.item() - float(best)) <= CLOSE or passes == MOST_PASSES:
            raise Done
        passes += 1
        optimizer.zero_grad()
        loss = F.cross_entropy(logits / temperature, labels)
        loss.backward()
        return loss

    Path("/proc/self/clear_refs").write_text("5")
    before, start = status_mib("VmRSS"), time.perf_counter()
    try:
        while True:
            optimizer.step(closure)
    except Done:
        pass
    seconds = time.perf_counter() - start
    return dict(seconds=seconds, temperature=temperature.item(), passes=passes, extra_mib=status_mib("VmHWM") - before)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(json.dumps({"make": make, "fit": fit}[sys.argv[1]](*sys.argv[2:])))
