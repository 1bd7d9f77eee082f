"""Watch a text as it is written: evidence that may be looked at after every token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators.watermark.deduplicate import first_occurrences
from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks
from statllm.estimators.watermark.ratios import log_ratios
from statllm.ragged import Ragged

#: Strengths that the bets are spread over.
STRENGTHS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
#: Shares of watermarked tokens that the bets are spread over.
SHARES = (1.0, 0.3)


@dataclass(frozen=True)
class EProcess:
    """Running evidence of many documents.

    Attributes
    ----------
    log_e : Ragged
        Natural logarithm of the e-value after each mark that counts, a row per document.
    positions : ndarray of int64, shape (n,)
        Index of those marks' tokens in their documents.
    """

    log_e: Ragged
    positions: IntArray

    @property
    def last(self) -> FloatArray:
        """Log e-value at the end of each document, shape (n_documents,); 0 where nothing counts.

        e-values of documents stay e-values on average, whatever the dependence: see
        `statllm.estimators.multiplicity.e_benjamini_hochberg`.
        """
        ends = self.log_e.offsets[1:] - 1
        filled = self.log_e.lengths > 0
        found = np.zeros(len(self.log_e))
        found[filled] = self.log_e.values[ends[filled]]
        return found

    @property
    def running_log_p(self) -> Ragged:
        """Log p-value after each mark, 1 / (largest e-value so far), at most 1.

        Valid at any time, however it was chosen (Ville 1939).
        """
        rows, values = self.log_e.rows, self.log_e.values
        if len(values) == 0:
            return self.log_e
        # one running maximum: each document is lifted above all that the ones before it reach
        step = float(values.max() - values.min()) + 1
        largest = np.maximum.accumulate(values + step * rows) - step * rows
        return self.log_e.with_values(np.minimum(-largest, 0.0))

    @property
    def log_p(self) -> FloatArray:
        """Log p-value of each document, shape (n_documents,); NaN where nothing could be scored."""
        found = np.full(len(self.log_e), np.nan)
        filled = self.log_e.lengths > 0
        found[filled] = np.minimum(-self.log_e.max()[filled], 0.0)
        return found

    def first_crossing(self, alpha: float) -> IntArray:
        """Return the token at which e first reaches 1 / alpha, -1 where it never does.

        Parameters
        ----------
        alpha : float
            Probability, at most, of ever crossing by chance.

        Returns
        -------
        ndarray of int64, shape (n_documents,)
            Index of the token in its document.

        Raises
        ------
        ValueError
            If `alpha` isn't in (0, 1).
        """
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
        crossed = np.flatnonzero(self.log_e.values >= -math.log(alpha))[::-1]
        found = np.full(len(self.log_e), -1)
        found[self.log_e.rows[crossed]] = self.positions[crossed]  # the first is written last
        return found


def e_process(
    marks: Marks,
    *,
    strengths: ArrayLike = STRENGTHS,
    shares: Sequence[float] | None = None,
    predicted: ArrayLike | None = None,
    deduplicate: Literal["document", "corpus", "done"] = "document",
) -> EProcess:
    """Bet against chance, token by token; the fortune is evidence that can be watched.

    E_n = mean over j of prod_{i <= n} (1 - s_j + s_j r_j(mark_i)), with r the likelihood ratio of
    `log_ratios` at strength Delta_j and s_j the share of tokens that are watermarked. By chance it
    is a martingale that starts at 1, so that P(E_n ever reaches 1 / alpha) <= alpha, whenever one
    looks and stops (Ville 1939; for watermarks Su, Wang and Zhao 2026). A repeated (seed, target)
    pair is no bet.

    Parameters
    ----------
    marks : Marks
        As a scheme reads them.
    strengths : array_like
        Delta_j, in (0, 1). The spread over m of them costs at most log(m) nats against the best.
    shares : sequence of float, optional
        In (0, 1], each with each strength. Default: `SHARES`; for green tokens and bits only 1,
        where a smaller share is a smaller strength.
    predicted : array_like, shape (n_marks,), optional
        Strength of each mark of `marks` in [0, 1), instead of `strengths`: what is known before the
        token, such as 1 - (the model's largest probability). Bets are then large where the text
        could have gone elsewhere and none where it couldn't.
    deduplicate : {"document", "corpus", "done"}
        Where a (seed, target) pair counts once; ``"done"``: it was done before.

    Raises
    ------
    ValueError
        If a strength or a share is out of range.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> n = np.arange(300)
    >>> y = np.random.default_rng(0).uniform(size=300) ** 0.7    # as where all p are .7
    >>> marks = Marks(y, n.astype(np.uint64), n, n, np.array([0, 300]), Null("uniform"))
    >>> found = e_process(marks)
    >>> bool(found.log_p[0] < np.log(1e-6)), int(found.first_crossing(1e-6)[0]) < 300
    (True, True)
    """
    kept, known = marks, None if predicted is None else np.asarray(predicted, np.float64)
    if known is not None and known.shape != marks.seeds.shape:
        raise ValueError(f"predicted must have shape {marks.seeds.shape}, not {known.shape}")
    if deduplicate != "done":
        mask = first_occurrences(marks, deduplicate)
        kept, known = marks.kept(mask), None if known is None else known[mask]
    if shares is None:
        shares = SHARES if marks.null.kind == "uniform" else (1.0,)
    if len(shares) == 0 or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares must lie between 0 and 1, not {tuple(shares)}")
    grid = [known] if known is not None else list(np.atleast_1d(np.asarray(strengths, np.float64)))
    if len(grid) == 0:
        raise ValueError("strengths must not be empty")
    total = np.full(len(kept.seeds), -np.inf)
    for strength in grid:
        ratios = log_ratios(kept, strength)
        for share in shares:
            total = np.logaddexp(total, _running(_diluted(ratios, share), kept))
    total -= math.log(len(grid) * len(shares))
    return EProcess(Ragged(total, kept.offsets), kept.positions)


def _diluted(log_ratio: FloatArray, share: float) -> FloatArray:
    if share == 1:
        return log_ratio
    found: FloatArray = np.logaddexp(math.log1p(-share), math.log(share) + log_ratio)
    return found


def _running(values: FloatArray, marks: Marks) -> FloatArray:
    """Sums of each document's values so far."""
    # a bet that was lost entirely stays lost, and must not spread to other documents
    total = np.cumsum(np.maximum(values, -1e4))
    before = np.concatenate([[0.0], total])[marks.offsets[:-1]]
    found: FloatArray = total - np.repeat(before, marks.lengths)
    return found
