"""Helpers of against_pytorch.sh, for any Python 3: against_pytorch.py COMMAND ...

  peak FILE PROGRAM...      runs a program and writes its largest resident set, in MiB, to FILE (under mpirun: that of rank 0)
  summary RUN FILE SKIP     one line of JSON from a run folder of temper and the file of `peak`
  table CASE FOLDER         the table of a case, from FOLDER/ROUND/NAME.json; exit code 1 if a target was missed
"""

import json
import os
import statistics
import sys
from pathlib import Path


def peak(file: str, *program: str) -> int:
    # This process is a small one, so what it leaves in the child's figure before the program starts does not count.
    child = os.posix_spawnp(program[0], program, os.environ)
    _, status, usage = os.wait4(child, 0)
    if os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "0":
        Path(file).write_text(str(usage.ru_maxrss / 1024))
    return os.waitstatus_to_exitcode(status)


def summary(run: str, file: str, skip: str) -> int:
    lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    told = json.load(open(f"{run}/summary.json"))
    counts = [result["parameters"] for result in told.get("results", [told])]
    print(json.dumps(dict(
        seconds=statistics.median(line["step_seconds"] for line in lines[int(skip):]),
        losses=[line["loss"] for line in lines],
        grad_norms=[line["grad_norm"] for line in lines],
        parameters=dict(teacher=counts[0] if len(counts) > 1 else 0, student=counts[-1]),
        peak_mib=float(open(file).read()),
    )))
    return 0


NAMES = {
    "limit": "the limit: matrix products alone, bf16",
    "temper-bf16": "temper, bf16",
    "temper-bf16-hidden": "temper, bf16, payload hidden",
    "temper-bf16-full": "temper, bf16, payload full",
    "temper-fp32-hidden": "temper, fp32, payload hidden",
    "temper-fp32-full": "temper, fp32, payload full",
    "eager-fp32": "PyTorch, eager, fp32",
    "compile-fp32": "PyTorch, compiled, fp32",
    "eager-bf16": "PyTorch, eager, bf16",
    "compile-bf16": "PyTorch, compiled, bf16",
    "trl-bf16": "TRL generalized_jsd_loss, eager, bf16 (KL alone)",
    "liger-bf16": "Liger chunked JSD loss, bf16 (teacher's head too)",
    "temper-bf16-1": "temper, one rank",
    "temper-bf16-2": "temper, two ranks",
    "eager-bf16-1": "PyTorch, eager, one process",
    "eager-bf16-2": "PyTorch, eager, DDP, two processes",
    "compile-bf16-1": "PyTorch, compiled, one process",
    "compile-bf16-2": "PyTorch, compiled, DDP, two processes",
}
TITLES = {
    "check": "same weights, same tokens, three steps: losses and gradient norms",
    "step": "a step of distillation: 4 x 256 tokens, vocabulary 50,257",
    "vocab-8192": "a step of distillation: 4 x 256 tokens, vocabulary 8,192",
    "vocab-151936": "a step of distillation: 4 x 256 tokens, vocabulary 151,936",
    "seq": "a step of distillation: 1 x 1,024 tokens, vocabulary 50,257",
    "head": "output head and loss: 512 tokens x 768 x 50,304, bf16",
    "train": "a step of GPT-2 124M: 4 x 64 tokens, bf16",
    "ranks": "a step of distillation in bf16, each rank on a core: 4 x 256 tokens, vocabulary 50,257",
}
TOKENS = {"head": 512, "train": 256}  # of a step; 1,024 in the others


class Case:
    def __init__(self, name: str, folder: Path):
        self.name = name
        self.rounds = [
            {file.stem: json.loads(file.read_text()) for file in each.glob("*.json")}
            for each in sorted(folder.iterdir(), key=lambda path: int(path.name))
        ]
        for each in self.rounds:  # head_loss_bench measures both at once
            if "products" in each.get("temper-bf16", {}):
                each["limit"] = dict(seconds=each["temper-bf16"]["products"])
        self.rows = [name for name in NAMES if name in self.rounds[0]]
        ours = [row for row in self.rows if row.startswith("temper-bf16")]
        self.ours = min(ours, key=self.seconds)
        self.good = True

    def middle(self, row: str, field: str) -> float:
        return statistics.median(each[row].get(field, float("nan")) for each in self.rounds)

    def seconds(self, row: str) -> float:
        return self.middle(row, "seconds")

    def faster(self, row: str, than: str) -> float:
        """How many times: the median over the rounds of their own ratios."""
        return statistics.median(each[than]["seconds"] / each[row]["seconds"] for each in self.rounds)

    def target(self, text: str, value: float, least: float = None, most: float = None) -> None:
        ok = value >= least if least is not None else value <= most
        self.good = self.good and ok
        aim = f">= {least:g}" if least is not None else f"<= {most:.3g}"
        print(f"  {text:66} {value:8.2f}   target {aim}{'' if ok else '   <- missed'}")

    def best(self, *rows: str) -> str:
        return min(rows, key=self.seconds)


def print_rows(case: Case) -> None:
    print(f"\n{TITLES[case.name]}; medians of {len(case.rounds)} rounds")
    extra = "extra MiB" if case.name == "head" else "peak MiB"
    print(f"  {'':52} {'ms':>8} {'tokens/s':>9} {extra:>9}" + (" of the limit" if "limit" in case.rows else ""))
    for row in case.rows:
        rate = TOKENS.get(case.name, 1024) / case.seconds(row)
        memory = case.middle(row, "extra_mib" if case.name == "head" else "peak_mib")
        memory = "" if row == "limit" else f"{memory:.0f}"
        share = f"{100 * case.faster(row, 'limit'):12.0f}%" if "limit" in case.rows else ""
        print(f"  {NAMES[row]:52} {1e3 * case.seconds(row):8.1f} {rate:9.0f} {memory:>9}{share}")
    if "gflop" in case.rounds[0].get("limit", {}):
        print(f"  ({case.middle('limit', 'gflop'):.1f} GFLOP at {case.middle('limit', 'gflop_per_s'):.0f} GFLOP/s)")
    first = case.rounds[0]
    counts = {row: first[row]["parameters"] for row in case.rows if "parameters" in first[row]}
    if counts:
        own = counts[case.ours]
        print(f"  weights on every side: teacher {own['teacher']:,}, student {own['student']:,}" if all(c == own for c in counts.values())
              else f"  weights differ: {counts}   <- missed")
        case.good = case.good and all(c == own for c in counts.values())
    starts = [each["start_mib"] for row in case.rows if "start_mib" in (each := first[row])]
    if starts:
        print(f"  a peer's process holds {statistics.median(starts):.0f} MiB once PyTorch is imported")


def check(case: Case) -> None:
    """Relative differences, the largest of the three steps; the later ones hold backward, clipping and AdamW as well."""
    print(f"\n{TITLES['check']}")
    apart = lambda a, b: max(abs(x / y - 1) for x, y in zip(a, b))
    for row in (row for row in case.rows if row.startswith("temper")):
        precision = row.split("-")[1]
        ours, theirs = case.rounds[0][row], case.rounds[0][f"eager-{precision}"]
        first, rest = apart(ours["losses"][:1], theirs["losses"]), apart(ours["losses"], theirs["losses"])
        norms = apart(ours["grad_norms"], theirs["grad_norms"])
        bounds = (1e-6, 1e-5, 1e-3) if precision == "fp32" else (1e-3, 2e-3, 5e-2)
        ok = first <= bounds[0] and rest <= bounds[1] and norms <= bounds[2]
        case.good = case.good and ok
        print(f"  {NAMES[row]:30} first loss {ours['losses'][0]:.6f}, PyTorch {theirs['losses'][0]:.6f}; largest differences: first loss "
              f"{first:.0e}, losses {rest:.0e}, gradient norms {norms:.0e}   target <= {', '.join(f'{b:.0e}' for b in bounds)}{'' if ok else '   <- missed'}")


def judge(case: Case) -> None:
    ours, name = case.ours, case.name
    if name == "ranks":
        twice = lambda program: case.faster(f"{program}-2", f"{program}-1")
        peers = ("eager-bf16", "compile-bf16")
        case.target("temper: two ranks / one rank, speed", twice("temper-bf16"), least=1.8)
        for program in peers:
            print(f"  {NAMES[program]}: two processes / one, speed".ljust(68) + f" {twice(program):8.2f}")
        better = min(peers, key=lambda program: case.seconds(f"{program}-2"))
        case.target(f"temper / {NAMES[better + '-2']} (the better), speed", case.faster("temper-bf16-2", f"{better}-2"), least=1)
        case.target("temper's gain by the second rank / the larger one of DDP", twice("temper-bf16") / max(map(twice, peers)), least=1)
        return
    compiled = {"step": 1.4, "vocab-8192": 1.3, "vocab-151936": 1.3, "seq": 1.3, "head": 1.4}.get(name)
    if compiled:
        case.target("temper / PyTorch compiled bf16, speed", case.faster(ours, "compile-bf16"), least=compiled)
    if name == "step":
        case.target("temper / PyTorch eager bf16, speed", case.faster(ours, "eager-bf16"), least=4)
        case.target("temper's share of the limit", case.faster(ours, "limit"), least=0.75)
        fastest = case.best(*(row for row in case.rows if row.startswith(("eager", "compile"))))
        case.target(f"peak memory: temper / {NAMES[fastest]} (the fastest)", case.middle(ours, "peak_mib") / case.middle(fastest, "peak_mib"), most=0.5)
    if name == "vocab-151936":
        case.target("peak memory: temper / PyTorch compiled bf16", case.middle(ours, "peak_mib") / case.middle("compile-bf16", "peak_mib"), most=1 / 3)
    if name == "head":
        case.target("temper / PyTorch eager fp32, speed", case.faster(ours, "eager-fp32"), least=3)
        case.target("temper's memory beyond the gradients, MiB", case.middle(ours, "extra_mib"), most=64)
    if name == "train":
        peer = case.best("eager-bf16", "compile-bf16")
        case.target(f"temper / {NAMES[peer]} (the better), speed", case.faster(ours, peer), least=1.2)


def table(name: str, folder: str) -> int:
    case = Case(name, Path(folder))
    if name == "check":
        check(case)
    else:
        print_rows(case)
        judge(case)
    sys.stdout.flush()
    return 0 if case.good else 1


if __name__ == "__main__":
    sys.exit({"peak": peak, "summary": summary, "table": table}[sys.argv[1]](*sys.argv[2:]))
