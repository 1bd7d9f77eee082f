"""Wrong and extreme arguments: an error that names the argument, or the right number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.circuits import (
    circuit_equivalence,
    circuit_independence,
    circuit_minimality,
    circuit_necessity,
    circuit_sufficiency,
)
from statllm.estimators.fairness import (
    counterfactual_gap,
    odds_gap,
    parity_gap,
    word_association,
)
from statllm.estimators.privacy import (
    epsilon_lower_bound,
    epsilon_of_one_run,
    forget_quality,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_mu,
    model_utility,
    mu_lower_bound,
    renyi_epsilon,
    subsampled_renyi,
    tpr_at_fpr,
    truth_ratio,
    truth_ratio_utility,
)
from statllm.estimators.sequential import (
    asymptotic_mean,
    bernoulli_mean,
    betting_mean,
    betting_test,
    sequential_mcnemar,
)
from statllm.estimators.shift import (
    classifier_test,
    drift_monitor,
    energy_test,
    hsic_test,
    mmd_test,
)
from statllm.ragged import Ragged

NAN, INF = math.nan, math.inf
SIX, GROUPS = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0], ["a", "b"] * 3
WORDS = [[1.0, 0.0], [0.0, 1.0]]

# What every function takes for a right answer, argument by argument; arrays first.
CALLS: dict[Callable[..., Any], tuple[dict[str, Any], tuple[str, ...]]] = {
    asymptotic_mean: ({"x": SIX, "start": 2}, ("x",)),
    betting_mean: ({"x": SIX}, ("x",)),
    betting_test: ({"x": SIX, "mean": 0.5}, ("x",)),
    bernoulli_mean: ({"x": SIX}, ("x",)),
    sequential_mcnemar: ({"a": SIX, "b": SIX}, ("a", "b")),
    tpr_at_fpr: ({"members": SIX, "non_members": SIX, "fpr": 0.5}, ("members", "non_members")),
    forget_quality: ({"unlearned": SIX, "retained": SIX}, ("unlearned", "retained")),
    truth_ratio_utility: ({"ratio": SIX}, ("ratio",)),
    counterfactual_gap: ({"score": SIX, "swapped": SIX}, ("score", "swapped")),
    parity_gap: ({"outcome": SIX, "group": GROUPS}, ("outcome",)),
    odds_gap: (
        {"prediction": SIX * 2, "truth": [1] * 6 + [0] * 6, "group": GROUPS * 2},
        ("prediction", "truth"),
    ),
    word_association: ({"x": WORDS, "y": WORDS, "a": WORDS, "b": WORDS}, ("x", "y", "a", "b")),
    mmd_test: ({"x": SIX, "y": SIX, "n_permutations": 9}, ("x", "y")),
    energy_test: ({"x": SIX, "y": SIX, "n_permutations": 9}, ("x", "y")),
    hsic_test: ({"x": SIX, "y": SIX, "n_permutations": 9}, ("x", "y")),
    classifier_test: ({"x": SIX, "y": SIX}, ("x", "y")),
    drift_monitor: ({"reference": SIX, "stream": SIX}, ("reference", "stream")),
    circuit_sufficiency: ({"faithfulness": 0.5, "random": SIX}, ("faithfulness", "random")),
    circuit_necessity: ({"knock_out": 0.5, "random": SIX}, ("knock_out", "random")),
    circuit_minimality: ({"knock_out": SIX, "random": SIX}, ("knock_out", "random")),
    circuit_equivalence: ({"circuit": SIX, "model": SIX}, ("circuit", "model")),
    circuit_independence: ({"knocked_out": SIX, "model": SIX}, ("knocked_out", "model")),
}
BAD = {
    "text": ["x", "y", "z", "x", "y", "z"],
    "ragged": [[1.0], [1.0, 2.0]],
    "complex": [1j, 0, 1, 0, 1, 1],
    "NaN": [0.0, NAN, 1.0, 0.0, 1.0, 0.0],
    "cube": np.zeros((2, 2, 2)),
    "scalar": 0.5,
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize(
    ("function", "name"), [(f, name) for f, (_, names) in CALLS.items() for name in names]
)
def test_wrong_arrays_are_named(function: Callable[..., Any], name: str, what: str) -> None:
    right = CALLS[function][0]
    function(**right)
    if what == "scalar" and isinstance(right[name], float):
        return
    if what in ("cube", "scalar") and function is truth_ratio_utility:
        return  # of any shape
    # A NaN score is a missing one, and its message says so.
    said = "NaN" if what == "NaN" and function is counterfactual_gap else rf"\b{name}\b"
    with pytest.raises(ValueError, match=said):
        function(**{**right, name: BAD[what]})


FEW = {
    betting_mean: {"grid": [0, 2.5, NAN, "x"], "level": [0, 1, NAN, None], "low": [1, NAN, -INF]},
    asymptotic_mean: {"start": [1, 2.5, NAN, INF], "tightest_at": [0, NAN, INF], "level": ["x"]},
    bernoulli_mean: {"prior": [0, NAN, INF, 1e308], "level": [1.5]},
    sequential_mcnemar: {"prior": [0, -1, NAN, INF, 1e308]},
    tpr_at_fpr: {"fpr": [0, 1, NAN, "x"]},
    mmd_test: {"n_permutations": [0, -1, 2.5, NAN, "x"], "bandwidth": [0, -1, NAN, INF, "x"]},
    energy_test: {"n_permutations": [0, 2.5, None]},
    hsic_test: {"n_permutations": [0, 2.5, None]},
    word_association: {"n_permutations": [0, -3, 2.5]},
    circuit_sufficiency: {"quantile": [0, 1, NAN, "x"], "faithfulness": [None, "x", INF, [1, 2]]},
    circuit_minimality: {"quantile": [0, 1, NAN]},
    circuit_equivalence: {"margin": [0, 0.5, NAN]},
    parity_gap: {
        "group": [["a", None] * 3, [1.0, NAN] * 3, ["a"] * 5, [GROUPS], [[1], [1, 2]]],
        "clusters": [[0, 1], [1.0, NAN] * 3, [None, "a"] * 3],
    },
    odds_gap: {"clusters": [[1, 2], [None] * 12], "group": [GROUPS, [None] * 12]},
}


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [(f, name, v) for f, named in FEW.items() for name, values in named.items() for v in values],
)
def test_wrong_options_are_named(function: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        function(**{**CALLS[function][0], name: value})


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: renyi_epsilon(1e-5, 0.1, 1.0, 1, []), "orders"),
        (lambda: renyi_epsilon(1e-5, 0.1, 1.0, 1, "x"), "orders"),
        (lambda: subsampled_renyi(0.1, 1.0, 1, [NAN]), "orders"),
        (lambda: gaussian_mu(0.1, 1.0, NAN), "steps"),  # type: ignore[arg-type]
        (lambda: gaussian_mu(0.1, 1.0, 2.5), "steps"),  # type: ignore[arg-type]
        (lambda: gaussian_epsilon("x", 1.0), "delta"),  # type: ignore[arg-type]
        (lambda: epsilon_lower_bound(1.5, 10, 1, 10), "false positives"),  # type: ignore[arg-type]
        (lambda: mu_lower_bound(1, 10, 1, 0), "false negatives"),
        (lambda: epsilon_of_one_run(2.5, 5, 10), "correct"),  # type: ignore[arg-type]
        (lambda: epsilon_of_one_run(0, 0, 0), "canaries"),
        (lambda: model_utility([0.1]), "parts"),  # type: ignore[arg-type]
        (lambda: truth_ratio([[-1.0]], [-1.0]), "perturbed"),  # type: ignore[arg-type]
        (lambda: truth_ratio(Ragged.from_lists([[-1.0], []]), [-1, -1]), "question 1"),
        (lambda: truth_ratio(Ragged.from_lists([[-1.0], [-1]]), [NAN, -1]), "question 0"),
        (lambda: counterfactual_gap([], []), "not empty"),
        (lambda: counterfactual_gap([1, 2, 3], [1], absolute=True), "one length"),
        (lambda: counterfactual_gap([1, INF], [1, 2]), "score is inf in row 1"),
        (lambda: circuit_minimality([0.5], [0.1]).needed(2), "alpha"),
        (lambda: bernoulli_mean([1, 0]).first_excluding(NAN), "value"),
        (lambda: betting_test([1, 0], 0.5).first_crossing("x"), "alpha"),  # type: ignore[arg-type]
        (lambda: betting_mean([0.0], -1e308, 1e308), "too far apart"),
        (lambda: asymptotic_mean([1e200, 0], start=2), "x is 1e"),
        (lambda: mmd_test([1e200, 0], [0, 1]), "too large"),
        (lambda: parity_gap([1e200, 0, 1, 1], ["a", "a", "b", "b"]), "outcome is 1e"),
        (lambda: hsic_test([1, 2, 3], [1, 1, 1]), "rows of y are equal"),
        (lambda: classifier_test(np.zeros((8, 0)), np.zeros((8, 0))), "x must have"),
    ],
)
def test_what_is_wrong_is_said(call: Callable[[], Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()


def test_limits_of_privacy() -> None:
    """No noise is no privacy, all noise is all of it; and nothing warns on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gaussian_mu(0.1, 0.01, 5) == INF
        assert gaussian_mu(0.1, 1e-200, 1) == INF
        assert renyi_epsilon(1e-5, 0.1, 1e-200, 1) == INF
        assert gaussian_delta(INF, 1.0) == 0.0
        assert gaussian_delta(1.0, INF) == 1.0
        assert gaussian_delta(1.0, 1e-300) == 0.0
        assert gaussian_delta(1e300, 1.0) == 0.0
        assert gaussian_epsilon(0.5, INF) == INF
        assert truth_ratio(Ragged.from_lists([[0.0]]), [-1e4])[0] == INF


def test_scales_that_can_t_be_squared_change_nothing() -> None:
    rng = np.random.default_rng(0)
    sets = [rng.normal(size=(3, 4)) for _ in range(4)]
    plain = word_association(*sets)
    for scale in (1e-300, 1e300):
        scaled = word_association(*(scale * each for each in sets))
        assert scaled.effect == pytest.approx(plain.effect, rel=1e-12)
        assert scaled.test.p_value == plain.test.p_value
    scores = {"a": np.array([0.2, 0.4, 0.3]), "b": np.array([0.5, 0.9, 0.7])}
    tiny = model_utility({name: 1e-310 * x for name, x in scores.items()})
    assert tiny.value == pytest.approx(1e-310 * model_utility(scores).value, rel=1e-6)


def test_bandwidth_far_below_the_distances() -> None:
    """The kernel is 1 on the diagonal alone, and no labelling of rows differs from another."""
    found = mmd_test([0.0, 1.0, 2.0], [3.0, 4.0, 5.0], bandwidth=1e-300, n_permutations=99)
    assert found.statistic == 0.0
    assert found.p_value == 1.0


def test_log_p_of_equivalence_survives_where_p_is_0() -> None:
    """5,000 wins of 5,000 at q = .6: .6^5000 + .4^5000."""
    found = circuit_equivalence([1.0] * 5000, [0.5] * 5000)
    assert found.p_value == 0.0
    assert found.log_p_value == pytest.approx(5000 * math.log(0.6))
    shown = circuit_equivalence([1.0] * 50 + [0.0] * 50, [0.5] * 100, equivalent=True)
    assert shown.log_p_value == pytest.approx(stats.binom(100, 0.6).logcdf(50))


@pytest.mark.parametrize("both", [True, False])
def test_clusters_without_spread_aren_t_certain(both: bool) -> None:
    """Group a is right in each of c clusters, b is too, or never."""
    for c in (4, 40):
        outcome = np.tile([1.0, float(both)], c)
        found = parity_gap(outcome, ["a", "b"] * c, np.repeat(np.arange(c), 2))
        interval = found.gap.interval()
        assert found.gap.value == (0.0 if both else 1.0)
        assert interval.high - interval.low > 0.5 / c
        if both:
            assert found.test.p_value > 0.5
        else:
            # An exact sign test of c clusters that all point one way.
            assert found.test.p_value > 0.0
            assert found.test.p_value < 0.5 if c == 4 else 1e-3
    scores = parity_gap([0.3] * 4 + [0.4] * 4, ["a"] * 4 + ["b"] * 4)
    assert math.isnan(scores.test.p_value)  # nothing to judge the difference by
    assert parity_gap([0.3] * 8, ["a"] * 4 + ["b"] * 4).test.p_value == 1.0


def test_clusters_with_spread_are_as_they_were() -> None:
    """The rows added where there's none change nothing elsewhere: the sandwich by hand."""
    rng = np.random.default_rng(4)
    group, cluster = np.tile([0, 1], 30), np.repeat(np.arange(15), 4)
    outcome = (rng.random(60) < 0.6) * 1.0
    found = parity_gap(outcome, group, cluster)
    rates = np.array([outcome[group == g].mean() for g in (0, 1)])
    sums = np.array(
        [
            sum((outcome - rates[group])[(cluster == c) & (group == g)].sum() * s / 30
                for g, s in ((0, 1), (1, -1)))
            for c in range(15)
        ]
    )  # fmt: skip
    assert found.gap.se == pytest.approx(math.sqrt(15 / 14 * np.sum(sums**2)))
