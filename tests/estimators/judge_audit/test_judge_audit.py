"""Audits against peers, planted biases, real judges, and the size of their tests."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.judge_audit import (
    Finding,
    Verdicts,
    adjusted,
    audit_judge,
    audit_swaps,
    by_pair,
    correction,
    human_agreement,
    length_bias,
    length_curve,
    position_bias,
    repeat_consistency,
    self_preference,
)
from statllm.estimators.judge_audit.findings import fair_test
from statllm.estimators.ppi import corrected_win_rate, rogan_gladen
from statllm.estimators.proportions import proportion

NAN = float("nan")


def named(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {each.estimate.name: each for each in findings}


def judge(
    rng: np.random.Generator,
    n: int = 200,
    *,
    pull: float = 0.0,
    length: float = 0.0,
    own: float = 0.0,
    skill: float = 1.5,
    per_prompt: int = 1,
) -> Verdicts:
    """Verdicts in both orders by a logistic judge with planted biases."""
    pair = np.repeat(np.arange(n), 2)
    a_first = np.tile([True, False], n)
    human = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    a, b = rng.integers(50, 500, size=(2, n)).astype(float)
    family = rng.choice([-1.0, 0.0, 1.0], size=n)
    prompt = np.arange(n) // per_prompt
    shared = rng.normal(size=n // per_prompt)[prompt] * (per_prompt > 1)
    odds = (skill * human + length * (a - b) / (a + b) + own * family + shared)[pair]
    odds = odds + pull * np.where(a_first, 1, -1)
    wins = np.where(rng.random(2 * n) < 1 / (1 + np.exp(-odds)), 1.0, -1.0)
    return Verdicts.of(
        pair, a_first, np.where(a_first, wins, -wins), cluster=prompt[pair], human=human[pair],
        length_a=a[pair], length_b=b[pair], own=family[pair],
    )  # fmt: skip


# ---- values -------------------------------------------------------------------------------------


def test_position_by_hand() -> None:
    """Shares, Wilson's and t intervals and the sign test, from the two columns of verdicts."""
    rng = np.random.default_rng(0)
    forward, backward = rng.choice([1.0, 0.0, -1.0, NAN], (2, 90), p=[0.5, 0.1, 0.3, 0.1])
    verdicts = Verdicts.of(
        np.tile(np.arange(90), 2), np.repeat([True, False], 90), np.concatenate([forward, backward])
    )
    found = named(position_bias(verdicts))
    consistency, pull = found["consistency under swap"], found["pull of the first place"]
    used = ~np.isnan(forward + backward)
    lean = (forward + backward)[used]
    same = int((lean == 0).sum())
    wilson = stats.binomtest(same, len(lean)).proportion_ci(method="wilson")
    assert consistency.estimate.value == same / len(lean)
    assert consistency.estimate.interval().low == pytest.approx(wilson.low)
    first = stats.ttest_1samp(0.5 + lean / 4, 0.5)
    assert pull.estimate.value == pytest.approx(0.5 + lean.mean() / 4)
    assert pull.estimate.interval().low == pytest.approx(first.confidence_interval().low)
    ahead, behind = int((lean > 0).sum()), int((lean < 0).sum())
    assert pull.test is not None
    assert pull.test.statistic == ahead
    assert pull.test.p_value == pytest.approx(stats.binomtest(ahead, ahead + behind).pvalue)
    audit = audit_swaps(forward, backward)
    assert (audit.n_toward_first, audit.n_toward_second) == (ahead, behind)
    assert (audit.n_pairs, audit.n_failed) == (90, int((~used).sum()))


def test_no_interval_of_a_share_has_width_0() -> None:
    audit = audit_swaps([1] * 12, [-1] * 12, np.repeat(["p", "q", "r"], 4))
    assert audit.consistency.value == 1
    wilson = stats.binomtest(3, 3).proportion_ci(method="wilson")  # a cluster is a trial
    assert audit.consistency.interval().low == pytest.approx(wilson.low)


def test_the_t_test_ends_where_its_interval_does() -> None:
    """Unequal clusters: fewer degrees of freedom than clusters less one."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(8), [1, 1, 2, 2, 3, 5, 9, 20])
    estimate = mean_estimate(rng.random(len(clusters)), clusters)
    for end in (estimate.interval().low, estimate.interval().high):
        assert fair_test(estimate, end, "").p_value == pytest.approx(0.05)
    assert fair_test(estimate, 0.5, "").method == f"t({estimate.df:.4g})"
    assert estimate.df < 7
    same = proportion(5, 5)
    assert math.isnan(fair_test(same, 0.5, "").p_value)
    assert fair_test(same, 1.0, "").p_value == 1


def test_the_order_of_a_and_b_does_not_matter() -> None:
    verdicts = judge(np.random.default_rng(1), 80, pull=0.5, length=1, own=0.5)
    assert verdicts.length_a is not None
    turned = Verdicts.of(
        verdicts.pair, ~verdicts.a_first, verdicts.place, human=-verdicts.human,  # type: ignore[operator]
        length_a=verdicts.length_b, length_b=verdicts.length_a, own=-verdicts.own,  # type: ignore[operator]
    )  # fmt: skip
    one, two = (audit_judge(each).findings for each in (verdicts, turned))
    for first, second in zip(one, two, strict=True):
        assert first.estimate.value == pytest.approx(second.estimate.value)
        assert first.estimate.se == pytest.approx(second.estimate.se)
        if first.test is not None and second.test is not None:
            assert first.test.log_p_value == pytest.approx(second.test.log_p_value)


def test_length_slope_equals_statsmodels() -> None:
    verdicts = judge(np.random.default_rng(2), 300, pull=0.4, length=2)
    found = named(length_bias(verdicts))
    assert verdicts.length_a is not None
    assert verdicts.length_b is not None
    relative = (verdicts.length_a - verdicts.length_b) / (verdicts.length_a + verdicts.length_b)
    order = np.where(verdicts.a_first, 1.0, -1.0)
    x = np.stack(
        [relative / np.sqrt(np.mean(relative**2)), np.ones(600), order, verdicts.human], axis=1
    )
    for name, columns in (("log odds per length", 3), ("log odds per length, humans held", 4)):
        fit = sm.GLM(
            0.5 + verdicts.preferred / 2, x[:, :columns], family=sm.families.Binomial()
        ).fit(cov_type="cluster", cov_kwds={"groups": verdicts.pair}, tol=1e-12)
        assert found[name].estimate.value == pytest.approx(fit.params[0], abs=1e-7)
        assert found[name].estimate.se == pytest.approx(fit.bse[0], rel=0.02)


def test_excess_is_the_paired_difference() -> None:
    verdicts = judge(np.random.default_rng(3), 60, length=3, own=1)
    found = named(length_bias(verdicts))["excess for the longer"]
    assert verdicts.length_a is not None
    assert verdicts.length_b is not None
    sign = np.sign(verdicts.length_a - verdicts.length_b)
    each = ((verdicts.preferred - verdicts.human) * sign / 2).reshape(-1, 2).mean(1)[sign[::2] != 0]
    test = stats.ttest_1samp(each, 0)
    assert found.estimate.value == pytest.approx(each.mean())
    assert found.test is not None
    assert found.test.p_value == pytest.approx(test.pvalue, rel=1e-6)
    others = np.zeros(120)  # judges that are torn
    own = named(self_preference(verdicts, others))
    share, excess = own["share for its own"], own["excess for its own over other judges"]
    assert excess.estimate.value == pytest.approx(share.estimate.value - 0.5)


def test_t_tests_of_tiny_p_values() -> None:
    x = np.random.default_rng(0).normal(3, 0.05, size=60)
    test = fair_test(mean_estimate(x), 0.0, "")
    exact = math.log(2) + stats.t.logsf(test.statistic, 59)
    assert test.log_p_value == pytest.approx(exact, rel=1e-4)
    still = fair_test(mean_estimate([1.0, 1.0, 1.0]), 1.0, "")
    assert still.p_value == 1
    assert math.isnan(fair_test(mean_estimate([1.0, 1.0, 1.0]), 0.5, "").p_value)


def test_votes_are_averaged_before_orders() -> None:
    verdicts = Verdicts.of(
        ["p"] * 4 + ["q"] * 2, [True, True, True, False, True, True], [1, 1, -1, -1, 0, 1]
    )
    found = by_pair(verdicts)
    assert found.preferred == pytest.approx([(1 / 3 + 1) / 2, 0.5])
    assert found.consistent[0] == pytest.approx(2 / 3)
    assert found.lean[0] == pytest.approx((1 / 3 - 1) / 2)
    assert math.isnan(found.lean[1])
    repeats = named(repeat_consistency(verdicts))["agreement of repeats"].estimate
    assert repeats.value == pytest.approx((1 / 3 + 0) / 2)
    assert repeats.n == 2


def test_correction_is_ppi_of_the_pairs() -> None:
    rng = np.random.default_rng(4)
    wins, human = rng.choice([-1.0, 1.0], (2, 150))
    human[40:] = NAN
    verdicts = Verdicts.of(np.arange(150), rng.random(150) < 0.5, np.zeros(150))
    verdicts = Verdicts.of(
        verdicts.pair, verdicts.a_first, np.where(verdicts.a_first, wins, -wins), human=human
    )
    found = named(correction(verdicts))
    y, judged = 0.5 + human[:40] / 2, 0.5 + wins / 2
    expected = corrected_win_rate(judged[40:], judged[:40], y).estimate
    ours = found["win rate of a, corrected"].estimate
    assert (ours.value, ours.se) == pytest.approx((expected.value, expected.se))
    other = rogan_gladen(
        int(judged[40:].sum()), 110, int(judged[:40][y == 1].sum()), int(y.sum()),
        int((1 - judged[:40])[y == 0].sum()), int(40 - y.sum()),
    )  # fmt: skip
    assert found["win rate of a, Rogan-Gladen"].estimate.value == pytest.approx(
        other.value, nan_ok=True
    )
    assert correction(verdicts.rows(np.arange(150) < 40)) == ()  # nothing to correct


def test_holm_over_the_battery() -> None:
    findings = audit_judge(judge(np.random.default_rng(5), 100, pull=1)).findings
    tested = [each for each in findings if each.test is not None]
    p = np.array([each.test.p_value for each in tested])  # type: ignore[union-attr]
    from statsmodels.stats.multitest import multipletests

    expected = multipletests(p, method="holm")[1]
    ours = [math.exp(each.log_p_adjusted) for each in tested]  # type: ignore[arg-type]
    assert ours == pytest.approx(expected)
    assert adjusted(()) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": [1, 2, 0]}, "place must be 1, 0 or -1, not 2 in row 1"),
        ({"human": [1, -1, 0]}, r"human must be the same throughout a pair; .* row 1 \(pair p\)"),
        ({"cluster": ["x", "y", "x"]}, "cluster must be the same throughout a pair"),
        ({"own": [1, NAN, 1]}, "own must be 1, 0 or -1, not nan in row 1"),
        ({"a_first": [True]}, "a_first must have one value per verdict, 3"),
        ({"a_first": ["a", "b", "a"]}, "a_first must be an array of numbers"),
        ({"a_first": [1, NAN, 0]}, "a_first must be true or false, not nan in row 1"),
        ({"cluster": [1, NAN, 2]}, "cluster is missing in row 1"),
        ({"pair": ["p", None, "q"]}, "pair is missing in row 1"),
        ({"length_a": [1, 2, 3]}, "length_a and length_b must be given together"),
        (
            {"length_a": [1, math.inf, 3], "length_b": [1, 1, 1]},
            "must be finite; it is inf in row 1",
        ),
        (
            {"length_a": [1, -2, 3], "length_b": [1, 1, 1]},
            "must not be negative; it is -2 in row 1",
        ),
    ],
)
def test_bad_input_is_named(change: dict[str, object], message: str) -> None:
    given = {"pair": ["p", "p", "q"], "a_first": [True, False, True], "place": [1, -1, 0]}
    with pytest.raises(ValueError, match=message):
        Verdicts.of(**{**given, **change})  # type: ignore[arg-type]


def test_nothing_read_is_no_finding() -> None:
    empty = audit_judge(Verdicts.of([1, 2], [True, False], [NAN, NAN], human=[1, 1]))
    assert (empty.n_verdicts, empty.n_unread, empty.n_pairs, empty.findings) == (2, 2, 0, ())
    none = audit_judge(Verdicts.of([], [], []))
    assert none.findings == ()


# ---- biases that are there, and that aren't ------------------------------------------------------


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ("pull", "pull of the first place"),
        ("pull", "gain of the first place"),
        ("length", "log odds per length, humans held"),
        ("length", "excess for the longer"),
        ("own", "excess for its own over humans"),
    ],
)
def test_planted_biases_are_found(planted: str, name: str) -> None:
    strength = {"pull": 0.8, "length": 4.0, "own": 1.5}[planted]
    verdicts = judge(np.random.default_rng(6), 400, **{planted: strength})  # type: ignore[arg-type]
    for other, finding in named(audit_judge(verdicts).findings).items():
        if other == name:
            assert finding.log_p_adjusted is not None
            assert math.exp(finding.log_p_adjusted) < 0.001
            assert finding.estimate.value > finding.fair  # type: ignore[operator]


def test_curve_of_length_rises() -> None:
    verdicts = judge(np.random.default_rng(7), 2000, length=6, skill=0)
    curve = length_curve(verdicts, 4)
    assert np.all(np.diff(curve.share) > 0)
    assert curve.n.sum() == (verdicts.length_a != verdicts.length_b).sum()
    expected = 1 / (1 + np.exp(-6 * curve.difference))
    assert curve.share == pytest.approx(expected, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("per_prompt", [1, 4])
def test_sizes_of_the_battery(per_prompt: int) -> None:
    # 1,000 fair judges of 80 pairs (20 prompts of 4): MC error 0.007 at 5 %.
    rng = np.random.default_rng(0)
    rejected: dict[str, list[bool]] = {}
    family = []
    for _ in range(1000):
        findings = audit_judge(judge(rng, 80, per_prompt=per_prompt)).findings
        tested = [each for each in findings if each.test is not None]
        for each in tested:
            test = each.test
            assert test is not None
            rejected.setdefault(each.estimate.name, []).append(test.p_value <= 0.05)
        family.append(min(each.log_p_adjusted for each in tested) <= math.log(0.05))  # type: ignore[type-var, operator]
    sizes = {name: float(np.mean(each)) for name, each in rejected.items()}
    assert all(size <= 0.05 + 3 * 0.007 for size in sizes.values()), sizes
    assert np.mean(family) <= 0.05 + 3 * 0.007


def test_real_judges_pull(shared_data: Path) -> None:
    """Six judges of LLMBar (princeton-nlp/LLMBar, 900616b), 419 pairs, several prompts each."""
    folder = shared_data / "pref_llmbar"
    if not folder.is_dir():
        pytest.skip("LLMBar's verdicts are not beside this checkout")
    frame = pd.read_parquet(folder / "verdicts.parquet").query("prompt == 'Vanilla'")
    by_output = {"1": 1.0, "2": -1.0}
    pulls = {}
    for model, rows in frame.groupby("model", observed=True):
        pair = (rows["subset"].astype(str) + rows["idx"].astype(str)).to_numpy()
        plain, swapped = (
            rows[name].astype(str).map(by_output).to_numpy(float)
            for name in ("winner_noswap", "winner_swap")
        )
        label = rows["label"].map({1: 1.0, 2: -1.0}).to_numpy()
        verdicts = Verdicts.of(
            np.tile(pair, 2), np.repeat([True, False], len(pair)),
            np.concatenate([plain, -swapped]), human=np.tile(label, 2),
        )  # fmt: skip
        found = named(audit_judge(verdicts).findings)
        pulls[model] = found["pull of the first place"]
        both = ~(np.isnan(plain) | np.isnan(swapped))
        towards = (plain[both] == 1).mean() / 2 + (swapped[both] == -1).mean() / 2
        assert pulls[model].estimate.value == pytest.approx(towards)
        accuracy = found["accuracy"].estimate
        read = ~np.isnan(np.concatenate([plain, swapped]))
        right = np.concatenate([plain == label, swapped == label])[read]
        assert accuracy.value == pytest.approx(right.mean())
        # what one order gains, the other loses
        gain = found["gain of the first place"].estimate.value
        first, second = (
            found[f"right when the better is {place}"].estimate.value
            for place in ("first", "second")
        )
        assert gain == pytest.approx(first - second, abs=0.01)
    sure = {
        model for model, each in pulls.items()
        if each.log_p_adjusted is not None and each.log_p_adjusted < math.log(1e-3)
    }  # fmt: skip
    assert {"Falcon", "ChatGPT", "ChatGPT-0301"} <= sure
    assert pulls["Falcon"].estimate.value > 0.7


def test_agreement_counts_one_verdict_per_pair() -> None:
    verdicts = Verdicts.of(
        ["p", "p", "q", "q", "r"], [True, False, True, False, True], [1, 1, 1, -1, 1],
        human=[1, 1, 1, 1, 0],
    )  # fmt: skip
    found = named(human_agreement(verdicts))
    assert found["accuracy"].estimate.value == 0.75  # p's orders: one right
    assert found["agreement with humans"].estimate.value == pytest.approx(1 / 3)
    assert found["agreement with humans"].estimate.n == 3
