"""A judge's verdicts on pairs of responses, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from statllm.estimators._arrays import labels, numbers

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One row per verdict; every array has length n.

    Attributes
    ----------
    pair : ndarray
        Which pair of responses a and b it is about.
    a_first : ndarray of bool
        Whether a was shown first.
    place : ndarray of float64
        1 the response shown first is better, -1 the second, 0 a tie, NaN no verdict.
    cluster : ndarray
        Pairs that depend on each other, such as those of one prompt. Default: the pair.
    human : ndarray of float64, optional
        1 a is better by human judgement, -1 b, 0 a tie, NaN unknown; one value per pair.
    length_a, length_b : ndarray of float64, optional
        Of the responses, in any unit; NaN unknown.
    own : ndarray of float64, optional
        1 where a alone is by the judge's own family of models, -1 where b alone is, else 0.

    Raises
    ------
    ValueError
        If lengths differ, a value isn't one of those above, a label is missing, or what belongs to
        a pair changes within it.

    Examples
    --------
    >>> verdicts = Verdicts.of(["q1", "q1"], [True, False], [1, 1])
    >>> verdicts.preferred  # first a, then b
    array([ 1., -1.])
    """

    pair: NDArray[Any]
    a_first: BoolArray
    place: FloatArray
    cluster: NDArray[Any]
    human: FloatArray | None = None
    length_a: FloatArray | None = None
    length_b: FloatArray | None = None
    own: FloatArray | None = None

    @classmethod
    def of(
        cls,
        pair: ArrayLike,
        a_first: ArrayLike,
        place: ArrayLike,
        *,
        cluster: ArrayLike | None = None,
        human: ArrayLike | None = None,
        length_a: ArrayLike | None = None,
        length_b: ArrayLike | None = None,
        own: ArrayLike | None = None,
    ) -> Verdicts:
        """Make it from anything like arrays."""

        def given(x: ArrayLike | None, name: str) -> FloatArray | None:
            return None if x is None else numbers(x, name)

        n = np.size(np.asarray(place, object))
        names, first = labels(pair, "pair", n), numbers(a_first, "a_first")
        wrong = np.flatnonzero(~np.isin(first, [0, 1]))
        if len(wrong):
            row = wrong[0]
            raise ValueError(f"a_first must be true or false, not {first.flat[row]:g} in row {row}")
        return cls(
            names,
            first.astype(np.bool_),
            numbers(place, "place"),
            names if cluster is None else labels(cluster, "cluster", n),
            given(human, "human"),
            given(length_a, "length_a"),
            given(length_b, "length_b"),
            given(own, "own"),
        )

    def __post_init__(self) -> None:
        """Check lengths, values, and that a pair has one human verdict and one cluster."""
        n = len(self.pair)
        for name, values in self._given():
            if values.shape != (n,):
                raise ValueError(f"{name} must have one value per verdict, {n}, not {values.shape}")
        if (self.length_a is None) != (self.length_b is None):
            raise ValueError("length_a and length_b must be given together")
        for name, allowed in (("place", True), ("human", True), ("own", False)):
            column = getattr(self, name)
            if column is None:
                continue
            fair = np.isin(column, [-1, 0, 1]) | (allowed & np.isnan(column))
            if not fair.all():
                row = int(np.argmin(fair))
                raise ValueError(f"{name} must be 1, 0 or -1, not {column[row]:g} in row {row}")
        for name in ("length_a", "length_b"):
            column = getattr(self, name)
            if column is None:
                continue
            wrong = np.flatnonzero((column < 0) | np.isinf(column))
            if len(wrong):
                row = wrong[0]
                said = "must not be negative" if column[row] < 0 else "must be finite"
                raise ValueError(f"{name} {said}; it is {column[row]:g} in row {row}")
        for name in ("cluster", "human"):
            column = getattr(self, name)
            if column is None or not n:
                continue
            _, first, number = np.unique(self.pair, return_index=True, return_inverse=True)
            start = column[first][number]
            same = (start == column) | ((start != start) & (column != column))
            if not same.all():
                row = int(np.argmin(same))
                raise ValueError(
                    f"{name} must be the same throughout a pair; it changes in row {row} "
                    f"(pair {self.pair[row]})"
                )

    def _given(self) -> list[tuple[str, NDArray[Any]]]:
        columns = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, values) for name, values in columns if values is not None]

    def __len__(self) -> int:
        """Return the number of verdicts."""
        return len(self.pair)

    @property
    def preferred(self) -> FloatArray:
        """1 a is better by the judge, -1 b, 0 a tie, NaN no verdict."""
        return np.where(self.a_first, self.place, -self.place)

    def rows(self, chosen: BoolArray) -> Verdicts:
        """Return some of the verdicts."""
        return replace(self, **{name: values[chosen] for name, values in self._given()})

    def read(self) -> Verdicts:
        """Return those that are verdicts, not NaN."""
        return self.rows(~np.isnan(self.place))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Verdicts gathered by pair; every array has length n_pairs.

    Attributes
    ----------
    preferred : ndarray of float64
        Mean over the two orders (of the mean over votes) of 1, 0, -1 for a; of the one order
        where there is one.
    lean : ndarray of float64
        Mean of the two orders' verdicts by place: positive towards the first place. NaN where the
        pair was shown in one order.
    consistent : ndarray of float64
        Share of combinations of a verdict in each order that name the same response; NaN as above.
    first : ndarray of int64
        A row of each pair.
    cluster : ndarray
    """

    preferred: FloatArray
    lean: FloatArray
    consistent: FloatArray
    first: IntArray
    cluster: NDArray[Any]


def by_pair(verdicts: Verdicts) -> Pairs:
    """Gather verdicts by pair; unread ones are left out.

    Examples
    --------
    >>> found = by_pair(Verdicts.of(["p", "p", "q"], [True, False, True], [1, -1, 0]))
    >>> found.preferred, found.consistent
    (array([1., 0.]), array([ 1., nan]))
    """
    used = verdicts.read()
    _, first, number = np.unique(used.pair, return_index=True, return_inverse=True)
    n = len(first)
    # counts[pair, order, verdict for a: -1, 0, 1]
    code = (number * 2 + used.a_first) * 3 + (used.preferred + 1).astype(np.int64)
    counts = np.bincount(code, minlength=6 * n).reshape(n, 2, 3).astype(np.float64)
    asked = counts.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts / asked[:, :, None]
        mean = share[:, :, 2] - share[:, :, 0]
        preferred = np.nanmean(np.where(asked > 0, mean, np.nan), axis=1) if n else mean[:, 0]
        consistent = (share[:, 0] * share[:, 1]).sum(axis=1)
        lean = (mean[:, 1] - mean[:, 0]) / 2
    return Pairs(preferred, lean, consistent, first.astype(np.int64), used.cluster[first])
