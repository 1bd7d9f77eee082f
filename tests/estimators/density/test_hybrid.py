"""Scores from ranks against the authors' rules written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from statllm.estimators.density.hybrid import huq, mean_rank


def plain_huq(e: np.ndarray, a: np.ndarray, low: float, high: float, alpha: float) -> np.ndarray:
    """Vazhentsev et al. (2023), for responses ranked among each other."""
    n = len(e)
    re, ra = rankdata(e), rankdata(a)
    near = re <= int(n * low)
    out = np.empty(n)
    for i in range(n):
        if near[i] and ra[i] > int(n * high):
            out[i] = ra[i]
        elif near[i]:
            out[i] = (a[near] < a[i]).sum() + ((a[near] == a[i]).sum() + 1) / 2
        else:
            out[i] = (1 - alpha) * re[i] + alpha * ra[i]
    return out


@pytest.mark.parametrize("seed", range(5))
def test_huq_equals_its_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    e, a = rng.integers(0, 15, 40).astype(float), rng.integers(0, 15, 40).astype(float)
    np.testing.assert_allclose(
        huq(e, a, low=0.3, high=0.7, alpha=0.4), plain_huq(e, a, 0.3, 0.7, 0.4)
    )


def test_with_a_reference_a_score_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(size=50), rng.normal(size=50)
    e, a = rng.normal(size=20), rng.normal(size=20)
    together = huq(e, a, reference, low=0.3)
    single = [huq(e[[i]], a[[i]], reference, low=0.3)[0] for i in range(20)]
    np.testing.assert_allclose(together, single)
    # Ranks among the reference and oneself, as the plain rule has them.
    for i in range(20):
        pooled = plain_huq(
            np.append(reference[0], e[i]), np.append(reference[1], a[i]), 0.3, 0.9, 0.1
        )
        assert together[i] == pytest.approx(pooled[-1])


def test_mean_rank_counts_the_reference() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(size=30), rng.normal(size=40)
    scores = rng.normal(size=10), rng.normal(size=10)
    expected = [
        ((reference[0] <= x).mean() + (reference[1] <= y).mean()) / 2
        for x, y in zip(*scores, strict=True)
    ]
    np.testing.assert_allclose(mean_rank(scores, reference), expected)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="without NaN"):
        huq([np.nan], [1.0])
    with pytest.raises(ValueError, match="epistemic scores for"):
        huq([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="alpha must lie"):
        huq([1.0], [1.0], alpha=2.0)
    with pytest.raises(ValueError, match="not be empty"):
        mean_rank(([1.0], [1.0]), ([], [1.0]))
