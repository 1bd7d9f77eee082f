"""How strange an answer is, given the model's probabilities: the scores behind prediction sets."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
SetMethod = Literal["lac", "margin", "aps", "raps", "saps", "top_k"]

#: Scores that draw nothing at random.
UNDRAWN: tuple[SetMethod, ...] = ("lac", "margin")
_PENALTY = {"raps": 0.01, "saps": 0.2}


def set_scores(
    probs: ArrayLike,
    method: SetMethod = "lac",
    u: ArrayLike | None = None,
    penalty: float | None = None,
    free_rank: int = 1,
) -> FloatArray:
    """Nonconformity of every answer of every item.

    With p the probability of the answer, ρ that of all answers strictly more probable, and rank 1
    for the most probable one:

    - ``"lac"``: 1 - p (Sadinle, Lei and Wasserman 2019).
    - ``"margin"``: the largest probability of another answer, minus p (Löfström et al. 2015).
    - ``"aps"``: ρ + u p (Romano, Sesia and Candes 2020).
    - ``"raps"``: ρ + u p + penalty * max(0, rank - free_rank) (Angelopoulos et al. 2021).
    - ``"saps"``: u p at rank 1, else the largest p + penalty * (rank - 2 + u) (Huang et al. 2024).
    - ``"top_k"``: rank - 1 + u (Angelopoulos et al. 2021); sets of one size.

    Answers of equal probability share one score, so that the order of the columns doesn't matter:
    p, or the step in rank, is then that of all of them together, and rank in RAPS their last place.

    Parameters
    ----------
    probs : array_like, shape (n, K)
        Probabilities, in [0, 1].
    method : {"lac", "margin", "aps", "raps", "saps", "top_k"}
    u : array_like, shape (n,), optional
        One uniform number per item; default 1, the deterministic (larger) variant.
    penalty : float, optional
        λ of RAPS (default 0.01) and of SAPS (default 0.2).
    free_rank : int
        k_reg of RAPS.

    Returns
    -------
    ndarray of float64, shape (n, K)

    Raises
    ------
    ValueError
        If a probability is NaN or outside [0, 1], or an option is unknown.

    Examples
    --------
    >>> set_scores([[0.6, 0.3, 0.1]], "lac").round(2)
    array([[0.4, 0.7, 0.9]])
    >>> set_scores([[0.6, 0.3, 0.1]], "aps", u=[0.5]).round(2)
    array([[0.3 , 0.75, 0.95]])
    """
    if method not in get_args(SetMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(SetMethod))}, not {method!r}")
    weight = _PENALTY.get(method, 0.0) if penalty is None else penalty
    if weight < 0 or free_rank < 0:
        raise ValueError("penalty and free_rank must not be negative")
    p = checked_probs(probs, "probs")
    if method == "lac":
        return 1.0 - p
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=1)
    if method == "margin":
        rivals = np.repeat(ordered[:, :1], p.shape[1], axis=1)
        rivals[:, :1] = ordered[:, 1:2] if p.shape[1] > 1 else 0.0
        return _unsorted(rivals - ordered, order)
    first, last = _tie_bounds(ordered)
    steps = ordered.copy()
    if method == "saps":
        steps[:, 1:] = weight
    elif method == "top_k":
        steps[:] = 1.0
    total = np.concatenate([np.zeros((len(p), 1)), np.cumsum(steps, axis=1)], axis=1)
    above = np.take_along_axis(total, first, axis=1)
    own = np.take_along_axis(total, last + 1, axis=1) - above
    share = np.ones(len(p)) if u is None else np.asarray(u, dtype=np.float64)
    if share.shape != (len(p),) or not np.all((share >= 0) & (share <= 1)):
        raise ValueError("u must be one number in [0, 1] per item")
    scores = above + share[:, None] * own
    if method == "raps":
        scores = scores + weight * np.maximum(last + 1 - free_rank, 0)
    # The last answer's ρ + p is a sum to 1: equal scores must not differ by a rounding error.
    return _unsorted(scores.round(12), order)


def checked_probs(probs: ArrayLike, name: str = "probs") -> FloatArray:
    """Return probabilities as a matrix of floats."""
    p = np.asarray(probs, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] == 0:
        raise ValueError(f"{name} must be a matrix (items, answers), not of shape {p.shape}")
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"{name} must be probabilities in [0, 1] without NaN")
    return p


def _unsorted(values: FloatArray, order: IntArray) -> FloatArray:
    """Put each row's values back where `order` took them from."""
    out = np.empty(values.shape)
    np.put_along_axis(out, order, values, axis=1)
    return out


def _tie_bounds(ordered: FloatArray) -> tuple[IntArray, IntArray]:
    """First and last column of the run of equal values that each entry of sorted rows is in."""
    width = ordered.shape[1]
    new = np.ones(ordered.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    columns = np.arange(width)
    first = np.maximum.accumulate(np.where(new, columns, 0), axis=1)
    ends = np.ones(ordered.shape, dtype=bool)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, columns, width - 1)[:, ::-1], axis=1)[:, ::-1]
    return first, last
