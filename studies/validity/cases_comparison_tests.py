"""Tests of two models or scores that are equally good: how often do they find a difference?"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from simulate import ALPHAS, TestCase

from statllm.estimators.comparison import mcnemar, paired_difference
from statllm.estimators.selective import auroc, auroc_difference, delong_test
from statllm.results import Estimate

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
PER_CLUSTER = 5


# --- two scores of the same answers -------------------------------------------------------------


def two_scores(
    rng: Rng,
    n: int,
    right: float = 0.5,
    better: float = 0.0,
    cluster: bool = False,
    values: int | None = None,
) -> dict[str, Any]:
    """Labels and two scores of AUROC .76 each, correlated .5; b is `better` by as many sd.

    With `cluster` n counts clusters of `PER_CLUSTER` answers, whose labels and scores depend on
    the cluster. With `values` scores are cut to so many.
    """
    groups = np.repeat(np.arange(n), PER_CLUSTER if cluster else 1)
    size = len(groups)
    if cluster:
        shared = rng.standard_normal((3, n))[:, groups]
        own = rng.standard_normal((3, size))
        latent, *noise = np.sqrt(0.5) * (shared + own)
        label = latent > stats.norm.ppf(1 - right)
    else:
        label = rng.random(size) < right
        noise = list(rng.standard_normal((2, size)))
    both = rng.standard_normal(size)
    a, b = (np.sqrt(0.5) * (both + part) + label for part in noise)
    b = b + better * label
    if values is not None:
        cuts = np.linspace(-1, 2, values - 1)
        a, b = np.searchsorted(cuts, a), np.searchsorted(cuts, b)
    return {"a": a, "b": b, "label": label, "clusters": groups if cluster else None}


def delong(
    rng: Rng,
    n: int,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
    use_clusters: bool = True,
    **scene: Any,
) -> float:
    """P-value of the paired test."""
    data = two_scores(rng, n, **scene)
    if not use_clusters:
        data["clusters"] = None
    return delong_test(**data, alternative=alternative).p_value


def two_samples(rng: Rng, n: int) -> float:
    """Two data sets of n answers; the difference of their areas over its error."""
    first, second = (two_scores(rng, n) for _ in range(2))
    x, y = auroc(first["a"], first["label"]), auroc(second["a"], second["label"])
    return 2 * float(stats.norm.sf(abs(x.value - y.value) / math.hypot(x.se, y.se)))


def interval_of_the_difference(rng: Rng, n: int) -> float:
    """The level at which the interval of `auroc_difference` just touches 0."""
    return by_interval(auroc_difference(**two_scores(rng, n)))


def by_interval(difference: Estimate) -> float:
    """The smallest of 1, 5 and 10 % whose interval leaves 0 out, 1 if none does."""
    if math.isnan(difference.se):
        return math.nan
    alphas = [alpha for alpha in ALPHAS if 0.0 not in difference.interval(1 - alpha)]
    return min(alphas, default=1.0)


# --- two models on the same prompts -------------------------------------------------------------


def two_models(
    rng: Rng,
    n: int,
    right: float = 0.7,
    discordant: float = 0.2,
    better: float = 0.0,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Outcomes of two models that are right equally often and differ on a share of the prompts."""
    b_alone, a_alone = (discordant + better) / 2, (discordant - better) / 2
    both = right - discordant / 2
    cell = rng.choice(4, n, p=[both, a_alone, b_alone, 1 - both - a_alone - b_alone])
    return cell <= 1, (cell == 0) | (cell == 2)


def mcnemar_p(rng: Rng, n: int, how: str, **scene: float) -> float:
    """P-value of McNemar's test."""
    a, b = two_models(rng, n, **scene)
    return mcnemar(a, b, exact=how != "chi-squared", mid_p=how == "mid-p").p_value


def paired_outcomes(rng: Rng, n: int, **scene: float) -> float:
    """Right or wrong, prompt by prompt."""
    return by_interval(paired_difference(*two_models(rng, n, **scene)))


def paired_rewards(rng: Rng, n: int, better: float = 0.0) -> float:
    """Skewed rewards that share the difficulty of the prompt."""
    difficulty = rng.exponential(size=n)
    a, b = difficulty + rng.exponential(size=(2, n))
    return by_interval(paired_difference(a, b + better))


def paired_clusters(rng: Rng, n: int, use_clusters: bool = True) -> float:
    """n clusters of 1 to 9 prompts; half of the variance of a difference is the cluster's."""
    groups = np.repeat(np.arange(n), rng.integers(1, 10, n))
    gap = rng.standard_normal(n)[groups] + rng.standard_normal(len(groups))
    clusters = groups if use_clusters else None
    return by_interval(paired_difference(np.zeros(len(gap)), gap, clusters))


_ON_PURPOSE = "On purpose: what happens without `clusters`."
_FEW_DISCORDANT = (
    "Few discordant pairs (1 to 10 are expected) have few p-values; 1 % may be out of reach."
)
_WELCH = (
    "t with Welch's degrees of freedom: too seldom where either kind of answer is rare, 2, 5 and "
    "20 wrong ones (`delong-few-wrong`), or ten of each."
)
# By the beginning of the case's name; the longest that fits.
NOTES = {
    "delong": _WELCH,
    "delong-clusters": "t with one degree of freedom fewer than clusters: cautious at n = 20.",
    "delong-clusters-ignored": _ON_PURPOSE,
    "auroc-difference-interval": _WELCH,
    "mcnemar": _FEW_DISCORDANT,
    "paired-outcomes": _FEW_DISCORDANT,
    "paired-clusters-ignored": _ON_PURPOSE,
}


def _note(name: str) -> str:
    fitting = [start for start in NOTES if name.startswith(start)]
    return NOTES[max(fitting, key=len)] if fitting else ""


def _case(
    name: str, scene: str, p_value: Callable[[Rng, int], float], exact: bool = False
) -> TestCase:
    return TestCase(
        name, "Comparison", scene, p_value, note=_note(name), exact_or_conservative=exact
    )


_PAIRED = "two scores, AUROC .76, correlated"
_MODELS = "two models, .7 right"
_CLUSTERS = "n clusters of 5 answers, correlation .5"

CASES: list[TestCase] = [
    _case("delong", f"{_PAIRED}, half right", delong),
    _case("delong-one-sided", f"{_PAIRED}, half right", partial(delong, alternative="greater")),
    _case("delong-few-wrong", f"{_PAIRED}, .9 right", partial(delong, right=0.9)),
    _case("delong-five-values", f"{_PAIRED}, cut to five values", partial(delong, values=5)),
    _case("delong-clusters", f"{_PAIRED}; {_CLUSTERS}", partial(delong, cluster=True)),
    _case(
        "delong-clusters-five-values",
        f"{_PAIRED}, cut to five values; {_CLUSTERS}",
        partial(delong, cluster=True, values=5),
    ),
    _case(
        "delong-clusters-ignored",
        f"{_PAIRED}; {_CLUSTERS}",
        partial(delong, cluster=True, use_clusters=False),
    ),
    _case("auroc-two-samples", "two data sets, AUROC .76, half right", two_samples),
    _case("auroc-difference-interval", f"{_PAIRED}, half right", interval_of_the_difference),
    *(
        _case(
            f"mcnemar-{how}{suffix}",
            f"{_MODELS}, discordant {share:g}",
            partial(mcnemar_p, how=how, discordant=share),
            exact=how == "exact",
        )
        for how in ("exact", "mid-p", "chi-squared")
        for suffix, share in (("", 0.2), ("-few-discordant", 0.05))
    ),
    _case("paired-outcomes", f"{_MODELS}, discordant 0.2", paired_outcomes),
    _case(
        "paired-outcomes-few-discordant",
        f"{_MODELS}, discordant 0.05",
        partial(paired_outcomes, discordant=0.05),
    ),
    _case("paired-rewards", "exponential rewards, difficulty shared", paired_rewards),
    _case("paired-clusters", "n clusters of 1 to 9 prompts, correlation .5", paired_clusters),
    _case(
        "paired-clusters-ignored",
        "n clusters of 1 to 9 prompts, correlation .5",
        partial(paired_clusters, use_clusters=False),
    ),
]

# The same tests, by the same names, where they ought to reject.
POWER: list[TestCase] = [
    _case("delong", "AUROC .76 and .86", partial(delong, better=0.5)),
    _case(
        "delong-one-sided",
        "AUROC .76 and .86",
        partial(delong, better=0.5, alternative="greater"),
    ),
    _case("delong-few-wrong", "AUROC .76 and .86", partial(delong, better=0.5, right=0.9)),
    _case("delong-five-values", "AUROC .76 and .86", partial(delong, better=0.5, values=5)),
    _case("delong-clusters", "AUROC .76 and .86", partial(delong, better=0.5, cluster=True)),
    *(
        _case(
            f"mcnemar-{how}",
            ".65 against .75 right",
            partial(mcnemar_p, how=how, better=0.1),
        )
        for how in ("exact", "mid-p", "chi-squared")
    ),
    _case("paired-outcomes", ".65 against .75 right", partial(paired_outcomes, better=0.1)),
    _case("paired-rewards", "0.3 higher", partial(paired_rewards, better=0.3)),
]
