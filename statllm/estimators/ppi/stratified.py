"""Prediction-powered mean of a population in strata, each with its own trust in predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import labels as labels_of
from statllm.estimators._arrays import numbers
from statllm.estimators.ppi._combine import Combined, Tuning, combine
from statllm.estimators.ppi.mean import mean_parts, samples
from statllm.estimators.ppi.results import PredictionPowered, t_estimate

FloatArray = NDArray[np.float64]


def stratified_ppi_mean(
    labels: ArrayLike,
    predictions: ArrayLike,
    unlabelled_predictions: ArrayLike,
    strata: ArrayLike,
    unlabelled_strata: ArrayLike,
    *,
    shares: Mapping[Any, float] | None = None,
    tuning: Tuning | float = "plug-in",
    clip: bool = True,
    clusters: ArrayLike | None = None,
    unlabelled_clusters: ArrayLike | None = None,
    name: str = "mean",
    unit: str = "",
) -> PredictionPowered:
    """Mean over strata of `ppi_mean`, weighted by the strata's shares of the population.

    For labels that were not drawn evenly (more of the hard categories, say), and for a judge that
    is better in some categories than in others: lambda is chosen in each (Fisch et al. 2024). Each
    stratum's labelled rows are a random sample of it.

    Parameters
    ----------
    labels, predictions, unlabelled_predictions, tuning, clip, clusters, unlabelled_clusters
        As for `ppi_mean`; a cluster lies in one stratum.
    strata, unlabelled_strata : array_like, shapes (n,) and (N,)
        Labels of the strata.
    shares : mapping of stratum to float, optional
        Of the population; default the strata's shares of all rows, labelled or not, taken as
        known.
    name, unit : str

    Returns
    -------
    PredictionPowered
        se^2 = sum share^2 se^2, t with Welch's degrees of freedom; `tuning` is the weighted mean.

    Raises
    ------
    ValueError
        As for `ppi_mean`, naming the stratum; if strata differ between the samples or from
        `shares`, or a cluster lies in two.

    Examples
    --------
    >>> y, f, kind = [1, 0, 1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0, 1, 1], ["easy"] * 4 + ["hard"] * 4
    >>> shares = {"easy": 0.9, "hard": 0.1}
    >>> found = stratified_ppi_mean(y, f, [1, 0] * 50, kind, ["easy", "hard"] * 50, shares=shares)
    >>> round(found.classical.value, 3)  # 0.9 * 3/4 + 0.1 * 1/4
    0.7
    """
    y, f = numbers(labels, "labels"), numbers(predictions, "predictions")
    u = numbers(unlabelled_predictions, "unlabelled_predictions")
    here = labels_of(strata, "strata", len(y))
    there = labels_of(unlabelled_strata, "unlabelled_strata", len(u))
    names = np.unique(here)
    if not np.array_equal(names, np.unique(there)):
        raise ValueError("the strata of labelled and unlabelled rows must be the same")
    weights = _shares(names, here, there, shares)
    groups = []
    for given, of, what in (
        (clusters, here, "clusters"), (unlabelled_clusters, there, "unlabelled_clusters")
    ):  # fmt: skip
        found_in = None if given is None else labels_of(given, what, len(of))
        if found_in is not None:
            pairs = set(zip(found_in.tolist(), of.tolist(), strict=True))
            if len(pairs) > len(set(found_in.tolist())):
                raise ValueError(f"{what}: a cluster lies in two strata")
        groups.append(found_in)
    own, others = groups
    found, alone = [], []
    n = 0
    for stratum in names:
        a, b = here == stratum, there == stratum
        try:
            rows = samples(
                y[a], f[a], u[b],
                None if own is None else own[a], None if others is None else others[b],
            )  # fmt: skip
            parts = mean_parts(*rows)
            found.append(combine(parts, tuning, clip))
            alone.append(combine(parts, 0.0, False))
        except ValueError as error:
            raise ValueError(f"stratum {stratum}: {error}") from error
        n += int(parts.labelled.sum())
    lam = float(sum(w * each.tuning[0] for w, each in zip(weights, found, strict=True)))
    kind = "stratified PPI" if own is None else "stratified PPI, clustered"
    return PredictionPowered(
        t_estimate(*_sum(weights, found), n, kind, name, unit),
        t_estimate(*_sum(weights, alone), n, "stratified mean of labels", name, unit),
        lam,
    )


def _shares(
    names: NDArray[Any], here: NDArray[Any], there: NDArray[Any], shares: Mapping[Any, float] | None
) -> FloatArray:
    if shares is None:
        both = np.concatenate([here, there])
        return np.array([(both == stratum).mean() for stratum in names])
    if set(shares) != set(names.tolist()):
        raise ValueError(
            f"shares must be given for exactly the strata {', '.join(map(str, names))}"
        )
    weights = np.array([float(shares[stratum]) for stratum in names.tolist()])
    if (weights < 0).any() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError("shares must not be negative and add up to 1")
    return weights


def _sum(weights: FloatArray, parts: list[Combined]) -> tuple[float, float, float]:
    """Weighted sum of independent estimates, its error, and Welch's degrees of freedom."""
    value, se, df = (
        np.array([getattr(each, name)[0] for each in parts]) for name in ("value", "se", "df")
    )
    variances = (weights * se) ** 2
    total = float(variances.sum())
    free = total**2 / float(np.sum(variances**2 / df)) if total > 0 else float(df.sum())
    return float(weights @ value), math.sqrt(total), free
