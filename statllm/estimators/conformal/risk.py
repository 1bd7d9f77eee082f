"""Choosing a setting so that an expected loss stays below a limit, in expectation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RiskControl:
    """The setting that conformal risk control picks.

    Attributes
    ----------
    setting : float
        λ̂, the smallest setting whose corrected risk is at most alpha; the largest one where none
        is.
    index : int
        Its place in `settings`.
    attained : bool
        Whether any setting qualified. If not, the guarantee rests on the largest setting's
        loss being at most alpha by construction (say, by answering nothing).
    settings : ndarray of float64, shape (L,)
    risks : ndarray of float64, shape (L,)
        Mean loss on the calibration items.
    corrected : ndarray of float64, shape (L,)
        (n risk + bound) / (n + 1), which is compared with alpha.
    n : int
    alpha : float
    note : str
        What to tell the reader where nothing qualified.
    """

    setting: float
    index: int
    attained: bool
    settings: FloatArray
    risks: FloatArray
    corrected: FloatArray
    n: int
    alpha: float
    note: str


def conformal_risk_control(
    losses: ArrayLike, settings: ArrayLike, alpha: float, bound: float = 1.0
) -> RiskControl:
    """Pick the smallest setting with expected loss at most `alpha` on a new item.

    λ̂ = inf{λ : n/(n+1) R̂(λ) + B/(n+1) <= alpha} (Angelopoulos, Bates, Fisch, Lei and Schuster
    2024, eq. 4), for losses that never rise with λ and lie below B. With the loss "right
    answer not in the set" it's split conformal prediction. The guarantee is on average over
    calibration sets; `learn_then_test` gives one that holds with confidence 1 - delta, also for
    losses that aren't monotone.

    Parameters
    ----------
    losses : array_like, shape (n, L)
        Loss of each calibration item at each setting.
    settings : array_like, shape (L,)
        λ, rising.
    alpha : float
        The largest acceptable expected loss.
    bound : float
        B, an upper bound that is known beforehand.

    Returns
    -------
    RiskControl

    Raises
    ------
    ValueError
        If a loss is NaN, above `bound`, or rises with the setting; if settings don't rise.

    Examples
    --------
    >>> losses = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    >>> control = conformal_risk_control(losses, [0.1, 0.5, 0.9], alpha=0.4)
    >>> control.setting, control.corrected
    (0.5, array([0.6, 0.4, 0.2]))
    """
    values, grid = _checked_losses(losses), np.asarray(settings, dtype=np.float64)
    if grid.shape != (values.shape[1],) or not np.all(np.diff(grid) > 0):
        raise ValueError(f"settings must be {values.shape[1]} rising numbers, one per column")
    if not 0 < alpha < bound:
        raise ValueError(f"alpha must lie between 0 and bound = {bound}, not {alpha}")
    if values.size and values.max() > bound:
        raise ValueError(f"a loss is {values.max()}, above bound = {bound}")
    if np.any(np.diff(values, axis=1) > 0):
        raise ValueError("losses must not rise with the setting; use learn_then_test otherwise")
    n = len(values)
    risks = values.mean(axis=0) if n else np.full(len(grid), np.nan)
    corrected = (values.sum(axis=0) + bound) / (n + 1)
    good = corrected <= alpha + 1e-12
    attained = bool(good.any())
    index = int(good.argmax()) if attained else len(grid) - 1
    note = "" if attained else _too_few(n, alpha, bound)
    return RiskControl(float(grid[index]), index, attained, grid, risks, corrected, n, alpha, note)


def _checked_losses(losses: ArrayLike) -> FloatArray:
    """Losses as a matrix without NaN."""
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"losses must be a matrix (items, settings), not shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} losses are NaN")
    return values


def _too_few(n: int, alpha: float, bound: float) -> str:
    """Why no setting qualified."""
    if bound / (n + 1) > alpha:
        return f"{n} items are too few: bound / (n + 1) alone is above alpha = {alpha:g}"
    return f"no setting has a corrected risk of at most alpha = {alpha:g}"
