"""The mean of a model and the difference of two, as their design allows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from statllm.estimators.comparison import (
    TEstimate,
    equivalence,
    mcnemar,
    non_inferiority,
    ratio_estimate,
    t_test,
    two_way_mean,
)
from statllm.estimators.design._columns import FloatArray
from statllm.estimators.design.table import Design, Judges, Pairs
from statllm.estimators.proportions import proportion
from statllm.results import Estimate, TestResult


@dataclass(frozen=True)
class Comparison:
    """Is b better than a?

    Attributes
    ----------
    a, b : Estimate
        Mean of each on the common items; with Wilson's interval where `exact` is there.
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
    unpaired_se : float
        What the error of the difference would be if the pairing were ignored.
    units_needed : int or None
        Items (clusters) with which the observed difference is found 4 times in 5, if it's the true
        one; None where it's 0, has no error, or none would do.
    exact : TestResult or None
        McNemar's exact test, where scores are right or wrong, one each and independent.
    bounds : dict of str to TestResult
        Non-inferiority and equivalence, where a margin was given.
    """

    a: Estimate
    b: Estimate
    difference: TEstimate
    test: TestResult
    mde: float
    n_items: int
    n_dropped: int
    estimand: str
    unpaired_se: float
    units_needed: int | None
    exact: TestResult | None
    bounds: dict[str, TestResult]

    @property
    def tests(self) -> dict[str, TestResult]:
        """All tests by name."""
        exact = {} if self.exact is None else {"McNemar": self.exact}
        return {"paired t": self.test, **exact, **self.bounds}

    def summary(self) -> str:
        """Return a few lines of text."""
        dropped = f", {self.n_dropped} dropped" if self.n_dropped else ""
        lines = [
            self.estimand,
            self.difference.summary(),
            *(test.summary() for test in self.tests.values()),
            f"{self.n_items} items{dropped}; detectable with power 80 %: {self.mde:.3g}",
        ]
        return "\n".join(lines)

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "estimand": self.estimand,
            "a": self.a.to_dict(level),
            "b": self.b.to_dict(level),
            "difference": self.difference.to_dict(level),
            "tests": {name: test.to_dict() for name, test in self.tests.items()},
            "unpaired_se": self.unpaired_se,
            "minimum_detectable_effect": self.mde,
            "units_needed": self.units_needed,
        }


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
    margin: float | None = None,
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
        As for `mean`. Right or wrong answers, one each, are shares.
    margin : float, optional
        Above 0: test, too, that b isn't worse by as much, and that both are equal within it.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If a model isn't there, the two share no item, or the margin isn't above 0.

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
    right_or_wrong = not design.repeated and bool(
        np.isin(pairs.a, [0, 1]).all() and np.isin(pairs.b, [0, 1]).all()
    )
    unit = unit or ("share" if right_or_wrong else score)
    difference = _estimate(design, pairs, pairs.b - pairs.a, f"{b} - {a}", unit, sentence)
    alone: list[Estimate] = [
        _estimate(design, pairs, x, str(label), unit, design.estimand(label, None, score, judges))
        for x, label in ((pairs.a, a), (pairs.b, b))
    ]
    unpaired = math.hypot(alone[0].se, alone[1].se)
    plainly = replace(difference, method=difference.method.split(": ")[-1])
    test = replace(t_test(plainly), assumptions=f"{sentence}; their mean is nearly normal")
    exact = None
    independent = pairs.cluster is None and pairs.judge is None and not design.weighted
    if right_or_wrong and independent:
        exact = mcnemar(pairs.a, pairs.b)
        alone = [
            proportion(float(x.sum()), len(x)).named(str(label))
            for x, label in ((pairs.a, a), (pairs.b, b))
        ]
    bounds = {}
    if margin is not None:
        bounds[f"not worse by {margin:g}"] = non_inferiority(plainly, margin)
        bounds[f"equal within {margin:g}"] = equivalence(plainly, margin)
    return Comparison(
        alone[0], alone[1], difference, test, _detectable(difference),
        len(np.unique(pairs.item)), pairs.dropped, sentence, unpaired,
        _needed(pairs, difference, exact is not None), exact, bounds,
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
    """Minimum detectable effect at 80 % power and 5 %, with the test's degrees of freedom."""
    from statllm.estimators.power import minimum_detectable_effect

    if not difference.se > 0:
        return math.nan
    return minimum_detectable_effect(difference.se, difference.df + 1)


def _needed(pairs: Pairs, difference: TEstimate, right_or_wrong: bool) -> int | None:
    """Units that show the observed difference at 80 % power and 5 %."""
    from statllm.estimators.power import mcnemar_sample_size, sample_size

    if not difference.se > 0 or difference.value == 0:
        return None
    try:
        if right_or_wrong:
            win = float(np.mean(pairs.b > pairs.a))
            loss = float(np.mean(pairs.b < pairs.a))
            return mcnemar_sample_size(win, loss)
        return sample_size(difference.value, difference.se * math.sqrt(difference.n))
    except ValueError:  # more units than anyone has
        return None
