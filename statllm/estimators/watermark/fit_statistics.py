"""Distances between a document's pivots and the uniform law, many documents at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from statllm.ragged import FloatArray, Ragged

_CELLS = 20  # of the chi-squared test


def truncated_divergence(pivots: Ragged, s: float, truncation: FloatArray) -> FloatArray:
    """Return the Tr-GoF statistic of each document (Li, Ruan, Wang, Long and Su 2024b).

    n max K_s(i / n, p_(i)) over p_(i) >= c and i / n >= p_(i), for p = 1 - y in rising order, where
    K_s is the phi-divergence of two coins.

    Parameters
    ----------
    pivots : Ragged
        In (0, 1).
    s : float
        Above 0: 2 is half of higher criticism, 1 Berk and Jones's.
    truncation : ndarray, shape (n_rows,)
        c of each document.

    Returns
    -------
    ndarray, shape (n_rows,)
        0 where no point qualifies.

    Examples
    --------
    >>> y = Ragged.from_lists([[0.9, 0.5]])
    >>> truncated_divergence(y, 2.0, np.array([0.01])).round(4)    # 2 (.5 - .1)^2 / (2 .1 .9)
    array([1.7778])
    """
    p = _sorted(pivots.with_values(1 - pivots.values))
    rank, n = p.positions + 1, p.lengths[p.rows]
    u, v = rank / n, p.values
    counted = (v >= truncation[p.rows]) & (u >= v) & (v > 0) & (v < 1)
    value = np.zeros(len(v))
    value[counted] = n[counted] * phi_divergence(u[counted], v[counted], s)
    return np.asarray(np.maximum(p.with_values(value).max(), 0.0))


def phi_divergence(u: FloatArray, v: FloatArray, s: float) -> FloatArray:
    """Return K_s(u, v) between coins of probability u and v (Jager and Wellner 2007).

    (1 - u^s v^(1-s) - (1-u)^s (1-v)^(1-s)) / (s (1-s)), and its limit at s = 1.

    Raises
    ------
    ValueError
        If s isn't above 0: K_s(1, v) would be infinite, and with it the statistic of every text.

    Examples
    --------
    >>> phi_divergence(np.array([0.5]), np.array([0.1]), 1.0).round(6)
    array([0.510826])
    """
    from scipy import special

    if s <= 0:
        raise ValueError(f"s must be above 0, not {s}")
    if s == 1:
        found: FloatArray = special.rel_entr(u, v) + special.rel_entr(1 - u, 1 - v)
        return found
    if s == 2:
        return np.asarray((u - v) ** 2 / (2 * v * (1 - v)))
    mixed = u**s * v ** (1 - s) + (1 - u) ** s * (1 - v) ** (1 - s)
    return np.asarray((1 - mixed) / (s * (1 - s)))


def _sorted(rows: Ragged) -> Ragged:
    return rows.with_values(rows.values[np.lexsort((rows.values, rows.rows))])


def _one_sided(y: Ragged) -> tuple[FloatArray, FloatArray]:
    """D+ and D-: how far the distribution function is above and below the diagonal."""
    n = y.lengths[y.rows]
    above = y.with_values((y.positions + 1) / n - y.values).max()
    return above, y.with_values(y.values - y.positions / n).max()


def _ks(y: Ragged) -> FloatArray:
    return np.maximum(*_one_sided(y))


def _kuiper(y: Ragged) -> FloatArray:
    above, below = _one_sided(y)
    return above + below


def _anderson_darling(y: Ragged) -> FloatArray:
    n = y.lengths[y.rows]
    odd = 2 * y.positions + 1
    terms = odd * np.log(y.values) + (2 * n - odd) * np.log1p(-y.values)
    return -y.lengths - y.with_values(terms / n).sum()


def _cramer_von_mises(y: Ragged) -> FloatArray:
    n = y.lengths[y.rows]
    squares = (y.values - (2 * y.positions + 1) / (2 * n)) ** 2
    return 1 / (12 * y.lengths) + y.with_values(squares).sum()


def _watson(y: Ragged) -> FloatArray:
    return _cramer_von_mises(y) - y.lengths * (y.mean() - 0.5) ** 2


def _neyman(y: Ragged) -> FloatArray:
    """Three components along the Legendre polynomials, orthonormal on (0, 1)."""
    from scipy import special

    total = np.zeros(len(y))
    for k in (1, 2, 3):
        component = np.sqrt(2 * k + 1) * special.eval_legendre(k, 2 * y.values - 1)
        total += y.with_values(component).sum() ** 2 / y.lengths
    return total


def _chi_squared(y: Ragged) -> FloatArray:
    cell = np.minimum((y.values * _CELLS).astype(np.int64), _CELLS - 1)
    counts = np.bincount(y.rows * _CELLS + cell, minlength=len(y) * _CELLS)
    expected = y.lengths / _CELLS
    squares: FloatArray = (counts.reshape(-1, _CELLS) - expected[:, None]) ** 2
    return np.asarray(squares.sum(axis=1) / expected)


def _spacings(y: Ragged) -> Ragged:
    """The n + 1 gaps between 0, the sorted pivots and 1."""
    lengths = y.lengths + 1
    ends = np.cumsum(lengths)
    edges = np.zeros(len(y.values) + len(y))
    inner = np.ones(len(edges), np.bool_)
    inner[ends - 1] = False
    edges[inner] = y.values
    edges[ends - 1] = 1.0
    gaps = np.diff(edges, prepend=0.0)
    starts = ends - lengths
    gaps[starts] = edges[starts]
    return Ragged.from_lengths(gaps, lengths)


def _rao(y: Ragged) -> FloatArray:
    gaps = _spacings(y)
    return gaps.with_values(np.abs(gaps.values - 1 / gaps.lengths[gaps.rows])).sum() / 2


def _greenwood(y: Ragged) -> FloatArray:
    gaps = _spacings(y)
    return gaps.with_values(gaps.values**2).sum()


#: Of sorted pivots; no document is empty.
_STATISTICS: dict[str, Callable[[Ragged], FloatArray]] = {
    "ks": _ks,
    "kuiper": _kuiper,
    "anderson-darling": _anderson_darling,
    "cramer-von-mises": _cramer_von_mises,
    "watson": _watson,
    "neyman": _neyman,
    "chi-squared": _chi_squared,
    "rao": _rao,
    "greenwood": _greenwood,
}


def distance(pivots: Ragged, test: str) -> FloatArray:
    """Return a classical goodness-of-fit statistic of each document, against the uniform law.

    Parameters
    ----------
    pivots : Ragged
        In (0, 1); no document is empty.
    test : str
        ``"ks"``, ``"kuiper"``, ``"anderson-darling"``, ``"cramer-von-mises"``, ``"watson"``,
        ``"neyman"`` (3 Legendre components), ``"chi-squared"`` (20 cells), ``"rao"`` (half the sum
        of |gap - mean gap|) or ``"greenwood"`` (sum of squared gaps).

    Examples
    --------
    >>> distance(Ragged.from_lists([[0.2, 0.9], [0.5]]), "ks").round(3)
    array([0.4, 0.5])
    """
    return _STATISTICS[test](_sorted(pivots))
