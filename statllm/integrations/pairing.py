"""Two sets of scores, item by item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statllm.errors import InputError
from statllm.estimators.design import Design
from statllm.integrations.scores import Scores


@dataclass(frozen=True, eq=False)
class Paired:
    """Scores of two models on the items that both have.

    Attributes
    ----------
    design : Design
        The scores of both, models ``"A"`` and ``"B"``; an item is its place in `item`.
    item : list of str, length n
        Common items with a score on both sides.
    only_a, only_b : list of str
        Items that one side lacks.
    missing : list of str
        Common items without a score on one side; they are left out.
    """

    design: Design
    item: list[str]
    only_a: list[str]
    only_b: list[str]
    missing: list[str]


def pair_scores(a: Scores, b: Scores, cluster: str | None = None) -> Paired:
    """Match the items of two sets by their ids, never by their order.

    Parameters
    ----------
    a, b : Scores
    cluster : str, optional
        What the clusters are, in words.

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
    left, right = dict.fromkeys(a.item), dict.fromkeys(b.item)  # in their order
    common = [name for name in left if name in right]
    if not common:
        raise InputError(
            f"{a.source} and {b.source} have no common item; the first ids are "
            f"{a.item[0]!r} and {b.item[0]!r}"
        )
    _same_texts(a, b, common)
    clusters = _clusters(a, b, common)
    lacking = _lacking(a) | _lacking(b)
    kept = [name for name in common if name not in lacking]
    if not kept:
        raise InputError(f"no common item of {a.source} and {b.source} has both scores")
    number = {name: place for place, name in enumerate(kept)}
    rows = [[number.get(name, -1) for name in side.item] for side in (a, b)]
    item = np.array(rows[0] + rows[1])
    used = item >= 0
    item = item[used]
    return Paired(
        Design.from_columns(
            score=np.concatenate([a.score, b.score])[used],
            item=item,
            model=np.repeat(["A", "B"], [len(a), len(b)])[used],
            sample=np.concatenate([a.sample, b.sample])[used],
            cluster=None if clusters is None else np.array([clusters[n] for n in kept])[item],
            cluster_name=cluster or "cluster",
        ),
        kept,
        [name for name in left if name not in right],
        [name for name in right if name not in left],
        [name for name in common if name in lacking],
    )


def _lacking(scores: Scores) -> set[str]:
    """Items of which a sample has no score."""
    return {scores.item[row] for row in np.flatnonzero(np.isnan(scores.score))}


def _same_texts(a: Scores, b: Scores, common: list[str]) -> None:
    if a.fingerprint is None or b.fingerprint is None:
        return
    prints_a = dict(zip(a.item, a.fingerprint, strict=True))
    prints_b = dict(zip(b.item, b.fingerprint, strict=True))
    for name in common:
        if prints_a[name] != prints_b[name]:
            raise InputError(
                f"item {name!r} of {a.source} is not that of {b.source}: their texts differ"
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
                    f"item {name!r} is in cluster '{found[name]}' of {a.source} and in "
                    f"'{other[name]}' of {b.source}"
                )
    return found
