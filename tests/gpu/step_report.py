"""The table of run.sh's part `step`: step_report.py GPU FOLDER. FOLDER holds temper's runs (plain, replay, distilled), the peers' lines
(plain-compiled.json, distilled-compiled.json) and busy.csv, per cent of each moment in which a kernel ran (nvidia-smi), of the distilled run.

FLOPs of a step count what it must multiply, forward and backward (Chowdhery et al. 2022, arXiv 2204.02311, appendix B): 6 per weight and token
of the student, 2 of the teacher, and attention without its causal half. MFU is that by the dense bf16 peak of the GPU's data sheet.
"""

import json
import statistics
import sys

TOKENS, SEQ, VOCAB = 8 * 1024, 1024, 50304
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12}  # the first name that fits
SKIP = 8


def flops(layers: int, width: int, passes: int) -> float:
    """Of one token; passes: 1 forward, 3 with backward."""
    return passes * (2 * (12 * layers * width**2 + VOCAB * width) + 4 * layers * width * SEQ / 2)


def seconds(path: str) -> float:
    lines = [json.loads(line) for line in open(path)]
    return statistics.median(line["step_seconds"] for line in lines[SKIP:])


def main(gpu: str, folder: str) -> int:
    student, teacher = flops(12, 768, 3), flops(48, 1600, 1)
    peak = next((value for name, value in PEAKS.items() if name in gpu), None)
    times = {name: seconds(f"{folder}/{name}/metrics.jsonl") for name in ("plain", "replay", "distilled")}
    work = {"plain": student, "replay": student, "distilled": student + teacher}
    for name in ("plain", "distilled"):
        try:
            peer = json.loads(open(f"{folder}/{name}-compiled.json").read().splitlines()[-1])
            times[f"{name}, torch.compile"], work[f"{name}, torch.compile"] = peer["seconds"], work[name]
        except (OSError, ValueError, IndexError, KeyError) as error:
            print(f"no peer for {name}: {error!r}")
    for name, value in times.items():
        share = f"{100 * TOKENS * work[name] / value / peak:.1f} % MFU" if peak else "MFU: peak of this GPU not known"
        print(f"{name:28} {1e3 * value:8.2f} ms  {TOKENS / value:10.0f} tokens/s  {share}")
    busy = [float(line.split()[0]) for line in open(f"{folder}/busy.csv") if line.strip()]
    idle, kd = 100 - statistics.mean(busy), times["replay"] / times["plain"]
    print(f"steps of 8 x 1024 tokens, 124M: plain {1e3 * times['plain']:.1f} ms, recorded draws {kd:.2f} x (1.10), distilled from 1.5B "
          f"{1e3 * times['distilled']:.1f} ms, GPU idle {idle:.1f} % of it (5, {len(busy)} samples)")
    return 0 if kd <= 1.10 and idle <= 5 else 1


sys.exit(main(*sys.argv[1:]))
