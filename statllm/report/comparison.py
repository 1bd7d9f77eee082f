"""Two models on the same items: everything that one asks for, with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from statllm.estimators.comparison import (
    equivalence,
    mcnemar,
    mean_estimate,
    non_inferiority,
    paired_difference,
    t_test,
)
from statllm.estimators.power import mcnemar_sample_size, minimum_detectable_effect, sample_size
from statllm.estimators.proportions import proportion
from statllm.integrations.pairing import Paired
from statllm.results import Estimate, TestResult


@dataclass(frozen=True, eq=False)
class Comparison:
    """B against A.

    Attributes
    ----------
    estimand : str
        What the difference is a difference of.
    a, b, difference : Estimate
    tests : dict of str to TestResult
        The paired t test; McNemar's exact one where every score is 0 or 1; non-inferiority and
        equivalence where there's a margin.
    unpaired_se : float
        What the error would be if the pairing were ignored.
    detectable : float
        True difference that such a comparison finds with 80 % power at alpha .05; NaN without an
        error.
    units_needed : int or None
        Prompts (clusters) with which the observed difference is found with that power, if it's
        the true one.
    n_items, n_only_a, n_only_b, n_missing : int
    """

    estimand: str
    a: Estimate
    b: Estimate
    difference: Estimate
    tests: dict[str, TestResult]
    unpaired_se: float
    detectable: float
    units_needed: int | None
    n_items: int
    n_only_a: int
    n_only_b: int
    n_missing: int

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "estimand": self.estimand,
            "a": self.a.to_dict(level),
            "b": self.b.to_dict(level),
            "difference": self.difference.to_dict(level),
            "tests": {
                name: {
                    "statistic": test.statistic,
                    "p_value": test.p_value,
                    "log_p_value": test.log_p_value,
                    "alternative": test.alternative,
                    "n_effective": test.n_effective,
                    "method": test.method,
                    "assumptions": test.assumptions,
                }
                for name, test in self.tests.items()
            },
            "unpaired_se": self.unpaired_se,
            "minimum_detectable_effect": self.detectable,
            "units_needed": self.units_needed,
            "items": {
                "common": self.n_items,
                "only_a": self.n_only_a,
                "only_b": self.n_only_b,
                "without_a_score": self.n_missing,
            },
        }


def compare_pairs(
    paired: Paired,
    metric: str = "score",
    names: tuple[str, str] = ("A", "B"),
    cluster: str | None = None,
    margin: float | None = None,
) -> Comparison:
    """Compare two models item by item.

    Parameters
    ----------
    paired : Paired
    metric : str
        What is compared, for the words.
    names : tuple of str
    cluster : str, optional
        What the clusters are, for the words.
    margin : float, optional
        For non-inferiority and equivalence.

    Returns
    -------
    Comparison

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones(40, np.int64)
    >>> a, b = np.tile([0.0, 1.0], 20), np.repeat([0.0, 1.0], [12, 28])
    >>> pairs = Paired([str(i) for i in range(40)], a, b, one, one, None, [], [], [])
    >>> found = compare_pairs(pairs, "accuracy")
    >>> f"{found.difference.value:.2f}", round(found.tests["McNemar"].p_value, 3)
    ('0.20', 0.115)
    """
    groups = paired.cluster
    singles = paired.binary
    if singles and groups is None:
        both = [
            proportion(float(x.sum()), len(x)).named(name, "share")
            for x, name in zip((paired.a, paired.b), names, strict=True)
        ]
    else:
        both = [
            mean_estimate(x, groups, name, "share" if singles else metric)
            for x, name in zip((paired.a, paired.b), names, strict=True)
        ]
    difference = paired_difference(
        paired.a,
        paired.b,
        groups,
        name=f"{names[1]} - {names[0]}",
        unit="share" if singles else metric,
    )
    tests = {"paired t": t_test(difference)}
    if singles and groups is None:
        tests["McNemar"] = mcnemar(paired.a, paired.b)
    if margin is not None:
        tests[f"not worse by {margin:g}"] = non_inferiority(difference, margin)
        tests[f"equal within {margin:g}"] = equivalence(difference, margin)
    alone = [mean_estimate(x, groups).se for x in (paired.a, paired.b)]
    unpaired = float(np.hypot(alone[0], alone[1]))
    detectable, needed = _plan(paired, difference, singles and groups is None)
    samples = int(max(paired.n_samples_a.max(), paired.n_samples_b.max()))
    words = f"difference of mean {metric} over prompts, prompts a random sample"
    if samples > 1:
        words += ", each prompt's samples averaged"
    if groups is not None:
        words += f", clustered by {cluster or 'cluster'}"
    return Comparison(
        words,
        both[0],
        both[1],
        difference,
        tests,
        unpaired,
        detectable,
        needed,
        len(paired.item),
        len(paired.only_a),
        len(paired.only_b),
        len(paired.missing),
    )


def _plan(paired: Paired, difference: Estimate, binary: bool) -> tuple[float, int | None]:
    """What could have been seen, and how many units would show what was seen."""
    if not difference.se > 0 or difference.n < 2:
        return float("nan"), None
    detectable = minimum_detectable_effect(difference.se, difference.n)
    if difference.value == 0:
        return detectable, None
    try:
        if binary:
            win = float(np.mean(paired.b > paired.a))
            loss = float(np.mean(paired.b < paired.a))
            return detectable, mcnemar_sample_size(win, loss)
        sd = difference.se * difference.n**0.5
        return detectable, sample_size(difference.value, sd)
    except ValueError:  # more units than anyone has
        return detectable, None
