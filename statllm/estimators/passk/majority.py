"""maj@k: how often the majority of k samples is right, exactly."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators.passk._majority_laws import MOST, Tally, majority_laws
from statllm.estimators.passk.counts import sample_numbers, verdicts
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
Draw = Literal["without", "with"]


def majority_at_k(
    answers: Ragged, correct: Ragged, k: ArrayLike, draw: Draw = "without"
) -> FloatArray:
    """Probability that the most frequent answer of k samples is a right one, task by task.

    k of the n samples are drawn, and the winner is drawn among the answers with most votes. The
    expectation is exact. With w right answers of counts c_1.., and the generating functions of a
    class that gets fewer than a votes or exactly a,

        P = sum_a integral_0^1 [x^k] d/dy prod_j (sum_{b < a} C(m_j, b) x^b + y C(m_j, a) x^a)

    over C(n, k), the derivative being taken of the right classes only: the integral over y turns a
    tie of t classes into the share 1 / t. Gauss and Legendre's rule integrates the polynomial
    exactly.

    Parameters
    ----------
    answers : Ragged of str, or of any type that compares, n_tasks rows
        None or an empty text is a sample without an answer: it is drawn, and it doesn't vote.
    correct : Ragged of bool, the same rows
        Equal answers of a task must have equal verdicts.
    k : int or array_like of int, shape (n_k,)
    draw : {"without", "with"}
        Without replacement: unbiased for a new set of k samples. With: the multinomial law of the
        observed shares (the plug-in), which is biased, and exists for k above n, too.

    Returns
    -------
    ndarray of float64, shape (n_tasks,), or (n_tasks, n_k)
        NaN where a task has fewer than k samples (without replacement), or none.

    Raises
    ------
    ValueError
        If rows differ in length, a verdict isn't 0 or 1, equal answers have different verdicts
        (the task and the answer are named), a task has more than 1,000 samples, or k is below 1,
        or, with replacement, above 1,000.

    Examples
    --------
    >>> answers = Ragged.from_lists([["4", "4", "5"], ["1", "2", None]], object)
    >>> right = Ragged.from_lists([[1, 1, 0], [1, 0, 0]])
    >>> majority_at_k(answers, right, [1, 3]).round(4)
    array([[0.6667, 1.    ],
           [0.3333, 0.5   ]])
    """
    if draw not in ("without", "with"):
        raise ValueError(f"draw must be without or with, not {draw!r}")
    if not np.array_equal(answers.offsets, correct.offsets):
        raise ValueError("answers and correct must have rows of the same lengths")
    ks = sample_numbers(k)
    wanted = np.atleast_1d(ks)
    right = correct.with_values(verdicts(correct))
    if draw == "with" and wanted.max(initial=1) > MOST:
        raise ValueError(f"k is {wanted.max()}, more than {MOST} with replacement")
    numbers: dict[Tally, int] = {}
    rows = np.array(
        [
            numbers.setdefault(_tally(task, answers.row(task), right.row(task)), len(numbers))
            for task in range(answers.n_rows)
        ],
        np.int64,
    )
    if not len(rows) or not len(wanted):
        return np.zeros((len(rows), len(wanted)) if ks.ndim else len(rows))
    out = majority_laws(list(numbers), wanted, draw == "with")[rows]
    return out if ks.ndim else out[:, 0]


def _tally(task: int, answers: NDArray[np.generic], correct: NDArray[np.generic]) -> Tally:
    """Counts of right answers, of wrong answers, and of samples without one."""
    counts: dict[object, int] = {}
    verdict: dict[object, bool] = {}
    silent = 0
    for answer, right in zip(answers.tolist(), correct.tolist(), strict=True):
        if answer is None or answer == "" or answer != answer:
            silent += 1
            continue
        if verdict.setdefault(answer, bool(right)) != bool(right):
            raise ValueError(f"task {task}: answer {answer!r} is both right and wrong")
        counts[answer] = counts.get(answer, 0) + 1
    n = silent + sum(counts.values())
    if n > MOST:
        raise ValueError(f"task {task} has {n} samples, more than {MOST}")
    right_ones = tuple(sorted(count for answer, count in counts.items() if verdict[answer]))
    wrong_ones = tuple(sorted(count for answer, count in counts.items() if not verdict[answer]))
    return right_ones, wrong_ones, silent
