"""Agreement of raters on categories: Cohen, Fleiss, Gwet, and plain agreement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.agreement._counts import (
    CategoryCounts,
    Weights,
    agreement_weights,
    category_counts,
)
from statllm.estimators.agreement._jackknife import coefficient
from statllm.results import Estimate

FloatArray = NDArray[np.float64]


def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weights: Weights | ArrayLike = "identity",
    categories: Any = None,
    missing: str = "raise",
    clusters: ArrayLike | None = None,
    name: str = "Cohen's kappa",
) -> Estimate:
    """Agreement of two raters beyond what their own margins give by chance (Cohen 1960, 1968).

    1 - D_o / D_e: D_o is the mean of 1 - w(a, b), D_e its mean with the raters independent, each
    with the shares of their own.

    Parameters
    ----------
    first, second : array_like, shape (n_units,)
        Numbers or text.
    weights : {"identity", "linear", "quadratic", "ordinal", "ratio"} or matrix
        Credit for near misses, as in `agreement_weights`.
    categories : sequence, optional
        In order; default those that occur, sorted.
    missing : {"raise", "drop"}
        What to do with a unit that one of them didn't rate.
    clusters : array_like, shape (n_units,), optional
        Labels of units that depend on each other.
    name : str

    Returns
    -------
    Estimate
        n counts units, or clusters. NaN where both raters know one category only. The interval is
        the jackknife's by unit or cluster, on the scale log(1 - kappa); from exact laws of
        counts where few of them disagree (or agree), which its method says.

    Raises
    ------
    ValueError
        If lengths differ, or ratings are missing and that isn't allowed.

    Examples
    --------
    >>> kappa = cohen_kappa([1, 1, 2, 2, 2, 1] * 5, [1, 1, 2, 2, 1, 1] * 5)
    >>> f"{kappa.value:.4f} {kappa.interval():.3f}"
    '0.6667 [0.135, 0.872]'
    """
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be raise or drop, not {missing!r}")
    a, b = (x if isinstance(x, np.ndarray) else np.array(x, object) for x in (first, second))
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"both raters must rate the same units, not {a.shape} and {b.shape}")
    both = category_counts(np.stack([a.astype(object), b.astype(object)], axis=1), categories)
    one = category_counts(a.astype(object)[:, None], both.categories).counts
    two = category_counts(b.astype(object)[:, None], both.categories).counts
    whole = (one.sum(1) > 0) & (two.sum(1) > 0)
    if missing == "raise" and not whole.all():
        row = int(np.argmin(whole))
        raise ValueError(
            f"{int((~whole).sum())} units lack a rating, the first in row {row}; "
            "missing='drop' leaves them out"
        )
    one, two = one * whole[:, None], two * whole[:, None]
    apart = 1 - agreement_weights(weights, both.values)
    k = len(both.categories)

    def expected(sums: FloatArray) -> FloatArray:
        p, q = sums[..., :k], sums[..., k:]
        n = p.sum(-1)
        by_chance: FloatArray = np.einsum("...i,ij,...j->...", p, apart, q) / n**2
        return by_chance

    disagreement = np.einsum("ui,ij,uj->u", one, apart, two, optimize=True)
    return coefficient(
        disagreement, whole.astype(np.float64), np.concatenate([one, two], axis=1), expected,
        clusters, 1.0, name, _named("Cohen", weights),
    )  # fmt: skip


def fleiss_kappa(
    ratings: ArrayLike | CategoryCounts,
    *,
    weights: Weights | ArrayLike = "identity",
    clusters: ArrayLike | None = None,
    name: str = "Fleiss's kappa",
) -> Estimate:
    """Agreement of several raters beyond chance with common margins (Fleiss 1971).

    1 - D_o / D_e: D_o is the mean over units (with two ratings or more) of the disagreement of
    their pairs of ratings, D_e that of two ratings drawn from the units' mean shares. Missing
    ratings as in Gwet (2014): a unit counts the same whatever the number of its ratings.

    Parameters
    ----------
    ratings : array_like, shape (n_units, n_raters), or CategoryCounts
        NaN and None are missing.
    weights, clusters, name
        As for `cohen_kappa`.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        As `category_counts`.

    Examples
    --------
    >>> kappa = fleiss_kappa([[1, 1, 1], [1, 1, 2], [2, 2, 2], [3, 3, 1]] * 5)
    >>> round(kappa.value, 4)
    0.4545
    """
    table = category_counts(ratings)
    apart = 1 - agreement_weights(weights, table.values)

    def expected(sums: FloatArray) -> FloatArray:
        shares = sums / sums.sum(-1, keepdims=True)
        by_chance: FloatArray = np.einsum("...i,ij,...j->...", shares, apart, shares)
        return by_chance

    return _several(table, apart, expected, clusters, name, _named("Fleiss", weights))


def gwet_ac(
    ratings: ArrayLike | CategoryCounts,
    *,
    weights: Weights | ArrayLike = "identity",
    clusters: ArrayLike | None = None,
    name: str = "",
) -> Estimate:
    """Gwet's AC1, or with weights AC2 (Gwet 2008, 2014): agreement that a rare category can't sink.

    As `fleiss_kappa` with chance agreement sum(w) / (K (K - 1)) sum_k pi_k (1 - pi_k).

    Parameters
    ----------
    ratings : array_like, shape (n_units, n_raters), or CategoryCounts
        K counts the categories that are listed, also those that never occur.
    weights, clusters, name
        As for `cohen_kappa`.

    Returns
    -------
    Estimate

    Examples
    --------
    >>> rare = [[1, 1]] * 18 + [[1, 2], [2, 1]]
    >>> round(gwet_ac(rare).value, 3), round(fleiss_kappa(rare).value, 3)
    (0.89, -0.053)
    """
    table = category_counts(ratings)
    agree = agreement_weights(weights, table.values)
    k = len(table.categories)
    factor = agree.sum() / (k * (k - 1)) if k > 1 else float("nan")

    def expected(sums: FloatArray) -> FloatArray:
        shares = sums / sums.sum(-1, keepdims=True)
        beyond: FloatArray = 1 - factor * (shares * (1 - shares)).sum(-1)
        return beyond

    plain = isinstance(weights, str) and weights == "identity"
    called = name or ("Gwet's AC1" if plain else "Gwet's AC2")
    return _several(table, 1 - agree, expected, clusters, called, _named("Gwet", weights))


def percent_agreement(
    ratings: ArrayLike | CategoryCounts,
    *,
    weights: Weights | ArrayLike = "identity",
    clusters: ArrayLike | None = None,
    name: str = "agreement",
) -> Estimate:
    """Share of pairs of ratings of one unit that agree, averaged over units.

    Parameters
    ----------
    ratings : array_like, shape (n_units, n_raters), or CategoryCounts
        Units with fewer than two ratings don't count.
    weights, clusters, name
        As for `cohen_kappa`.

    Returns
    -------
    Estimate

    Examples
    --------
    >>> share = percent_agreement([[1, 1], [1, 2], [2, 2], [1, 1]] * 10)
    >>> f"{share.value} {share.interval():.3f}"
    '0.75 [0.547, 0.862]'
    """
    table = category_counts(ratings)
    apart = 1 - agreement_weights(weights, table.values)

    def expected(sums: FloatArray) -> FloatArray:
        return np.ones(sums.shape[:-1])

    found = _several(table, apart, expected, clusters, name, _named("agreement", weights))
    return found.named(name, "share")


def _several(
    table: CategoryCounts,
    apart: FloatArray,
    expected: Any,
    clusters: ArrayLike | None,
    name: str,
    method: str,
) -> Estimate:
    """A coefficient of the mean disagreement of pairs of ratings within units."""
    counts, m = table.counts, table.raters
    pairs = m * (m - 1)
    inside = ((counts @ apart) * counts).sum(axis=1)
    disagreement = np.divide(inside, pairs, out=np.zeros_like(m), where=pairs > 0)
    shares = np.divide(counts, m[:, None], out=np.zeros_like(counts), where=m[:, None] > 0)
    rated = (pairs > 0).astype(np.float64)
    return coefficient(disagreement, rated, shares, expected, clusters, 1.0, name, method)


def _named(method: str, weights: Weights | ArrayLike) -> str:
    if isinstance(weights, str):
        return method if weights == "identity" else f"{method}, {weights} weights"
    return f"{method}, given weights"
