"""How fast uncertainty is measured: ratios to named peers, or to a floor, in one run.

    python benchmarks/uncertainty.py [--rounds 3]

Peers that can't be imported are left out: crepes (conformal p-values), relplot (binned and smooth
calibration error), scikit-learn and scipy (a bootstrap of the AUROC). Contenders take turns and
each is quoted at its fastest round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from statllm.estimators import (
    Pairwise,
    auroc,
    calibration_error,
    conformal_p_values,
    kernel_language_entropy,
    smooth_calibration_error,
    uqlm_negentropy,
)

Contenders = dict[str, Callable[[], object]]


def compare(title: str, contenders: Contenders, rounds: int) -> None:
    """Time the contenders in turn; print each one's best and its ratio to the first, ours."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    ours = next(iter(best.values()))
    print(title)
    for name, seconds in best.items():
        print(f"  {name:<48}{seconds:10.4f} s{seconds / ours:10.1f} x ours")


def p_values(rng: np.random.Generator, rounds: int) -> None:
    """Conformal p-values of 120,000 scores against 20,000."""
    calibration, scores = rng.random(20_000), rng.random((20_000, 6))
    contenders: Contenders = {
        "statllm conformal_p_values": lambda: conformal_p_values(
            calibration, scores.ravel(), smoothed=False
        )
    }
    try:
        from crepes import ConformalClassifier
    except ImportError:
        print("crepes isn't installed")
    else:
        peer = ConformalClassifier().fit(calibration)
        ours = conformal_p_values(calibration, scores.ravel(), smoothed=False).reshape(scores.shape)
        np.testing.assert_allclose(peer.predict_p(scores, smoothing=False), ours, atol=1e-12)
        contenders["crepes predict_p"] = lambda: peer.predict_p(scores, smoothing=False)
    compare("conformal p-values, 20,000 and 120,000 scores", contenders, rounds)


def calibration(rng: np.random.Generator, rounds: int) -> None:
    """Calibration errors of a million confidences."""
    p = rng.random(1_000_000)
    y = rng.random(1_000_000) < p

    def three_counts() -> float:
        cell = np.minimum((p * 15).astype(int), 14)
        gap = np.bincount(cell, y, 15) - np.bincount(cell, p, 15)
        return float(np.abs(gap).sum() / np.bincount(cell, minlength=15).sum())

    binned: Contenders = {
        "statllm calibration_error": lambda: calibration_error(p, y),
        "three bincounts": three_counts,
    }
    smooth: Contenders = {
        "statllm smooth_calibration_error": lambda: smooth_calibration_error(p, y)
    }
    try:
        from relplot import metrics, smECE
    except ImportError:
        print("relplot isn't installed")
    else:
        binned["relplot binnedECE"] = lambda: metrics.binnedECE(p, y, 15)
        smooth["relplot smECE"] = lambda: smECE(p, y)
    compare("ECE in 15 bins, 1,000,000 rows", binned, rounds)
    compare("smooth ECE, 1,000,000 rows", smooth, rounds)


def ranking(rng: np.random.Generator, rounds: int) -> None:
    """An interval of the AUROC of 2,000 scores."""
    y = rng.random(2000) < 0.6
    score = rng.normal(size=2000) + y
    contenders: Contenders = {"statllm auroc, DeLong interval": lambda: auroc(score, y).interval()}
    try:
        from scipy.stats import bootstrap
        from sklearn.metrics import roc_auc_score
    except ImportError:
        print("scikit-learn isn't installed")
    else:
        contenders["BCa bootstrap of scikit-learn's, 1,000 draws"] = lambda: bootstrap(
            (y, score),
            roc_auc_score,
            paired=True,
            vectorized=False,
            n_resamples=1000,
            rng=np.random.default_rng(0),
        )
    compare("interval of the AUROC, 2,000 scores", contenders, rounds)


def tokens_and_graphs(rng: np.random.Generator, rounds: int) -> None:
    """Scores of many small pieces, against the same as one numpy expression or a loop."""
    from scipy.linalg import expm

    top = np.log(rng.dirichlet(np.ones(20), size=200_000)[:, :15])

    def expression() -> object:
        q = np.exp(top)
        q /= q.sum(axis=1, keepdims=True)
        return 1 + (q * np.log(q)).sum(axis=1) / np.log(15)

    np.testing.assert_allclose(uqlm_negentropy(top), expression(), atol=1e-12)
    compare(
        "top-15 entropy of 200,000 tokens",
        {
            "statllm uqlm_negentropy": lambda: uqlm_negentropy(top),
            "one numpy expression": expression,
        },
        rounds,
    )
    stack = rng.random((1000, 10, 10))
    stack = (stack + stack.transpose(0, 2, 1)) / 2
    stack[:, np.arange(10), np.arange(10)] = 1.0
    pairs = Pairwise.from_stack(stack)

    def one_by_one() -> object:
        out = []
        for block in stack:
            weights = block + block.T
            kernel = expm(-0.3 * (np.diag(weights.sum(axis=1)) - weights))
            root = np.sqrt(np.diag(kernel))
            values = np.linalg.eigvalsh(kernel / (np.outer(root, root) * 10))
            out.append(-sum(v * np.log(v) for v in values if v > 0))
        return np.array(out)

    np.testing.assert_allclose(
        kernel_language_entropy(pairs, scale="nats"), one_by_one(), atol=1e-6
    )
    compare(
        "kernel language entropy, 1,000 prompts x 10",
        {
            "statllm kernel_language_entropy": lambda: kernel_language_entropy(pairs),
            "scipy expm, prompt by prompt": one_by_one,
        },
        rounds,
    )


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    for part in (p_values, calibration, ranking, tokens_and_graphs):
        part(rng, rounds)


if __name__ == "__main__":
    main()
