"""Controlled win rates against statsmodels, refits and the bootstrap; coverage by simulation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import optimize, special

from statllm.estimators.winrate import (
    Answers,
    alpaca_eval_win_rate,
    controlled_win_rate,
    instruction_difficulty,
    length_controlled,
    win_rate,
)

Floats = NDArray[np.float64]
WILDBENCH = Path(__file__).parents[4] / "shared" / "data" / "pref_wildbench"


def draw(rng: np.random.Generator, n: int, probabilities: bool = False) -> tuple[Answers, dict]:  # type: ignore[type-arg]
    """One model that wins by length, on instructions of differing difficulty."""
    mine, other = rng.gamma(4, 70, n), rng.gamma(4, 50, n)
    d = rng.normal(size=n)
    lead = np.tanh((mine - other) / 170)
    p = special.expit(-1 + 1.2 * lead + 0.8 * d)
    outcome = p if probabilities else (rng.random(n) < p).astype(float)
    if probabilities:
        outcome = special.expit(special.logit(p) + 2 * rng.normal(size=n))
    ids = [f"i{number}" for number in range(n)]
    return Answers(ids, outcome, mine, other), dict(zip(ids, d, strict=True))


def taken(answers: Answers, rows: Any) -> Answers:
    return Answers(
        [answers.ids[row] for row in rows],
        np.asarray(answers.outcome)[rows],
        np.asarray(answers.length)[rows],
        np.asarray(answers.baseline_length)[rows],
    )


class TestRaw:
    def test_ties(self) -> None:
        outcome = [1, 1, 1, 0.5, 0]
        assert win_rate(outcome).value == 0.7
        assert win_rate(outcome, ties="drop").value == 0.75
        assert win_rate(outcome, ties="lose").value == 0.6
        assert win_rate(outcome).se == pytest.approx(np.std(outcome, ddof=1) / math.sqrt(5))
        assert win_rate(outcome, [1, 1, 2, 2, 3]).n == 3

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match=r"not 2 \(row 1\)"):
            win_rate([1, 2])
        with pytest.raises(ValueError, match=r"not nan \(row 0\)"):
            win_rate([math.nan])
        with pytest.raises(ValueError, match="ties"):
            win_rate([1], ties="win")  # type: ignore[arg-type]


class TestControlled:
    def test_against_statsmodels(self) -> None:
        """Without difficulty the rate is sigmoid(theta), and se the delta method's."""
        import statsmodels.api as sm

        rng = np.random.default_rng(0)
        z = rng.normal(size=(400, 2))
        y = (rng.random(400) < special.expit(0.4 + z @ [0.8, -0.3])).astype(float)
        groups = rng.integers(0, 60, 400)
        design = sm.add_constant(z)
        model = sm.GLM(y, design, family=sm.families.Binomial())
        theirs = model.fit(
            cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}, tol=1e-13
        )
        found = controlled_win_rate(y, z, clusters=groups)
        np.testing.assert_allclose(found.coefficients, theirs.params, atol=1e-7)
        wanted = np.asarray(theirs.cov_params())
        np.testing.assert_allclose(found.covariance, wanted * 60 / 59, rtol=1e-5)
        p = special.expit(theirs.params[0])
        assert found.win_rate.value == pytest.approx(p)
        # clusters of unequal size: the factor is CR2's, by shares, not 60 / 59
        assert found.win_rate.se == pytest.approx(p * (1 - p) * math.sqrt(wanted[0, 0]), rel=0.02)
        effect = found.effects[0]
        assert effect.value == pytest.approx(theirs.params[1] * p * (1 - p))
        slope = np.array([theirs.params[1] * p * (1 - p) * (1 - 2 * p), p * (1 - p), 0])
        assert effect.se == pytest.approx(math.sqrt(slope @ wanted @ slope), rel=0.02)

    def test_error_is_that_of_refits_and_of_the_bootstrap(self) -> None:
        """Jackknife over instructions, and the spread over resampled instructions."""
        answers, d = draw(np.random.default_rng(1), 300)
        found = length_controlled(answers, d)
        lead, known = answers.lead(), answers.looked_up(d)
        y = np.asarray(answers.outcome)

        def refit(rows: Any) -> float:
            again = controlled_win_rate(y[rows], lead[rows], difficulty=known[rows])
            return again.win_rate.value

        every = np.arange(300)
        left = np.array([refit(np.delete(every, row)) for row in every])
        jackknife = math.sqrt(299 / 300 * ((left - left.mean()) ** 2).sum())
        assert found.win_rate.se == pytest.approx(jackknife, rel=0.03)
        rng = np.random.default_rng(2)
        resampled = [refit(rng.integers(0, 300, 300)) for _ in range(600)]
        assert found.win_rate.se == pytest.approx(np.std(resampled), rel=0.12)

    def test_ridge(self) -> None:
        rng = np.random.default_rng(3)
        z = rng.normal(size=100)
        y = (rng.random(100) < special.expit(z)).astype(float)
        best = optimize.minimize(
            lambda b: (
                float((np.logaddexp(0, b[0] + b[1] * z) - y * (b[0] + b[1] * z)).sum())
                + 3 * b[1] ** 2
            ),
            np.zeros(2),
            options={"gtol": 1e-9},
        )
        found = controlled_win_rate(y, z, ridge=3.0)
        np.testing.assert_allclose(found.coefficients, best.x, atol=1e-5)

    def test_equal_lengths_leave_the_raw_rate(self) -> None:
        outcome = [1, 0, 1, 0.5, 1, 0]
        found = length_controlled(Answers(range(6), outcome, [5] * 6, [5] * 6))
        assert found.win_rate.value == pytest.approx(found.raw.value)
        assert found.win_rate.se == pytest.approx(found.raw.se)
        low, high = found.win_rate.interval(0.999).low, found.win_rate.interval(0.999).high
        assert 0 < low < high < 1

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="no finite fit"):
            controlled_win_rate([1, 1, 1], [1, 2, 3])
        with pytest.raises(ValueError, match=r"finite \(row 1\)"):
            controlled_win_rate([1, 0], [1, math.nan])
        with pytest.raises(ValueError, match="covariates have 1 rows"):
            controlled_win_rate([1, 0], [1])
        with pytest.raises(ValueError, match=r"length must be finite and not negative \(row 1\)"):
            Answers([1, 2], [1, 0], [1, -1], [1, 1])
        with pytest.raises(ValueError, match="1 ids for 2"):
            Answers([1], [1, 0], [1, 1], [1, 1])


class TestDifficulty:
    def test_rows_in_any_order(self) -> None:
        """Difficulty goes by id: shuffling and leaving out rows doesn't shift it."""
        answers, d = draw(np.random.default_rng(4), 200)
        shuffled = taken(answers, np.random.default_rng(5).permutation(200))
        one, other = length_controlled(answers, d), length_controlled(shuffled, d)
        np.testing.assert_allclose(one.coefficients, other.coefficients, atol=1e-7)
        assert one.win_rate.value == pytest.approx(other.win_rate.value, abs=1e-9)
        assert one.win_rate.se == pytest.approx(other.win_rate.se, rel=1e-6)
        fewer = taken(answers, np.arange(1, 200))
        by_hand = controlled_win_rate(
            fewer.outcome, fewer.lead(), difficulty=[d[key] for key in fewer.ids]
        )
        assert length_controlled(fewer, d).win_rate.value == pytest.approx(by_hand.win_rate.value)

    def test_a_missing_id_is_named(self) -> None:
        answers, d = draw(np.random.default_rng(6), 10)
        del d["i3"]
        with pytest.raises(ValueError, match=r"1 ids have no difficulty, first 'i3' \(row 3\)"):
            length_controlled(answers, d)

    def test_against_a_general_optimiser(self) -> None:
        rng = np.random.default_rng(7)
        models = [taken(draw(rng, 12)[0], np.arange(4 * m % 3, 12)) for m in range(3)]
        found = instruction_difficulty(models, ridge=0.7)
        order = list(found)

        def loss(x: Floats) -> float:
            gamma, total = dict(zip(order, x[6:], strict=True)), 0.7 * x[6:] @ x[6:]
            total += 0.0007 * x[:6] @ x[:6]
            for m, one in enumerate(models):
                own = np.array([gamma[key] for key in one.ids])
                eta = x[m] + x[3 + m] * one.lead() + own
                total += (np.logaddexp(0, eta) - np.asarray(one.outcome) * eta).sum()
            return float(total)

        best = optimize.minimize(loss, np.zeros(18), method="BFGS", options={"gtol": 1e-7})
        np.testing.assert_allclose(list(found.values()), best.x[6:], atol=1e-4)


class TestAlpacaEval:
    @pytest.mark.parametrize("c", [0.01, 1.0, 1e3])
    def test_the_lasso_is_that_of_liblinear(self, c: float) -> None:
        from sklearn.linear_model import LogisticRegression

        from statllm.estimators.winrate._logistic import lasso_logistic

        rng = np.random.default_rng(8)
        answers, d = draw(rng, 300, probabilities=True)
        x = np.column_stack([np.ones(300), answers.looked_up(d), answers.lead()])
        y, weight = np.asarray(answers.outcome), rng.uniform(0.1, 1, 300)
        theirs = LogisticRegression(
            C=c, l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-10, max_iter=10_000
        )
        theirs.fit(
            np.vstack([x, x]),
            np.repeat([1, 0], 300),
            sample_weight=np.concatenate([weight * y, weight * (1 - y)]),
        )
        found = lasso_logistic(x, y, weight, c, np.zeros(3))
        np.testing.assert_allclose(found, theirs.coef_[0], atol=2e-4)

    def test_gamed_baselines_pull_the_length_effect(self) -> None:
        rng = np.random.default_rng(9)
        answers, d = draw(rng, 805)
        # verbose, and never preferred: length alone doesn't win
        gamed = Answers(answers.ids, np.zeros(805), rng.gamma(4, 200, 805), answers.baseline_length)
        plain = alpaca_eval_win_rate(answers, d)
        pulled = alpaca_eval_win_rate(answers, d, [gamed, gamed])
        assert pulled.coefficients[2] < plain.coefficients[2] - 0.05
        # with much data the lasso fades: the maximum likelihood fit
        full = length_controlled(answers, d)
        assert plain.win_rate.value == pytest.approx(full.win_rate.value, abs=0.01)
        shuffled = taken(answers, np.random.default_rng(0).permutation(805))
        # other folds, so maybe another strength of the lasso
        again = alpaca_eval_win_rate(shuffled, d)
        assert again.win_rate.value == pytest.approx(plain.win_rate.value, abs=0.005)

    def test_its_error_is_that_of_the_fitted_values_alone(self) -> None:
        answers, d = draw(np.random.default_rng(10), 805)
        theirs, ours = alpaca_eval_win_rate(answers, d).win_rate, length_controlled(answers, d)
        b = ours.coefficients
        fitted = special.expit(b[0] + b[1] * answers.looked_up(d))
        assert theirs.se == pytest.approx(fitted.std(ddof=1) / math.sqrt(805), rel=0.05)
        assert ours.win_rate.se > 1.5 * theirs.se


@pytest.mark.slow
def test_coverage() -> None:
    """Ours holds its level; AlpacaEval's interval doesn't."""
    # the win rate at equal length, over instructions
    grid = np.linspace(-8, 8, 4001)
    density = np.exp(-(grid**2) / 2)
    truth = float((special.expit(-1 + 0.8 * grid) * density).sum() / density.sum())
    rng = np.random.default_rng(11)
    ours, theirs, runs = [], [], 400
    for run in range(runs):
        answers, d = draw(rng, 200)
        ours.append(truth in length_controlled(answers, d).win_rate.interval())
        if run < 150:
            theirs.append(truth in alpaca_eval_win_rate(answers, d).win_rate.interval())
    error = math.sqrt(0.05 * 0.95 / runs)
    assert abs(np.mean(ours) - 0.95) < 3.5 * error
    assert np.mean(theirs) < 0.8


@pytest.mark.skipif(not WILDBENCH.is_dir(), reason="the WildBench scores aren't here")
def test_wildbench_errors_are_the_bootstrap_s() -> None:
    """Judge scores of two models on the same tasks, as wins; difficulty from the other models."""
    scores = pd.read_parquet(WILDBENCH / "scores.parquet")
    counts = scores.groupby(["version", "judge"])["model"].nunique()
    version, judge = counts.idxmax()
    scores = scores[(scores["version"] == version) & (scores["judge"] == judge)]
    table = scores.pivot_table(index="session_id", columns="model", values=["score", "len_output"])
    table = table.dropna()
    models = list(table["score"].columns)
    base, target, others = models[0], models[1], models[2:]

    def answers(model: str) -> Answers:
        gap = table["score"][model] - table["score"][base]
        return Answers(
            list(table.index),
            (np.sign(gap) / 2 + 0.5).to_numpy(),
            table["len_output"][model].to_numpy(),
            table["len_output"][base].to_numpy(),
        )

    d = instruction_difficulty([answers(model) for model in others])
    mine = answers(target)
    found = length_controlled(mine, d)
    rng, n = np.random.default_rng(12), len(table)
    resampled = []
    for _ in range(300):  # sd of the lengths is computed anew, too
        again = taken(mine, rng.integers(0, n, n))
        fit = controlled_win_rate(again.outcome, again.lead(), difficulty=again.looked_up(d))
        resampled.append(fit.win_rate.value)
    assert found.win_rate.se == pytest.approx(np.std(resampled), rel=0.15)
