"""P-values behind the guarantees: conformal ones, those of a risk, and families of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from simulate import ALPHAS, TestCase

from statllm.estimators.conformal import conformal_p_values
from statllm.estimators.selective import betting_p_value, reject_familywise, risk_p_value

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
MAX_RISK = 0.1
Correction = Literal["fixed-sequence", "fallback", "holm", "bonferroni"]


# --- conformal p-values: n calibration items, one new one ---------------------------------------


def conformal(
    rng: Rng, n: int, smoothed: bool = True, values: int | None = None, shift: float = 0.0
) -> float:
    """P-value of a new item of the same kind (`shift`ed: of another)."""
    scores = rng.exponential(size=n + 1)
    scores[-1] += shift
    if values is not None:
        scores = np.minimum(np.floor(scores * values / 3), values - 1)
    return float(conformal_p_values(scores[:-1], scores[-1:], smoothed, rng=rng)[0])


def mondrian(rng: Rng, n: int, smoothed: bool = True) -> float:
    """Three groups of unequal size and scores; the new item is of the smallest."""
    group = np.append(rng.choice(3, n, p=[0.6, 0.3, 0.1]), 2)
    scores = (1.0 + group) * rng.exponential(size=n + 1)
    groups = (group[:-1], group[-1:])
    return float(conformal_p_values(scores[:-1], scores[-1:], smoothed, groups, rng=rng)[0])


def shifted(rng: Rng, n: int, known: bool = True, smoothed: bool = True) -> float:
    """Covariate shift: prompts of the test are longer, and longer ones are stranger.

    Covariates are normal, one apart; the weights are the true likelihood ratio.
    """
    x = rng.standard_normal(n + 1)
    x[-1] += 1
    scores = np.exp(x) * rng.exponential(size=n + 1)
    ratio = np.exp(x - 0.5)
    weights = (ratio[:-1], ratio[-1:]) if known else None
    return float(conformal_p_values(scores[:-1], scores[-1:], smoothed, None, weights, rng)[0])


# --- the hypothesis that the risk is above .1, where it is .1 -------------------------------------


def zero_one_losses(rng: Rng, n: int, risk: float = MAX_RISK) -> FloatArray:
    """Right or wrong."""
    return (rng.random(n) < risk).astype(np.float64)


def graded_losses(rng: Rng, n: int, risk: float = MAX_RISK) -> FloatArray:
    """Shares of wrong claims: Beta(1, 9) at a risk of .1."""
    return rng.beta(1, 1 / risk - 1, n)


def risk(
    rng: Rng, n: int, losses: Callable[..., FloatArray], method: Any, true: float = MAX_RISK
) -> float:
    """P-value of one sample of losses."""
    drawn = losses(rng, n, true)
    if method == "betting":
        return betting_p_value(drawn, MAX_RISK, rng=rng)
    return float(risk_p_value(drawn.mean(), n, MAX_RISK, method))


# --- families: the smallest level at which any true hypothesis is rejected ------------------------


def family(rng: Rng, n: int, method: Correction, false_first: int) -> float:
    """n hypotheses, p-values correlated .5; the first few are false beyond doubt."""
    z = np.sqrt(0.5) * (rng.standard_normal() + rng.standard_normal(n))
    p = stats.norm.sf(z)
    p[:false_first] = 0.0
    wrong = [reject_familywise(p, alpha, method)[false_first:].any() for alpha in ALPHAS]
    return min([a for a, yes in zip(ALPHAS, wrong, strict=True) if yes], default=1.0)


NOTES = {"conformal-shift-ignored": "On purpose: what happens without `weights`."}


def _case(name: str, scene: str, p_value: Callable[[Rng, int], float], exact: bool) -> TestCase:
    return TestCase(
        name, "Guarantees", scene, p_value, note=NOTES.get(name, ""), exact_or_conservative=exact
    )


CASES: list[TestCase] = [
    _case("conformal-smoothed", "exponential scores", conformal, False),
    _case("conformal-smoothed-ties", "five values", partial(conformal, values=5), False),
    _case("conformal", "exponential scores", partial(conformal, smoothed=False), True),
    _case("conformal-ties", "five values", partial(conformal, smoothed=False, values=5), True),
    _case("conformal-mondrian-smoothed", "smallest of three groups", mondrian, False),
    _case(
        "conformal-mondrian", "smallest of three groups", partial(mondrian, smoothed=False), True
    ),
    _case(
        "conformal-weighted", "shift by one sd, true ratio", partial(shifted, smoothed=False), True
    ),
    _case("conformal-weighted-smoothed", "shift by one sd, true ratio", shifted, False),
    _case("conformal-shift-ignored", "shift by one sd", partial(shifted, known=False), False),
    *(
        _case(
            f"risk-{method}-{kind}",
            f"{words}, risk .1, hypothesis: above .1",
            partial(risk, losses=losses, method=method),
            True,
        )
        for kind, words, losses in (
            ("zero-one", "losses 0 or 1", zero_one_losses),
            ("graded", "losses Beta(1, 9)", graded_losses),
        )
        for method in ("binomial", "hoeffding-bentkus", "hoeffding", "betting")
        if (method, kind) != ("binomial", "graded")
    ),
    *(
        _case(
            f"familywise-{method}",
            "n p-values, correlation .5, the first 5 hypotheses false",
            partial(family, method=method, false_first=5),
            True,
        )
        for method in ("fixed-sequence", "fallback", "holm", "bonferroni")
    ),
]

# The same tests, by the same names, where they ought to reject.
POWER: list[TestCase] = [
    _case("conformal-smoothed", "score 3 higher", partial(conformal, shift=3.0), False),
    _case("conformal", "score 3 higher", partial(conformal, smoothed=False, shift=3.0), False),
    *(
        _case(
            f"risk-{method}-{kind}",
            "risk .03",
            partial(risk, losses=losses, method=method, true=0.03),
            False,
        )
        for kind, losses in (("zero-one", zero_one_losses), ("graded", graded_losses))
        for method in ("binomial", "hoeffding-bentkus", "hoeffding", "betting")
        if (method, kind) != ("binomial", "graded")
    ),
]
