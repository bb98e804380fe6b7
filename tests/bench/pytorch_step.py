"""What tests/bench/against_pytorch.sh compares temper with: pytorch_step.py COMMAND --help. Each command prints one line of JSON.

  step    training steps: distillation, or with --teacher none plain training; eager or compiled, fp32 or bf16, alone or with DDP
  limit   the matrix products of such a step alone
  head    output head and loss alone, given hidden states and the teacher's logits
  tokens  a file of random token ids for temper
  folders teacher and student as Hugging Face folders, and a token file of a single row, for the check of equal losses

Written as a PyTorch user would who cares for speed: scaled_dot_product_attention, fused AdamW, the whole loss compiled, teacher included.
In bf16 the teacher is held in bf16; the student has fp32 master weights under autocast. Loss and its softmaxes are fp32.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    add = lambda name: commands.add_parser(name)
    step, limit, head, tokens, folders = (add(name) for name in ("step", "limit", "head", "tokens", "folders"))
    for each in (step, limit, head):
        each.add_argument("--threads", type=int, default=2)
        each.add_argument("--steps", type=int, default=10)
        each.add_argument("--skip", type=int, default=3, help="steps before the measured ones")
    for each in (step, limit, tokens, folders):
        each.add_argument("--vocab", type=int, default=50257)
        each.add_argument("--batch", type=int, default=4, help="rows over all ranks")
        each.add_argument("--seq", type=int, default=256)
    for each in (step, limit, folders):
        each.add_argument("--family", default="llama", choices=("llama", "gpt2"))
        each.add_argument("--teacher", default="8x512x8", help="LAYERSxWIDTHxHEADS, or none")
        each.add_argument("--student", default="4x256x4", help="LAYERSxWIDTHxHEADS")
    for each in (step, head):
        each.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
        each.add_argument("--compile", default="", choices=("", "default", "max-autotune"))
        each.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    step.add_argument("--folder", type=Path, help="begin with what the command folders wrote there")
    step.add_argument("--ranks", type=int, default=1)
    step.add_argument("--rank", type=int, default=0)
    step.add_argument("--meet", type=Path, help="a file that does not exist yet, by which the ranks find each other")
    head.add_argument("--tokens", type=int, default=512)
    head.add_argument("--width", type=int, default=768)
    head.add_argument("--vocab", type=int, default=50304)
    head.add_argument("--loss", default="own", choices=("own", "trl", "liger", "liger-triton"))
    tokens.add_argument("file", type=Path)
    folders.add_argument("folder", type=Path)
    return parser.parse_args()


ARGS = parse()
if hasattr(ARGS, "threads"):
    os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)  # before PyTorch starts its pool

import torch
import torch.nn as nn
import torch.nn.functional as F

from pytorch_model import Decoder, Shape, load, save

ALPHA, TEMPERATURE, CLIP = 0.9, 2.0, 1.0
ADAMW = dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)  # temper's defaults
WEIGHT_DECAY = 0.1
LIMIT_CHUNK = 256  # rows of the head at a time


def wait() -> None:
    if ARGS.device == "cuda":
        torch.cuda.synchronize()


def peak_mib() -> float:
    if getattr(ARGS, "device", "cpu") == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def now_mib(field: str) -> float:
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(field + ":"))


def shape_of(text: str) -> Shape:
    layers, width, heads = map(int, text.split("x"))
    return Shape(ARGS.vocab, layers, width, heads, ARGS.family, max(1024, ARGS.seq))


def loss_of(student, teacher, labels):
    """Sums over the tokens: logits (N, V), teacher's logits (N, V) or None, labels (N)."""
    student = student.float()
    hard = F.cross_entropy(student, labels, reduction="sum")
    if teacher is None:
        return hard
    q = F.log_softmax(teacher.float() / TEMPERATURE, dim=-1)
    p = F.log_softmax(student / TEMPERATURE, dim=-1)
    soft = F.kl_div(p, q, reduction="sum", log_target=True)
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * hard


class Distiller(nn.Module):
    """Tokens and labels in, mean loss out: what is compiled, and what DDP wraps."""

    def __init__(self, student: Decoder, teacher: Decoder | None, autocast):
        super().__init__()
        self.student, self.teacher, self.autocast = student, teacher, autocast

    def forward(self, tokens, labels):  # (B, S) twice
        with self.autocast():
            target = None
            if self.teacher is not None:
                with torch.no_grad():
                    target = self.teacher(tokens).flatten(0, 1)  # (N, V)
            logits = self.student(tokens).flatten(0, 1)  # (N, V)
            return loss_of(logits, target, labels.flatten()) / labels.numel()


def autocast():
    bf16 = ARGS.precision == "bf16"
    return torch.autocast(getattr(ARGS, "device", "cpu"), torch.bfloat16) if bf16 else contextlib.nullcontext()


def compiled(function):
    if not ARGS.compile:
        return function
    return torch.compile(function, mode=None if ARGS.compile == "default" else ARGS.compile, dynamic=False)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's tokens and labels, (B, S) each."""
    rows = ARGS.batch // ARGS.ranks
    if ARGS.folder:
        ids = torch.tensor(json.loads((ARGS.folder / "row.json").read_text())).expand(rows, -1)
    else:
        ids = torch.randint(ARGS.vocab, (rows, ARGS.seq + 1), generator=torch.Generator().manual_seed(1 + ARGS.rank))
    return ids[:, :-1].contiguous().to(ARGS.device), ids[:, 1:].contiguous().to(ARGS.device)


def step() -> dict:
    started = now_mib("VmRSS")
    student = load(ARGS.folder / "student") if ARGS.folder else Decoder(shape_of(ARGS.student), seed=1)
    teacher = None
    if ARGS.teacher != "none":
        teacher = load(ARGS.folder / "teacher") if ARGS.folder else Decoder(shape_of(ARGS.teacher), seed=2)
        teacher.requires_grad_(False).eval()
        if ARGS.precision == "bf16":
            teacher.to(torch.bfloat16)
    model = Distiller(student, teacher, autocast).to(ARGS.device)
    if ARGS.ranks > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{ARGS.meet.resolve()}", rank=ARGS.rank, world_size=ARGS.ranks)
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    model = compiled(model)
    decays = lambda wanted: [weight for weight in student.parameters() if (weight.dim() > 1) == wanted]
    groups = [dict(params=decays(True), weight_decay=WEIGHT_DECAY), dict(params=decays(False), weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    tokens, labels = batch()

    seconds, losses, norms = [], [], []
    for number in range(ARGS.skip + ARGS.steps):
        wait()
        start = time.perf_counter()
        loss = model(tokens, labels)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(student.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
        norms.append(norm.item())
    counts = {"student": student.parameter_count(), "teacher": teacher.parameter_count() if teacher else 0}
    if ARGS.ranks > 1:
        torch.distributed.destroy_process_group()
    return dict(seconds=statistics.median(seconds[ARGS.skip :]), losses=losses, grad_norms=norms, parameters=counts, start_mib=started)


def limit() -> dict:
    """bf16 products as nn.Linear makes them: forward for the teacher; forward, dX and dW for the student. No attention."""
    rows, dtype = ARGS.batch * ARGS.seq, torch.bfloat16
    kept = {}
    rand = lambda *size: kept.setdefault(size, torch.randn(size, dtype=dtype))  # activations may be the same, weights may not
    work, flops = [], 0
    for text, learns in ((ARGS.teacher, False), (ARGS.student, True)):
        if text == "none":
            continue
        shape = shape_of(text)
        chunks = [min(LIMIT_CHUNK, rows - begin) for begin in range(0, rows, LIMIT_CHUNK)]
        head = torch.randn(shape.vocab, shape.width, dtype=dtype)
        products = [(rows, torch.randn(size, dtype=dtype)) for size in shape.matrices()] + [(n, head) for n in chunks]
        for n, weight in products:
            work.append((rand(n, weight.shape[1]), weight, rand(n, weight.shape[0]) if learns else None))
            flops += 2 * n * weight.numel() * (3 if learns else 1)
    seconds = []
    with torch.no_grad():
        for _ in range(ARGS.skip + ARGS.steps):
            start = time.perf_counter()
            for x, weight, gradient in work:
                F.linear(x, weight)
                if gradient is not None:
                    torch.mm(gradient, weight)
                    torch.mm(gradient.t(), x)
            seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds[ARGS.skip :])
    return dict(seconds=middle, gflop=flops * 1e-9, gflop_per_s=flops / middle * 1e-9)


def liger_loss():
    """Liger's fused losses take the teacher's hidden states and head: one product more than the others have."""
    if ARGS.loss == "liger-triton":
        from liger_kernel.transformers import LigerFusedLinearJSD

        fused = LigerFusedLinearJSD(jsd_beta=0.0, temperature=TEMPERATURE)
        return lambda x, w, tx, tw, labels: fused(x, w, tx, tw, labels)
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    fused = LigerFusedLinearJSDLoss(weight_hard_loss=1 - ALPHA, weight_soft_loss=ALPHA, beta=0.0, temperature=TEMPERATURE, compiled=bool(ARGS.compile))
    return lambda x, w, tx, tw, labels: fused(x, w, tx, tw, labels)


def head() -> dict:
    torch.manual_seed(0)
    torch.set_default_device(ARGS.device)
    on_gpu = ARGS.device == "cuda"
    dtype = torch.bfloat16 if ARGS.precision == "bf16" else torch.float32
    weight = nn.Parameter((torch.randn(ARGS.vocab, ARGS.width) * 0.02).to(dtype))  # (V, C), and so its gradient
    hidden = torch.randn(ARGS.tokens, ARGS.width).to(dtype).requires_grad_()  # (N, C)
    labels = torch.randint(ARGS.vocab, (ARGS.tokens,))
    teacher_hidden = torch.randn(ARGS.tokens, ARGS.width, dtype=torch.bfloat16)  # (N, C)
    teacher_weight = torch.randn(ARGS.vocab, ARGS.width, dtype=torch.bfloat16) * 0.02  # (V, C)
    if ARGS.loss.startswith("liger"):
        fused = liger_loss()
        tx, tw = teacher_hidden.to(dtype), teacher_weight.to(dtype)
        function = lambda: fused(hidden, weight, tx, tw, labels)
    else:
        logits = F.linear(teacher_hidden, teacher_weight)  # (N, V) bf16
        del teacher_hidden, teacher_weight
        loss = loss_of
        if ARGS.loss == "trl":
            from trl.experimental.gkd import GKDTrainer

            loss = lambda student, teacher, _: GKDTrainer.generalized_jsd_loss(
                student[None], teacher[None], beta=0.0, temperature=TEMPERATURE, reduction="sum"
            )

        def whole(hidden, weight, logits):
            with autocast():
                return loss(F.linear(hidden, weight), logits, labels) / ARGS.tokens

        whole = compiled(whole)
        function = lambda: whole(hidden, weight, logits)

    seconds = []
    for number in range(ARGS.skip + ARGS.steps):
        if number == ARGS.skip:  # the gradients are there: what a pass takes beyond them is counted from here
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated() / 2**20
            else:
                Path("/proc/self/clear_refs").write_text("5")
                before = now_mib("VmRSS")
        hidden.grad = weight.grad = None
        wait()
        start = time.perf_counter()
        function().backward()
        wait()
        seconds.append(time.perf_counter() - start)
    peak = peak_mib() if on_gpu else now_mib("VmHWM")
    return dict(seconds=statistics.median(seconds[ARGS.skip :]), extra_mib=max(0.0, peak - before))


def tokens() -> dict:
    import numpy

    rows = max(64, 4 * ARGS.batch)
    numpy.save(ARGS.file, numpy.random.default_rng(1).integers(ARGS.vocab, size=rows * ARGS.seq, dtype="<u4"))
    return dict(tokens=rows * ARGS.seq)


def folders() -> dict:
    import numpy

    save(Decoder(shape_of(ARGS.student), seed=1), ARGS.folder / "student")
    save(Decoder(shape_of(ARGS.teacher), seed=2), ARGS.folder / "teacher")
    # Three parts of one row each: whatever order temper reads its training rows in, it is this one.
    row = numpy.random.default_rng(1).integers(ARGS.vocab, size=ARGS.seq + 1, dtype="<u4")
    numpy.save(ARGS.folder / "row.npy", numpy.tile(row, 3))
    (ARGS.folder / "row.json").write_text(json.dumps(row.tolist()))
    return dict(share=(ARGS.seq + 1.5) / (3 * (ARGS.seq + 1)))


def main() -> int:
    if hasattr(ARGS, "threads"):
        torch.set_num_threads(ARGS.threads)
    result = dict(step=step, limit=limit, head=head, tokens=tokens, folders=folders)[ARGS.command]()
    if ARGS.command != "step" or ARGS.rank == 0:
        print(json.dumps(result | {"peak_mib": peak_mib()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
