"""Rewards of a prompt's responses: level, spread, best against worst, and rater noise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate
from statllm.ragged import Ragged
from statllm.results import Estimate, Interval

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Missing = Literal["propagate", "drop"]


@dataclass(frozen=True, eq=False)
class RewardSummary:
    """Rewards prompt by prompt; every array has length n_prompts. NaN where undefined.

    Attributes
    ----------
    n, n_missing : ndarray of int64
        Responses with a reward, and without (null or NaN).
    mean : ndarray of float64
    var : ndarray of float64
        Variance of the responses' rewards, ddof=1; needs two.
    var_se : ndarray of float64
        Its standard error. The square is the unbiased estimate
        [2 n k2^2 + (n - 1) k4] / [n (n + 1)] of var(s^2), k2 and k4 being k-statistics
        (Kenney and Keeping 1951), cut off at 0; needs four responses.
    best, worst, gap : ndarray of float64
        Highest and lowest reward, and their difference.
    best_index, worst_index : ndarray of int64
        Which sample of the prompt has it, by the tie rule asked for; -1 where undefined.
    n_best, n_worst : ndarray of int64
        Responses tied for it; 0 where undefined.
    worst_length : ndarray of float64
        Length of the lowest-reward response, averaged over those tied; NaN without lengths.
    pair_gap_mean, pair_gap_var : ndarray of float64
        Mean and variance of |r_i - r_j| over the n (n - 1) / 2 unordered pairs of responses.
        All pairs are there, so the variance divides by their number. The mean is Gini's mean
        difference g, and since the mean of (r_i - r_j)^2 over pairs is 2 var, the variance is
        2 var - g^2. (The signed difference r_i - r_j over ordered pairs has mean 0 and
        variance 2 var: it holds nothing that `var` doesn't.)
    missing : {"propagate", "drop"}
        What was done about prompts with missing rewards.
    """

    n: IntArray
    n_missing: IntArray
    mean: FloatArray
    var: FloatArray
    var_se: FloatArray
    best: FloatArray
    worst: FloatArray
    gap: FloatArray
    best_index: IntArray
    worst_index: IntArray
    n_best: IntArray
    n_worst: IntArray
    worst_length: FloatArray
    pair_gap_mean: FloatArray
    pair_gap_var: FloatArray
    missing: Missing

    def to_frame(self) -> pd.DataFrame:
        """Return one row per prompt; names begin with ``reward_``."""
        import pandas as pd

        arrays = [field.name for field in fields(self) if field.name != "missing"]
        return pd.DataFrame({f"reward_{name}": getattr(self, name) for name in arrays})

    def within_variance(self) -> Estimate:
        """Mean over prompts of `var`: how much responses to one prompt differ.

        Prompts with fewer than two responses are left out; under ``missing="propagate"`` a
        missing reward makes the estimate NaN.
        """
        return mean_estimate(self.var[self._defined(2)], name="within-prompt reward variance")

    def gap_mean(self) -> Estimate:
        """Mean over prompts of the best-worst gap."""
        return mean_estimate(self.gap[self._defined(1)], name="best-worst gap")

    def gap_variance(self) -> Estimate:
        """Variance over prompts (ddof=1) of the best-worst gap.

        The interval is t about the jackknife's value of its logarithm (Miller 1968), which
        holds for gaps that aren't normal better than the standard error does.
        """
        gaps = Ragged.from_lengths(self.gap[self._defined(1)], [int(self._defined(1).sum())])
        value, se = float(gaps.var()[0]), float(_variance_se(gaps)[0])
        return Estimate(
            value,
            se,
            len(gaps.values),
            "variance, ddof=1",
            "variance of the best-worst gap",
            interval_of=lambda level: _variance_interval(gaps.values, level),
        )

    def _defined(self, least: int) -> NDArray[np.bool_]:
        """Prompts with enough responses for a statistic."""
        available = self.n + self.n_missing if self.missing == "propagate" else self.n
        enough: NDArray[np.bool_] = available >= least
        return enough


def reward_summary(
    rewards: Any,
    lengths: Any = None,
    missing: Missing = "propagate",
    ties: Literal["random", "first"] = "random",
    seed: int = 0,
) -> RewardSummary:
    """Summarise the rewards of each prompt's responses.

    Parameters
    ----------
    rewards : Ragged, pyarrow list column, list of lists or 2-D array of float
        Row i holds the rewards of prompt i's responses; null, None or NaN = missing.
    lengths : the same, optional
        Length of each response, in a unit of the caller's choice (characters in RIP).
    missing : {"propagate", "drop"}
        ``"propagate"``: a missing reward makes all of its prompt's statistics NaN.
        ``"drop"``: statistics of the other responses.
    ties : {"random", "first"}
        Which of several best (worst) responses the index names: a seeded draw, or the first.
    seed : int

    Returns
    -------
    RewardSummary

    Raises
    ------
    InputError
        If a row of `lengths` differs in number from its row of `rewards`, or a reward is
        infinite.

    Examples
    --------
    >>> summary = reward_summary([[1.0, 3.0, 2.0], [5.0]], lengths=[[10, 30, 20], [7]])
    >>> summary.var, summary.gap, summary.worst_length
    (array([ 1., nan]), array([2., 0.]), array([10.,  7.]))
    """
    if missing not in ("propagate", "drop"):
        raise ValueError(f"missing must be propagate or drop, not {missing!r}")
    if ties not in ("random", "first"):
        raise ValueError(f"ties must be random or first, not {ties!r}")
    table = as_float_rows(rewards, "rewards")
    lost = np.isnan(table.values)
    n = table.with_values((~lost).astype(np.int64)).sum().astype(np.int64)
    used = table if missing == "propagate" else table.keep(~lost)
    worst, best = used.min().astype(np.float64), used.max().astype(np.float64)
    gini = _mean_pair_gap(used)
    draws = np.zeros(len(table.values))
    if ties == "random":
        draws = np.random.default_rng(seed).random(len(table.values))
    is_best, is_worst = _hits(table, best), _hits(table, worst)
    return RewardSummary(
        n=n,
        n_missing=table.lengths - n,
        mean=used.mean(),
        var=used.var(),
        var_se=_variance_se(used),
        best=best,
        worst=worst,
        gap=best - worst,
        best_index=_pick(is_best, draws),
        worst_index=_pick(is_worst, draws),
        n_best=is_best.sum().astype(np.int64),
        n_worst=is_worst.sum().astype(np.int64),
        worst_length=_mean_length(table, is_worst, lengths),
        pair_gap_mean=gini,
        # Rounding may leave -1e-17 where all gaps are equal.
        pair_gap_var=np.maximum(2 * used.var() - gini**2, 0),
        missing=missing,
    )


def float_rows(rows: Any, what: str) -> Ragged:
    """Read rows of numbers, null as NaN."""
    import pyarrow as pa

    try:
        if isinstance(rows, Ragged):
            table = rows
        elif isinstance(rows, pa.Array | pa.ChunkedArray):
            table = Ragged.from_arrow(rows.cast(pa.large_list(pa.float64())))
        else:
            table = Ragged.from_lists(rows, dtype=np.float64)
        return table.with_values(table.values.astype(np.float64))
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{what} must be one list of numbers per row: {error}") from None


def as_float_rows(rows: Any, what: str) -> Ragged:
    """Read rows of finite numbers, null as NaN."""
    table = float_rows(rows, what)
    infinite = np.flatnonzero(np.isinf(table.values))
    if len(infinite):
        place = infinite[0]
        raise InputError(
            f"{what} must be finite or missing; value {table.positions[place]} of row "
            f"{table.rows[place]} is {table.values[place]}"
        )
    return table


def _hits(table: Ragged, target: FloatArray) -> Ragged:
    """1 where a value equals its row's target."""
    return table.with_values((table.values == target[table.rows]).astype(np.float64))


def _pick(hits: Ragged, draws: FloatArray) -> IntArray:
    """Place of one hit of each row: that with the highest draw, the first if draws are equal."""
    place = hits.with_values(np.where(hits.values > 0, draws, -1.0)).argmax()
    return np.where(hits.sum() > 0, place, -1)


def _mean_length(table: Ragged, chosen: Ragged, lengths: Any) -> FloatArray:
    """Mean length of the chosen responses of each row."""
    if lengths is None:
        return np.full(table.n_rows, np.nan)
    rows = as_float_rows(lengths, "lengths")
    if not np.array_equal(rows.offsets, table.offsets):
        if rows.n_rows != table.n_rows:
            raise InputError(f"{rows.n_rows} rows of lengths for {table.n_rows} rows of rewards")
        row = int(np.flatnonzero(rows.lengths != table.lengths)[0])
        raise InputError(
            f"row {row} has {rows.lengths[row]} lengths and {table.lengths[row]} rewards"
        )
    return rows.keep(chosen.values > 0).mean()


def _mean_pair_gap(rows: Ragged) -> FloatArray:
    """Gini's mean difference of each row: sum of (2 i - n - 1) x_(i) over n (n - 1) / 2 pairs."""
    order = np.lexsort((rows.values, rows.rows))
    weights = 2 * rows.positions + 1 - rows.lengths[rows.rows]
    total = rows.with_values(weights * rows.values[order]).sum()
    pairs = rows.lengths * (rows.lengths - 1) / 2
    out = np.full(rows.n_rows, np.nan)
    np.divide(total, pairs, out=out, where=pairs > 0)
    return out


def _variance_se(rows: Ragged) -> FloatArray:
    """Standard error of each row's variance; NaN below four values."""
    error: FloatArray = np.sqrt(np.maximum(_variance_of_variance(rows), 0))
    return error


def _variance_of_variance(rows: Ragged) -> FloatArray:
    """Unbiased estimate of var(s^2) of each row, sometimes negative; NaN below four values."""
    n = rows.lengths.astype(np.float64)
    centred = rows.values - rows.mean()[rows.rows]
    s2, s4 = rows.with_values(centred**2).sum(), rows.with_values(centred**4).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        k2 = s2 / (n - 1)
        k4 = (n * (n + 1) * s4 - 3 * (n - 1) * s2**2) / ((n - 1) * (n - 2) * (n - 3))
        variance = (2 * n * k2**2 + (n - 1) * k4) / (n * (n + 1))
    return np.where(n >= 4, variance, np.nan)


def _variance_interval(x: FloatArray, level: float) -> Interval:
    """Jackknife of the logarithm of a variance; NaN below three values, or if they are equal."""
    n, how = len(x), "jackknife of the logarithm"
    squares = (x - x.mean()) ** 2 if n else x
    total = float(squares.sum())
    if n < 3 or not total > 0:
        return Interval(float("nan"), float("nan"), level, how)
    # Sum of squares about their own mean of all values but one.
    without = total - n / (n - 1) * squares
    with np.errstate(divide="ignore", invalid="ignore"):
        pseudo = n * np.log(total / (n - 1)) - (n - 1) * np.log(without / (n - 2))
    inner = mean_estimate(pseudo).interval(level)
    return Interval(float(np.exp(inner.low)), float(np.exp(inner.high)), level, how)
