"""The mean of a model and the difference of two, as their design allows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from statllm.estimators.comparison import (
    TEstimate,
    mcnemar,
    ratio_estimate,
    t_test,
    two_way_mean,
)
from statllm.estimators.design._columns import FloatArray
from statllm.estimators.design.table import Design, Judges, Pairs
from statllm.results import TestResult


@dataclass(frozen=True)
class Comparison:
    """Is b better than a?

    Attributes
    ----------
    difference : TEstimate
        Of b less a, positive where b scores higher.
    test : TestResult
        t test that it's 0.
    mde : float
        The true difference that this design finds 4 times in 5 at the 5 % level; NaN without error.
    n_items, n_dropped : int
        Items compared, and items that only one model has.
    estimand : str
        What is estimated, in words.
    exact : TestResult or None
        McNemar's exact test, where scores are right or wrong, one each and independent.
    """

    difference: TEstimate
    test: TestResult
    mde: float
    n_items: int
    n_dropped: int
    estimand: str
    exact: TestResult | None = None

    def summary(self) -> str:
        """Return a few lines of text."""
        dropped = f", {self.n_dropped} dropped" if self.n_dropped else ""
        lines = [
            self.estimand,
            self.difference.summary(),
            self.test.summary(),
            f"{self.n_items} items{dropped}; detectable with power 80 %: {self.mde:.3g}",
        ]
        return "\n".join(lines if self.exact is None else [*lines, self.exact.summary()])


def mean(
    design: Design, model: object, *, judges: Judges = "fixed", score: str = "score", unit: str = ""
) -> TEstimate:
    """Mean score of a model over items, its error clustered as the design says.

    Parameters
    ----------
    design : Design
    model : label
    judges : {"fixed", "random"}
        See `Design.pair`.
    score, unit : str
        What the score is, in words, and its unit.

    Returns
    -------
    TEstimate
        `method` says what is estimated and how.

    Examples
    --------
    >>> design = Design.from_columns(score=[1, 0, 1, 1], item=[1, 2, 3, 4], model=["m"] * 4)
    >>> mean(design, "m").value
    0.75
    """
    pairs = design.pair(model, model, judges)
    sentence = design.estimand(model, score=score, judges=judges)
    return _estimate(design, pairs, pairs.a, f"mean {score} of {model}", unit, sentence)


def compare(
    design: Design,
    a: object,
    b: object,
    *,
    judges: Judges = "fixed",
    score: str = "score",
    unit: str = "",
) -> Comparison:
    """Compare two models on the items that both have: is b better?

    Scores are averaged over samples, then paired by item. The error of the differences is that of
    independent items; of clusters where the design has them (`ratio_estimate`); of two crossed
    ways where items are crossed with clusters, or judges are a sample (`two_way_mean`).

    Parameters
    ----------
    design : Design
    a, b : labels of models
    judges, score, unit
        As for `mean`.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If a model isn't there, or the two share no item.

    Examples
    --------
    >>> design = Design.from_columns(
    ...     score=[0, 0, 1, 1, 1, 0, 1, 1],
    ...     item=[1, 2, 3, 4, 4, 2, 3, 1],
    ...     model=["old"] * 4 + ["new"] * 4,
    ... )
    >>> found = compare(design, "old", "new", score="accuracy")
    >>> found.difference.value, found.difference.se, found.n_items
    (0.25, 0.25, 4)
    """
    pairs = design.pair(a, b, judges)
    if not len(pairs.a):
        raise ValueError(f"{a!r} and {b!r} have no item in common")
    sentence = design.estimand(a, b, score, judges)
    difference = _estimate(design, pairs, pairs.b - pairs.a, f"{b} - {a}", unit, sentence)
    test = replace(
        t_test(difference), method=f"t test, {difference.method.split(': ')[-1]}",
        assumptions=f"{sentence}; their mean is nearly normal",
    )  # fmt: skip
    exact = None
    binary = np.isin(pairs.a, [0, 1]).all() and np.isin(pairs.b, [0, 1]).all()
    plain = pairs.cluster is None and pairs.judge is None and not design.weighted
    if binary and plain:
        exact = mcnemar(pairs.a, pairs.b)
    return Comparison(
        difference, test, _detectable(difference), len(np.unique(pairs.item)), pairs.dropped,
        sentence, exact,
    )  # fmt: skip


def _estimate(
    design: Design, pairs: Pairs, x: FloatArray, name: str, unit: str, sentence: str
) -> TEstimate:
    """Weighted mean of rows with the error that their clusters call for."""
    w, item, cluster, judge = pairs.weight, pairs.item, pairs.cluster, pairs.judge
    if not design.nested:
        if judge is not None:
            raise ValueError("items crossed with clusters and with random judges: three ways")
        assert cluster is not None
        found = two_way_mean(x, item, cluster, w)
    elif judge is not None:
        found = two_way_mean(x, item if cluster is None else cluster, judge, w)
    else:
        found = ratio_estimate(w * x, w, clusters=cluster, method="mean")
    return replace(found, name=name, unit=unit, method=f"{sentence}: {found.method}")


def _detectable(difference: TEstimate) -> float:
    """Minimum detectable effect at 80 % power and 5 %."""
    from statllm.estimators.power import minimum_detectable_effect

    if not difference.se > 0:
        return math.nan
    return minimum_detectable_effect(difference.se, difference.df + 1)
