"""What a change of the prompt does to yes-or-no outcomes of the same items: a paired probe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import (
    TEstimate,
    mcnemar,
    mean_estimate,
    paired_difference,
    ratio_estimate,
)
from statllm.estimators.power import minimum_detectable_effect
from statllm.estimators.proportions import proportion
from statllm.estimators.resampling import sign_flip_test
from statllm.results import Estimate, TestResult

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ProbeEffect:
    """An outcome without and with the probe.

    Attributes
    ----------
    name : str
        What the outcome is.
    neutral, probed : Estimate
        Share of pairs with the outcome; Wilson's interval, or a clustered t interval.
    difference : TEstimate
        Probed less neutral.
    lost, gained : Estimate
        Of the pairs that had the outcome, the share that lost it; of the others, the share that
        gained it. Flip rates: n of each is the number of pairs (clusters) that it speaks of.
    test : TestResult
        McNemar's exact test; with clusters exact sign flips of the clusters' sums, its extension.
    mde : float
        The true difference that is found 4 times in 5 at the 5 % level; NaN without error.
    n_pairs, n_lost, n_gained : int
    """

    name: str
    neutral: Estimate
    probed: Estimate
    difference: TEstimate
    lost: Estimate
    gained: Estimate
    test: TestResult
    mde: float
    n_pairs: int
    n_lost: int
    n_gained: int

    @property
    def flips(self) -> float:
        """Share of pairs whose outcome changed, in either direction."""
        return (self.n_lost + self.n_gained) / self.n_pairs

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return all of it as plain values."""
        estimates = {
            name: getattr(self, name).to_dict(level)
            for name in ("neutral", "probed", "difference", "lost", "gained")
        }
        return {
            "outcome": self.name,
            **estimates,
            "flips": self.flips,
            "test": self.test.to_dict(),
            "minimum_detectable_effect": self.mde,
            "n_pairs": self.n_pairs,
            "n_lost": self.n_lost,
            "n_gained": self.n_gained,
        }


def probe_effect(
    neutral: ArrayLike,
    probed: ArrayLike,
    clusters: ArrayLike | None = None,
    name: str = "right",
) -> ProbeEffect:
    """Compare an outcome under a neutral prompt with that under a changed one.

    Parameters
    ----------
    neutral, probed : array_like of bool, shape (n,)
        Pair by pair, 1 or 0.
    clusters : array_like, shape (n,), optional
        Pairs that depend on each other: several samples of a problem, problems of one source.
    name : str
        What the outcome is, in words.

    Returns
    -------
    ProbeEffect

    Raises
    ------
    ValueError
        If lengths differ, there are fewer than two pairs, or an outcome isn't 0 or 1; its row is
        named.

    Notes
    -----
    With n10 pairs that lose the outcome and n01 that gain it, the difference is (n01 - n10) / n,
    and given n01 + n10, n01 is binomial(., 1/2) if the probe does nothing in either direction on
    average. Samples at a temperature above 0 flip without any probe, too: then look at the
    difference and its test, not at the flip rates, or compare these with two neutral samples.

    Examples
    --------
    >>> before = [1, 1, 1, 1, 1, 1, 0, 0]
    >>> after = [0, 0, 0, 0, 1, 1, 0, 1]
    >>> found = probe_effect(before, after)
    >>> found.difference.value, found.n_lost, found.n_gained, round(found.test.p_value, 4)
    (-0.375, 4, 1, 0.375)
    >>> round(found.lost.value, 3), found.gained.value
    (0.667, 0.5)
    """
    a, b = _outcomes(neutral, "neutral"), _outcomes(probed, "probed")
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} neutral outcomes and {len(b)} probed ones")
    if len(a) < 2:
        raise ValueError(f"{len(a)} pairs: an error needs two")
    groups = None if clusters is None else np.asarray(clusters)
    if groups is not None and groups.shape != a.shape:
        raise ValueError(f"{groups.size} cluster labels for {len(a)} pairs")
    lost, gained = a * (1 - b), (1 - a) * b
    difference = paired_difference(a, b, groups, name=f"{name}, probed less neutral", unit="share")
    parts = {
        "neutral": (a, np.ones(len(a))),
        "probed": (b, np.ones(len(b))),
        "lost": (lost, a),
        "gained": (gained, 1 - a),
    }
    shares = {
        key: _share(top, bottom, groups, f"{name}, {key}") for key, (top, bottom) in parts.items()
    }
    test = mcnemar(a, b) if groups is None else sign_flip_test(b - a, groups)
    error = difference.se
    return ProbeEffect(
        name=name,
        difference=difference,
        test=replace(test, assumptions=f"{test.assumptions}; the same items were asked twice"),
        mde=minimum_detectable_effect(error, difference.df + 1) if error > 0 else float("nan"),
        n_pairs=len(a),
        n_lost=int(lost.sum()),
        n_gained=int(gained.sum()),
        **shares,
    )


def probe_contrast(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    clusters: ArrayLike | None = None,
    name: str = "right",
) -> tuple[TEstimate, TestResult]:
    """Ask whether a second model is moved more by the probe than a first one.

    Parameters
    ----------
    first, second : pair of array_like of bool, each of shape (n,)
        Outcomes (neutral, probed) of two models, for example before and after a training, on the
        same pairs in the same order.
    clusters : array_like, shape (n,), optional
    name : str

    Returns
    -------
    TEstimate
        Mean over pairs of (probed - neutral of the second) - (probed - neutral of the first).
    TestResult
        Sign flips of these differences, which hold no law of the outcomes.

    Examples
    --------
    >>> stable = [1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 0, 1]
    >>> swayed = [1, 1, 1, 1, 0, 1], [0, 0, 0, 1, 0, 0]
    >>> change, test = probe_contrast(stable, swayed)
    >>> round(change.value, 3), round(test.p_value, 4)
    (-0.667, 0.125)
    """
    outcomes = [
        _outcomes(x, what) for pair in (first, second) for x, what in zip(pair, _SIDES, strict=True)
    ]
    if len({x.shape for x in outcomes}) > 1:
        raise ValueError(f"outcomes of {[len(x) for x in outcomes]} pairs: they must be the same")
    a0, a1, b0, b1 = outcomes
    change = paired_difference(
        a1 - a0, b1 - b0, clusters, name=f"{name}, change of the probe's effect", unit="share"
    )
    return change, sign_flip_test((b1 - b0) - (a1 - a0), clusters)


_SIDES = ("neutral", "probed")


def _outcomes(values: ArrayLike, what: str) -> FloatArray:
    x = np.asarray(values, np.float64)
    if x.ndim != 1:
        raise ValueError(f"{what} outcomes must be one column, not of shape {x.shape}")
    wrong = np.flatnonzero(~np.isin(x, [0, 1]))
    if len(wrong):
        raise ValueError(f"{what} outcome {x[wrong[0]]:g} in row {wrong[0]} isn't 0 or 1")
    return x


def _share(top: FloatArray, bottom: FloatArray, groups: Any, name: str) -> Estimate:
    """A share of independent pairs with Wilson's interval, or of clustered ones."""
    if groups is None:
        return proportion(float(top.sum()), int(bottom.sum())).named(name, "share")
    used = bottom > 0
    if not used.any():
        return mean_estimate(np.array([np.nan]), name=name, unit="share")
    return ratio_estimate(top[used], bottom[used], name, "share", groups[used])
