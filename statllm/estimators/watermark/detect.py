"""Is it watermarked? One p-value per document from its marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.deduplicate import first_occurrences
from statllm.estimators.watermark.fit_statistics import truncated_divergence
from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks
from statllm.estimators.watermark.nulls.bernoulli_sums import whole_weights
from statllm.estimators.watermark.trgof_law import trgof_log_tail
from statllm.ragged import Ragged
from statllm.results import TestResult

if TYPE_CHECKING:
    import pandas as pd

Test = Literal["sum", "log", "optimal", "weighted", "trgof"]


@dataclass(frozen=True)
class Detections:
    """The outcome of one test on many documents.

    Attributes
    ----------
    log_p : ndarray, shape (n_documents,)
        Natural logarithm of the p-value; NaN where nothing could be scored.
    statistic : ndarray, shape (n_documents,)
    n_scored : ndarray of int64, shape (n_documents,)
        Distinct (seed, target) pairs behind it.
    n_repeated : ndarray of int64, shape (n_documents,)
        Tokens that repeat a pair and don't count.
    method, assumptions : str
    """

    log_p: FloatArray
    statistic: FloatArray
    n_scored: IntArray
    n_repeated: IntArray
    method: str
    assumptions: str

    def __getitem__(self, document: int) -> TestResult:
        """Return one document's test."""
        log_p = float(self.log_p[document])
        return TestResult(
            float(self.statistic[document]),
            float(np.exp(log_p)),
            log_p,
            "greater",
            int(self.n_scored[document]),
            self.method,
            self.assumptions,
        )

    def __len__(self) -> int:
        return len(self.log_p)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per document."""
        import pandas as pd

        return pd.DataFrame(
            {
                "log_p": self.log_p,
                "p_value": np.exp(self.log_p),
                "statistic": self.statistic,
                "n_scored": self.n_scored,
                "n_repeated": self.n_repeated,
            }
        )


def detect(
    marks: Marks,
    test: Test = "sum",
    *,
    delta: float = 0.05,
    weights: ArrayLike | None = None,
    deduplicate: Literal["document", "corpus", "done"] = "document",
) -> Detections:
    """Test every document for the watermark that its marks were read for.

    Parameters
    ----------
    marks : Marks
        As a scheme reads them, before deduplication.
    test : {"sum", "log", "optimal", "weighted", "trgof"}
        - ``"sum"``: the green tokens or the set bits, exact binomial (hypergeometric where lists
          have a fixed size and targets of one seed are distinct); of pivots -sum log(1 - Y),
          exact Gamma(n).
        - ``"log"``: of pivots, sum log Y, exact Gamma(n); better than the sum where the
          model's largest probability is mostly below .8.
        - ``"optimal"``: of pivots, the sum of the least-favourable log-density ratios h_Delta
          (Li, Ruan, Wang, Long and Su 2024).
        - ``"weighted"``: of bits, layers weighted from 10 down to 1 as SynthID does, exact on its
          lattice; of green tokens with `weights` of their own (entropies, say), exact.
        - ``"trgof"``: of pivots, truncated goodness of fit (Li, Ruan, Wang, Long and Su 2024b),
          s = 2 and truncation 1 / n, exact: for text of which a part was edited or is human.
    delta : float
        Delta of ``"optimal"``: the model's largest probability is at most 1 - Delta. Small values
        suit nearly certain text, and lose much elsewhere: `power.tokens_needed` compares.
    weights : array_like, shape (n_marks,), optional
        Of ``"weighted"``, one per mark of `marks`; they must not depend on the marks.
    deduplicate : {"document", "corpus", "done"}
        Where a (seed, target) pair counts once; ``"done"``: it was done before.

    Raises
    ------
    ValueError
        If the test doesn't suit the kind of marks, or weights are missing or of another length.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> marks = Marks(np.array([1, 1, 1, 0], np.uint8), np.arange(4, dtype=np.uint64),
    ...               np.arange(4), np.arange(4), np.array([0, 4]), Null("green", share=0.5))
    >>> round(float(np.exp(detect(marks).log_p[0])), 4)
    0.3125
    """
    given = None if weights is None else _checked(weights, marks)
    if deduplicate == "done":
        kept = marks
    else:
        mask = first_occurrences(marks, deduplicate)
        kept, given = marks.kept(mask), None if given is None else given[mask]
    if (marks.null.kind, test) not in _TESTS:
        named = [name for kind, name in _TESTS if kind == marks.null.kind]
        raise ValueError(
            f"test must be one of {', '.join(named)} for {marks.null.kind} marks, not {test!r}"
        )
    if given is not None and test != "weighted":
        raise ValueError(f"test {test!r} takes no weights; 'weighted' does")
    if marks.null.mixing is not None and test != "sum":
        raise ValueError(f"two mixed keys have test 'sum' alone, not {test!r}")
    statistic, log_p, method = _TESTS[marks.null.kind, test](kept, delta, given)
    empty = kept.lengths == 0
    return Detections(
        np.where(empty, np.nan, log_p),
        np.where(empty, np.nan, statistic),
        kept.lengths,
        marks.lengths - kept.lengths,
        method,
        _ASSUMPTIONS,
    )


_ASSUMPTIONS = (
    "the text was written without the key, whose pseudo-random numbers are independent and fair; "
    "tokens are those that were generated"
)

_Outcome = tuple[FloatArray, FloatArray, str]


def _checked(weights: ArrayLike, marks: Marks) -> FloatArray:
    found = np.asarray(weights, np.float64)
    if found.shape != marks.seeds.shape:
        raise ValueError(f"weights must have shape {marks.seeds.shape}, not {found.shape}")
    if not np.all(np.isfinite(found) & (found >= 0)):
        at = int(np.flatnonzero(~(np.isfinite(found) & (found >= 0)))[0])
        raise ValueError(f"weights must be finite and not negative; weights[{at}] is {found[at]}")
    return found


def _sums(values: NDArray[Any], marks: Marks) -> FloatArray:
    return Ragged(values, marks.offsets).sum().astype(np.float64)


def _green_count(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    null, n = marks.null, marks.lengths
    count = _sums(marks.values.astype(np.int64), marks)
    log_p = nulls.binomial_log_tail(count, n, null.share)
    if null.greens is None or null.vocabulary is None or not len(marks.seeds):
        return count, log_p, "green tokens, binomial"
    # many distinct targets of one list: draws without replacement
    without = np.flatnonzero(_lost_variance(marks) > 1e-3)
    if not len(without):
        return count, log_p, "green tokens, binomial or hypergeometric"
    firsts = np.minimum(marks.offsets[:-1], len(marks.seeds) - 1)
    one_seed = _sums((marks.seeds != marks.seeds[firsts][marks.documents]).astype(np.int64), marks)
    alone = without[one_seed[without] == 0]
    log_p[alone] = nulls.hypergeometric_log_tail(
        count[alone], null.vocabulary, null.greens, n[alone]
    )
    for document in without[one_seed[without] > 0]:
        low, high = marks.offsets[document : document + 2]
        _, draws = np.unique(marks.seeds[low:high], return_counts=True)
        log_p[document] = nulls.hypergeometric_sum_log_tail(
            count[document], null.vocabulary, null.greens, draws
        )
    return count, log_p, "green tokens, binomial or hypergeometric"


def _lost_variance(marks: Marks) -> FloatArray:
    """Share of the binomial variance that drawing without replacement takes away, per document.

    sum_s k_s (k_s - 1) / ((V - 1) n) for k_s distinct targets of seed s. Where it is small the
    binomial tail is kept: it is the larger one above the mean (Hoeffding 1963, theorem 4).
    """
    from statllm.estimators.watermark.prf._first import earlier_in_document

    assert marks.null.vocabulary is not None
    alike = np.zeros_like(marks.targets)
    pairs = 2 * _sums(earlier_in_document(marks.seeds, alike, marks.offsets), marks)
    lost: FloatArray = pairs / ((marks.null.vocabulary - 1) * np.maximum(marks.lengths, 1))
    return lost


def _green_weighted(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    """The weights are rounded to 256 levels first, so that the test of their sum is exact."""
    if weights is None:
        raise ValueError("test 'weighted' of green marks needs weights, one per mark")
    statistic, log_p = np.zeros((2, marks.n_documents))
    for document in np.flatnonzero(marks.lengths):
        low, high = marks.offsets[document : document + 2]
        whole, scale = whole_weights(weights[low:high])
        total = float(whole @ marks.values[low:high].astype(np.int64))
        statistic[document] = total / scale
        log_p[document] = nulls.weighted_bernoulli_log_tail(total, whole, marks.null.share)
    return statistic, log_p, "weighted green tokens, exact"


def _pivot_sum(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    scores = np.negative(marks.values)  # in place from here on: the array may be large
    np.negative(np.log1p(scores, out=scores), out=scores)
    if marks.null.mixing is None:
        statistic = _sums(scores, marks)
        log_p = nulls.gamma_log_tail(statistic, marks.lengths)
        return statistic, log_p, "sum of -log(1 - Y), Gamma"
    shares = (1 - marks.null.mixing, marks.null.mixing)
    statistic = _sums(scores @ np.array(shares), marks)
    log_p = nulls.two_gamma_log_tail(statistic, marks.lengths, shares)
    return statistic, log_p, "weighted sum of two keys' -log(1 - Y), exact"


def _pivot_log(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    statistic = _sums(np.log(marks.values), marks)
    return statistic, nulls.gamma_log_cdf(-statistic, marks.lengths), "sum of log Y, Gamma"


def _pivot_optimal(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    statistic = _sums(nulls.optimal_score(marks.values, delta), marks)
    log_p = nulls.optimal_log_tail(statistic, marks.lengths, delta)
    return statistic, log_p, f"sum of h, Delta = {delta:g}"


def _pivot_trgof(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    n = np.maximum(marks.lengths, 1)
    statistic = truncated_divergence(Ragged(marks.values, marks.offsets), 2.0, 1 / n)
    log_p = trgof_log_tail(statistic, n, 2.0, 1 / n)
    return statistic, log_p, "truncated goodness of fit, s = 2, exact"


def _bit_mean(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    depth = marks.null.depth
    bits, bounds = marks.values.ravel(), (marks.offsets * depth).tolist()
    # a loop over documents, yet a tenth of the time of np.add.reduceat
    set_ = [np.count_nonzero(bits[low:high]) for low, high in pairwise(bounds)]
    count = np.array(set_, np.float64)
    log_p = nulls.binomial_log_tail(count, marks.lengths * depth, marks.null.share)
    return count, log_p, "bits that are set, binomial"


def _bit_weighted(marks: Marks, delta: float, weights: FloatArray | None) -> _Outcome:
    """Weights 10 to 1 by layer, as whole numbers: 10 (m - 1) - 9 k."""
    depth = marks.null.depth
    layers = 10 * (depth - 1) - 9 * np.arange(depth) if depth > 1 else np.array([1])
    layers //= np.gcd.reduce(layers)
    count = _sums(marks.values @ layers.astype(np.float32), marks)
    log_p = nulls.weighted_bits_log_tail(count, layers, marks.lengths, marks.null.share)
    mean = count / (layers.sum() * np.maximum(marks.lengths, 1))
    return mean, log_p, "weighted mean of bits, exact on its lattice"


_TESTS: dict[tuple[str, str], Callable[[Marks, float, FloatArray | None], _Outcome]] = {
    ("green", "sum"): _green_count,
    ("green", "weighted"): _green_weighted,
    ("uniform", "sum"): _pivot_sum,
    ("uniform", "log"): _pivot_log,
    ("uniform", "optimal"): _pivot_optimal,
    ("uniform", "trgof"): _pivot_trgof,
    ("bits", "sum"): _bit_mean,
    ("bits", "weighted"): _bit_weighted,
}
