"""Scores of membership from the log-probabilities of a document's tokens.

Every score is larger for what is more likely to have been trained on. They are scores, not tests:
`statllm.estimators.contamination.conformal_membership` compares them with those of documents that
are known to be new, which gives p-values.

A document without tokens, or with a NaN among them, scores NaN.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.ragged import FloatArray, Ragged

Count = Literal["at-least-one", "published"]


def mean_log_p(log_p: Ragged) -> FloatArray:
    """Mean log-probability of a document's tokens, the negative loss (Yeom et al. 2018).

    Parameters
    ----------
    log_p : Ragged of float, shape (n_documents,)
        Nats.

    Examples
    --------
    >>> mean_log_p(Ragged.from_lists([[-1.0, -3.0], []]))
    array([-2., nan])
    """
    return log_p.mean()


def reference_ratio(log_p: Ragged, reference: Ragged) -> FloatArray:
    """Log-likelihood ratio to a reference model, per token (Carlini et al. 2021).

    (sum log p - sum log p_reference) / n, n the tokens of the model under test. Where both models
    have one tokenizer, this is the reference's loss minus the model's.

    Parameters
    ----------
    log_p, reference : Ragged of float, shape (n_documents,)
        Of the same documents, nats; tokens may differ.

    Raises
    ------
    ValueError
        If the numbers of documents differ.

    Examples
    --------
    >>> reference_ratio(Ragged.from_lists([[-1.0, -3.0]]), Ragged.from_lists([[-2.0, -3.5]]))
    array([0.75])
    """
    if len(log_p) != len(reference):
        raise ValueError(f"log_p has {len(log_p)} documents, reference has {len(reference)}")
    with np.errstate(invalid="ignore"):  # -inf under both models says nothing
        total = log_p.sum() - reference.sum()
    empty = (log_p.lengths == 0) | (reference.lengths == 0)
    return np.where(empty, np.nan, total / np.maximum(log_p.lengths, 1))


def zlib_ratio(log_p: Ragged, compressed: ArrayLike) -> FloatArray:
    """Mean log-probability over the bytes of the text compressed by zlib (Carlini et al. 2021).

    Parameters
    ----------
    log_p : Ragged of float, shape (n_documents,)
    compressed : array_like of int, shape (n_documents,)
        ``len(zlib.compress(text.encode()))``, see `statllm.scoring.token_laws.zlib_bytes`.

    Raises
    ------
    ValueError
        If the numbers of documents differ, or one has no bytes.

    Examples
    --------
    >>> zlib_ratio(Ragged.from_lists([[-1.0, -3.0]]), [40])
    array([-0.05])
    """
    size = np.asarray(compressed, np.float64)
    if size.shape != (len(log_p),):
        raise ValueError(f"compressed must be {len(log_p)} numbers, not of shape {size.shape}")
    if not np.all(size > 0):
        raise ValueError(f"document {int(np.argmin(size > 0))} has no compressed bytes")
    return np.asarray(log_p.mean() / size)


def min_k_percent(log_p: Ragged, ratio: float = 0.2, count: Count = "at-least-one") -> FloatArray:
    """Mean of the lowest log-probabilities: Min-K% (Shi et al. 2024, equation 1).

    Parameters
    ----------
    log_p : Ragged of float, shape (n_documents,)
        Nats.
    ratio : float
        The share of tokens that count, in (0, 1].
    count : {"at-least-one", "published"}
        int(ratio n) tokens; where that is 0, one, or (published) none, which gives NaN.

    Raises
    ------
    ValueError
        If `ratio` isn't in (0, 1].

    Examples
    --------
    >>> short_and_long = Ragged.from_lists([[-1.0, -3.0], [-1.0, -2.0, -3.0, -4.0, -5.0]])
    >>> min_k_percent(short_and_long, 0.4)
    array([-3. , -4.5])
    >>> min_k_percent(short_and_long, 0.4, count="published")
    array([ nan, -4.5])
    """
    return _lowest(log_p, ratio, count)


def min_k_plus_plus(
    log_p: Ragged,
    mean: Ragged,
    sd: Ragged,
    ratio: float = 0.2,
    count: Count = "at-least-one",
) -> FloatArray:
    """Mean of the lowest standardised log-probabilities: Min-K%++ (Zhang et al. 2025, equation 3).

    z = (log p(x) - mu) / sigma, with mu = sum_v p_v log p_v and sigma^2 = sum_v p_v (log p_v -
    mu)^2 over the vocabulary. Where the law has one token only, sigma is 0: z is 0 for that token
    and -inf for any other.

    Parameters
    ----------
    log_p, mean, sd : Ragged of float, shape (n_documents,)
        Of the same tokens, nats; see `statllm.scoring.token_laws.token_laws`.
    ratio, count
        As of `min_k_percent`.

    Raises
    ------
    ValueError
        If `ratio` isn't in (0, 1], rows differ in length, or a sigma is negative.

    Examples
    --------
    >>> of = Ragged.from_lists
    >>> min_k_plus_plus(of([[-1.0, -4.0]]), of([[-2.0, -2.0]]), of([[1.0, 0.5]]))
    array([-4.])
    """
    centre, width = _law(log_p, mean, sd)
    away = _less(log_p.values, centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where((width == 0) & (np.abs(away) <= _SMALL), 0.0, away / width)
    return _lowest(log_p.with_values(z), ratio, count)


def curvature(log_p: Ragged, mean: Ragged, sd: Ragged) -> FloatArray:
    """Curvature of the log-probability: Fast-DetectGPT (Bao et al. 2024, equation 3).

    (sum log p - sum mu) / sqrt(sum sigma^2): how far a document is from what the model itself
    would say in its place. 0 where the model leaves no choice and the text takes what is left.

    Parameters
    ----------
    log_p, mean, sd : Ragged of float, shape (n_documents,)
        As of `min_k_plus_plus`.

    Raises
    ------
    ValueError
        If rows differ in length, or a sigma is negative.

    Examples
    --------
    >>> of = Ragged.from_lists
    >>> curvature(of([[-1.0, -4.0]]), of([[-2.0, -2.0]]), of([[3.0, 4.0]]))
    array([-0.2])
    """
    centre, width = _law(log_p, mean, sd)
    away = log_p.with_values(_less(log_p.values, centre)).sum()
    spread = np.sqrt(log_p.with_values(width**2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where((spread == 0) & (np.abs(away) <= _SMALL), 0.0, away / spread)
    return np.where(log_p.lengths > 0, found, np.nan)


_SMALL = 1e-6  # nats: the rounding of a log-probability in 32 bits


def _less(log_p: FloatArray, mean: FloatArray) -> FloatArray:
    if np.any(mean == -np.inf):
        raise ValueError("mean is -inf, but p log p is 0 where p is")
    return np.asarray(log_p - mean, np.float64)


def _law(log_p: Ragged, mean: Ragged, sd: Ragged) -> tuple[FloatArray, FloatArray]:
    for name, other in (("mean", mean), ("sd", sd)):
        if not np.array_equal(other.offsets, log_p.offsets):
            raise ValueError(f"{name} must have a number for each of the tokens of log_p")
    if np.any(sd.values < 0):
        raise ValueError(f"sd is negative: {np.nanmin(sd.values):g}")
    return np.asarray(mean.values, np.float64), np.asarray(sd.values, np.float64)


def _lowest(values: Ragged, ratio: float, count: Count) -> FloatArray:
    """Mean of the lowest share of each row's values."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be above 0 and at most 1, not {ratio}")
    if count not in ("at-least-one", "published"):
        raise ValueError(f"count must be at-least-one or published, not {count!r}")
    n = (values.lengths * ratio).astype(np.int64)  # rounds down, as int() does
    if count == "at-least-one":
        n = np.minimum(np.maximum(n, 1), values.lengths)
    numbers = np.asarray(values.values, np.float64)
    lowest = values.with_values(numbers[np.lexsort((numbers, values.rows))])  # NaN last
    kept = lowest.keep(lowest.positions < n[lowest.rows])
    missing = values.with_values(np.isnan(numbers).astype(np.float64)).sum() > 0
    return np.where(missing, np.nan, kept.mean())
