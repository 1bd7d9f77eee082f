"""Areas under the risk-coverage curve: published values, brute force over tie orders, coverage."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.selective.auroc import auroc
from statllm.estimators.selective.risk_coverage import auarc, augrc, aurc, e_aurc

FD_SHIFTS = json.loads(
    (Path(__file__).resolve().parents[2] / "references" / "fd_shifts_areas.json").read_text()
)
PATTERNS = {
    "constant": np.full(100, 0.3),
    "ones": np.ones(100),
    "zeros": np.zeros(100),
    "alternating": np.arange(100) % 2,
    "inverted": (np.arange(100) + 1) % 2,
    "ascending": np.linspace(0, 1, 100),
    "plateaus": np.repeat([0.2, 0.4, 0.6, 0.8], 25),
}
PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 1.0])),
    min_size=2,
    max_size=30,
)


def example() -> tuple[np.ndarray, np.ndarray]:
    """RandomState(1): p = uniform(100), u = uniform(100), right where u <= p."""
    state = np.random.RandomState(1)
    p, u = state.uniform(size=100), state.uniform(size=100)
    return p, u <= p


def mean_cumulative_risk(loss: np.ndarray) -> float:
    """Losses in order of confidence, no ties."""
    return float(np.mean([loss[:k].mean() for k in range(1, len(loss) + 1)]))


def test_published_values() -> None:
    p, right = example()
    # lm-polygraph / MAPIE definitions, then fd-shifts (given there in 1/1000).
    assert aurc(p, right).value == pytest.approx(0.2214776783, abs=1e-10)
    assert auarc(p, right).value == pytest.approx(0.7785223217, abs=1e-10)
    assert aurc(p, right, "fd-shifts").value * 1000 == pytest.approx(219.177678, abs=1e-6)
    assert e_aurc(p, right, "fd-shifts").value * 1000 == pytest.approx(91.918194, abs=1e-6)
    assert augrc(p, right).value * 1000 == pytest.approx(152.3, abs=1e-6)
    achievable = aurc(p, right, "fd-shifts-achievable").value
    assert achievable * 1000 == pytest.approx(206.259806, abs=1e-6)
    # MAPIE's docstring for auarc, torch-uncertainty's for AURC.
    assert auarc([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]).value == pytest.approx(0.7916666667)
    short = aurc([0.7, 0.6, 0.8], [1, 0, 1], "torch-uncertainty")
    assert short.value == pytest.approx(0.0833, abs=5e-5)


@pytest.mark.parametrize("case", FD_SHIFTS["cases"])
def test_fd_shifts_table(case: str) -> None:
    score, correct = (PATTERNS[name] for name in case.split("|"))
    got = [
        aurc(score, correct, "fd-shifts").value,
        e_aurc(score, correct, "fd-shifts").value,
        augrc(score, correct).value,
        aurc(score, correct, "fd-shifts-achievable").value,
        e_aurc(score, correct, "fd-shifts-achievable").value,
    ]
    assert got == pytest.approx(FD_SHIFTS["cases"][case], abs=1e-9)


def test_ties_are_averaged_over_all_orders() -> None:
    rng = np.random.default_rng(4)
    for _ in range(15):
        score, correct = rng.integers(0, 3, 6).astype(float), rng.integers(0, 2, 6)
        orders = [sorted(order, key=lambda i: -score[i]) for order in permutations(range(6))]
        brute = np.mean([mean_cumulative_risk(1 - correct[order]) for order in orders])
        assert aurc(score, correct).value == pytest.approx(brute, abs=1e-12)
        shortened = [
            np.trapezoid([(1 - correct[order][:k]).mean() for k in range(1, 7)]) / 5
            for order in orders
        ]
        value = aurc(score, correct, "torch-uncertainty").value
        assert value == pytest.approx(np.mean(shortened), abs=1e-12)


def test_constant_score_has_the_error_rate_whatever_the_order_of_rows() -> None:
    # Packages that sort without care for ties say 0.154 or 0.846 here.
    for correct in ([1] * 500 + [0] * 500, [0] * 500 + [1] * 500):
        assert aurc(np.full(1000, 0.3), correct).value == 0.5
        assert augrc(np.full(1000, 0.3), correct).value == 0.25


@settings(deadline=None)
@given(PAIRS, st.integers(0, 2**32 - 1))
def test_properties(pairs: list[tuple[float, float]], seed: int) -> None:
    score, correct = (np.array(column) for column in zip(*pairs, strict=True))
    order = np.random.default_rng(seed).permutation(len(score))
    for area in (aurc, augrc, e_aurc, auarc):
        here = area(score, correct)
        shuffled = area(score[order], correct[order])
        assert here.value == pytest.approx(shuffled.value, abs=1e-12)
        assert here.se == pytest.approx(shuffled.se, abs=1e-10)
        assert area(np.exp(score), correct).value == here.value  # a rising transform
    assert e_aurc(score, correct).value >= 0
    assert e_aurc(correct, correct).value == 0
    assert aurc(score, correct).value + auarc(score, correct).value == pytest.approx(1)
    # Doubling all rows leaves the generalised area alone, where there's no 1/n in the weights.
    assert augrc(np.tile(score, 2), np.tile(correct, 2)).value == pytest.approx(
        augrc(score, correct).value
    )


@settings(deadline=None)
@given(PAIRS)
def test_error_is_that_of_leaving_out_one_at_a_time(pairs: list[tuple[float, float]]) -> None:
    score, correct = (np.array(column) for column in zip(*pairs, strict=True))
    n = len(score)
    for area in (aurc, augrc, e_aurc):
        left = np.array([area(np.delete(score, i), np.delete(correct, i)).value for i in range(n)])
        error = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
        assert area(score, correct).se == pytest.approx(error, abs=1e-9)


def test_generalised_area_by_its_identity_and_error_by_delong() -> None:
    rng = np.random.default_rng(5)
    for n in (400, 4000):
        p = rng.beta(4, 2, n).round(2)  # with ties
        right = rng.uniform(size=n) < p
        roc, err = auroc(p, right), 1 - right.mean()
        acc, area = 1 - err, augrc(p, right)
        assert area.value == pytest.approx((1 - roc.value) * acc * err + err**2 / 2)
        slope = (1 - roc.value) * (1 - 2 * err) + err
        delta = np.hypot(acc * err * roc.se, slope * np.sqrt(acc * err / n))
        assert area.se == pytest.approx(delta, rel=8 / n)


def test_excess_has_its_closed_form_in_the_limit() -> None:
    p, right = example()
    many = e_aurc(np.tile(p, 200), np.tile(right, 200))
    assert many.value == pytest.approx(
        e_aurc(np.tile(p, 200), np.tile(right, 200), "geifman").value, abs=1e-4
    )
    with pytest.raises(ValueError, match="must be 0 or 1"):
        e_aurc([0.1, 0.2], [0.5, 1.0], "geifman")


def test_all_right_or_all_wrong_keeps_an_honest_interval() -> None:
    score = np.arange(20.0)
    high = 1 - 0.025 ** (1 / 20)  # Clopper-Pearson's upper limit of 0 in 20
    right, generalised = aurc(score, np.ones(20)), augrc(score, np.ones(20))
    assert (right.value, right.se) == (0.0, 0.0)
    # A wrong answer more may be anywhere: the worst order has all the wrong ones first.
    worst = np.where(np.arange(10**6) < high * 10**6, 1.0, 0.0)
    area = aurc(-np.arange(10.0**6), 1 - worst).value
    assert right.interval().low == 0
    assert right.interval().high == pytest.approx(area, abs=1e-5)
    assert generalised.interval().high == pytest.approx(high - high**2 / 2)
    wrong = aurc(score, np.zeros(20))
    assert wrong.value == 1
    assert wrong.interval().high == 1
    best = aurc(np.arange(10.0**6), np.arange(10**6) >= (1 - high) * 10**6).value
    assert wrong.interval().low == pytest.approx(best, abs=1e-5)
    assert np.isnan(e_aurc(score, np.ones(20)).interval().high)


@pytest.mark.parametrize("n", [4, 10, 20])
def test_one_wrong_answer_in_the_last_place_has_an_interval(n: int) -> None:
    # Without its bias the estimate is then exactly 0, where the logit scale ends.
    right = np.arange(n) < n - 1
    for area, top in ((aurc, 1.0), (augrc, 0.5)):
        found = area(-np.arange(n), right)
        interval = found.interval(0.95)
        assert 0 < interval.low < found.value < interval.high < top
    # 1/n^2, all that is left of the loss of the last of n means.
    assert aurc(-np.arange(n), right).value == pytest.approx(1 / n**2)


def test_next_to_nothing_known_gives_a_wide_interval_not_an_overflow() -> None:
    # Two wrong answers, the last but one and the last: hardly any excess, a large error.
    right = np.array([1] * 8 + [0, 1, 0], dtype=bool)
    interval = e_aurc(-np.arange(11), right).interval(1 - 1e-13)
    assert interval.low >= 0
    assert interval.high > 1


def test_clusters_of_one_change_nothing_and_copies_widen() -> None:
    p, right = example()
    for area in (aurc, augrc, e_aurc):
        alone = area(p, right)
        assert area(p, right, clusters=np.arange(100)).se == pytest.approx(alone.se)
        copied = area(np.repeat(p, 5), np.repeat(right, 5), clusters=np.repeat(np.arange(100), 5))
        assert copied.n == 100
        assert copied.se == pytest.approx(alone.se, rel=0.05)
        assert area(np.repeat(p, 5), np.repeat(right, 5)).se < 0.6 * alone.se


def test_empty_single_and_missing() -> None:
    for area in (aurc, augrc, e_aurc, auarc):
        assert np.isnan(area([], []).value)
        single = area([0.3], [1])
        assert np.isnan(single.se)
        with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
            area([0.1, np.nan, 0.3], [0, 1, 1])
        dropped = area([0.1, np.nan, 0.3, 0.2], [0, 1, 1, 0], missing="drop")
        assert (dropped.n, dropped.value) == (3, area([0.1, 0.3, 0.2], [0, 1, 0]).value)
    assert aurc([0.3], [0]).value == 1


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        aurc([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="between 0"):
        aurc([1.0, 2.0], [2, 0])
    with pytest.raises(ValueError, match="between 0"):
        aurc([1.0, 2.0], [np.nan, 0])
    with pytest.raises(ValueError, match="method must be"):
        aurc([1.0], [True], "trapz")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="missing must be"):
        augrc([1.0], [True], missing="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 cluster labels for 2 rows"):
        augrc([1.0, 2.0], [True, False], clusters=["a"])


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("votes", [False, True])
def test_intervals_cover(n: int, votes: bool) -> None:
    rng = np.random.default_rng(n + votes)

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        p = rng.beta(5, 2, size)
        score = rng.binomial(10, p) / 10 if votes else p
        return score, rng.uniform(size=size) < p

    score, right = draw(200_000)
    areas = (aurc, augrc, e_aurc)
    truth = [area(score, right).value for area in areas]
    hits, values, errors = np.zeros(3), [], []
    for _ in range(500):
        found = [area(*sample) for sample in [draw(n)] for area in areas]
        hits += [t in f.interval() for t, f in zip(truth, found, strict=True)]
        values.append([f.value for f in found])
        errors.append([f.se for f in found])
    assert np.all((hits / 500 > [0.93, 0.93, 0.91]) & (hits / 500 < 0.98))
    assert np.mean(errors, axis=0) == pytest.approx(np.std(values, axis=0), rel=0.08)


def test_clustered_interval_covers() -> None:
    # Five answers per prompt that share the prompt's difficulty.
    rng = np.random.default_rng(11)
    truth = 0.0
    hits, naive = 0, 0
    for repeat in range(-1, 300):
        prompts = 50_000 if repeat < 0 else 60
        group = np.repeat(np.arange(prompts), 5)
        p = stats.norm.cdf(rng.normal(0.6, 0.8, prompts))[group]
        score, right = p + 0.05 * rng.normal(size=len(p)), rng.uniform(size=len(p)) < p
        if repeat < 0:
            truth = aurc(score, right).value
            continue
        hits += truth in aurc(score, right, clusters=group).interval()
        naive += truth in aurc(score, right).interval()
    assert 0.91 < hits / 300 < 0.98
    assert naive < hits
