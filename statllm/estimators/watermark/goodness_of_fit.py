"""Are pivots uniform? Tests for text that was edited or mixed, where sums lose their signal."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.detect import Detections
from statllm.estimators.watermark.fit_laws import fit_log_tail
from statllm.estimators.watermark.fit_statistics import distance, truncated_divergence
from statllm.estimators.watermark.trgof_law import trgof_log_tail
from statllm.ragged import Ragged

FitTest = Literal[
    "trgof",
    "ks",
    "kuiper",
    "anderson-darling",
    "cramer-von-mises",
    "watson",
    "neyman",
    "chi-squared",
    "rao",
    "greenwood",
]


def pivot_test(
    pivots: Ragged | ArrayLike,
    test: FitTest = "trgof",
    *,
    s: float = 2.0,
    truncation: float | None = None,
    n_draws: int = 9_999,
    rng: np.random.Generator | int = 0,
) -> Detections:
    """Test whether each document's pivots are uniform, as they are by chance.

    ``"trgof"`` looks for a few large pivots among many that are uniform, with the exact law of its
    statistic; it adapts to how much of the text was edited (Li, Ruan, Wang, Long and Su 2024b).
    The classical tests look at every departure from uniformity. ``"ks"`` is exact. ``"kuiper"``,
    ``"anderson-darling"``, ``"cramer-von-mises"``, ``"watson"``, ``"neyman"`` and
    ``"chi-squared"`` use limit laws (Stephens's modifications for finite n) from 200 pivots on, but
    no p below 1e-4; they are simulated for fewer, as ``"rao"`` and ``"greenwood"`` always are.

    Parameters
    ----------
    pivots : Ragged or array_like, shape (n,)
        In (0, 1), a row per document, each (seed, target) pair once.
    test : str
    s : float
        Divergence of ``"trgof"``, above 0: 2 is half of higher criticism, 1 Berk and Jones's.
    truncation : float, optional
        ``"trgof"`` leaves out p = 1 - y below it; default 1 / n.
    n_draws : int
        Simulated documents B per length; p = (1 + #{as large}) / (B + 1).
    rng : Generator or int

    Raises
    ------
    ValueError
        If a pivot isn't in (0, 1), the test is unknown, or a number is out of range.

    Examples
    --------
    >>> y = np.random.default_rng(0).uniform(size=200)
    >>> found = pivot_test(Ragged.from_lists([y, y**0.5]), "anderson-darling")
    >>> np.exp(found.log_p).round(4)
    array([0.0462, 0.0001])
    """
    rows = pivots if isinstance(pivots, Ragged) else Ragged.from_lists([np.ravel(pivots).tolist()])
    _check(rows)
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, not {n_draws}")
    if test != "trgof" and test not in _METHODS:
        raise ValueError(f"test must be one of trgof, {', '.join(_METHODS)}, not {test!r}")
    filled = rows.lengths > 0
    kept = Ragged.from_lengths(rows.values, rows.lengths[filled])
    statistic, log_p = np.full((2, len(rows)), np.nan)
    if test == "trgof":
        n = kept.lengths
        cut = 1 / n if truncation is None else np.full(len(n), truncation)
        statistic[filled] = truncated_divergence(kept, s, cut)
        log_p[filled] = trgof_log_tail(statistic[filled], n, s, cut)
        method = f"truncated goodness of fit, s = {s:g}, exact"
    else:
        statistic[filled] = distance(kept, test)
        seed = int(np.random.default_rng(rng).integers(2**31))
        log_p[filled] = fit_log_tail(test, statistic[filled], kept.lengths, n_draws, seed)
        method = _METHODS[test]
    nothing = np.zeros(len(rows), np.int64)
    return Detections(log_p, statistic, rows.lengths, nothing, method, _ASSUMPTIONS)


_ASSUMPTIONS = "pivots are independent and uniform by chance: each (seed, target) pair once"

_METHODS = {
    "ks": "Kolmogorov-Smirnov, two-sided, exact",
    "kuiper": "Kuiper, limit law or simulated",
    "anderson-darling": "Anderson-Darling, limit law or simulated",
    "cramer-von-mises": "Cramér-von Mises, limit law or simulated",
    "watson": "Watson, limit law or simulated",
    "neyman": "Neyman's smooth test, 3 components, limit law or simulated",
    "chi-squared": "chi-squared, 20 cells, limit law or simulated",
    "rao": "Rao's spacings, simulated",
    "greenwood": "Greenwood, simulated",
}


def _check(rows: Ragged) -> None:
    bad = np.flatnonzero(~((rows.values > 0) & (rows.values < 1)))
    if len(bad):
        document, place = int(rows.rows[bad[0]]), int(rows.positions[bad[0]])
        raise ValueError(
            f"pivots must lie between 0 and 1; pivot {place} of document {document} is "
            f"{rows.values[bad[0]]}"
        )
