"""Power of McNemar's exact test: two models, right or wrong on the same prompts."""

from __future__ import annotations

import numpy as np

from statllm.estimators._arrays import whole
from statllm.estimators._search import fewest

_TAIL = 1e-12  # probability of discordant counts that are left out
_COUNTS = 2001  # that are summed over: of more, evenly spaced ones, over which power is smooth


def mcnemar_power(
    win: float, loss: float, n: int, alpha: float = 0.05, mid_p: bool = False
) -> float:
    """Probability that McNemar's test on n prompts is significant.

    Over the binomial number of discordant pairs and the binomial split of it; exact up to some
    80,000 prompts, and within 1e-4 above.

    Parameters
    ----------
    win, loss : float
        Probability that only the second model is right, and that only the first is. Their
        difference is the gain; their sum, how often the models disagree, decides the power.
    n : int
        Prompts.
    alpha : float
    mid_p : bool
        Of the mid-p test.

    Raises
    ------
    ValueError
        Unless the probabilities are at least 0 with a sum of at most 1, and n >= 1.

    Examples
    --------
    >>> round(mcnemar_power(0.15, 0.05, 200), 3)
    0.875
    """
    from scipy import special

    if not (win >= 0 and loss >= 0 and win + loss <= 1):
        raise ValueError(f"win {win} and loss {loss} must be at least 0, and 1 at most together")
    n = whole(n, "n", 1)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    apart = win + loss
    if apart == 0:
        return 0.0
    low = int(special.bdtrik(_TAIL, n, apart)) if apart < 1 else n
    high = min(int(special.bdtrik(1 - _TAIL, n, apart)) + 1, n) if apart < 1 else n
    counts = np.arange(max(low - 1, 0), high + 1)
    if len(counts) > _COUNTS:
        counts = np.linspace(counts[0], counts[-1], _COUNTS).astype(np.int64)
    mass = np.exp(
        special.gammaln(n + 1)
        - special.gammaln(counts + 1)
        - special.gammaln(n - counts + 1)
        + special.xlogy(counts, apart)
        + special.xlog1py(n - counts, -apart)
    )
    mass = mass / mass.sum()  # the logarithms of large factorials cancel
    least = _largest_rejected(counts, alpha, mid_p)
    share = win / apart
    some = least >= 0
    reject = np.zeros(len(counts))
    below = special.bdtr(least[some], counts[some], share)
    above = special.bdtr(least[some], counts[some], 1 - share)
    reject[some] = np.minimum(below + above, 1.0)
    return float(mass @ reject)


def mcnemar_sample_size(
    win: float, loss: float, power: float = 0.8, alpha: float = 0.05, mid_p: bool = False
) -> int:
    """Return prompts with which McNemar's test has this power.

    The power of the exact test saws up and down with n; the number is that from which a bisection
    finds it reached, and may be a few prompts off the smallest.

    Parameters
    ----------
    win, loss, alpha, mid_p
        As for `mcnemar_power`.
    power : float

    Raises
    ------
    ValueError
        If `win` equals `loss`, or as `mcnemar_power`.

    Examples
    --------
    >>> mcnemar_sample_size(0.15, 0.05)
    168
    """
    if win == loss:
        raise ValueError("win and loss are equal: there is no difference to find")
    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, not {power}")
    return fewest(lambda n: mcnemar_power(win, loss, n, alpha, mid_p) >= power, least=2)


def _largest_rejected(
    counts: np.ndarray[tuple[int], np.dtype[np.int64]], alpha: float, mid_p: bool
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The largest min(n01, n10) with p <= alpha, -1 where there's none."""
    from scipy import special

    guess = np.floor(special.bdtrik(alpha / 2, counts.astype(float), 0.5))
    guess = np.nan_to_num(guess, nan=-1.0)
    best = np.full(len(counts), -1, np.int64)
    for step in range(-1, 3):
        x = guess + step
        valid = (x >= 0) & (2 * x < counts)
        at = np.where(valid, x, 0)
        p = 2 * special.bdtr(at, counts, 0.5)
        if mid_p:
            p = p - np.exp(
                special.gammaln(counts + 1)
                - special.gammaln(at + 1)
                - special.gammaln(counts - at + 1)
                - counts * np.log(2)
            )
        best = np.where(valid & (p <= alpha), np.maximum(best, x.astype(np.int64)), best)
    return best
