"""Who was scored on what, by whom: one table that every comparison of models reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from statllm.estimators._arrays import numbers
from statllm.estimators.design._columns import (
    BoolArray,
    Factor,
    FloatArray,
    IntArray,
    combinations,
    each,
    factor,
    means,
    no_duplicates,
)

Judges = Literal["fixed", "random"]


@dataclass(frozen=True)
class Pairs:
    """Scores of two models on the same items.

    Attributes
    ----------
    a, b : ndarray of float64, shape (m,)
        Means over samples; aligned by label, never by row order.
    item : ndarray of int64, shape (m,)
        Index into the design's item labels.
    cluster, judge : ndarray of int64, shape (m,), or None
        None where the design has none, or judges are averaged over.
    weight : ndarray of float64, shape (m,)
    dropped : int
        Items that only one of the two has (with a judge, and in a cluster, where these count).
    """

    a: FloatArray
    b: FloatArray
    item: IntArray
    cluster: IntArray | None
    judge: IntArray | None
    weight: FloatArray
    dropped: int


@dataclass(frozen=True)
class Design:
    """Scores with the item, model, sample, cluster and judge of each.

    Made by `from_columns`, which checks it. Samples are repeats within an item and averaged over;
    items (prompts) are what is sampled, or clusters of them where these are given.

    Attributes
    ----------
    score : ndarray of float64, shape (n,)
    item, model : Factor
    sample, cluster, judge : Factor or None
    weight : ndarray of float64, shape (n,)
        Of the item; 1 where none was given.
    weighted : bool
        Whether weights were given.
    cluster_name : str
        What clusters are, in words.

    Examples
    --------
    >>> design = Design.from_columns(
    ...     score=[1, 0, 1, 1, 1, 0, 1, 1],
    ...     item=[1, 2, 3, 4, 4, 3, 2, 1],
    ...     model=["old"] * 4 + ["new"] * 4,
    ... )
    >>> design.matrix("new")
    array([1., 1., 0., 1.])
    >>> print(design.estimand("old", "new"))
    difference of mean score, new less old, over prompts; prompts a random sample
    """

    score: FloatArray
    item: Factor
    model: Factor
    sample: Factor | None
    cluster: Factor | None
    judge: Factor | None
    weight: FloatArray
    weighted: bool = False
    cluster_name: str = "cluster"

    @classmethod
    def from_columns(
        cls,
        *,
        score: ArrayLike,
        item: ArrayLike,
        model: ArrayLike,
        sample: ArrayLike | None = None,
        cluster: ArrayLike | None = None,
        judge: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        cluster_name: str = "cluster",
    ) -> Design:
        """Make a design from columns, a row per score.

        Parameters
        ----------
        score : array_like of float, shape (n,)
            Finite; a missing answer must be scored, or its row left out, by the caller.
        item, model : array_like, shape (n,)
            Labels of prompts and models.
        sample : array_like, shape (n,), optional
            Number of the repeat. Without it, a model has one row per item (and judge).
        cluster : array_like, shape (n,), optional
            Group of dependent prompts: a source, a passage. Items may be nested in clusters or
            crossed with them.
        judge : array_like, shape (n,), optional
        weight : array_like of float, shape (n,), optional
            How much an item counts, not negative and the same in all its rows.
        cluster_name : str
            What clusters are (source, passage), for `estimand`.

        Raises
        ------
        ValueError
            If columns differ in length, a score or weight isn't finite, a label is missing, two
            rows have the same item, model, sample and judge, or weights differ within an item.
            Rows are named.
        """
        scores = numbers(score, "score")
        if scores.ndim != 1 or not len(scores):
            raise ValueError(f"score must be one column, not of shape {scores.shape}")
        each(np.isfinite(scores), "score", scores, "must be finite")
        columns = {
            "item": item,
            "model": model,
            "sample": sample,
            "cluster": cluster,
            "judge": judge,
        }
        found = {
            name: None if column is None else factor(column, name, len(scores))
            for name, column in columns.items()
        }
        items, models = found["item"], found["model"]
        assert items is not None
        assert models is not None
        weights = np.ones(len(scores)) if weight is None else numbers(weight, "weight")
        if weights.shape != scores.shape:
            raise ValueError(f"weight has {weights.size} rows, score {len(scores)}")
        each(np.isfinite(weights) & (weights >= 0), "weight", weights, "must be 0 or more")
        of_item = np.zeros(len(items.labels))
        of_item[items.code] = weights
        same = of_item[items.code] == weights
        if not same.all():
            label = items.labels[items.code[~same][0]]
            raise ValueError(f"item {label!r} has different weights")
        key = [found[name] for name in ("item", "model", "sample", "judge")]
        # An item in several clusters is another prompt in each.
        if found["cluster"] is not None:
            key.append(found["cluster"])
        no_duplicates([factor for factor in key if factor is not None])
        return cls(
            scores, items, models, found["sample"], found["cluster"], found["judge"], weights,
            weight is not None, cluster_name,
        )  # fmt: skip

    @cached_property
    def nested(self) -> bool:
        """Whether every item lies in one cluster; True without clusters."""
        if self.cluster is None:
            return True
        owner = np.zeros(len(self.item.labels), np.int64)
        owner[self.item.code] = self.cluster.code
        return bool((owner[self.item.code] == self.cluster.code).all())

    @cached_property
    def repeated(self) -> bool:
        """Whether a model has several samples of an item (from one judge)."""
        if self.sample is None:
            return False
        columns = [self.item, self.model, self.cluster, self.judge]
        cells, _ = combinations([each.code for each in columns if each is not None])
        return len(cells[0]) < len(self.score)

    @cached_property
    def shared(self) -> BoolArray:
        """Which items every model has, (n_items,)."""
        seen = np.zeros((len(self.item.labels), len(self.model.labels)), np.bool_)
        seen[self.item.code, self.model.code] = True
        return np.asarray(seen.all(axis=1))

    @property
    def paired(self) -> bool:
        """Whether every model has every item."""
        return bool(self.shared.all())

    def matrix(self, model: object = None) -> FloatArray:
        """Means of items: (n_items, n_models), or (n_items,) of one model; NaN where it has none.

        Samples are averaged within a judge, judges then equally.
        """
        if model is not None:
            return np.asarray(self.matrix()[:, self.model.number(model, "model")])
        judge = self._codes(self.judge)
        cells, code = combinations([self.item.code, self.model.code, judge])
        by_judge = means(self.score, code)
        pairs, code = combinations([cells[0], cells[1]])
        out = np.full((len(self.item.labels), len(self.model.labels)), math.nan)
        out[pairs[0], pairs[1]] = means(by_judge, code)
        return out

    def pair(self, a: object, b: object, judges: Judges = "fixed") -> Pairs:
        """Scores of two models on what both have, aligned by label.

        Parameters
        ----------
        a, b : labels of models
        judges : {"fixed", "random"}
            ``"fixed"``: average over the judges that scored both models on an item. ``"random"``:
            a row per item and judge, the judges being a sample, too.
        """
        if judges not in ("fixed", "random"):
            raise ValueError(f"judges must be fixed or random, not {judges!r}")
        sides = [self._of(self.model.number(label, "model")) for label in (a, b)]
        (left, left_means), (right, right_means) = sides
        # Cells (item, cluster, judge) that both have.
        _, code = combinations([np.concatenate([x, y]) for x, y in zip(left, right, strict=True)])
        first, second = np.split(code, [len(left_means)])
        _, i, j = np.intersect1d(first, second, return_indices=True)
        cells, x, y = [part[i] for part in left], left_means[i], right_means[j]
        if judges == "fixed":  # over the judges of a cell
            kept, code = combinations(cells[:2])
            cells, x, y = (
                [*kept, np.zeros(len(kept[0]), np.int64)],
                means(x, code),
                means(y, code),
            )
        weight = np.zeros(len(self.item.labels))
        weight[self.item.code] = self.weight
        everything = np.union1d(left[0], right[0])
        return Pairs(
            x,
            y,
            cells[0],
            None if self.cluster is None else cells[1],
            cells[2] if judges == "random" and self.judge is not None else None,
            weight[cells[0]],
            len(np.setdiff1d(everything, cells[0])),
        )

    def estimand(
        self, a: object = None, b: object = None, score: str = "score", judges: Judges = "fixed"
    ) -> str:
        """What is estimated, in words, for one model or two."""
        what = f"mean {score}"
        if b is not None:
            what = f"difference of mean {score}, {b} less {a},"
        elif a is not None:
            what = f"mean {score} of {a}"
        over = "over prompts" + (" weighted as given" if self.weighted else "")
        parts = ["prompts a random sample"]
        if self.cluster is not None and self.nested:
            parts.append(f"clustered by {self.cluster_name}")
        elif self.cluster is not None:
            parts = [f"prompts and the {self.cluster_name}s crossed with them random samples"]
        if self.repeated:
            parts.append("each prompt's samples averaged")
        if self.judge is not None:
            parts.append(f"judges {'a random sample' if judges == 'random' else 'these ones'}")
        return f"{what} {over}; {', '.join(parts)}"

    def _of(self, model: int) -> tuple[list[IntArray], FloatArray]:
        """Cells (item, cluster, judge) of a model, and its means over samples there."""
        rows = self.model.code == model
        columns = [self.item.code, self._codes(self.cluster), self._codes(self.judge)]
        cells, code = combinations([column[rows] for column in columns])
        return cells, means(self.score[rows], code)

    def _codes(self, factor: Factor | None) -> IntArray:
        return np.zeros(len(self.score), np.int64) if factor is None else factor.code
