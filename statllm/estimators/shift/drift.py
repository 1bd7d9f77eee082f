"""A stream against its reference: evidence of change that may be read at any time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import finite
from statllm.estimators.sequential.paths import Evidence

_JUMP = 0.01  # how easily a bettor changes sides
_SIDES = np.array([-1.0, 0.0, 1.0])


def drift_monitor(
    reference: ArrayLike,
    stream: ArrayLike,
    rng: np.random.Generator | int | None = 0,
) -> Evidence:
    """Conformal test martingale: has the score's distribution changed since the reference?

    Each new score's rank among all before it, reference included, is a uniform random number as
    long as nothing changes (ties at random). The simple jumper bets on ranks that are too high or
    too low, 1 + side (p - 1/2), and changes its side with probability 1 % (Vovk et al. 2021): the
    fortune exceeds 1 / alpha with probability at most alpha, ever.

    Parameters
    ----------
    reference : array_like of float, shape (m,)
        Scores of the time before: an accuracy, an entropy, a length, a classifier's score.
    stream : array_like of float, shape (n,)
        Scores since then, in the order in which they came.
    rng : Generator or int
        Of ties.

    Returns
    -------
    Evidence
        `first_crossing` says when an alarm is raised.

    Raises
    ------
    ValueError
        If a score isn't finite; it's named.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> before, now = rng.normal(size=500), rng.normal(1, 1, 300)
    >>> 0 < drift_monitor(before, now).first_crossing(0.01) < 100
    True
    """
    old, new = finite(reference, "reference", empty=True), finite(stream, "stream", empty=True)
    generator = np.random.default_rng(rng)
    past = np.sort(old)
    fortune = np.full(3, 1 / 3)
    log_e = np.empty(len(new))
    log_scale = 0.0
    for t, score in enumerate(new):
        below, upto = np.searchsorted(past, score, "left"), np.searchsorted(past, score, "right")
        tied = upto - below + 1
        p = (len(past) - upto + generator.random() * tied) / (len(past) + 1)
        total = fortune.sum()
        fortune = (1 - _JUMP) * fortune + _JUMP / 3 * total
        fortune *= 1 + _SIDES * (p - 0.5)
        total = float(fortune.sum())
        log_scale += np.log(total)
        fortune /= total
        log_e[t] = log_scale
        past = np.insert(past, upto, score)
    return Evidence(
        log_e,
        "two-sided",
        "conformal test martingale, simple jumper",
        "scores are exchangeable, reference and stream together, if nothing has changed",
    )
