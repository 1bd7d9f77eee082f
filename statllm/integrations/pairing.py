"""Two sets of scores, item by item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.integrations.scores import Scores

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Paired:
    """Scores of two models on the items that both have.

    Attributes
    ----------
    item : list of str, length n
    a, b : ndarray of float64, shape (n,)
        Means over an item's samples.
    n_samples_a, n_samples_b : ndarray of int64, shape (n,)
    cluster : list of str, optional
    only_a, only_b : list of str
        Items that one side lacks.
    missing : list of str
        Common items without a score on one side; they are left out.
    """

    item: list[str]
    a: FloatArray
    b: FloatArray
    n_samples_a: NDArray[np.int64]
    n_samples_b: NDArray[np.int64]
    cluster: list[str] | None
    only_a: list[str]
    only_b: list[str]
    missing: list[str]

    @property
    def binary(self) -> bool:
        """Whether every score is 0 or 1 and stands alone."""
        single = bool(np.all(self.n_samples_a == 1) and np.all(self.n_samples_b == 1))
        return single and bool(np.isin(self.a, [0, 1]).all() and np.isin(self.b, [0, 1]).all())


def pair_scores(a: Scores, b: Scores) -> Paired:
    """Match the items of two sets by their ids, never by their order.

    Raises
    ------
    InputError
        If they measure different metrics, share no item, or an item of the same id has a different
        text or cluster in each (the item is named).
    """
    if a.metric != b.metric:
        raise InputError(
            f"{a.source} has {a.metric}, {b.source} has {b.metric}: these can't be compared"
        )
    left, right = _Items(a), _Items(b)
    common = [name for name in left.place if name in right.place]
    if not common:
        raise InputError(
            f"{a.source} and {b.source} have no common item; the first ids are "
            f"'{a.item[0]}' and '{b.item[0]}'"
        )
    _same_texts(a, b, common)
    clusters = _clusters(a, b, common)
    at_a = np.array([left.place[name] for name in common])
    at_b = np.array([right.place[name] for name in common])
    known = ~(np.isnan(left.mean[at_a]) | np.isnan(right.mean[at_b]))
    if not known.any():
        raise InputError(f"no common item of {a.source} and {b.source} has both scores")
    kept = [name for name, has in zip(common, known, strict=True) if has]
    return Paired(
        kept,
        left.mean[at_a][known],
        right.mean[at_b][known],
        left.count[at_a][known],
        right.count[at_b][known],
        None if clusters is None else [clusters[name] for name in kept],
        [name for name in left.place if name not in right.place],
        [name for name in right.place if name not in left.place],
        [name for name, has in zip(common, known, strict=True) if not has],
    )


class _Items:
    """Items in the order of their first score; a mean is NaN where one of its samples is."""

    def __init__(self, scores: Scores) -> None:
        self.place: dict[str, int] = {}
        rows = [self.place.setdefault(name, len(self.place)) for name in scores.item]
        self.count: NDArray[np.int64] = np.bincount(rows)
        self.mean: FloatArray = np.bincount(rows, weights=scores.score) / self.count


def _same_texts(a: Scores, b: Scores, common: list[str]) -> None:
    if a.fingerprint is None or b.fingerprint is None:
        return
    prints_a = dict(zip(a.item, a.fingerprint, strict=True))
    prints_b = dict(zip(b.item, b.fingerprint, strict=True))
    for name in common:
        if prints_a[name] != prints_b[name]:
            raise InputError(
                f"item '{name}' of {a.source} is not that of {b.source}: their texts differ"
            )


def _clusters(a: Scores, b: Scores, common: list[str]) -> dict[str, str] | None:
    if a.cluster is None:
        return None
    found = a.cluster_of()
    if b.cluster is not None:
        other = b.cluster_of()
        for name in common:
            if found[name] != other[name]:
                raise InputError(
                    f"item '{name}' is in cluster '{found[name]}' of {a.source} and in "
                    f"'{other[name]}' of {b.source}"
                )
    return found
