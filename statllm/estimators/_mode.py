"""Probability that the most frequent answer seen is the most probable answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from statllm.estimators._vote_kernel import take_rows, unique_rows
from statllm.ragged import Ragged

_NODES = 256
_TAIL = 1e-18  # posterior mass left outside the nodes on each side


def mode_probability(counts: Ragged, prior: float) -> NDArray[np.float64]:
    """Posterior probability, per row, that the first (largest) count belongs to the largest share.

    With shares ~ Dirichlet(a), a = counts + prior, and G_j independent Gamma(a_j) variables,
    P(share_1 > all others) = integral of f_1(x) prod_{j > 1} F_j(x) dx. With x = e^t the
    integrand decays at both ends and is analytic, so the trapezoid rule converges exponentially.
    """
    rows, group = unique_rows(counts)
    largest = np.zeros(rows.n_rows, dtype=np.int64)
    filled = rows.lengths > 0
    largest[filled] = rows.values[rows.offsets[:-1][filled]]
    rest = rows.keep(rows.positions > 0)  # the rivals of each row's largest count
    probability = np.where(filled, 1.0, np.nan)
    contested = np.flatnonzero(rest.lengths > 0)
    for top in np.unique(largest[contested]):
        same = contested[largest[contested] == top]
        probability[same] = _beats(int(top), take_rows(rest, same), prior)
    return probability[group]


def _beats(top: int, rivals: Ragged, prior: float) -> NDArray[np.float64]:
    """Probability that Gamma(top + prior) exceeds all the Gamma(rival + prior) of a row."""
    from scipy import special

    shape = top + prior
    low, high = (
        np.log(special.gammaincinv(shape, _TAIL)),
        np.log(special.gammainccinv(shape, _TAIL)),
    )
    t = np.linspace(low, high, _NODES)
    density = np.exp(shape * (t - np.log(shape)) - np.exp(t) + shape)  # up to a constant
    density /= density.sum()
    distinct, which = np.unique(rivals.values, return_inverse=True)
    with np.errstate(divide="ignore"):
        log_cdf = np.log(special.gammainc(distinct[:, None] + prior, np.exp(t)))
    out = np.empty(rivals.n_rows)
    step = max(1, (1 << 22) // (_NODES * int(rivals.lengths.max())))
    for start in range(0, rivals.n_rows, step):
        cut = rivals.offsets[start : start + step + 1]
        terms = log_cdf[which[cut[0] : cut[-1]]]
        product = np.exp(np.add.reduceat(terms, cut[:-1] - cut[0], axis=0))
        out[start : start + step] = (product * density).sum(axis=1)  # `@` may differ by batch
    return out
