"""Near-duplicate texts: MinHash finds candidates, the exact Jaccard similarity decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.selection._candidates import connect, first_equal
from statllm.selection._minhash import ShingleSets, band_keys, banding, missed
from statllm.selection._words import Normalisation, Texts

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DuplicatePreset:
    """Settings of a published corpus; what its paper leaves open is ours.

    Attributes
    ----------
    threshold : float
        Jaccard similarity from which two texts are near-duplicates.
    shingle : int
        Words of a shingle.
    permutations : int
    rows : int, optional
        Permutations of a band as published; None takes ours.
    source : str
    """

    threshold: float
    shingle: int
    permutations: int
    rows: int | None
    source: str

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `near_duplicates`."""
        return {
            name: getattr(self, name) for name in ("threshold", "shingle", "permutations", "rows")
        }


#: Published settings by name. NaturalReasoning states "word level" and .55 only; Gopher states
#: 13-grams and .8. FineWeb's 14 bands of 8 miss 23% of the pairs at its threshold of .75.
DUPLICATE_PRESETS: Mapping[str, DuplicatePreset] = {
    "natural-reasoning": DuplicatePreset(0.55, 1, 256, None, "Yuan et al. 2025, 2502.13124"),
    "gopher": DuplicatePreset(0.8, 13, 256, None, "Rae et al. 2021, 2112.11446"),
    "fineweb": DuplicatePreset(0.75, 5, 112, 8, "Penedo et al. 2024, 2406.17557"),
}


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """What became of each text.

    Attributes
    ----------
    kept : ndarray of bool, shape (n,)
        One text of each cluster. An empty text isn't kept.
    empty : ndarray of bool, shape (n,)
        Null, or without a word.
    cluster : ndarray of int64, shape (n,)
        The first row of the text's cluster; -1 for an empty text.
    duplicate_of : ndarray of int64, shape (n,)
        The kept row of the cluster, for the others of it; -1 otherwise.
    jaccard : ndarray of float64, shape (n,)
        Similarity with `duplicate_of`; NaN where there is none. It is below the threshold where
        the two are linked through other texts only (`n_chained`).
    threshold : float
    shingle : int
    bands, rows : int
        Banding; a pair with similarity J is a candidate with probability 1 - (1 - J^rows)^bands.
    n_candidates, n_verified : int
        Pairs of different texts compared, and those of them at or above the threshold.
    """

    kept: BoolArray
    empty: BoolArray
    cluster: IntArray
    duplicate_of: IntArray
    jaccard: FloatArray
    threshold: float
    shingle: int
    bands: int
    rows: int
    n_candidates: int
    n_verified: int

    @property
    def n_chained(self) -> int:
        """Dropped texts that are near the kept one by way of others only."""
        return int(np.sum(self.jaccard < self.threshold))

    def miss_rate(self, jaccard: float | None = None) -> float:
        """Return the probability that a pair with this similarity (the threshold) is missed."""
        return missed(self.threshold if jaccard is None else jaccard, self.bands, self.rows)

    def counts(self) -> dict[str, int]:
        """Return the number of texts that are kept, near-duplicates, and empty; they add up."""
        return {
            "kept": int(self.kept.sum()),
            "near_duplicate": int(np.sum(self.duplicate_of >= 0)),
            "empty": int(self.empty.sum()),
        }

    def reasons(self) -> list[str]:
        """Return kept, near_duplicate or empty for each text."""
        names = np.array(["kept", "near_duplicate", "empty"], dtype=object)
        reasons: list[str] = names[np.where(self.empty, 2, self.duplicate_of >= 0)].tolist()
        return reasons

    @cached_property
    def keepers(self) -> IntArray:
        """Rows of which others are near-duplicates, rising."""
        return np.unique(self.duplicate_of[self.duplicate_of >= 0])

    def part(self, start: int, stop: int) -> NearDuplicates:
        """Return what became of the texts from `start` to before `stop`."""
        names = ("kept", "empty", "cluster", "duplicate_of", "jaccard")
        return replace(self, **{name: getattr(self, name)[start:stop] for name in names})

    def to_frame(self) -> pd.DataFrame:
        """Return one row per text."""
        import pandas as pd

        return pd.DataFrame(
            {
                "kept": self.kept,
                "reason": self.reasons(),
                "cluster": self.cluster,
                "duplicate_of": self.duplicate_of,
                "jaccard": self.jaccard,
            }
        )

    def summary(self) -> str:
        """Return one line of text."""
        counts = self.counts()
        return (
            f"{counts['kept']} of {len(self.kept)} texts kept, "
            f"{counts['near_duplicate']} near-duplicates (Jaccard >= {self.threshold:g} of "
            f"{self.shingle}-word shingles; {self.n_chained} by way of others), "
            f"{counts['empty']} empty; a pair at the threshold is missed with probability "
            f"{self.miss_rate():.2g}"
        )


def near_duplicates(
    texts: Texts,
    threshold: float = 0.55,
    *,
    shingle: int = 2,
    normalisation: Normalisation = "words",
    permutations: int = 256,
    rows: int | None = None,
    max_miss: float = 0.01,
    score: ArrayLike | None = None,
    seed: int = 0,
) -> NearDuplicates:
    """Find near-duplicates and keep one text of each cluster.

    Texts become sets of shingles, runs of `shingle` words (a shorter text is one shingle).
    Candidates are pairs that agree in a band of MinHash values (Broder 1997; Leskovec, Rajaraman
    and Ullman, Mining of Massive Datasets, 3.4); they are near-duplicates where the Jaccard
    similarity of the sets themselves is at least `threshold`. Clusters are what such pairs
    connect, so they don't depend on the order of the texts. Sets are compared by 63-bit hashes of
    shingles, stable across processes: two sets of 1000 collide with probability 1e-13.

    Parameters
    ----------
    texts : sequence of str or None, or Arrow array, length n
    threshold : float
        In (0, 1]. Default: that of NaturalReasoning (Yuan et al. 2025), whose other settings
        are ``near_duplicates_preset(texts, "natural-reasoning")``.
    shingle : int
        Words of a shingle. Single words make any two questions on one subject alike; long
        shingles make one changed word of a short question a new question.
    normalisation : {"words", "whitespace"}
        See `statllm.selection.near_duplicates.Normalisation`.
    permutations : int
        MinHash values of a text.
    rows : int, optional
        Values of a band. Default: the most with which a pair at the threshold is missed with
        probability `max_miss` at most.
    max_miss : float
        In (0, 1); used where `rows` is not given.
    score : array_like, shape (n,), optional
        The text of a cluster with the largest score is kept, the first of equals. Default: the
        first.
    seed : int
        Of the permutations.

    Raises
    ------
    InputError
        If a parameter is out of range, a text isn't text, or a score is NaN; the row is named.

    Examples
    --------
    >>> found = near_duplicates([
    ...     "How many apples does Ann have?",
    ...     "What is the capital of France?",
    ...     "how many apples does Ann have now",
    ...     None,
    ... ])
    >>> found.reasons()
    ['kept', 'kept', 'near_duplicate', 'empty']
    >>> int(found.duplicate_of[2]), round(float(found.jaccard[2]), 3)  # 5 of 6 pairs of words
    (0, 0.833)
    """
    rows, bands = checked_banding(threshold, shingle, permutations, max_miss, rows)
    sets = ShingleSets.of(texts, shingle, normalisation)
    n = len(sets.lengths)
    values = checked_scores(score, n)
    nonempty = sets.nonempty
    first = np.arange(n)
    first[nonempty] = nonempty[first_equal(*sets.digests())]
    nodes = nonempty[first[nonempty] == nonempty]  # equal sets are one node; they are compared
    keys = band_keys(sets, nodes, rows, bands, seed)
    groups, n_candidates, n_verified = connect(sets, nodes, keys, keys, threshold)
    cluster = np.arange(n)
    cluster[nodes] = nodes[groups]
    return settled(
        cluster[first],
        sets.lengths == 0,
        values,
        sets.jaccard,
        threshold=float(threshold),
        shingle=shingle,
        bands=bands,
        rows=rows,
        n_candidates=n_candidates,
        n_verified=n_verified,
    )


def checked_banding(
    threshold: float, shingle: int, permutations: int, max_miss: float, rows: int | None
) -> tuple[int, int]:
    """Return (rows, bands) of settings of `near_duplicates`, which are refused as there."""
    if not 0 < threshold <= 1:
        raise InputError(f"threshold must lie in (0, 1], not {threshold:g}")
    if shingle < 1:
        raise InputError(f"shingle must be at least 1, not {shingle}")
    return banding(threshold, permutations, max_miss, rows)


def checked_scores(score: ArrayLike | None, n: int) -> FloatArray | None:
    """Return scores as numbers, one per text; others are refused."""
    if score is None:
        return None
    values = np.asarray(score, dtype=np.float64)
    if values.shape != (n,):
        raise InputError(f"score must have shape ({n},), one per text, not {values.shape}")
    if np.isnan(values).any():
        raise InputError(f"score is NaN in row {np.flatnonzero(np.isnan(values))[0]}")
    return values


def settled(
    cluster: IntArray,
    empty: BoolArray,
    score: FloatArray | None,
    jaccard: Callable[[IntArray, IntArray], FloatArray],
    **figures: Any,
) -> NearDuplicates:
    """Keep one text of each cluster; `jaccard` compares rows, `figures` are the other attributes.

    Clusters are called by their first row; an empty text is one of its own.
    """
    rows = np.arange(len(cluster))
    keeper = cluster if score is None else _best(cluster, score)[cluster]
    dropped = np.flatnonzero(~empty & (keeper != rows))
    duplicate_of = np.full(len(cluster), -1)
    duplicate_of[dropped] = keeper[dropped]
    similarity = np.full(len(cluster), np.nan)
    similarity[dropped] = jaccard(dropped, keeper[dropped])
    return NearDuplicates(
        kept=~empty & (duplicate_of < 0),
        empty=empty,
        cluster=np.where(empty, -1, cluster),
        duplicate_of=duplicate_of,
        jaccard=similarity,
        **figures,
    )


def near_duplicates_preset(
    texts: Texts, name: str, *, score: ArrayLike | None = None, seed: int = 0
) -> NearDuplicates:
    """Find near-duplicates with the settings of `DUPLICATE_PRESETS`.

    Candidates are verified here; the published pipelines trust MinHash.

    Raises
    ------
    InputError
        If there's no such preset, and as in `near_duplicates`.
    """
    if name not in DUPLICATE_PRESETS:
        raise InputError(f"there is no preset '{name}'; there are {', '.join(DUPLICATE_PRESETS)}")
    return near_duplicates(texts, **DUPLICATE_PRESETS[name].settings(), score=score, seed=seed)


def _best(cluster: IntArray, score: FloatArray) -> IntArray:
    """At the first row of each cluster the row with its largest score, the first of equals."""
    largest = np.full(len(cluster), -np.inf)
    np.maximum.at(largest, cluster, score)
    best = np.flatnonzero(score == largest[cluster])[::-1]
    lead = np.full(len(cluster), -1)
    lead[cluster[best]] = best  # the first is written last
    return lead
