"""AUROC against sklearn, a quadratic loop and published values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from statllm.estimators.selective.auroc import auroc, auroc_difference, delong_test

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0, 3.0]), st.booleans()), max_size=25
)


def plain_delong(score: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """All pairs written out."""
    positive, negative = score[label], score[~label]
    kernel = np.array([[(p > q) + 0.5 * (p == q) for q in negative] for p in positive])
    variance = kernel.mean(1).var(ddof=1) / len(positive)
    variance += kernel.mean(0).var(ddof=1) / len(negative)
    return kernel.mean(), np.sqrt(variance)


@settings(deadline=None)  # other work may share the machine
@given(PAIRS)
def test_value_and_error_equal_all_pairs_written_out(pairs: list[tuple[float, bool]]) -> None:
    score = np.array([s for s, _ in pairs])
    label = np.array([right for _, right in pairs], dtype=bool)
    assume(min(label.sum(), (~label).sum()) > 1)
    area = auroc(score, label)
    value, se = plain_delong(score, label)
    assert area.value == pytest.approx(value)
    assert area.value == pytest.approx(roc_auc_score(label, score))
    assert area.se == pytest.approx(se, abs=1e-12)
    # Turning the score round turns the area round; a rising transform changes nothing.
    assert auroc(-score, label).value == pytest.approx(1 - value)
    assert auroc(np.exp(score), label).se == pytest.approx(se, abs=1e-12)
    order = np.random.default_rng(0).permutation(len(score))
    assert auroc(score[order], label[order]).value == pytest.approx(value)


def test_published_value() -> None:
    # RandomState(1): p = uniform(100), u = uniform(100), y = (u <= p).
    state = np.random.RandomState(1)
    p, u = state.uniform(size=100), state.uniform(size=100)
    area = auroc(p, u <= p)
    assert area.value == pytest.approx(0.8128019324, abs=1e-10)
    assert area.se == pytest.approx(0.0412743086, abs=1e-10)
    plain = auroc(p, u <= p, interval="plain").interval()
    z = stats.norm.ppf(0.975)
    assert (plain.low, plain.high) == pytest.approx(
        (area.value - z * area.se, area.value + z * area.se)
    )


def test_interval_has_the_degrees_of_freedom_of_brunner_and_munzel() -> None:
    # Their statistic is (A - 1/2) / se with DeLong's error. At the level 1 - p of their test
    # the t quantile times the error is |A - 1/2|, which the interval linearises on its scale.
    rng = np.random.default_rng(5)
    score, label = rng.standard_normal(30), np.arange(30) < 6
    score[label] += 0.8
    area = auroc(score, label)
    test = stats.brunnermunzel(score[~label], score[label], distribution="t")
    assert test.statistic == pytest.approx((area.value - 0.5) / area.se)

    interval = area.interval(1 - test.pvalue)
    half = np.log(interval.high / (1 - interval.high)) - np.log(area.value / (1 - area.value))
    assert half * area.value * (1 - area.value) == pytest.approx(area.value - 0.5)
    # Where one class hardly counts the interval is wider than z would have it.
    wide, narrow = area.interval(), auroc(score, label, interval="plain").interval()
    assert wide.method.startswith("t(")
    assert narrow.method == "normal"


def test_interval_does_not_overflow_where_next_to_nothing_is_known() -> None:
    # Two wrong answers, one above and one below nearly all others.
    score, label = np.arange(400.0), np.ones(400, dtype=bool)
    label[[0, 1]] = False
    score[[0, 1]] = [400.5, -1.0]
    interval = auroc(score, label).interval(0.999)
    assert 0 <= interval.low < 0.5 < interval.high <= 1


def test_constant_score_knows_nothing() -> None:
    for label in ([True] * 5 + [False] * 5, [False] * 5 + [True] * 5):
        assert auroc(np.full(10, 0.3), label).value == 0.5  # whatever the order of the rows


def test_separated_classes_keep_an_honest_interval() -> None:
    area = auroc([3, 4, 5, 0, 1], [1, 1, 1, 0, 0])
    assert (area.value, area.se) == (1.0, 0.0)
    interval = area.interval()
    # Two disjoint pairs, both concordant: the exact limit of 2 out of 2.
    assert (interval.low, interval.high) == pytest.approx((0.025 ** (1 / 2), 1.0))
    worst = auroc([0, 1, 3, 4, 5], [1, 1, 0, 0, 0]).interval()
    assert (worst.low, worst.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 2)))


def test_one_class_or_one_member_has_no_error() -> None:
    assert np.isnan(auroc([1.0, 2.0], [True, True]).value)
    assert np.isnan(auroc([1.0, 2.0], [True, True]).interval().low)
    single = auroc([1.0, 2.0, 0.0], [False, True, False])
    assert single.value == 1.0
    assert np.isnan(single.se)
    assert np.isnan(auroc([], []).value)


def test_missing_scores_are_refused_or_dropped() -> None:
    score, label = [0.1, float("nan"), 0.9, 0.4], [False, True, True, False]
    with pytest.raises(ValueError, match="1 of 4 scores are NaN"):
        auroc(score, label)
    assert auroc(score, label, missing="drop").n == 3


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        auroc([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="true or false"):
        auroc([1.0, 2.0], [1, 2])
    with pytest.raises(ValueError, match="interval must be"):
        auroc([1.0], [True], interval="wald")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="missing must be"):
        auroc([1.0], [True], missing="zero")  # type: ignore[arg-type]


@pytest.mark.parametrize(("m", "n"), [(100, 20), (30, 30)])
def test_logit_interval_covers(m: int, n: int) -> None:
    rng = np.random.default_rng(6)
    truth = stats.norm.cdf(1.5 / np.sqrt(2))
    label = np.repeat([True, False], [m, n])
    hits, errors, values = 0, [], []
    for _ in range(4000):
        area = auroc(rng.normal(size=m + n) + 1.5 * label, label)
        hits += truth in area.interval()
        errors.append(area.se)
        values.append(area.value)
    assert 0.93 < hits / 4000 < 0.97
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.06)


def plain_obuchowski(
    scores: list[np.ndarray], label: np.ndarray, group: np.ndarray
) -> tuple[float, float]:
    """Obuchowski (1997), cluster by cluster, for one score or the second less the first."""
    positive, negative = np.flatnonzero(label), np.flatnonzero(~label)
    m, n, names = len(positive), len(negative), np.unique(group)
    v10, v01 = np.zeros(len(label)), np.zeros(len(label))
    for score, sign in zip(scores[::-1], [1, -1], strict=False):
        kernel = np.array(
            [
                [(score[p] > score[q]) + 0.5 * (score[p] == score[q]) for q in negative]
                for p in positive
            ]
        )
        v10[positive] += sign * kernel.mean(1)
        v01[negative] += sign * kernel.mean(0)
    value = v10[positive].mean()
    s10 = s01 = s11 = 0.0
    with_positive = len(set(group[positive]))
    with_negative = len(set(group[negative]))
    for name in names:
        here = group == name
        x = v10[here & label].sum() - (here & label).sum() * value
        y = v01[here & ~label].sum() - (here & ~label).sum() * value
        s10 += with_positive / ((with_positive - 1) * m) * x * x
        s01 += with_negative / ((with_negative - 1) * n) * y * y
        s11 += len(names) / (len(names) - 1) * x * y
    return value, float(np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n)))


def clustered_example(
    rng: np.random.Generator, prompts: int, shared: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, label and prompt of one to six answers per prompt."""
    group = np.repeat(np.arange(prompts), rng.integers(1, 7, prompts))
    common = shared * rng.normal(size=prompts)[group]
    label = common + rng.normal(size=len(group)) > 0
    score = 0.8 * label + common + rng.normal(size=len(group))
    return score.round(1), label, group


def test_clustered_error_equals_the_formula_written_out() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        score, label, group = clustered_example(rng, 15)
        other = score + rng.normal(size=len(score)).round(1)
        area = auroc(score, label, clusters=group)
        assert (area.value, area.se) == pytest.approx(plain_obuchowski([score], label, group))
        assert area.n == 15
        gain = auroc_difference(score, other, label, clusters=group)
        expected = plain_obuchowski([score, other], label, group)
        assert (gain.value, gain.se) == pytest.approx(expected)
    # Clusters of one are no clusters; the names don't matter.
    alone = auroc(score, label, clusters=np.arange(len(score)))
    assert alone.se == pytest.approx(auroc(score, label).se)
    named = auroc(score, label, clusters=[f"p{g}" for g in 99 - group])
    assert named.se == pytest.approx(area.se)


def test_difference_equals_all_pairs_written_out() -> None:
    rng = np.random.default_rng(2)
    label = rng.uniform(size=40) < 0.6
    a, b = (label + rng.normal(size=40)).round(1), (label + rng.normal(size=40)).round(1)
    gain = auroc_difference(a, b, label)
    kernels = []
    for score in (a, b):
        positive, negative = score[label], score[~label]
        kernels.append(np.array([[(p > q) + 0.5 * (p == q) for q in negative] for p in positive]))
    difference = kernels[1] - kernels[0]
    variance = difference.mean(1).var(ddof=1) / label.sum()
    variance += difference.mean(0).var(ddof=1) / (~label).sum()
    assert gain.value == pytest.approx(roc_auc_score(label, b) - roc_auc_score(label, a))
    assert gain.se == pytest.approx(np.sqrt(variance))
    test = delong_test(a, b, label)
    z = gain.value / gain.se
    # Welch's degrees of freedom for the variances of the two means of placements.
    x, y = difference.mean(1), difference.mean(0)
    df = stats.ttest_ind(x, y, equal_var=False).df
    assert (test.statistic, test.p_value) == pytest.approx((z, 2 * stats.t.sf(abs(z), df)))
    assert delong_test(a, b, label, "greater").p_value == pytest.approx(stats.t.sf(z, df))
    assert delong_test(a, b, label, "less").p_value == pytest.approx(stats.t.cdf(z, df))
    assert auroc_difference(b, a, label).value == pytest.approx(-gain.value)


@pytest.mark.parametrize("clustered", [False, True])
def test_paired_test_rejects_where_its_interval_leaves_zero_out(clustered: bool) -> None:
    rng = np.random.default_rng(9)
    both = []
    for _ in range(400):
        label = np.append([True, True, False, False], rng.random(21) < 0.8)
        a, b = label + rng.normal(size=25), 2.5 * label + rng.normal(size=25)
        groups = np.append(np.arange(4), rng.integers(0, 8, 21)) if clustered else None
        gain, test = auroc_difference(a, b, label, clusters=groups), delong_test(
            a, b, label, clusters=groups
        )  # fmt: skip
        if gain.se == 0:
            continue
        outside = [0.0 not in gain.interval(level) for level in (0.9, 0.95, 0.99)]
        assert outside == [test.p_value < alpha for alpha in (0.1, 0.05, 0.01)]
        both.append(outside[1])
    assert 0 < sum(both) < len(both)


def test_log_p_of_the_paired_test_stays_finite() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(20_000) % 2 == 0
    b = 4.0 * label + rng.normal(size=20_000)
    far = delong_test(rng.normal(size=20_000), b, label)
    assert far.p_value == 0
    assert -1e6 < far.log_p_value < -700
    greater = delong_test(rng.normal(size=20_000), b, label, "greater")
    assert -1e6 < greater.log_p_value < -700
    assert delong_test(rng.normal(size=20_000), b, label, "less").p_value == 1


def test_equal_scores_don_t_differ() -> None:
    score, label = [1.0, 2.0, 3.0, 4.0, 2.0], [0, 1, 1, 1, 0]
    test = delong_test(score, np.exp(score), label)
    assert (test.statistic, test.p_value) == (0.0, 1.0)


def test_difference_without_an_error_falls_back_on_exact_limits() -> None:
    label = [1, 1, 1, 0, 0]
    gain = auroc_difference([1, 1, 1, 1, 1], [3, 4, 5, 0, 1], label)
    assert (gain.value, gain.se) == (0.5, 0.0)
    interval = gain.interval()
    # The constant score's area is 1/2; the other's at 97.5 %: 2 of 2 disjoint pairs.
    assert (interval.low, interval.high) == pytest.approx((0.0125 ** (1 / 2) - 0.5, 0.5))
    assert np.isnan(delong_test([1, 1, 1, 1, 1], [3, 4, 5, 0, 1], label).p_value)
    assert np.isnan(delong_test([1.0, 2.0], [1.0, 2.0], [1, 1]).p_value)


def test_separated_clusters_count_as_pairs_only_once() -> None:
    label, group = [1, 1, 1, 0, 0, 0], [0, 1, 2, 0, 1, 2]
    low = auroc([3, 4, 5, 0, 1, 2], label, clusters=group).interval().low
    assert low == pytest.approx(0.025)  # three prompts make one pair of different prompts


def test_paired_input_is_checked() -> None:
    with pytest.raises(ValueError, match="one length"):
        auroc_difference([1.0, 2.0], [1.0], [1, 0])
    with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
        auroc_difference([1.0, np.nan, 2.0], [1.0, 2.0, 3.0], [1, 0, 1])
    dropped = auroc_difference(
        [1.0, np.nan, 2.0], [1.0, 2.0, 3.0], [0, 0, 1], missing="drop", clusters=["a", "b", "c"]
    )
    assert dropped.n == 2
    with pytest.raises(ValueError, match="cluster labels"):
        auroc([1.0, 2.0], [1, 0], clusters=["a"])
    with pytest.raises(ValueError, match="alternative must be"):
        delong_test([1.0], [1.0], [1], "larger")  # type: ignore[arg-type]


def test_clustered_interval_covers_and_test_keeps_its_size() -> None:
    rng = np.random.default_rng(3)
    truth = auroc(*clustered_example(rng, 200_000)[:2]).value
    hits = naive = rejected = 0
    for _ in range(600):
        score, label, group = clustered_example(rng, 50)
        hits += truth in auroc(score, label, clusters=group).interval()
        naive += truth in auroc(score, label).interval()
        noisy = [score + rng.normal(size=len(score)) for _ in range(2)]
        rejected += delong_test(*noisy, label, clusters=group).p_value <= 0.05
    assert 0.92 < hits / 600 < 0.98
    assert naive < hits
    assert 0.02 < rejected / 600 < 0.08


@pytest.mark.parametrize("n", [50, 200])
def test_paired_test_keeps_its_size(n: int) -> None:
    rng = np.random.default_rng(n)
    p_values = []
    for _ in range(800):
        label = rng.uniform(size=n) < 0.6
        common = label + rng.normal(size=n)
        a, b = (common + 0.7 * rng.normal(size=n) for _ in range(2))
        p_values.append(delong_test(a, b, label).p_value)
    assert 0.03 < np.mean(np.array(p_values) <= 0.05) < 0.075


def test_published_areas_of_real_models(shared_data: Path) -> None:
    # bplaut/llm-calibration-and-correctness-prediction: answers that can't be parsed are wrong.
    import pandas as pd

    folder = shared_data / "calib_plaut"
    if not folder.is_dir():
        pytest.skip("calib_plaut is not beside this checkout")
    rows = pd.read_parquet(folder / "conf.parquet")
    published = pd.read_csv(folder / "published_confidence_intervals.csv")
    published = published.set_index(["prompt", "value", "dataset", "model"])
    compared, widths = 0, []
    for (dataset, model, prompt), part in rows.groupby(
        ["dataset", "model", "prompt"], observed=True
    ):
        for value, column in (("norm_logits", "msp"), ("raw_logits", "max_logit")):
            key = (f"{prompt}_prompt", value, dataset, model)
            if key not in published.index:
                continue
            area = auroc(part[column], part["grade"] == "Correct")
            row = published.loc[key]
            # Scores are stored in single precision, which ties a few that weren't.
            assert area.value == pytest.approx(row["sample_auroc"], abs=2e-6), key
            interval = area.interval()
            widths.append((interval.high - interval.low) / (row["ci_ub"] - row["ci_lb"]))
            compared += 1
    assert compared == 100
    # Their intervals are percentile bootstraps of 1,000 draws.
    assert np.mean(widths) == pytest.approx(1, abs=0.03)


def test_rank_measures_of_a_right_or_wrong_answer_are_functions_of_the_area() -> None:
    # Published for the same data: reversed pairs proportion, Kendall's tau-b, Spearman's rho.
    state = np.random.RandomState(1)
    p, u = state.uniform(size=100), state.uniform(size=100)
    right = u <= p
    area, m, n = auroc(p, right).value, right.sum(), (~right).sum()
    gini = 2 * area - 1
    assert (1 - area) * m * n / 100**2 == pytest.approx(0.0465, abs=5e-5)
    assert gini * np.sqrt(2 * m * n / (100 * 99)) == pytest.approx(0.4431723120, abs=1e-10)
    assert gini * np.sqrt(3 * m * n / (100**2 - 1)) == pytest.approx(0.5400793370, abs=1e-10)


@pytest.mark.parametrize("n", [50, 200])
def test_interval_covers_where_the_classes_are_drawn_too(n: int) -> None:
    rng = np.random.default_rng(n)
    truth, hits = stats.norm.cdf(1.2 / np.sqrt(2)), 0
    for _ in range(1500):
        label = rng.uniform(size=n) < 0.7
        hits += truth in auroc(rng.normal(size=n) + 1.2 * label, label).interval()
    assert 0.935 < hits / 1500 < 0.97
