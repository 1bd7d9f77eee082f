"""Every test of calibration, where the confidences are right: how often does it reject?"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from simulate import SIZES, TestCase

from statllm.estimators.calibration import (
    CalibrationMonitor,
    cox,
    hosmer_lemeshow,
    kernel_calibration_test,
    kolmogorov_smirnov_calibration,
    kuiper_calibration,
    safe_hosmer_lemeshow,
    spiegelhalter,
    t_cal,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Rng = np.random.Generator
Confidences = Callable[[Rng, int], FloatArray]
Test = Callable[[FloatArray, BoolArray], float]

N_RESAMPLES = 199  # 1, 5 and 10 % are whole numbers of 200 ranks
PER_CLUSTER = 5


# --- confidences ------------------------------------------------------------------------------


def beta_2_1(rng: Rng, n: int) -> FloatArray:
    """Mostly confident, two thirds right."""
    return rng.beta(2, 1, n)


def uniform(rng: Rng, n: int) -> FloatArray:
    """Anything from 0 to 1."""
    return rng.random(n)


def near_one(rng: Rng, n: int) -> FloatArray:
    """A model that is right 19 times in 20 and knows it."""
    return rng.beta(19, 1, n)


def verbalised(rng: Rng, n: int) -> FloatArray:
    """Six values, as models say them."""
    values = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    return rng.choice(values, n, p=[0.05, 0.05, 0.1, 0.2, 0.35, 0.25])


# By the end of the case's name.
SCENES: dict[str, tuple[str, Confidences]] = {
    "": ("Beta(2, 1)", beta_2_1),
    "-uniform": ("U(0, 1)", uniform),
    "-near-1": ("Beta(19, 1)", near_one),
    "-tied": ("six tied values", verbalised),
}


# --- outcomes ---------------------------------------------------------------------------------


def calibrated(rng: Rng, p: FloatArray) -> BoolArray:
    """Right with the probability claimed."""
    return rng.random(p.shape) < p


def overconfident(rng: Rng, p: FloatArray) -> BoolArray:
    """Right with probability p^1.5: 57 % of Beta(2, 1) confidences that claim 67 %."""
    return rng.random(p.shape) < p**1.5


def alike_in_clusters(rng: Rng, p: FloatArray) -> BoolArray:
    """Each row right with the probability claimed; latent correlation .5 within a cluster."""
    shared = np.repeat(rng.standard_normal(len(p) // PER_CLUSTER), PER_CLUSTER)
    latent = np.sqrt(0.5) * (shared + rng.standard_normal(len(p)))
    return np.asarray(special.ndtr(latent) < p)


def simulated(
    rng: Rng,
    n: int,
    test: Test,
    confidences: Confidences = beta_2_1,
    outcomes: Callable[[Rng, FloatArray], BoolArray] = calibrated,
) -> float:
    """P-value of one sample."""
    p = confidences(rng, n)
    return test(p, outcomes(rng, p))


# --- tests that need more than confidences and outcomes -----------------------------------------


def _clusters(n: int) -> NDArray[np.int64]:
    return np.arange(n) // PER_CLUSTER


def _clustered_spiegelhalter(p: FloatArray, y: BoolArray) -> float:
    return spiegelhalter(p, y, clusters=_clusters(len(p))).p_value


def _clustered_cox(p: FloatArray, y: BoolArray) -> float:
    return cox(p, y, clusters=_clusters(len(p))).test.p_value


def _clustered_hosmer_lemeshow(p: FloatArray, y: BoolArray) -> float:
    return hosmer_lemeshow(p, y, clusters=_clusters(len(p))).p_value


def _clustered_safe(p: FloatArray, y: BoolArray) -> float:
    return safe_hosmer_lemeshow(p, y, clusters=_clusters(len(p))).p_value


def _clustered_draws(p: FloatArray, y: BoolArray, test: Callable[..., Any]) -> float:
    """A test whose null distribution is drawn by giving signs to clusters."""
    settings = {"n_resamples": N_RESAMPLES, "rng": _seed(p, y)}
    return float(test(p, y, clusters=_clusters(len(p)), **settings).p_value)


def clustered(rng: Rng, n: int, test: Test) -> float:
    """P-value of n clusters of `PER_CLUSTER` rows."""
    return simulated(rng, n * PER_CLUSTER, test, beta_2_1, alike_in_clusters)


def weighted(rng: Rng, n: int, test: Callable[..., float]) -> float:
    """P-value with sampling weights between 1/2 and 2 that say nothing about the outcome."""
    p = beta_2_1(rng, n)
    return test(p, calibrated(rng, p), weights=np.exp2(rng.uniform(-1, 1, n)))


def _cox(p: FloatArray, y: BoolArray, weights: FloatArray | None = None) -> float:
    return cox(p, y, weights=weights).test.p_value


def _spiegelhalter(p: FloatArray, y: BoolArray, weights: FloatArray | None = None) -> float:
    return spiegelhalter(p, y, weights).p_value


def _drawn(
    p: FloatArray,
    y: BoolArray,
    weights: FloatArray | None = None,
    *,
    test: Callable[..., Any],
    **settings: Any,
) -> float:
    """A test that draws its null distribution where the sample is small."""
    settings = {"n_resamples": N_RESAMPLES, "rng": _seed(p, y)} | settings
    return float(test(p, y, weights=weights, **settings).p_value)


_kolmogorov_smirnov = partial(_drawn, test=kolmogorov_smirnov_calibration)
_kuiper = partial(_drawn, test=kuiper_calibration)
_equal_mass = partial(_drawn, test=hosmer_lemeshow)
_equal_width = partial(_drawn, test=hosmer_lemeshow, groups="equal-width")
_given = partial(_drawn, test=hosmer_lemeshow, groups=[0, 0.5, 0.7, 0.8, 0.9, 1])


def _fitted(p: FloatArray, y: BoolArray) -> float:
    """Recalibrated on the very outcomes that it's tested on, by logistic regression."""
    fit = cox(p, y)
    # NaN, hence a ValueError, where the outcomes are all alike or separated: there's no fit.
    logit = fit.intercept.value + fit.slope.value * special.logit(p)
    return hosmer_lemeshow(special.expit(logit), y, fitted=True).p_value


def _seed(p: FloatArray, y: NDArray[Any]) -> int:
    """Another one for every sample."""
    return zlib.crc32(p.tobytes() + y.tobytes())


def _t_cal(p: FloatArray, y: BoolArray, **settings: object) -> float:
    test = t_cal(p, y, n_resamples=N_RESAMPLES, rng=_seed(p, y), **settings)  # type: ignore[arg-type]
    return test.p_value


def _kernel(p: FloatArray, y: BoolArray, **settings: object) -> float:
    test = kernel_calibration_test(
        p,
        y,
        n_resamples=N_RESAMPLES,
        rng=_seed(p, y),
        **settings,  # type: ignore[arg-type]
    )
    return test.p_value


def kernel_of_classes(rng: Rng, n: int) -> float:
    """Four options; probabilities Dirichlet(1/2), labels drawn from them."""
    p = rng.dirichlet(np.full(4, 0.5), n)
    label = (rng.random((n, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return _kernel(p, label)  # type: ignore[arg-type]


def _monitor(p: FloatArray, y: BoolArray) -> float:
    """Looked at after every batch of 20 rows."""
    monitor = CalibrationMonitor()
    for start in range(0, len(p), 20):
        monitor = monitor.update(p[start : start + 20], y[start : start + 20])
    return monitor.test().p_value


def _safe(p: FloatArray, y: BoolArray) -> float:
    return safe_hosmer_lemeshow(p, y).p_value


def _safe_sorted(p: FloatArray, y: BoolArray) -> float:
    order = np.argsort(p)
    return safe_hosmer_lemeshow(p[order], y[order]).p_value


def _safe_at_the_end(p: FloatArray, y: BoolArray) -> float:
    """1 / E after the last row, the e-value taken as a p-value by Markov's inequality."""
    return float(np.exp(-max(safe_hosmer_lemeshow(p, y).statistic, 0.0)))


# --- the list -----------------------------------------------------------------------------------

TESTS: dict[str, Test] = {
    "spiegelhalter": _spiegelhalter,
    "cox-likelihood-ratio": _cox,
    "hosmer-lemeshow-10-equal-mass": _equal_mass,
    "hosmer-lemeshow-10-equal-width": _equal_width,
    "kolmogorov-smirnov": _kolmogorov_smirnov,
    "kuiper": _kuiper,
}
EXACT: dict[str, Test] = {
    "t-cal-min-p": _t_cal,
    "safe-hosmer-lemeshow": _safe,
    "t-cal-bonferroni": partial(_t_cal, combine="bonferroni"),
    "t-cal-10-bins": partial(_t_cal, n_bins=10),
    "kernel-gaussian": _kernel,
    "kernel-laplacian": partial(_kernel, kernel="laplacian", bandwidth=0.1),
}
_PUBLISHED = (
    "On purpose: the published law, which the default leaves where groups expect fewer than five "
    "right or wrong answers, and where the path has fewer than 1,000 steps."
)
# By the beginning of the case's name; the longest that fits.
NOTES = {
    "spiegelhalter": "Normal approximation: a little too seldom at n = 20.",
    "spiegelhalter-clusters-ignored": "On purpose: what happens without `clusters`.",
    "cox-likelihood-ratio": (
        "The chi-squared law of the likelihood ratio needs about ten answers of the rarer kind; "
        "near 1 there is one wrong answer at n = 20, and ten at n = 200."
    ),
    "hosmer-lemeshow-10": (
        "An exact test of a statistic that few answers, tied or all but certain, give few values: "
        "too seldom at n = 20."
    ),
    "hosmer-lemeshow-clustered": "Rao and Scott's correction: a little too seldom at 20 clusters.",
    "hosmer-lemeshow-asymptotic": _PUBLISHED,
    "kolmogorov-smirnov-asymptotic": _PUBLISHED,
    "kuiper-asymptotic": _PUBLISHED,
    "hosmer-lemeshow-fitted": "Ten groups of 20 rows, recalibrated on them: too seldom.",
    "kolmogorov-smirnov-clustered": "Random signs of 20 clusters: the far tail isn't met.",
}


def _note(name: str) -> str:
    fitting = [start for start in NOTES if name.startswith(start)]
    return NOTES[max(fitting, key=len)] if fitting else ""


def _case(
    name: str,
    scene: str,
    p_value: Callable[[Rng, int], float],
    exact: bool = False,
    slow: int = 1,
    sizes: tuple[int, ...] = SIZES,
) -> TestCase:
    return TestCase(
        name,
        "Calibration",
        scene,
        p_value,
        note=_note(name),
        slow=slow,
        exact_or_conservative=exact,
        sizes=sizes,
    )


def _slow(name: str) -> int:
    return 10 if name.startswith(("t-cal", "kernel")) else 1


CASES: list[TestCase] = [
    *(
        _case(
            name + suffix,
            f"{scene}, calibrated",
            partial(simulated, test=test, confidences=confidences),
            exact=name in EXACT,
            slow=_slow(name),
        )
        for name, test in (TESTS | EXACT).items()
        for suffix, (scene, confidences) in SCENES.items()
        if _slow(name) == 1 or suffix in ("", "-tied")
    ),
    *(
        _case(f"{name}-weighted", "Beta(2, 1), weights 1/2 to 2", partial(weighted, test=test))
        for name, test in {
            "spiegelhalter": _spiegelhalter,
            "cox-wald": _cox,
            "kolmogorov-smirnov": _kolmogorov_smirnov,
            "kuiper": _kuiper,
            "hosmer-lemeshow": _equal_mass,
        }.items()
    ),
    *(
        _case(
            f"{name}-asymptotic{suffix}",
            f'{SCENES[suffix][0]}, calibrated; law="asymptotic"',
            partial(
                simulated,
                test=partial(test, law="asymptotic"),
                confidences=SCENES[suffix][1],
            ),
        )
        for name, test, suffix in (
            ("hosmer-lemeshow", _equal_mass, "-near-1"),
            ("kolmogorov-smirnov", _kolmogorov_smirnov, "-tied"),
            ("kuiper", _kuiper, "-tied"),
        )
    ),
    *(
        _case(name, "n clusters of 5, latent correlation .5", partial(clustered, test=test))
        for name, test in {
            "spiegelhalter-clustered": _clustered_spiegelhalter,
            "cox-wald-clustered": _clustered_cox,
            "hosmer-lemeshow-clustered": _clustered_hosmer_lemeshow,
            "spiegelhalter-clusters-ignored": _spiegelhalter,
        }.items()
    ),
    *(
        _case(
            f"{name}-clustered",
            "n clusters of 5, latent correlation .5",
            partial(clustered, test=partial(_clustered_draws, test=test)),
            slow=5,
            sizes=(20, 50, 200),
        )
        for name, test in {
            "kolmogorov-smirnov": kolmogorov_smirnov_calibration,
            "kuiper": kuiper_calibration,
            "t-cal": t_cal,
            "kernel": kernel_calibration_test,
        }.items()
    ),
    _case(
        "safe-hosmer-lemeshow-clustered",
        "n clusters of 5, latent correlation .5",
        partial(clustered, test=_clustered_safe),
        exact=True,
    ),
    _case("hosmer-lemeshow-5-given", "Beta(2, 1), calibrated", partial(simulated, test=_given)),
    _case(
        "hosmer-lemeshow-fitted",
        "Beta(2, 1), recalibrated on the same outcomes",
        partial(simulated, test=_fitted),
    ),
    _case(
        "kernel-four-classes",
        "Dirichlet(1/2), calibrated",
        kernel_of_classes,
        exact=True,
        slow=5,
        sizes=(20, 50, 200),
    ),
    _case(
        "calibration-monitor",
        "Beta(2, 1), calibrated; looked at after every 20 rows",
        partial(simulated, test=_monitor),
        exact=True,
        slow=5,
    ),
    _case(
        "safe-hosmer-lemeshow-sorted",
        "Beta(2, 1), calibrated; in order of confidence",
        partial(simulated, test=_safe_sorted),
        exact=True,
    ),
    _case(
        "safe-hosmer-lemeshow-at-the-end",
        "Beta(2, 1), calibrated; 1 / E after the last row",
        partial(simulated, test=_safe_at_the_end),
        exact=True,
    ),
]

# The same tests, by the same names, where they ought to reject.
POWER: list[TestCase] = [
    _case(
        name,
        "Beta(2, 1), right with probability p^1.5",
        partial(simulated, test=test, outcomes=overconfident),
        slow=_slow(name),
    )
    for name, test in (TESTS | EXACT).items()
]
