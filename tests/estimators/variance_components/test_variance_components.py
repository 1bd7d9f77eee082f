"""Variance components against closed forms, statsmodels' MixedLM, and simulated coverage."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from statllm.estimators.variance_components import Factors, moments, reml, variance_components


def _crossed(
    rng: np.random.Generator, prompts: int, judges: int, sds: tuple[float, float, float]
) -> pd.DataFrame:
    prompt = np.repeat(np.arange(prompts), judges)
    judge = np.tile(np.arange(judges), prompts)
    score = rng.normal(0, sds[0], prompts)[prompt] + rng.normal(0, sds[1], judges)[judge]
    score += rng.normal(0, sds[2], len(prompt))
    return pd.DataFrame({"score": score, "prompt": prompt, "judge": judge})


def _mixed_lm(table: pd.DataFrame, factors: list[str]) -> list[float]:
    from statsmodels.formula.api import mixedlm

    formulas = {name: f"0 + C({name})" for name in factors}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = mixedlm("score ~ 1", table.assign(one=1), groups="one", vc_formula=formulas).fit()
    return [*found.vcomp[[sorted(factors).index(f) for f in factors]], found.scale]


def test_one_way_moments_are_the_textbook_s() -> None:
    """Box, Hunter and Hunter's split: (MS between - MS within) / size."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(15), 4)
    score = rng.normal(size=15)[group] + rng.normal(size=60)
    means = score.reshape(15, 4).mean(axis=1)
    within = score.reshape(15, 4).var(axis=1, ddof=1).mean()
    found = moments(Factors.of(score, {"group": group}))
    assert found[1].value == pytest.approx(within)
    assert found[0].value == pytest.approx(means.var(ddof=1) - within / 4)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_crossed_reml_is_mixed_lm_s(share: float) -> None:
    rng = np.random.default_rng(3)
    table = _crossed(rng, 40, 6, (1.0, 0.5, 0.8))
    table = table[rng.random(len(table)) < share]
    found = variance_components(
        table["score"], {"prompt": table["prompt"], "judge": table["judge"]}, "reml"
    )
    values = [part.value for part in found.components.values()]
    np.testing.assert_allclose(values, _mixed_lm(table, ["prompt", "judge"]), rtol=2e-4)


def test_three_factors_nested_and_crossed() -> None:
    rng = np.random.default_rng(4)
    rows = [(p, s, j) for p in range(25) for s in range(3) for j in range(3)]
    table = pd.DataFrame(rows, columns=["prompt", "s", "judge"]).sample(frac=0.8, random_state=1)
    table["sample"] = table["prompt"] * 3 + table["s"]
    table["score"] = (
        rng.normal(size=25)[table["prompt"]]
        + rng.normal(0, 0.7, 75)[table["sample"]]
        + rng.normal(0, 0.4, 3)[table["judge"]]
        + rng.normal(0, 0.5, len(table))
    )
    names = ["prompt", "sample", "judge"]
    found = variance_components(table["score"], {name: table[name] for name in names})
    assert found.method == "REML"
    values = [part.value for part in found.components.values()]
    np.testing.assert_allclose(values, _mixed_lm(table, names), rtol=5e-3)


def test_moments_are_reml_on_a_complete_table() -> None:
    table = _crossed(np.random.default_rng(5), 50, 8, (1.0, 0.6, 0.7))
    factors = {"prompt": table["prompt"], "judge": table["judge"]}
    by_moments = variance_components(table["score"], factors)
    by_reml = variance_components(table["score"], factors, "reml")
    assert by_moments.method == "mean squares"
    for name, part in by_moments.components.items():
        assert by_reml.components[name].value == pytest.approx(part.value, rel=1e-6)


def test_a_variance_of_zero_is_negative_by_moments_half_of_the_time() -> None:
    rng = np.random.default_rng(6)
    values = []
    for _ in range(400):
        table = _crossed(rng, 20, 5, (1.0, 0.0, 1.0))
        found = moments(Factors.of(table["score"], {"p": table["prompt"], "j": table["judge"]}))
        values.append(found[1].value)
    assert abs(np.mean(values)) < 3 * np.std(values) / 20  # unbiased
    assert 0.4 < np.mean(np.array(values) < 0) < 0.75


@pytest.mark.parametrize("judges", [3, 10])
def test_intervals_of_moments_cover(judges: int) -> None:
    """800 tables: the Monte Carlo error of .95 is .0077."""
    rng = np.random.default_rng(judges)
    truth = (1.0, 0.25, 0.64)
    inside = np.zeros(3)
    for _ in range(800):
        table = _crossed(rng, 30, judges, (1.0, 0.5, 0.8))
        found = moments(Factors.of(table["score"], {"p": table["prompt"], "j": table["judge"]}))
        inside += [value in part.interval() for value, part in zip(truth, found, strict=True)]
    assert np.all(np.abs(inside / 800 - 0.95) < 0.03), inside / 800


@pytest.mark.slow
def test_intervals_of_reml_cover() -> None:
    """150 incomplete tables of 10 judges: the Monte Carlo error of .95 is .018."""
    rng = np.random.default_rng(0)
    truth = (1.0, 0.25, 0.64)
    inside = np.zeros(3)
    for _ in range(150):
        table = _crossed(rng, 30, 10, (1.0, 0.5, 0.8))
        table = table[rng.random(len(table)) < 0.7]
        found = reml(Factors.of(table["score"], {"p": table["prompt"], "j": table["judge"]}))
        inside += [value in part.interval() for value, part in zip(truth, found, strict=True)]
    assert np.all(inside / 150 > 0.88), inside / 150


def test_profile_interval_ends_where_the_likelihood_says() -> None:
    """One-way and balanced: the REML likelihood in closed form."""
    from scipy import stats

    rng = np.random.default_rng(8)
    groups, size = 12, 5
    score = (rng.normal(size=(groups, 1)) + rng.normal(size=(groups, size))).ravel()
    data = Factors.of(score, {"g": np.repeat(np.arange(groups), size)})
    between = size * score.reshape(groups, size).mean(axis=1).var(ddof=1)
    within = score.reshape(groups, size).var(axis=1, ddof=1).mean()

    def deviance(variance: float, sigma2: float) -> float:
        expected = sigma2 + size * variance
        return float(
            (groups - 1) * (np.log(expected) + between / expected)
            + groups * (size - 1) * (np.log(sigma2) + within / sigma2)
        )

    grid = np.linspace(0.2 * within, 4 * within, 4001)
    least = deviance((between - within) / size, within)
    interval = reml(data)[0].interval()
    for end in (interval.low, interval.high):
        profile = min(deviance(end, sigma2) for sigma2 in grid)
        assert profile - least == pytest.approx(stats.chi2.isf(0.05, 1), rel=2e-3)


def test_error_of_the_mean_is_the_simulated_one() -> None:
    rng = np.random.default_rng(9)
    means = [_crossed(rng, 25, 4, (1.0, 0.5, 0.8))["score"].mean() for _ in range(2000)]
    table = _crossed(np.random.default_rng(10), 400, 60, (1.0, 0.5, 0.8))
    found = variance_components(table["score"], {"p": table["prompt"], "j": table["judge"]})
    assert found.se_of_mean(p=25, j=4) == pytest.approx(np.std(means), rel=0.12)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="score is nan in row 1"):
        variance_components([1.0, np.nan], {"p": [0, 1]})
    with pytest.raises(ValueError, match="judge has a single level"):
        variance_components([1.0, 2.0, 3.0], {"judge": ["a", "a", "a"]})
    with pytest.raises(ValueError, match="sample has one score per level"):
        variance_components([1.0, 2.0], {"sample": [0, 1]})
    with pytest.raises(ValueError, match="a and b split the scores alike"):
        variance_components([1.0, 2.0, 3.0], {"a": [0, 0, 1], "b": ["x", "x", "y"]})
    with pytest.raises(ValueError, match="use reml"):
        variance_components([1.0, 2.0, 3.0], {"a": [0, 0, 1]}, "moments")
    with pytest.raises(ValueError, match="all scores are equal"):
        variance_components([1.0, 1.0, 1.0], {"a": [0, 0, 1]})
