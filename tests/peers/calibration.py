"""temper's metrics and fit of the temperature against scikit-learn, netcal and SciPy, on the same logits.

  calibration.py DUMPS    a folder with, for each part, test.safetensors and fit.safetensors (temper evaluate --dump-logits), evaluate.json
                          (temper evaluate --json of the test part at some T) and calibrate.json (temper calibrate --json)

All must agree to 1e-6, T to 1e-4. What is of chance in an interval agrees with NumPy's own bootstrap to a tenth of the interval's width.
"""

import json
import sys
from pathlib import Path

import numpy as np
from netcal.metrics import ECE
from safetensors.numpy import load_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

BINS, CLOSE, CLOSE_T = 15, 1e-6, 1e-4


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, V) float64 and labels (N)."""
    dump = load_file(path)
    assert (dump["labels"] >= 0).all(), "a text has a label everywhere"
    return dump["logits"].reshape(-1, dump["logits"].shape[-1]).astype(np.float64), dump["labels"].reshape(-1)


def measure(p: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    ids = np.arange(p.shape[1])
    return {
        "nll": log_loss(labels, p, labels=ids),
        "accuracy": accuracy_score(labels, p.argmax(1)),
        "brier": brier_score_loss(labels, p, labels=ids, scale_by_half=False),
        "entropy": entropy(p, axis=1).mean(),
        "ece": ECE(BINS).measure(p, labels),
        # netcal's bins end at interpolated quantiles, which part the tokens as temper does if these are a multiple of 15
        "ece_equal_mass": ECE(BINS, equal_intervals=False).measure(p, labels),
        "ece_classwise": np.mean([ECE(BINS).measure(p[:, k], (labels == k).astype(int)) for k in ids]),
    }


def bootstrap(p: np.ndarray, labels: np.ndarray, sequences: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    nll = -np.log(p[np.arange(len(labels)), labels]).reshape(sequences, -1).mean(1)
    right = (p.argmax(1) == labels).reshape(sequences, -1).mean(1)
    draws = random.integers(sequences, size=(20000, sequences))
    return {name: np.percentile(x[draws].mean(1), [2.5, 97.5]) for name, x in (("nll", nll), ("accuracy", right))}


def main() -> int:
    folder = Path(sys.argv[1])
    ours = json.loads((folder / "evaluate.json").read_text())
    calibrated = json.loads((folder / "calibrate.json").read_text())
    logits, labels = read(folder / "test.safetensors")
    assert len(labels) % BINS == 0 and len(labels) == ours["tokens"]
    p = np.exp(log_softmax(logits / ours["temperature"], 1))
    print(f"{len(labels)} tokens x {p.shape[1]} at T = {ours['temperature']}; highest confidence {p.max():.4f}")
    good = True

    def compare(name: str, mine: float, theirs: float, close: float) -> None:
        nonlocal good
        ok = abs(mine - theirs) <= close
        good = good and ok
        print(f"  {name:24} {mine:12.8f} {theirs:12.8f}  difference {abs(mine - theirs):.1e}{'' if ok else f'   <- more than {close:.1e}'}")

    for name, theirs in measure(p, labels).items():
        compare(name, ours[name], theirs, CLOSE)
    for name, theirs in bootstrap(p, labels, ours["sequences"]).items():
        for end, value in zip(("low", "high"), theirs):
            compare(f"{name}, {end}", ours["intervals"][name][end == "high"], value, 0.1 * (theirs[1] - theirs[0]))

    z, y = read(folder / "fit.safetensors")
    nll = lambda t: -log_softmax(z / t, 1)[np.arange(len(y)), y].mean()
    best = minimize_scalar(nll, bounds=(0.2, 5), method="bounded", options={"xatol": 1e-7})
    compare("fitted T", calibrated["temperature"], best.x, CLOSE_T)
    compare("NLL of the fit part", calibrated["fit"]["after"]["nll"], best.fun, CLOSE)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
