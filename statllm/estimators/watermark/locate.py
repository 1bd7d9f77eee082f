"""Where in a text is the watermark? Segments with family-wise control, and their boundaries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from statllm.estimators.watermark import nulls
from statllm.estimators.watermark.deduplicate import deduplicated
from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks
from statllm.estimators.watermark.ratios import log_ratios


@dataclass(frozen=True)
class Segment:
    """A stretch of a document that is watermarked.

    Attributes
    ----------
    start, stop : int
        Most likely first token, and the one after the last.
    start_set, stop_set : tuple of int
        Smallest and largest value that the confidence set holds.
    log_p : float
        Of the window that found it, times the number of windows.
    n_scored : int
        Marks in that window.
    """

    start: int
    stop: int
    start_set: tuple[int, int]
    stop_set: tuple[int, int]
    log_p: float
    n_scored: int


def locate(
    marks: Marks,
    alpha: float = 0.01,
    min_length: int = 32,
    delta: float = 0.2,
    level: float = 0.95,
) -> list[Segment]:
    """Find the watermarked segments of one document.

    Windows of lengths `min_length` 2^j, half overlapping, are each tested by their exact sum. Those
    with p <= alpha / (number of windows) are watermarked, all of them together with probability
    at least 1 - alpha (Bonferroni, whatever overlaps). Of overlapping ones the surest is taken, and
    its boundaries are those of the largest likelihood ratio near it.

    A boundary's confidence set inverts e-values (Vovk and Wang 2021), averages of likelihood
    ratios over where a stretch begins: a start is too late where the marks before it look
    watermarked, and too early where those after it look like chance. The first holds whatever the
    watermark's strength; the second supposes marks at least as strong as `delta` says throughout.

    Parameters
    ----------
    marks : Marks
        Of one document; deduplicated here.
    alpha : float
        Probability of any false segment.
    min_length : int
        Marks of the shortest window.
    delta : float
        Strength for the boundaries: of pivots Delta, the model's largest probability is at
        most 1 - Delta; of green tokens the share rises by `delta` of the rest, g + delta (1 - g),
        and of bits, layer by layer, by a share of `delta` that falls from 1 to .1.
    level : float
        Of the confidence sets.

    Returns
    -------
    list of Segment
        In the order of the text.

    Raises
    ------
    ValueError
        If there isn't exactly one document, or a number is out of range.

    Examples
    --------
    >>> from statllm.estimators.watermark.marks import Null
    >>> rng = np.random.default_rng(0)
    >>> y = rng.uniform(size=600)
    >>> y[200:400] **= 0.4    # larger, as those of a watermark are
    >>> n = np.arange(600)
    >>> marks = Marks(y, n.astype(np.uint64), n, n, np.array([0, 600]), Null("uniform"))
    >>> [(s.start_set[0] <= 200 <= s.start_set[1], s.stop_set[0] <= 400 <= s.stop_set[1])
    ...  for s in locate(marks, delta=0.5)]
    [(True, True)]
    """
    if marks.n_documents != 1:
        raise ValueError(f"marks must be of one document, not of {marks.n_documents}")
    for name, value in {"alpha": alpha, "delta": delta, "level": level}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {value}")
    if min_length < 1:
        raise ValueError(f"min_length must be at least 1, not {min_length}")
    kept = deduplicated(marks)
    n = len(kept.seeds)
    if n == 0:
        return []
    starts, stops = _windows(n, min_length)
    log_p = _window_tests(kept, starts, stops) + math.log(len(starts))
    ratios = log_ratios(kept, delta)
    segments: list[Segment] = []
    taken = np.zeros(n, np.bool_)
    for window in np.argsort(log_p, kind="stable"):
        if log_p[window] > math.log(alpha):
            break
        a, b = int(starts[window]), int(stops[window])
        if taken[a:b].any():
            continue
        free = _free_around(taken, a, b)
        low, high = _best_stretch(ratios, a, b, free)
        taken[min(a, low) : max(b, high)] = True
        segments.append(
            _segment(kept, ratios, (low, high), free, level, (float(log_p[window]), b - a))
        )
    return sorted(segments, key=lambda segment: segment.start)


def _windows(n: int, shortest: int) -> tuple[IntArray, IntArray]:
    """All windows of the family: lengths double, strides are half of them."""
    starts, stops = [np.zeros(1, np.int64)], [np.array([n])]
    length = shortest
    while length < n:
        begin = np.arange(0, n - length + 1, max(length // 2, 1))
        starts.append(begin)
        stops.append(begin + length)
        length *= 2
    return np.concatenate(starts), np.concatenate(stops)


def _window_tests(marks: Marks, starts: IntArray, stops: IntArray) -> FloatArray:
    null = marks.null
    scores = marks.values.astype(np.float64)
    shares = (1 - (null.mixing or 0.0), null.mixing or 0.0)
    if null.kind == "uniform":
        scores = -np.log1p(-scores)
    if scores.ndim == 2:  # two keys' pivots, or the bits of a token
        scores = scores.sum(axis=1) if null.kind == "bits" else scores @ np.array(shares)
    total = np.concatenate([[0.0], np.cumsum(scores)])
    sums, lengths = total[stops] - total[starts], stops - starts
    if null.kind != "uniform":
        return nulls.binomial_log_tail(np.rint(sums), lengths * null.depth, null.share)
    if null.mixing is not None:
        return nulls.two_gamma_log_tail(sums, lengths, shares)
    return nulls.gamma_log_tail(sums, lengths)


def _free_around(
    taken: np.ndarray[tuple[int], np.dtype[np.bool_]], a: int, b: int
) -> tuple[int, int]:
    """The stretch around a window that no other segment has."""
    before, after = np.flatnonzero(taken[:a]), np.flatnonzero(taken[b:])
    return (
        int(before[-1]) + 1 if len(before) else 0,
        b + int(after[0]) if len(after) else len(taken),
    )


def _best_stretch(ratios: FloatArray, a: int, b: int, free: tuple[int, int]) -> tuple[int, int]:
    """The stretch with the largest likelihood ratio, within a window's length around it."""
    low, high = max(free[0], 2 * a - b), min(free[1], 2 * b - a)
    total = np.concatenate([[0.0], np.cumsum(ratios[low:high])])
    least = np.minimum.accumulate(total)
    stop = int(np.argmax(total - least))
    start = int(np.argmin(total[: stop + 1]))
    return (low + start, low + stop) if stop > start else (a, b)


def _segment(
    marks: Marks,
    ratios: FloatArray,
    found: tuple[int, int],
    free: tuple[int, int],
    level: float,
    window: tuple[float, int],
) -> Segment:
    low, high = found
    middle = (low + high) // 2
    bound = math.log(2 / (1 - level))  # two ways to be wrong about each boundary
    first, last = _boundary(ratios[free[0] : middle], bound)
    begins = (free[0] + first, free[0] + last)
    first, last = _boundary(ratios[middle : free[1]][::-1], bound)
    ends = (free[1] - last, free[1] - first)
    at = np.append(marks.positions, marks.positions[-1] + 1)

    def after(index: int) -> int:
        return int(marks.positions[index - 1]) + 1 if index > 0 else 0

    return Segment(
        int(at[low]),
        after(high),
        (min(int(at[begins[0]]), int(at[low])), max(int(at[begins[1]]), int(at[low]))),
        (min(after(ends[0]), after(high)), max(after(ends[1]), after(high))),
        window[0],
        window[1],
    )


def _boundary(ratios: FloatArray, bound: float) -> tuple[int, int]:
    """Smallest and largest start that aren't rejected; `ratios` end inside the segment.

    Start t is too late where the mean over s < t of prod_{s..t-1} f is at least 2 / (1 - level),
    too early where the mean over s > t of prod_{t..s-1} 1 / f is.
    """
    n = len(ratios)
    late = np.full(n + 1, -np.inf)
    early = np.full(n + 1, -np.inf)
    for t in range(1, n + 1):  # log sum over s of the products that end before t
        late[t] = np.logaddexp(late[t - 1], 0.0) + ratios[t - 1]
    for t in range(n - 1, -1, -1):
        early[t] = np.logaddexp(early[t + 1], 0.0) - ratios[t]
    index = np.arange(n + 1)
    mean_late = late - np.log(np.maximum(index, 1))
    mean_early = early - np.log(np.maximum(n - index, 1))
    kept = np.flatnonzero((mean_late < bound) & (mean_early < bound))
    return (int(kept[0]), int(kept[-1])) if len(kept) else (0, n)
