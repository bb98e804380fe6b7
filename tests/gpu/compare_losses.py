#!/usr/bin/env python3
"""Are the losses of two runs the same, step by step? compare_losses.py RUN_A RUN_B [--limit X]

Reads metrics.jsonl of both run folders and, where both have one, teacher-metrics.jsonl. The largest relative difference of the loss
must be at most X (1e-3), or the exit code is 1; divergence, cross-entropy and gradient norm are told, and not judged: a divergence
near 0 has few digits left. Standard library alone.
"""
import argparse
import json
import math
import pathlib
import sys


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def difference(a, b):
    """Relative difference; infinite where a value is no number. null twice: neither was computed."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b))


def compare(first, second):
    """Prints what differs between two files; returns the largest difference of the loss."""
    a, b = lines_of(first), lines_of(second)
    if [line["step"] for line in a] != [line["step"] for line in b] or not a:
        sys.exit(f"compare_losses.py: {first} has {len(a)} steps, {second} has {len(b)}: the same steps are needed, one at least")
    worst = {}
    for key in ("loss", "kl", "ce", "grad_norm"):
        worst[key], step = max((difference(x[key], y[key]), x["step"]) for x, y in zip(a, b))
        if key == "loss":
            where = step
    same = all(x["loss"] == y["loss"] for x, y in zip(a, b))
    print(f"{first.name}: {len(a)} steps, loss {a[0]['loss']:.6f} -> {a[-1]['loss']:.6f} and {b[-1]['loss']:.6f}; largest relative"
          f" difference of the loss {worst['loss']:.1e}" + (", the same bit for bit" if same else f" (step {where})") +
          "; of " + ", ".join(f"{key} {worst[key]:.1e}" for key in ("kl", "ce", "grad_norm")))
    return worst["loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs=2, type=pathlib.Path, metavar="RUN")
    parser.add_argument("--limit", type=float, default=1e-3)
    arguments = parser.parse_args()
    most = -1.0
    for name in ("teacher-metrics.jsonl", "metrics.jsonl"):
        files = [run / name for run in arguments.runs]
        if name == "metrics.jsonl" or all(file.exists() for file in files):
            for file in files:
                if not file.exists():
                    sys.exit(f"compare_losses.py: {file} is not there: give run folders")
            most = max(most, compare(*files))
    good = most <= arguments.limit
    print(f"largest relative difference of the loss {most:.1e}, {'within' if good else 'BEYOND'} {arguments.limit:.0e}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
