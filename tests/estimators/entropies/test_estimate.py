"""Entropy estimators against published values, and their behaviour at the edges."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.estimators.entropies.estimate import METHODS, entropy, vote_entropy
from statllm.estimators.entropies.profiles import clean_counts, find_profiles
from statllm.ragged import Ragged

REFERENCES = Path(__file__).parents[2] / "references"
REFERENCE = json.loads((REFERENCES / "entropy.json").read_text())
NDD = json.loads((REFERENCES / "entropy_ndd.json").read_text())["cases"]

count_rows = st.lists(st.lists(st.integers(0, 12), max_size=6), min_size=1, max_size=8)


def _one(case: dict[str, Any]) -> Any:
    options = {key: case[key] for key in ("n_categories", "prior") if key in case}
    return entropy(case["counts"], case["estimator"], **options)


def _label(case: dict[str, Any]) -> str:
    return f"{case['source'][:12]}-{case['estimator']}-{case.get('prior', '')}{case['counts'][:3]}"


# ---- values from outside ----------------------------------------------------------------------


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=_label)
def test_published_value(case: dict[str, Any]) -> None:
    got = _one(case)
    tolerance = 0.6 * 10.0 ** -case["decimals"]
    assert got.value[0] == pytest.approx(case["value"], abs=tolerance)
    if "sd" in case:
        assert got.se[0] == pytest.approx(case["sd"], abs=tolerance)


@pytest.mark.parametrize("case", REFERENCE["disagreements"], ids=_label)
def test_where_a_package_is_wrong_we_have_the_exact_value(case: dict[str, Any]) -> None:
    value = _one(case).value[0]
    assert value == pytest.approx(case["value"], abs=10.0 ** -case["decimals"])
    assert abs(value - case["published"]) > 1e-3


@pytest.mark.parametrize("case", REFERENCE["spider"], ids=["girdled", "logged"])
def test_inext_spider_data(case: dict[str, Any]) -> None:
    counts = case["counts"]
    for name in ("plugin", "chao_wang_jost"):
        diversity = math.exp(entropy(counts, name).value[0])
        assert diversity == pytest.approx(case[name], abs=6e-7)
    profiles, _ = find_profiles(clean_counts(counts))
    assert len(counts) + profiles.unseen()[0] == pytest.approx(case["richness"], abs=6e-7)


def test_ndd_reference_file() -> None:
    """36 count vectors drawn as ndd's tests draw them; 108 closed forms and 36 quadratures."""
    for case in NDD:
        state = np.random.RandomState(123)
        shares = state.dirichlet([case["alpha"]] * case["k"])
        counts = state.multinomial(case["n"], shares)
        for name, key, prior in (
            ("plugin", "plugin", None),
            ("wolpert_wolf", "wolpert_wolf", "laplace"),
            ("dirichlet", "laplace", "laplace"),
        ):
            value = entropy(counts, name, n_categories=case["k"], prior=prior).value[0]
            assert value == pytest.approx(case[key], abs=1e-12), case
        value = entropy(counts, "nsb", n_categories=case["k"]).value[0]
        if "exact_nsb" in case:
            assert value == pytest.approx(case["exact_nsb"], abs=1e-10), case
        else:
            assert value == pytest.approx(case["nsb"], abs=5e-5), case


# ---- edges ------------------------------------------------------------------------------------

K_OF_TEN = {name: 10 if METHODS[name].needs_categories else None for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_no_votes_give_nan(name: str) -> None:
    got = entropy([[], [0, 0], [3, 1]], name, n_categories=K_OF_TEN[name])
    assert np.isnan(got.value[:2]).all()
    assert np.isnan(got.se[:2]).all()
    assert np.isfinite(got.value[2])
    assert got.n.tolist() == [0, 0, 4]
    assert got.n_distinct.tolist() == [0, 0, 2]


def test_one_vote() -> None:
    euler = 0.5772156649015329
    expected = {
        "plugin": 0.0,
        "miller_madow": 0.0,
        "zhang": 0.0,
        "grassberger1988": euler + 0.5,
        "grassberger2003": euler + math.log(2),
        "shrinkage": math.log(10),
    }
    for name in METHODS:
        got = entropy([1], name, n_categories=K_OF_TEN[name])
        if name in ("jackknife", "chao_shen", "chao_wang_jost"):
            assert np.isnan(got.value[0]), name
        elif name in expected:
            assert got.value[0] == pytest.approx(expected[name], abs=1e-14), name
        else:
            assert 0 < got.value[0] < math.log(10), name
        assert np.isnan(got.se[0]) == (METHODS[name].se != "posterior"), name


@pytest.mark.parametrize(
    "name", ["plugin", "miller_madow", "jackknife", "chao_shen", "chao_wang_jost", "zhang"]
)
def test_votes_that_agree_have_entropy_zero(name: str) -> None:
    got = entropy([[2], [10], [1000]], name)
    assert got.value.tolist() == [0.0, 0.0, 0.0]
    assert not np.signbit(got.value).any()


def test_parity_of_grassberger_2003() -> None:
    even, odd = entropy([[5, 5], [6, 4], [5, 4]], "grassberger2003").value[:2]
    assert even == pytest.approx(0.9063, abs=1e-4)
    assert even > math.log(2) > odd


def test_one_category_is_certain() -> None:
    for name in ("shrinkage", "dirichlet", "wolpert_wolf", "nsb"):
        got = entropy([[4], [1]], name, n_categories=1)
        assert got.value == pytest.approx([0, 0], abs=1e-12), name
    assert entropy([4], "nsb", n_categories=1).se[0] == 0
    assert entropy([4], "wolpert_wolf", n_categories=1).se[0] == pytest.approx(0, abs=1e-7)


def test_rules_for_unknown_categories() -> None:
    counts = [3, 1, 1]  # Chao1: f1 = 2, f2 = 0, (4/5) 2 (2-1)/2 = 0.8, so one unseen answer
    for rule, k in (("observed", 3), ("chao1", 4)):
        for name in ("shrinkage", "nsb"):
            by_rule = entropy(counts, name, n_categories=rule)
            assert by_rule.value == entropy(counts, name, n_categories=k).value


def test_categories_per_prompt() -> None:
    together = entropy([[3, 1], [3, 1]], "nsb", n_categories=[2, 10])
    alone = [entropy([3, 1], "nsb", n_categories=k).value[0] for k in (2, 10)]
    assert together.value.tolist() == alone


def test_layouts_of_counts_are_equal() -> None:
    lists = [[3, 1], [], [2, 2, 0]]
    expected = entropy(lists).value
    for counts in (
        Ragged.from_lists(lists, dtype=np.int32),
        pa.array(lists, pa.list_(pa.int64())),
        pa.chunked_array([pa.array(lists[:1]), pa.array(lists[1:], pa.list_(pa.int64()))]),
        [[3.0, 1.0], [], [2.0, 2.0]],
    ):
        np.testing.assert_array_equal(entropy(counts).value, expected)
    np.testing.assert_array_equal(entropy(np.array([[3, 1], [2, 2]])).value, expected[[0, 2]])
    assert entropy(np.array([3, 1])).value.tolist() == [expected[0]]
    assert len(entropy([])) == 0


def test_vote_entropy_counts_answers() -> None:
    got = vote_entropy([["a", "b", "a", None], [None], ["x", "x"]], "plugin")
    np.testing.assert_allclose(got.value, [math.log(3) - 2 / 3 * math.log(2), np.nan, 0])
    assert got.n.tolist() == [3, 0, 2]
    assert vote_entropy([["a", "b"]]).method == "jackknife"
    known = vote_entropy([["a", "b"]], "nsb", n_categories=4)
    assert known.value == entropy([1, 1], "nsb", n_categories=4).value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy([[1, -1]]), "at least 0; prompt 0 has -1$"),
        (lambda: entropy([[1], [1.5]]), "prompt 1 has 1.5$"),
        (lambda: entropy([[1.0, float("nan")]]), "prompt 0 has nan$"),
        (lambda: entropy([["a"]]), "whole numbers"),
        (lambda: entropy([1], "median"), "estimator is 'median'.*plugin"),
        (lambda: entropy([1], se="exact"), "se is 'exact'.*bootstrap"),
        (lambda: entropy([1], prior=1.0), "jackknife has no prior"),
        (lambda: entropy([1], "dirichlet", n_categories=2, prior="flat"), "prior is 'flat'"),
        (lambda: entropy([1], "dirichlet", n_categories=2, prior=0), "positive number"),
        (lambda: entropy([1], "nsb"), "nsb needs n_categories"),
        (lambda: entropy([1], "nsb", n_categories="many"), "'many'"),
        (lambda: entropy([[1], [1, 2]], "nsb", n_categories=1), "prompt 1 has 2 .* 1$"),
        (lambda: entropy([1], "nsb", n_categories=2.5), "whole number"),
        (lambda: entropy([1], "nsb", n_categories=[2, 2]), r"shape \(2,\); there are 1 prompts"),
        (lambda: entropy([1, 1], se="bootstrap", n_boot=1), "n_boot"),
        (lambda: entropy([1, 1]).interval(1.0), "level"),
        (lambda: entropy([1, 1]).mean(missing="skip"), "missing"),  # type: ignore[arg-type]
    ],
)
def test_wrong_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


# ---- results ----------------------------------------------------------------------------------


def test_mean_over_prompts() -> None:
    estimates = entropy([[2, 2], [4], [3, 1]], "plugin")
    mean = estimates.mean()
    assert mean.value == pytest.approx(estimates.value.mean())
    assert mean.se == pytest.approx(estimates.value.std(ddof=1) / math.sqrt(3))
    assert (mean.n, mean.unit) == (3, "nats")
    half = 4.302653 * mean.se  # t, 2 degrees of freedom
    assert mean.interval(0.95).high == pytest.approx(mean.value + half, rel=1e-6)
    with_gap = entropy([[2, 2], [4], [3, 1], []], "plugin")
    assert math.isnan(with_gap.mean().value)
    assert with_gap.mean(missing="drop").to_dict() == mean.to_dict()
    assert with_gap.mean(missing="drop").n == 3
    assert math.isnan(entropy([[3, 1]]).mean().se)


def test_interval_and_frame() -> None:
    estimates = entropy([[9, 1], []], "plugin")
    low, high = estimates.interval(0.9)
    assert low[0] == 0.0  # the normal limit is below 0
    assert high[0] == pytest.approx(estimates.value[0] + 1.6448536 * estimates.se[0])
    assert np.isnan(low[1])
    frame = estimates.to_frame()
    assert list(frame.columns) == ["value", "se", "n", "n_distinct", "method"]
    assert frame["method"].tolist() == ["plugin", "plugin"]


# ---- properties -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(rows=count_rows, seed=st.integers(0, 99), name=st.sampled_from(sorted(METHODS)))
@example(rows=[[1, 1, 1], [2]], seed=0, name="chao_wang_jost")
def test_order_and_company_do_not_matter(rows: list[list[int]], seed: int, name: str) -> None:
    """Bitwise: shuffled answers, shuffled prompts, and each prompt on its own."""
    rng = np.random.default_rng(seed)
    whole = entropy(rows, name, n_categories=K_OF_TEN[name])
    shuffled = [rng.permutation([*row, 0]).tolist() for row in rows]
    order = rng.permutation(len(rows))
    again = entropy([shuffled[i] for i in order], name, n_categories=K_OF_TEN[name])
    np.testing.assert_array_equal(again.value, whole.value[order])
    np.testing.assert_array_equal(again.se, whole.se[order])
    alone = entropy([rows[0]], name, n_categories=K_OF_TEN[name])
    np.testing.assert_array_equal(alone.value, whole.value[:1])
    np.testing.assert_array_equal(alone.se, whole.se[:1])


@settings(deadline=None, max_examples=60)
@given(rows=count_rows)
def test_ranges(rows: list[list[int]]) -> None:
    plug = entropy(rows, "plugin")
    voted = plug.n >= 2
    few = np.log(np.maximum(plug.n_distinct, 1))
    assert (plug.value[voted] <= few[voted] + 1e-12).all()
    for name in ("miller_madow", "jackknife", "zhang", "chao_wang_jost"):
        assert (entropy(rows, name).value[voted] >= plug.value[voted] - 1e-12).all()
    for name in ("shrinkage", "dirichlet", "wolpert_wolf", "nsb"):
        value = entropy(rows, name, n_categories=10).value[plug.n > 0]
        assert ((value >= -1e-12) & (value <= math.log(10) + 1e-12)).all()


@pytest.mark.parametrize("name", METHODS)
def test_many_votes_reach_the_truth(name: str) -> None:
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    truth = -(shares * np.log(shares)).sum()
    counts = (shares * 10**6).astype(int)
    got = entropy(counts, name, n_categories=K_OF_TEN[name])
    assert got.value[0] == pytest.approx(truth, abs=2e-4)
    sd = math.sqrt(((shares * np.log(shares) ** 2).sum() - truth**2) / 10**6)
    assert got.se[0] == pytest.approx(sd, rel=0.3 if got.se_method == "bootstrap" else 0.01)
