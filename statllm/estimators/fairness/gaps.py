"""Largest difference between groups, with an interval that holds for the largest one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import LARGEST, finite, labels, numbers
from statllm.results import Estimate, Interval, TestResult

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
_DRAWS = 100_000  # of the largest |z|: its 95 % point has an error below .5 %
_BATCH = 10_000


@dataclass(frozen=True, eq=False)
class GroupGap:
    """Rates of groups and how far apart they are.

    Attributes
    ----------
    group : list of str
    rate, se : ndarray of float64, shape (n_groups,)
    n : ndarray of int64, shape (n_groups,)
    gap : Estimate
        Largest minus smallest rate. Its interval holds whichever groups these are: that of the
        largest of all pairwise differences, by simultaneous intervals of all pairs.
    ratio : Estimate
        Smallest over largest rate (the 80 % rule), with the interval of the smallest ratio.
    test : TestResult
        H0: all groups have the same rate.
    name : str
    """

    group: list[str]
    rate: FloatArray
    se: FloatArray
    n: NDArray[np.int64]
    gap: Estimate
    ratio: Estimate
    test: TestResult
    name: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per group: rate, se, n."""
        import pandas as pd

        return pd.DataFrame({"group": self.group, "rate": self.rate, "se": self.se, "n": self.n})


def parity_gap(
    outcome: ArrayLike,
    group: ArrayLike,
    clusters: ArrayLike | None = None,
    name: str = "rate",
    rng: np.random.Generator | int | None = 0,
) -> GroupGap:
    """Compare the mean outcome of groups: demographic parity where the outcome is a decision.

    Pairwise differences have simultaneous intervals, d ± c se with c the quantile of the largest
    |z| (or t, with clusters) over pairs, drawn from their joint law. The gap's interval goes from
    the largest lower limit (0 at least) to the largest upper limit, which covers the largest
    difference whenever the pairs' do. Right or wrong outcomes without clusters get a success and a
    failure added to each group before (Agresti and Caffo 2000), so that rates near 0 and 1 have an
    error; with clusters, where a difference is the same in each of them, every group gets a cluster
    of successes and one of failures, of the others' mean size.

    Parameters
    ----------
    outcome : array_like of float or bool, shape (n,)
    group : array_like, shape (n,)
    clusters : array_like, shape (n,), optional
        Rows that depend on each other: the variants of a template, say. A cluster may be in
        several groups, which makes their rates correlated.
    name : str
    rng : Generator or int

    Returns
    -------
    GroupGap

    Raises
    ------
    ValueError
        If there are fewer than two groups, a group has fewer than two rows (it's named), or an
        outcome isn't finite.

    Examples
    --------
    >>> outcome = [1] * 60 + [0] * 40 + [1] * 45 + [0] * 55
    >>> found = parity_gap(outcome, ["a"] * 100 + ["b"] * 100)
    >>> f"{found.gap.value:.2f} {found.gap.interval():.3f}", round(found.test.p_value, 3)
    ('0.15 [0.012, 0.282]', 0.033)
    """
    values = finite(outcome, "outcome", largest=LARGEST)
    names, code = np.unique(labels(group, "group", len(values)), return_inverse=True)
    counts = np.bincount(code)
    _enough(names, counts)
    rate = np.bincount(code, weights=values) / counts
    binary = bool(np.isin(values, [0, 1]).all())
    if clusters is not None:
        centre, covariance, df = _clustered(values, code, counts, clusters, binary)
    elif binary:
        centre = (rate * counts + 1) / (counts + 2)
        covariance = np.diag(centre * (1 - centre) / (counts + 2))
        df = math.inf
    else:
        centre = rate
        residual = values - rate[code]
        covariance = np.diag(np.bincount(code, weights=residual**2) / (counts * (counts - 1)))
        df = float(counts.min() - 1)
    seed = int(np.random.default_rng(rng).integers(2**62))
    return _gap([str(label) for label in names], rate, centre, covariance, counts, df, name, seed)


def odds_gap(
    prediction: ArrayLike,
    truth: ArrayLike,
    group: ArrayLike,
    clusters: ArrayLike | None = None,
    rng: np.random.Generator | int | None = 0,
) -> dict[str, GroupGap]:
    """Compare true- and false-positive rates of groups: equalised odds (Hardt et al. 2016).

    Parameters
    ----------
    prediction, truth : array_like of bool, shape (n,)
    group, clusters, rng
        As for `parity_gap`.

    Returns
    -------
    dict
        ``true_positive_rate`` and ``false_positive_rate``. Equal opportunity is the first alone.
        For both together, halve alpha (Bonferroni).

    Raises
    ------
    ValueError
        If a value isn't 0 or 1, or a group has fewer than two rows of one truth.

    Examples
    --------
    >>> truth = [1, 1, 0, 0] * 20
    >>> prediction = [1, 0, 1, 0] * 10 + [1, 1, 1, 0] * 10
    >>> found = odds_gap(prediction, truth, ["a"] * 40 + ["b"] * 40)
    >>> {name: gap.gap.value for name, gap in found.items()}
    {'true_positive_rate': 0.5, 'false_positive_rate': 0.0}
    """
    guess, right = numbers(prediction, "prediction"), numbers(truth, "truth")
    if guess.shape != right.shape or guess.ndim != 1:
        raise ValueError(
            f"prediction and truth must have one length, not {guess.shape}, {right.shape}"
        )
    groups = labels(group, "group", len(guess))
    for label, x in (("prediction", guess), ("truth", right)):
        if not np.isin(x, [0, 1]).all():
            row = int(np.flatnonzero(~np.isin(x, [0, 1]))[0])
            raise ValueError(f"{label} is {x[row]:g} in row {row}, not 0 or 1")
    together = None if clusters is None else labels(clusters, "clusters", len(guess))
    found = {}
    for name, value in (("true_positive_rate", 1), ("false_positive_rate", 0)):
        rows = right == value
        missing = sorted({str(g) for g in groups} - {str(g) for g in groups[rows]})
        if missing:
            raise ValueError(f"group '{missing[0]}' has no row with truth {value}")
        found[name] = parity_gap(
            guess[rows], groups[rows], None if together is None else together[rows], name, rng
        )
    return found


def _gap(
    names: list[str],
    rate: FloatArray,
    centre: FloatArray,
    covariance: FloatArray,
    counts: NDArray[np.int64],
    df: float,
    name: str,
    seed: int,
) -> GroupGap:
    g = len(names)
    first, second = np.triu_indices(g, 1)
    contrast = np.zeros((len(first), g))
    contrast[np.arange(len(first)), first] = 1
    contrast[np.arange(len(first)), second] = -1
    difference = contrast @ centre
    variance = np.einsum("ij,jk,ik->i", contrast, covariance, contrast)
    se = np.sqrt(np.maximum(variance, 0.0))
    largest = _Largest(contrast, covariance, se, df, seed)

    def gap_interval(level: float) -> Interval:
        half = largest.quantile(level) * se
        low = float(np.max(np.abs(difference) - half))
        high = float(np.max(np.abs(difference) + half))
        return Interval(max(low, 0.0), high, level, "simultaneous over pairs")

    pair = int(np.argmax(np.abs(contrast @ rate)))
    gap = Estimate(
        float(rate.max() - rate.min()),
        float(se[pair]),
        int(counts.min()),
        "largest minus smallest mean",
        f"gap of {name}",
        "",
        gap_interval,
    )
    ratio = _ratio(rate, centre, covariance, counts, contrast, df, name, seed)
    test = _homogeneity(contrast, difference, covariance, counts, df)
    own = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    return GroupGap(names, rate, own, counts.astype(np.int64), gap, ratio, test, name)


def _ratio(
    rate: FloatArray,
    centre: FloatArray,
    covariance: FloatArray,
    counts: NDArray[np.int64],
    contrast: FloatArray,
    df: float,
    name: str,
    seed: int,
) -> Estimate:
    """Smallest over largest mean, on the logarithmic scale; NaN where a mean isn't positive."""
    top = float(rate.max())
    value = float(rate.min()) / top if top > 0 else math.nan
    if np.any(centre <= 0):
        return Estimate(value, math.nan, int(counts.min()), "ratio of means", f"ratio of {name}")
    scaled = covariance / centre / centre[:, None]
    difference = contrast @ np.log(centre)
    variance = np.einsum("ij,jk,ik->i", contrast, scaled, contrast)
    se = np.sqrt(np.maximum(variance, 0.0))
    largest = _Largest(contrast, scaled, se, df, seed)

    def interval_of(level: float) -> Interval:
        half = largest.quantile(level) * se
        low = math.exp(-float(np.max(np.abs(difference) + half)))
        high = math.exp(-max(float(np.max(np.abs(difference) - half)), 0.0))
        return Interval(low, high, level, "simultaneous over pairs, logarithmic")

    pair = int(np.argmax(np.abs(difference)))
    return Estimate(
        value,
        value * float(se[pair]),
        int(counts.min()),
        "ratio of means",
        f"ratio of {name}",
        "",
        interval_of,
    )


def _homogeneity(
    contrast: FloatArray,
    difference: FloatArray,
    covariance: FloatArray,
    counts: NDArray[np.int64],
    df: float,
) -> TestResult:
    """Wald's test that all differences are 0: chi-squared, or F with few clusters."""
    from scipy import special

    g = len(counts)
    basis = contrast[: g - 1]  # the first group against each other one
    inside = basis @ covariance @ basis.T
    if np.linalg.matrix_rank(inside) < g - 1:  # no spread to judge a difference by
        statistic = 0.0 if np.allclose(difference, 0) else math.nan
    else:
        statistic = float(difference[: g - 1] @ np.linalg.solve(inside, difference[: g - 1]))
    if math.isinf(df):
        p = float(special.chdtrc(g - 1, statistic))
        method = "Wald, chi-squared"
    else:
        # Hotelling's T^2 with df degrees of freedom of the covariance.
        rest = df - g + 2
        p = (
            float(special.fdtrc(g - 1, rest, statistic * rest / (df * (g - 1))))
            if rest > 0
            else math.nan
        )
        method = f"Wald, F({g - 1}, {rest:g})"
    log_p = math.log(p) if p > 0 else (math.nan if math.isnan(p) else -math.inf)
    return TestResult(
        statistic,
        p,
        log_p,
        "two-sided",
        int(counts.sum()),
        method,
        "rows (clusters) are independent of each other",
    )


@dataclass(frozen=True, eq=False)
class _Largest:
    """The law of the largest |z| (or t) over the contrasts; drawn when an interval is asked for."""

    contrast: FloatArray
    covariance: FloatArray
    se: FloatArray
    df: float
    seed: int

    def quantile(self, level: float) -> float:
        return float(np.quantile(self._draws, level))

    @cached_property
    def _draws(self) -> FloatArray:
        rng = np.random.default_rng(self.seed)
        used = self.se > 0
        if not used.any():
            return np.zeros(1)
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        scaled = (self.contrast[used] @ root) / self.se[used, None]
        largest = np.empty(_DRAWS)
        for start in range(0, _DRAWS, _BATCH):
            part = largest[start : start + _BATCH]
            normal = rng.standard_normal((len(part), root.shape[1])) @ scaled.T
            part[:] = np.abs(normal).max(axis=1)
        if not math.isinf(self.df):
            largest /= np.sqrt(rng.chisquare(self.df, _DRAWS) / self.df)
        return largest


def _clustered(
    values: FloatArray,
    code: NDArray[np.int64],
    counts: NDArray[np.int64],
    clusters: ArrayLike,
    binary: bool,
) -> tuple[FloatArray, FloatArray, float]:
    """Means, their covariance over clusters, and its degrees of freedom."""
    _, cluster = np.unique(labels(clusters, "clusters", len(values)), return_inverse=True)
    c, g = int(cluster.max()) + 1, len(counts)
    if c <= g:
        raise ValueError(f"{c} clusters are too few for {g} groups")
    sums, sizes = np.zeros((c, g)), np.zeros((c, g))
    np.add.at(sums, (cluster, code), values)
    np.add.at(sizes, (cluster, code), 1.0)
    centre, covariance = _over_clusters(sums, sizes)
    variance = np.diagonal(covariance)
    apart = variance[:, None] + variance - 2 * covariance
    if binary and np.any(apart[~np.eye(g, dtype=bool)] < 1e-12 * counts.min() ** -2.0):
        each = np.diag(counts / c)
        sums = np.concatenate([sums, each, np.zeros((g, g))])
        centre, covariance = _over_clusters(sums, np.concatenate([sizes, each, each]))
    return centre, covariance, float(c - 1)


def _over_clusters(sums: FloatArray, sizes: FloatArray) -> tuple[FloatArray, FloatArray]:
    n, c = sizes.sum(axis=0), len(sizes)
    centre = sums.sum(axis=0) / n
    influence = (sums - sizes * centre) / n
    return centre, influence.T @ influence * c / (c - 1)


def _enough(names: NDArray[np.generic], counts: NDArray[np.int64]) -> None:
    if len(names) < 2:
        raise ValueError("there is a single group")
    if counts.min() < 2:
        raise ValueError(f"group '{names[int(counts.argmin())]}' has a single row")
