"""maj@k: how often the majority of k samples is right, exactly."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Draw = Literal["without", "with"]
Tally = tuple[tuple[int, ...], tuple[int, ...], int]

_MOST = 1000  # C(1000, 500) is about 1e299: the coefficients stay below the largest float


def majority_at_k(
    answers: Ragged, correct: Ragged, k: ArrayLike, draw: Draw = "without"
) -> FloatArray:
    """Probability that the most frequent answer of k samples is a right one, task by task.

    k of the n samples are drawn, and the winner is drawn among the answers with most votes. The
    expectation is exact. With w right answers of counts c_1.., and the generating functions of a
    class that gets fewer than a votes or exactly a,

        P = sum_a integral_0^1 [x^k] d/dy prod_j (sum_{b < a} C(m_j, b) x^b + y C(m_j, a) x^a)

    over C(n, k), the derivative being taken of the right classes only: the integral over y turns a
    tie of t classes into the share 1 / t. Gauss and Legendre's rule of (J + 1) / 2 nodes integrates
    the polynomial exactly.

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
        If rows differ in length, equal answers have different verdicts (the task and the answer are
        named), a task has more than 1,000 samples, or k is below 1.

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
    ks = np.asarray(k)
    if ks.ndim > 1 or np.any(ks < 1) or np.any(ks != np.floor(ks)):
        raise ValueError("k must be a whole number of at least 1, or a list of such")
    wanted = np.atleast_1d(ks).astype(np.int64)
    known: dict[Tally, FloatArray] = {}
    out = np.full((answers.n_rows, len(wanted)), np.nan)
    for task in range(answers.n_rows):
        tally = _tally(task, answers.row(task), correct.row(task))
        n = sum(tally[0]) + sum(tally[1]) + tally[2]
        if n > _MOST:
            raise ValueError(f"task {task} has {n} samples, more than {_MOST}")
        usable = wanted <= n if draw == "without" else np.full(len(wanted), n > 0)
        if not usable.any():
            continue
        if tally not in known:
            known[tally] = _probabilities(tally, wanted[usable], draw == "with")
        out[task, usable] = known[tally]
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
    right_ones = tuple(sorted(count for answer, count in counts.items() if verdict[answer]))
    wrong_ones = tuple(sorted(count for answer, count in counts.items() if not verdict[answer]))
    return right_ones, wrong_ones, silent


def _probabilities(tally: Tally, ks: IntArray, replace: bool) -> FloatArray:
    """P(the winner of k votes is right), for each k; one product of polynomials serves them all."""
    right, wrong, silent = tally
    if not right:
        return np.zeros(len(ks))
    n, k = sum(right) + sum(wrong) + silent, int(ks.max())
    nodes, weights = np.polynomial.legendre.leggauss((len(right) + len(wrong) + 2) // 2)
    nodes, weights = (nodes + 1) / 2, weights / 2
    terms = {m: _terms(m, n, k, replace) for m in {*right, *wrong, silent}}
    most = k if replace else min(k, max(right))
    total = np.zeros(len(ks))
    others = np.tile(_power(terms[silent], silent > 0, k), (len(nodes), 1))
    for a in range(1, most + 1):
        # The derivative over right classes: each in turn has exactly a votes.
        classes = _counted(right)
        rest = others
        for m, count in _counted(wrong):
            for _ in range(count):
                rest = _times(rest, _capped(terms[m], a, nodes), k)
        for m, count in classes:
            if a >= len(terms[m]):
                continue
            product = rest
            for other, times in classes:
                for _ in range(times - (other == m)):
                    product = _times(product, _capped(terms[other], a, nodes), k)
            reached = ks >= a
            mass = weights @ product[:, ks[reached] - a]
            total[reached] += count * float(terms[m][a]) * mass
    return np.asarray(np.minimum(total / _terms(n, n, k, replace)[ks], 1.0))


def _counted(counts: tuple[int, ...]) -> list[tuple[int, int]]:
    values, times = np.unique(np.asarray(counts, np.int64), return_counts=True)
    return list(zip(values.tolist(), times.tolist(), strict=True))


def _terms(m: int, n: int, k: int, replace: bool) -> FloatArray:
    """Weights of 0, 1, ... votes for a class of m samples: C(m, b), or (m / n)^b / b!."""
    if replace:
        b = np.arange(1, k + 1)
        return np.concatenate([[1.0], np.cumprod(m / n / b)])
    b = np.arange(1, min(m, k) + 1)
    return np.concatenate([[1.0], np.cumprod((m - b + 1) / b)])


def _power(terms: FloatArray, votes: bool, k: int) -> FloatArray:
    """The generating function of samples without an answer, of degree k."""
    out = np.zeros(k + 1)
    used = terms[: k + 1] if votes else terms[:1]
    out[: len(used)] = used
    return out


def _capped(terms: FloatArray, a: int, y: FloatArray) -> FloatArray:
    """Fewer than a votes, or a of them with weight y; shape (n_nodes, a + 1)."""
    out = np.zeros((len(y), a + 1))
    used = terms[: a + 1]
    out[:, : len(used)] = used
    out[:, a] *= y
    return out


def _times(left: FloatArray, right: FloatArray, k: int) -> FloatArray:
    """Products of polynomials, row by row, up to degree k."""
    width = right.shape[1]
    padded = np.concatenate([np.zeros((len(left), width - 1)), left], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    return np.asarray(np.einsum("ikb,ib->ik", windows, right[:, ::-1]))
