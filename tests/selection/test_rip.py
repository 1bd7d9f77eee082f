"""RIP: its three filters, their thresholds, and the pair."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.selection import RipSettings, rip


@pytest.fixture
def three(table):
    """Three prompts that fail one filter each under `BOUNDS`, and one that passes all."""
    return table(
        response=[
            ["best", "a long text"],
            ["best", "short"],
            ["best", "a long text"],
            ["best", "a long text"],
        ],
        reward=[[0.5, 0.1], [0.5, 0.4], [9.0, 0.4], [0.5, 0.4]],
    )


BOUNDS = {"min_rejected_reward": 0.3, "min_rejected_length": 8, "max_gap": 1.0}


def test_three_filters_are_joined_by_and(three):
    selection = rip(three, RipSettings(**BOUNDS))
    assert selection.ledger["reason"].to_pylist() == [
        "low_rejected_reward",
        "short_rejected",
        "large_gap",
        "kept",
    ]
    assert selection.pairs["prompt_id"].to_pylist() == ["p3"]
    assert dict(selection.thresholds) == BOUNDS
    assert selection.ledger["max_gap"].to_pylist() == [1.0] * 4
    for name, kept in (("min_rejected_reward", 3), ("min_rejected_length", 3), ("max_gap", 3)):
        assert rip(three, RipSettings(**{name: BOUNDS[name]})).counts()["kept"] == kept
    assert rip(three).counts()["kept"] == 4


def test_every_filter_is_reported(table):
    g = table(response=[["best", "bad"]], reward=[[9.0, 0.0]])
    (line,) = rip(g, RipSettings(**BOUNDS)).ledger.to_pylist()
    assert line["reason"] == "low_rejected_reward"
    assert [line[f"passes_{name}"] for name in ("reward", "length", "gap")] == [False] * 3
    assert (line["rejected_reward"], line["rejected_length"], line["gap"]) == (0.0, 3.0, 9.0)


def test_length_is_that_of_the_lowest_reward_response(table):
    g = table(response=[["a very long best response", "tiny", "worst of all"]], reward=[[3, 2, 1]])
    (line,) = rip(g).ledger.to_pylist()
    assert line["rejected_length"] == len("worst of all")


@pytest.mark.parametrize(("unit", "length"), [("characters", 9), ("words", 3), ("tokens", 5)])
def test_units_of_length(table, unit, length):
    columns = {"response": [["x", "é ü\n ß…!?"]], "reward": [[1.0, 0.0]]}
    columns["response"][0][1] = "é ü\n ß…!?"[:9]
    n_tokens = table(**columns, n_tokens=[[1, 5]])
    assert rip(n_tokens, RipSettings(length=unit)).ledger["rejected_length"][0].as_py() == length
    ids = table(**columns, token_ids=[[[1], [1, 2, 3, 4, 5]]])
    assert rip(ids, RipSettings(length=unit)).ledger["rejected_length"][0].as_py() == length


def test_tokens_need_their_column(table):
    with pytest.raises(InputError, match="length='tokens' needs the column 'n_tokens'"):
        rip(table(reward=[[1.0, 2.0]]), RipSettings(length="tokens"))


@pytest.mark.parametrize("column", ["n_tokens", "token_ids"])
def test_a_null_length_is_named(table, column):
    """A quantile over it would be NaN, and every prompt dropped."""
    counts = [[3, 5], [3, None], [None, 2]]
    ids = [[None if n is None else [0] * n for n in row] for row in counts]
    g = table(reward=[[1.0, 0.0]] * 3, **{column: counts if column == "n_tokens" else ids})
    asked = RipSettings(length="tokens", rejected_length_quantile=0.5)
    with pytest.raises(InputError, match="tokens of prompt_id 'p1' are null for its worst"):
        rip(g, asked)
    assert rip(g, RipSettings(rejected_length_quantile=0.5)).counts()["kept"] == 3


@pytest.mark.parametrize("name", ["min_rejected_reward", "max_rejected_reward"])
@pytest.mark.parametrize("bound", [float("nan"), float("inf")])
def test_a_bound_is_finite(name, bound):
    with pytest.raises(ValueError, match="finite"):
        RipSettings(**{name: bound})


def test_bounds_are_inclusive_and_the_judges_gap_is_not(table):
    # In floating point 8.3 - 7.3 is above 1, and 8.2 - 7.2 below.
    g = table(response=[["b", "worst"]] * 2, reward=[[8.3, 7.3], [8.2, 7.2]])
    exact = {"min_rejected_reward": 7.2, "min_rejected_length": 5, "max_gap": 1.0}
    assert rip(g, RipSettings(**exact)).counts()["kept"] == 2
    strict = rip(g, RipSettings(**exact, gap_inclusive=False))
    assert strict.ledger["reason"].to_pylist() == ["large_gap"] * 2


def test_judge_ties_have_no_pair(table):
    g = table(reward=[[8.0, 8.0, 8.0], [8.0, 7.0], [8.0], []])
    selection = rip(g)
    assert selection.ledger["reason"].to_pylist() == [
        "tied",
        "kept",
        "too_few_responses",
        "too_few_responses",
    ]
    (pair, _) = rip(g, RipSettings(drop_ties=False)).pairs.to_pylist()
    assert pair["chosen_index"] != pair["rejected_index"]


def test_ties_for_best_and_worst_are_drawn(table):
    n = 6000
    g = table(reward=[[5.0, 5.0, 3.0, 1.0, 1.0, 1.0]] * n)
    pairs = rip(g).pairs
    best = np.bincount(pairs["chosen_index"].to_numpy(), minlength=2)
    worst = np.bincount(pairs["rejected_index"].to_numpy(), minlength=6)[3:]
    assert best.sum() == worst.sum() == n
    assert stats.chisquare(best).pvalue > 0.001
    assert stats.chisquare(worst).pvalue > 0.001
    first = rip(g, RipSettings(ties="first")).pairs
    assert set(first["chosen_index"].to_pylist()) == {0}
    assert set(first["rejected_index"].to_pylist()) == {3}


@pytest.mark.parametrize("bad", [None, float("nan")])
def test_missing_rewards(table, bad):
    g = table(reward=[[1.0, 2.0], [3.0, bad, 1.0, 2.0]])
    with pytest.raises(InputError, match=r"sample 1 of row 1 \(prompt_id 'p1'\); missing='drop'"):
        rip(g)
    pairs = rip(g, RipSettings(missing="drop")).pairs
    assert pairs["chosen_index"].to_pylist() == [1, 0]
    assert pairs["rejected_index"].to_pylist() == [0, 2]


def test_truncated_responses_are_no_candidates(table):
    g = table(reward=[[3.0, 2.0, 1.0]], finish_reason=[["stop", "stop", "length"]])
    assert rip(g).pairs["rejected_index"].to_pylist() == [1]
    assert rip(g, RipSettings(truncated="include")).pairs["rejected_index"].to_pylist() == [2]


_rewards = st.lists(st.integers(0, 5).map(lambda x: x / 2), max_size=6)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(_rewards, min_size=1, max_size=8),
    st.tuples(*[st.sampled_from([None, 0.25, 0.5, 0.75])] * 3),
)
def test_quantiles_are_those_of_the_unfiltered_pool(table, rewards, quantiles):
    """Each metric by itself, on all prompts that have a pair; then the three joined by and."""
    texts = [["x" * (7 * i % 5 + 1) for i in range(len(row))] for row in rewards]
    names = ("rejected_reward_quantile", "rejected_length_quantile", "gap_quantile")
    given_settings = RipSettings(ties="first", **dict(zip(names, quantiles, strict=True)))
    pool = {}
    for i, row in enumerate(rewards):
        if len(row) > 1 and max(row) > min(row):
            worst = row.index(min(row))
            pool[f"p{i}"] = (row[worst], len(texts[i][worst]), max(row) - min(row))
    metrics = np.array(list(pool.values())).reshape(-1, 3)
    bounds = [
        np.quantile(metrics[:, j], q) if q is not None and len(metrics) else None
        for j, q in enumerate(quantiles)
    ]
    kept = [
        key
        for key, (reward, length, gap) in pool.items()
        if (bounds[0] is None or reward >= bounds[0])
        and (bounds[1] is None or length >= bounds[1])
        and (bounds[2] is None or gap <= bounds[2])
    ]
    selection = rip(table(response=texts, reward=rewards), given_settings)
    assert selection.pairs["prompt_id"].to_pylist() == kept
    assert list(selection.thresholds.values()) == [b for b in bounds if b is not None]


def test_a_bound_is_a_number_or_a_quantile():
    with pytest.raises(ValueError, match="max_gap and gap_quantile exclude each other"):
        RipSettings(max_gap=1.0, gap_quantile=0.5)


@pytest.mark.parametrize("prompt", ["io", "cot"])
def test_writing_rewards(shared_data, prompt):
    """Yao et al. 2023's ten texts per prompt: quantiles computed independently with pandas."""
    folder = shared_data / "sc_tot"
    expected = json.loads((folder / "ref.json").read_text())[f"text_{prompt}"]["rip"]
    g = Generations.read(
        folder / "text_rewards.parquet",
        {"prompt_id": "qid", "response": "text"},
        {"prompt": prompt},
    )
    for place, quantile in enumerate((0.25, 0.5, 0.75)):
        selection = rip(
            g,
            RipSettings(
                rejected_reward_quantile=quantile,
                rejected_length_quantile=quantile,
                gap_quantile=quantile,
                ties="first",
            ),
        )
        assert selection.thresholds["min_rejected_reward"] == pytest.approx(
            expected["rejected_reward_quantiles"][place]
        )
        assert (
            selection.thresholds["min_rejected_length"]
            == expected["rejected_len_chars_quantiles"][place]
        )
        assert selection.thresholds["max_gap"] == pytest.approx(expected["gap_quantiles"][place])
        assert sum(selection.counts().values()) == 100
        # The metrics are correlated: the joint share isn't the product of the three.
        if quantile == 0.5:
            assert 12.5 < selection.counts()["kept"] < 50


def test_the_other_directions_keep_what_the_papers_drop(three):
    """A bound and the same bound turned round keep complementary prompts, but for ties."""
    for metric, low, high in (
        ("rejected_reward", "min_rejected_reward", "max_rejected_reward"),
        ("rejected_length", "min_rejected_length", "max_rejected_length"),
        ("gap", "min_gap", "max_gap"),
    ):
        values = np.array(rip(three).ledger[metric].to_pylist())
        bound = (values.min() + values.max()) / 2
        for name, expected in ((low, values >= bound), (high, values <= bound)):
            kept = rip(three, RipSettings(**{name: bound})).ledger["kept"].to_numpy()
            assert kept.tolist() == expected.tolist(), name
    turned = rip(three, RipSettings(max_rejected_reward=0.2, min_gap=1, max_rejected_length=4))
    assert turned.counts()["kept"] == 0
    reasons = set(turned.ledger["reason"].to_pylist())
    assert reasons == {"long_rejected", "high_rejected_reward"}
    quantile = rip(three, RipSettings(min_gap_quantile=0.5))
    assert quantile.thresholds["min_gap"] == np.quantile(rip(three).ledger["gap"].to_pylist(), 0.5)
    assert quantile.ledger["min_gap"].to_pylist() == [quantile.thresholds["min_gap"]] * 4


def test_what_is_surely_better_is_rarely_chosen_by_errors(table):
    """Equal true rewards: best and worst differ by error alone in at most 5 % of the prompts.

    Without Tukey's quantile nearly every prompt would pass: the best and the worst of 8 differ by
    2.8 standard deviations on average, a fixed pair's bound is at 1.64 * sqrt(2).
    """
    rng = np.random.default_rng(0)
    n = 4000
    rewards = rng.normal(size=(n, 8)) * 0.3
    given = table(
        response=[[f"text {i}" for i in range(8)]] * n, reward=[row.tolist() for row in rewards]
    )
    sure = rip(given, RipSettings(reward_sd=0.3))
    assert abs(sure.counts()["kept"] / n - 0.05) < 3.3 * (0.05 * 0.95 / n) ** 0.5
    naive = np.ptp(rewards, axis=1) > 1.645 * 0.3 * 2**0.5
    assert naive.mean() > 0.6
    assert rip(given, RipSettings(reward_sd=0.03)).counts()["kept"] == n


def test_the_bound_of_two_responses_is_the_normal_one(table):
    """The range of two deviates is |z| sqrt(2)."""
    given = table(response=[["a", "b"], ["a", "b"]], reward=[[0.0, 2.0], [0.0, 3.0]])
    found = rip(given, RipSettings(reward_sd=1.0))
    expected = np.array([2.0, 3.0]) - stats.norm.isf(0.025) * 2**0.5
    assert found.ledger["gap_low"].to_pylist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert found.ledger["reason"].to_pylist() == ["gap_not_sure", "kept"]
