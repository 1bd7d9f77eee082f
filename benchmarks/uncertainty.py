"""How fast uncertainty is measured: ratios to named peers, or to a floor, in one run.

    python benchmarks/uncertainty.py [--rounds 3]

Peers: crepes (conformal p-values), relplot and lm-polygraph (calibration errors), and a BCa
bootstrap of scikit-learn's AUROC, which is how semantic-entropy studies get its interval. How they
are imported, and what to install: `peers.py`.
"""

from __future__ import annotations

import argparse

import numpy as np
from peers import peer
from timing import Contenders, compare

from statllm.estimators import (
    auroc,
    calibration_error,
    conformal_p_values,
    smooth_calibration_error,
)


def p_values(rng: np.random.Generator, rounds: int) -> None:
    """Conformal p-values of 120,000 scores against 20,000."""
    calibration, scores = rng.random(20_000), rng.random((20_000, 6))
    contenders: Contenders = {
        "statllm conformal_p_values": lambda: conformal_p_values(
            calibration, scores.ravel(), smoothed=False
        )
    }
    found = peer("crepes", "ConformalClassifier")
    if found:
        theirs = found[0]().fit(calibration)
        ours = conformal_p_values(calibration, scores.ravel(), smoothed=False).reshape(scores.shape)
        np.testing.assert_allclose(theirs.predict_p(scores, smoothing=False), ours, atol=1e-12)
        contenders["crepes predict_p"] = lambda: theirs.predict_p(scores, smoothing=False)
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
    found = peer("relplot.metrics", "binnedECE", "smECE")
    if found:
        binned_ece, smooth_ece = found
        np.testing.assert_allclose(binned_ece(p, y, 15), calibration_error(p, y).value, atol=1e-9)
        binned["relplot binnedECE"] = lambda: binned_ece(p, y, 15)
        smooth["relplot smECE"] = lambda: smooth_ece(p, y)
    found = peer("lm_polygraph.ue_metrics.ece", "ECE")
    if found:
        theirs = found[0](n_bins=15)
        np.testing.assert_allclose(theirs(-p, y), calibration_error(p, y).value, atol=1e-9)
        binned["lm-polygraph ECE"] = lambda: theirs(-p, y)
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


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    for part in (p_values, calibration, ranking):
        part(rng, rounds)


if __name__ == "__main__":
    main()
