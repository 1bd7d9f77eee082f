"""How hard questions are, as responses to them say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.comparison import mean_estimate, quantile_estimate
from statllm.estimators.entropies import vote_entropy
from statllm.estimators.selective.rank_correlation import kendall
from statllm.ragged import Ragged
from statllm.results import Estimate

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QuestionDifficulty:
    """Difficulty of each question; arrays of shape (n,), NaN where nothing is known.

    Attributes
    ----------
    length : ndarray of float64
        Median length of the question's responses, in words (or the unit that was given).
    pass_rate : ndarray of float64
        Share of its judged responses that are right.
    vote_entropy : ndarray of float64
        Of its answers, nats; by the estimator that was named.
    clusters : ndarray or None
        Which questions depend on each other: those of one document, say.
    unit : str
        Of lengths.
    """

    length: FloatArray
    pass_rate: FloatArray
    vote_entropy: FloatArray
    clusters: NDArray[Any] | None
    unit: str

    def __len__(self) -> int:
        return len(self.length)

    def figures(self) -> list[Estimate]:
        """Return the set's figures: those of which something is known.

        The median length is a quantile with an interval by order statistics, and without clusters
        only. Kendall's tau of length and failure says how good a proxy length is: 0 if long
        responses go with verbosity alone.
        """
        found: list[Estimate] = []
        for name, values, unit in (
            ("response length", self.length, self.unit),
            ("pass rate", self.pass_rate, "share of responses"),
            ("vote entropy", self.vote_entropy, "nats"),
        ):
            known = np.isfinite(values)
            if not known.any():
                continue
            groups = None if self.clusters is None else self.clusters[known]
            if name == "response length" and groups is None:
                found.append(quantile_estimate(values[known], 0.5, f"median {name}", unit))
            mean = mean_estimate(values[known], groups, f"mean {name}", unit)
            # Where all questions, or none, were answered there is no spread, but no certainty.
            found.append(mean.as_share(mean.n) if name == "pass rate" else mean)
        both = np.isfinite(self.length) & np.isfinite(self.pass_rate)
        if both.sum() > 2 and len(np.unique(self.pass_rate[both])) > 1:
            groups = None if self.clusters is None else self.clusters[both]
            tau = kendall(self.length[both], -self.pass_rate[both], clusters=groups)
            found.append(tau.named("length against failure", "Kendall's tau-b"))
        return found

    def to_frame(self) -> pd.DataFrame:
        """Return one row per question."""
        import pandas as pd

        return pd.DataFrame(
            {
                "length": self.length,
                "pass_rate": self.pass_rate,
                "vote_entropy": self.vote_entropy,
            }
        )


def question_difficulty(
    lengths: Any = None,
    verdicts: Any = None,
    answers: Any = None,
    *,
    n: int | None = None,
    clusters: ArrayLike | None = None,
    unit: str = "words",
    entropy: str = "jackknife",
) -> QuestionDifficulty:
    """Measure how hard questions are by what was answered to them.

    NaturalReasoning (Yuan et al. 2025, arXiv 2502.13124) takes the length of a strong model's
    response for difficulty. Length is also verbosity; where verdicts or several answers are there,
    the pass rate and the entropy of the votes say it more directly.

    Parameters
    ----------
    lengths, verdicts, answers : Ragged, Arrow list column, or list of lists, optional
        Of each question's responses: words, right (1) or wrong (0) with NaN or None for unknown,
        and final answers, None for none.
    n : int, optional
        Number of questions, where none of these is given.
    clusters : array_like, shape (n,), optional
        Labels of questions that depend on each other.
    unit : str
        Of lengths.
    entropy : str
        Estimator of the vote entropy, see `statllm.estimators.entropy`.

    Raises
    ------
    ValueError
        If lengths differ, or a verdict is neither 0 nor 1.

    Examples
    --------
    >>> found = question_difficulty(
    ...     [[10, 30, 20], [5]], [[1, 0, 0], [1]], [["a", "b", "a"], ["c"]], entropy="plugin"
    ... )
    >>> found.length, found.pass_rate.round(3), found.vote_entropy.round(3)
    (array([20.,  5.]), array([0.333, 1.   ]), array([0.637, 0.   ]))
    """
    words, right = _rows(lengths), _rows(verdicts)
    entropies = None if answers is None else vote_entropy(answers, entropy).value
    sizes = {len(each) for each in (words, right, entropies) if each is not None}
    if n is not None:
        sizes.add(n)
    if len(sizes) != 1:
        raise ValueError(f"lengths, verdicts and answers are of {sorted(sizes)} questions")
    (size,) = sizes
    missing = np.full(size, np.nan)
    labels = None if clusters is None else np.asarray(clusters)
    if labels is not None and labels.shape != (size,):
        raise ValueError(f"clusters have shape {labels.shape}, not ({size},)")
    if right is not None:
        known = right.values[~np.isnan(right.values)]
        if not np.isin(known, (0.0, 1.0)).all():
            wrong = known[~np.isin(known, (0.0, 1.0))][0]
            raise ValueError(f"a verdict is {wrong:g}, not 0 or 1")
    return QuestionDifficulty(
        missing if words is None else _medians(words),
        missing if right is None else right.keep(~np.isnan(right.values)).mean(),
        missing if entropies is None else entropies,
        labels,
        unit,
    )


def _rows(given: Any) -> Ragged | None:
    """Rows of floats; None and null are NaN."""
    if given is None:
        return None
    if isinstance(given, Ragged):
        return given.with_values(given.values.astype(np.float64))
    listed = given.to_pylist() if hasattr(given, "to_pylist") else given
    lengths = np.array([len(row) for row in listed], dtype=np.int64)
    flat = [np.nan if value is None else float(value) for row in listed for value in row]
    return Ragged.from_lengths(np.array(flat, dtype=np.float64), lengths)


def _medians(rows: Ragged) -> FloatArray:
    """Median of each row without its NaN; NaN for an empty one."""
    kept = rows.keep(~np.isnan(rows.values))
    order = np.lexsort((kept.values, kept.rows))
    values, starts, lengths = kept.values[order], kept.offsets[:-1], kept.lengths
    out = np.full(len(lengths), np.nan)
    some = lengths > 0
    low = starts[some] + (lengths[some] - 1) // 2
    high = starts[some] + lengths[some] // 2
    out[some] = (values[low] + values[high]) / 2
    return out
