"""Confidence along a response: groups of neighbouring tokens (DeepConf)."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.likelihood.top_k import top_table
from statllm.estimators.rewards import as_float_rows
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
Summary = Literal["mean", "lowest", "bottom", "tail"]


def token_confidence(
    top_logprobs: Any, kind: Literal["truncated", "deepconf"] = "truncated"
) -> FloatArray:
    """Self-certainty of each token from its k most probable alternatives, nats.

    Parameters
    ----------
    top_logprobs : array_like of float, shape (n_tokens, k); or Ragged with one row per token
        Log-probabilities of the most probable tokens; -inf counts as not listed, and NaN makes
        its token NaN.
    kind : {"truncated", "deepconf"}
        ``"deepconf"``: -(1/k) Σ_j ln p_j (Fu et al. 2025). It depends on k: a uniform
        distribution over the k listed has ln k. ``"truncated"`` (the default): with the listed
        probabilities scaled to sum to 1, the KL divergence of the uniform distribution from
        them, -(1/k) Σ_j ln p_j + ln Σ_j p_j - ln k. It's 0 for equal alternatives, and
        `self_certainty` where the whole vocabulary is listed.

    Returns
    -------
    ndarray of float64, shape (n_tokens,)
        Larger is more confident. NaN where nothing is listed.

    Examples
    --------
    >>> table = np.log([[0.6, 0.3], [0.45, 0.45]])
    >>> token_confidence(table).round(4) + 0.0
    array([0.0589, 0.    ])
    >>> token_confidence(table, "deepconf").round(4)
    array([0.8574, 0.7985])
    """
    if kind not in ("deepconf", "truncated"):
        raise ValueError(f"kind must be deepconf or truncated, not {kind!r}")
    table = top_table(top_logprobs)
    listed = table != -np.inf
    count = np.count_nonzero(listed, axis=1).astype(np.float64)
    count[count == 0] = np.nan
    mean = np.where(listed, table, 0.0).sum(axis=1) / count
    if kind == "deepconf":
        return np.asarray(-mean)
    with np.errstate(divide="ignore"):
        mass = np.log(np.exp(table).sum(axis=1))
    return np.asarray(-mean + mass - np.log(count))


def group_confidence(
    confidence: Any, summary: Summary = "lowest", window: int = 2048, share: float = 0.1
) -> FloatArray:
    """Summary of each response's confidence over windows of neighbouring tokens.

    Fu et al. (2025), DeepConf. A group is the mean over `window` tokens in a row; a response
    shorter than that is one group.

    Parameters
    ----------
    confidence : rows of float, one row per response
        One number per token, from `token_confidence` say, or log-probabilities.
    summary : {"mean", "lowest", "bottom", "tail"}
        ``"mean"``: over all tokens. ``"lowest"``: the least confident group. ``"bottom"``: mean
        of the share `share` of groups that are least confident, at least one. ``"tail"``: the
        last group.
    window : int
        Tokens in a group; 2,048 as published.
    share : float
        0.1 as published; for ``"bottom"``.

    Returns
    -------
    ndarray of float64, shape (n_responses,)
        NaN without tokens, and where a token's confidence is NaN.

    Raises
    ------
    ValueError
        If `window` is below 1, `share` isn't in (0, 1], or the summary is unknown.

    Notes
    -----
    The lowest of many overlapping groups falls with the length of a response even where nothing
    else changes: L tokens have about L / window independent groups. Compare responses of like
    length, or calibrate.

    Examples
    --------
    >>> rows = [[3.0, 1.0, 2.0, 4.0], [5.0]]
    >>> group_confidence(rows, "lowest", window=2), group_confidence(rows, "tail", window=2)
    (array([1.5, 5. ]), array([3., 5.]))
    """
    if summary not in get_args(Summary):
        raise ValueError(f"summary must be one of {get_args(Summary)}, not {summary!r}")
    if int(window) != window or window < 1:
        raise ValueError(f"window must be a whole number of at least 1, not {window}")
    if not 0 < share <= 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    rows = as_float_rows(confidence, "confidence")
    if summary == "mean":
        return rows.mean()
    groups = _groups(rows, int(window))
    lost = rows.with_values(np.isnan(rows.values)).max() > 0
    if summary == "lowest":
        out = groups.min().astype(np.float64)
    elif summary == "tail":
        out = np.full(rows.n_rows, np.nan)
        some = groups.lengths > 0
        out[some] = groups.values[groups.offsets[1:][some] - 1]
    else:
        ordered = groups.with_values(groups.values[np.lexsort((groups.values, groups.rows))])
        kept = np.maximum(np.floor(share * groups.lengths + 1e-9), 1)
        out = ordered.keep(ordered.positions < kept[ordered.rows]).mean()
    return np.where(lost, np.nan, out)


def _groups(rows: Ragged, window: int) -> Ragged:
    """Mean of every `window` neighbouring values of a row; one mean for a shorter row."""
    size = np.minimum(rows.lengths, window)
    # Each row's own level goes first, so that sums over millions of tokens keep their digits.
    level = np.nan_to_num(rows.mean())
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(rows.values - level[rows.rows]))])
    count = np.where(rows.lengths > 0, rows.lengths - size + 1, 0)
    out = Ragged.from_lengths(np.zeros(int(count.sum())), count)
    first = rows.offsets[:-1][out.rows] + out.positions
    width = size[out.rows]
    return out.with_values((sums[first + width] - sums[first]) / width + level[out.rows])
