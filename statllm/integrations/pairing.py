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
        text in each (the item is named).
    """
    if a.metric != b.metric:
        raise InputError(
            f"{a.source} has {a.metric}, {b.source} has {b.metric}: these can't be compared"
        )
    left, right = _by_item(a), _by_item(b)
    common = [name for name in left if name in right]
    if not common:
        raise InputError(
            f"{a.source} and {b.source} have no common item; the first ids are "
            f"'{a.item[0]}' and '{b.item[0]}'"
        )
    if a.fingerprint is not None and b.fingerprint is not None:
        prints_a = dict(zip(a.item, a.fingerprint, strict=True))
        prints_b = dict(zip(b.item, b.fingerprint, strict=True))
        for name in common:
            if prints_a[name] != prints_b[name]:
                raise InputError(
                    f"item '{name}' of {a.source} is not that of {b.source}: their texts differ"
                )
    clusters = None
    if a.cluster is not None:
        clusters_a = dict(zip(a.item, a.cluster, strict=True))
        clusters = clusters_a
    kept: list[str] = []
    missing: list[str] = []
    for name in common:
        known = not (np.isnan(left[name]).any() or np.isnan(right[name]).any())
        (kept if known else missing).append(name)
    if not kept:
        raise InputError(f"no common item of {a.source} and {b.source} has both scores")
    return Paired(
        kept,
        np.array([np.mean(left[name]) for name in kept]),
        np.array([np.mean(right[name]) for name in kept]),
        np.array([len(left[name]) for name in kept]),
        np.array([len(right[name]) for name in kept]),
        None if clusters is None else [clusters[name] for name in kept],
        [name for name in left if name not in right],
        [name for name in right if name not in left],
        missing,
    )


def _by_item(scores: Scores) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, value in zip(scores.item, scores.score.tolist(), strict=True):
        found.setdefault(name, []).append(value)
    return found
