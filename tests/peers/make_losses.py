"""Values and gradients of losses as PyTorch and TRL compute them, in float64: make_losses.py FILE.safetensors

Names in the file: student, teacher (N, V) logits and labels (N), and for each case its value and gradient by the student's logits, both
summed over the tokens: KIND/BETA/T (the divergence alone, without T²), label/EPSILON/T/RESCALE.
"""

import sys
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
from trl.experimental.gkd import GKDTrainer

TOKENS, VOCAB = 5, 17
BETAS = (0.0, 0.1, 0.5, 0.9, 1.0)
TEMPERATURES = (1.0, 2.0, 0.7)


def divergence(kind: str, beta: float, temperature: float, student, teacher):
    p, q = F.log_softmax(student / temperature, -1), F.log_softmax(teacher / temperature, -1)
    if kind == "forward-kl":
        return F.kl_div(p, q, reduction="sum", log_target=True)
    if kind == "reverse-kl":
        return F.kl_div(q, p, reduction="sum", log_target=True)
    if kind == "tvd":
        return 0.5 * (p.exp() - q.exp()).abs().sum()
    if kind == "mixed":
        return beta * F.kl_div(p, q, reduction="sum", log_target=True) + (1 - beta) * F.kl_div(q, p, reduction="sum", log_target=True)
    return GKDTrainer.generalized_jsd_loss(student[None], teacher[None], beta=beta, temperature=temperature, reduction="sum")


def main() -> int:
    torch.manual_seed(5)
    student = torch.randn(TOKENS, VOCAB, dtype=torch.float64) * 2
    teacher = torch.randn(TOKENS, VOCAB, dtype=torch.float64) * 2
    labels = torch.randint(VOCAB, (TOKENS,))
    tensors = dict(student=student, teacher=teacher, labels=labels)

    def keep(name, loss):
        z = student.clone().requires_grad_()
        value = loss(z)
        value.backward()
        tensors[name + "/value"] = value.detach().reshape(1)
        tensors[name + "/gradient"] = z.grad

    for temperature in TEMPERATURES:
        for kind in ("forward-kl", "reverse-kl", "tvd"):
            keep(f"{kind}/0.5/{temperature}", lambda z: divergence(kind, 0.5, temperature, z, teacher))
        for beta in BETAS:
            for kind in ("jsd", "mixed"):
                keep(f"{kind}/{beta}/{temperature}", lambda z: divergence(kind, beta, temperature, z, teacher))
        for epsilon in (0.0, 0.1):
            for rescale in (False, True):
                factor = temperature if rescale else 1.0
                keep(
                    f"label/{epsilon}/{temperature}/{str(rescale).lower()}",
                    lambda z: factor * F.cross_entropy(z / temperature, labels, label_smoothing=epsilon, reduction="sum"),
                )
    save_file(tensors, Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
