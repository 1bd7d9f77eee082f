"""Did a model forget? The tests of TOFU, with an error for the score that has none there."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import finite, numbers
from statllm.estimators.comparison import mean_estimate
from statllm.ragged import Ragged
from statllm.results import Estimate, TestResult

FloatArray = NDArray[np.float64]


def truth_ratio(perturbed: Ragged, paraphrased: ArrayLike) -> FloatArray:
    """Ratio of the probabilities of wrong answers and of the right one, question by question.

    mean over wrong answers of p^(1 / length) over the paraphrased right answer's p^(1 / length)
    (Maini et al. 2024, equation 1). Small for a model that knows, 1 or more for one that doesn't.

    Parameters
    ----------
    perturbed : Ragged of float, n_questions rows
        Mean log p per token of each wrong answer.
    paraphrased : array_like of float, shape (n_questions,)
        Mean log p per token of the right answer in other words.

    Returns
    -------
    ndarray of float64, shape (n_questions,)

    Raises
    ------
    ValueError
        If the numbers of questions differ, a question has no wrong answer, or a log p is NaN; the
        question is named.

    Notes
    -----
    The released code averages the wrong answers' *losses* before it takes the exponential, a
    geometric mean; that is `truth_ratio` of rows with that one mean.

    Examples
    --------
    >>> truth_ratio(Ragged.from_lists([[-2.0, -2.0], [-1.0]]), [-1.0, -1.0]).round(4)
    array([0.3679, 1.    ])
    """
    right = numbers(paraphrased, "paraphrased")
    if not isinstance(perturbed, Ragged):
        raise ValueError("perturbed must be Ragged; make it with Ragged.from_lists")
    if right.shape != (perturbed.n_rows,):
        raise ValueError(f"{right.size} right answers for {perturbed.n_rows} questions")
    wrong = np.asarray(perturbed.values, np.float64)
    bad = np.isnan(right)
    bad[perturbed.rows[np.isnan(wrong)]] = True
    bad |= perturbed.lengths == 0
    if bad.any():
        raise ValueError(f"question {int(np.argmax(bad))} lacks a wrong answer or a log p is NaN")
    with np.errstate(over="ignore"):  # a right answer that is all but impossible: infinite
        ratio = np.exp(wrong - right[perturbed.rows])
    return perturbed.with_values(ratio).mean()


def forget_quality(unlearned: ArrayLike, retained: ArrayLike) -> TestResult:
    """Test that an unlearned model answers like one that never saw the data.

    Kolmogorov and Smirnov's two-sample test of the truth ratios on the questions to forget, of the
    unlearned model and of one trained on the rest alone. A large p is what TOFU calls forget
    quality; it's no proof of equality, and it shrinks with the number of questions.

    Parameters
    ----------
    unlearned, retained : array_like of float
        Truth ratios. The same questions for both make the pairs dependent, which the test ignores:
        its size is then at most nominal.

    Returns
    -------
    TestResult

    Examples
    --------
    >>> forget_quality([0.1, 0.2, 0.3, 0.4], [0.9, 1.0, 1.1, 1.2]).p_value.round(4)
    np.float64(0.0286)
    """
    from scipy import stats

    first, second = finite(unlearned, "unlearned"), finite(retained, "retained")
    found = stats.ks_2samp(first, second)
    p = float(found.pvalue)
    return TestResult(
        float(found.statistic),
        found.pvalue,
        math.log(p) if p > 0 else -math.inf,
        "two-sided",
        min(len(first), len(second)),
        "Kolmogorov-Smirnov, two samples",
        "questions are independent of each other",
    )


def truth_ratio_utility(ratio: ArrayLike) -> FloatArray:
    """Return max(0, 1 - ratio): how much a model prefers the right answer, of what it should keep.

    Examples
    --------
    >>> truth_ratio_utility([0.25, 2.0])
    array([0.75, 0.  ])
    """
    values = numbers(ratio, "ratio")
    if np.isnan(values).any():
        raise ValueError(f"ratio is nan at place {int(np.argmax(np.isnan(values)))}")
    return np.maximum(1 - values, 0.0)


def model_utility(parts: Mapping[str, ArrayLike]) -> Estimate:
    """Harmonic mean of the mean scores of several sets, with a standard error.

    TOFU's utility: ROUGE, probability and truth-ratio utility on the retained data, real authors
    and world facts. The error is by the delta method: H^2 / k sqrt(sum se_j^2 / mean_j^4) for k
    independent parts.

    Parameters
    ----------
    parts : mapping of str to array_like
        Scores of at least 0, one per question.

    Returns
    -------
    Estimate
        0 with an error of NaN where a part's mean is 0.

    Raises
    ------
    ValueError
        If there is no part, or one has a score below 0; it's named.

    Examples
    --------
    >>> round(model_utility({"rouge": [0.5, 0.5], "probability": [1.0, 1.0]}).value, 4)
    0.6667
    """
    if not isinstance(parts, Mapping) or not parts:
        raise ValueError("parts must map names to scores, and have one at least")
    means, errors = [], []
    smallest = None
    for name, scores in parts.items():
        values = finite(scores, name)
        if values.min() < 0:
            raise ValueError(f"{name} has a score of {values.min():g}, below 0")
        estimate = mean_estimate(values)
        means.append(estimate.value)
        errors.append(estimate.se)
        smallest = len(values) if smallest is None else min(smallest, len(values))
    m, se, k = np.array(means), np.array(errors), len(means)
    if np.any(m == 0):
        return Estimate(0.0, math.nan, smallest or 0, "harmonic mean", "model utility")
    value = k * float(m.min()) / float(np.sum(m.min() / m))
    error = float(np.sqrt(np.sum((se * (value / m) ** 2) ** 2))) / k
    return Estimate(value, error, smallest or 0, "harmonic mean, delta method", "model utility")
