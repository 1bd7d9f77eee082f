"""Two orders of one pair: agreement, position bias and battles."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from statllm.scoring.judges import (
    audit_swaps,
    battle_matrix,
    combine_orders,
    first_place_share,
    first_place_test,
)

nan = float("nan")
Floats = NDArray[np.float64]
Cell = tuple[dict[str, str], Floats, Floats, Floats]
verdict = st.sampled_from([1.0, 0.0, -1.0, nan])
orders = st.lists(st.tuples(verdict, verdict), max_size=30)


@pytest.mark.parametrize(
    ("forward", "backward", "outcome", "status"),
    [
        (1, -1, 1, "agree"),
        (-1, 1, -1, "agree"),
        (0, 0, 0, "tie"),
        (1, 1, 0, "inconsistent"),
        (-1, -1, 0, "inconsistent"),
        (1, 0, 0, "inconsistent"),
        (0, 1, 0, "inconsistent"),
        (nan, 1, nan, "failed"),
        (0, nan, nan, "failed"),
        (nan, nan, nan, "failed"),
    ],
)
def test_every_combination(forward: float, backward: float, outcome: float, status: str) -> None:
    both = combine_orders([forward], [backward])
    np.testing.assert_equal(both.outcome, [outcome])
    assert [name for name, count in both.counts.items() if count] == [status]
    strict = combine_orders([forward], [backward], inconsistent="null")
    np.testing.assert_equal(strict.outcome, [nan if status == "inconsistent" else outcome])


@given(orders)
@settings(max_examples=60, deadline=None)
def test_exchanging_the_responses_reverses_the_outcome(pairs: list[tuple[float, float]]) -> None:
    forward, backward = np.array(pairs).reshape(-1, 2).T
    both, other = combine_orders(forward, backward), combine_orders(backward, forward)
    np.testing.assert_array_equal(both.outcome + 0.0, -other.outcome + 0.0)
    assert both.counts == other.counts
    assert sum(both.counts.values()) == len(pairs)
    audit, same = audit_swaps(forward, backward), audit_swaps(backward, forward)
    assert audit.test == same.test  # place has nothing to do with which response is called a
    assert audit.n_failed == both.counts["failed"]
    agreeing = both.counts["agree"] + both.counts["tie"]
    assert audit.n_toward_first + audit.n_toward_second + agreeing + audit.n_failed == len(pairs)
    mirrored = audit_swaps(-forward, -backward)
    assert mirrored.n_toward_first == audit.n_toward_second
    assert mirrored.test.p_value == pytest.approx(audit.test.p_value)


def test_audit_of_a_small_table() -> None:
    forward = [1] * 6 + [1] * 3 + [-1] * 1 + [1, nan]
    backward = [-1] * 6 + [1] * 3 + [-1] * 1 + [0, 1]
    audit = audit_swaps(forward, backward)
    assert (audit.n_pairs, audit.n_failed) == (12, 1)
    assert (audit.n_toward_first, audit.n_toward_second) == (4, 1)
    assert audit.test.p_value == pytest.approx(stats.binomtest(4, 5).pvalue)
    exact = stats.binomtest(4, 5).proportion_ci(method="exact")
    interval = audit.first_share_of_inconsistent.interval()
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high))
    assert audit.consistency.value == pytest.approx(6 / 11)
    # 22 verdicts: 13.5 + 0 for the first place: 6 + 6 + 0 + 1.5
    assert audit.first_share.value == pytest.approx((6 * 0.5 + 3 * 1 + 0 + 0.75) / 11)


def test_clusters_widen_the_interval() -> None:
    forward, backward = [1] * 8 + [-1] * 4, [1] * 8 + [-1] * 4
    clusters = np.repeat(["p", "q", "r"], 4)
    audit = audit_swaps(forward, backward, clusters)
    assert audit.first_share.n == audit.consistency.n == 3
    assert audit.first_share.se > audit_swaps(forward, backward).first_share.se
    with pytest.raises(ValueError, match="one label per row"):
        audit_swaps(forward, backward, clusters[1:])


def test_size_under_no_bias_and_power_under_bias() -> None:
    rng = np.random.default_rng(4)
    rejected = {0.0: 0, 1.0: 0}
    covered = 0
    for bias in rejected:
        for _ in range(400):
            quality = rng.normal(0, 1, 100)
            forward = np.where(rng.logistic(quality + bias, 1) > 0, 1, -1)
            backward = np.where(rng.logistic(-quality + bias, 1) > 0, 1, -1)
            audit = audit_swaps(forward, backward)
            rejected[bias] += audit.test.p_value < 0.05
            covered += bias == 0 and 0.5 in audit.first_share.interval()
    assert rejected[0.0] <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)
    assert rejected[1.0] > 380
    assert 0.92 < covered / 400 < 0.98


def test_first_place_of_pairs_shown_once() -> None:
    verdicts = [1] * 14 + [-1] * 5 + [0, 0, nan]
    share, test = first_place_share(verdicts), first_place_test(verdicts)
    reference = stats.binomtest(14, 19)
    assert (share.value, share.n) == (14 / 19, 19)
    exact = reference.proportion_ci(method="exact")
    assert (share.interval().low, share.interval().high) == pytest.approx((exact.low, exact.high))
    assert test.p_value == pytest.approx(reference.pvalue)
    assert np.isnan(first_place_share([]).value)
    assert first_place_test([nan, 0]).p_value == 1


def slow_battles(rows: list[tuple[int, int, int, float]], n: int, k: int, half: float) -> Floats:
    wins = np.zeros((n, k, k))
    for p, i, j, v in rows:
        if v == 1:
            wins[p, i, j] += 1
        elif v == -1:
            wins[p, j, i] += 1
        elif v == 0:
            wins[p, i, j] += half
            wins[p, j, i] += half
    return wins


@given(st.integers(0, 10_000), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_battles_against_a_loop(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    p, i = rng.integers(0, 3, m), rng.integers(0, 4, m)
    j = (i + rng.integers(1, 4, m)) % 4
    v = rng.choice([1, 0, -1, nan], m)
    rows = list(zip(p.tolist(), i.tolist(), j.tolist(), v.tolist(), strict=True))
    np.testing.assert_array_equal(battle_matrix(p, i, j, v, 3, 4), slow_battles(rows, 3, 4, 0.5))
    np.testing.assert_array_equal(
        battle_matrix(p, i, j, v, 3, 4, ties="none"), slow_battles(rows, 3, 4, 0.0)
    )


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="equally long, not 1 and 2"):
        combine_orders([1], [1, 1])
    with pytest.raises(ValueError, match="forward must be one-dimensional, of 1, 0, -1 and NaN"):
        combine_orders([2], [1])
    with pytest.raises(ValueError, match="inconsistent must be tie or null"):
        combine_orders([1], [1], inconsistent="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="first and second must differ"):
        battle_matrix([0], [1], [1], [1], 1, 2)
    with pytest.raises(ValueError, match="second must hold whole numbers from 0 to 1"):
        battle_matrix([0], [1], [2], [1], 1, 2)
    with pytest.raises(ValueError, match="prompt must have one value per verdict"):
        battle_matrix([0, 0], [1], [0], [1], 1, 2)
    with pytest.raises(ValueError, match="ties must be"):
        battle_matrix([0], [1], [0], [1], 1, 2, ties="win")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def llmbar(shared_data: Path) -> list[Cell]:
    """Stored verdicts of LLMBar (princeton-nlp/LLMBar, 900616b): published statistics, by place."""
    import pandas as pd

    folder = shared_data / "pref_llmbar"
    if not folder.is_dir():
        pytest.skip("LLMBar's verdicts are not beside this checkout")
    frame = pd.read_parquet(folder / "verdicts.parquet")
    keys = ["subset", "model", "prompt"]
    frame = frame.astype(dict.fromkeys([*keys, "winner_noswap", "winner_swap"], str))
    published = json.loads((folder / "published_statistics.json").read_text())
    groups = dict(iter(frame.groupby(keys)))
    # stored winners name the output (1 or 2); by place, output 2 comes first when swapped
    by_output = {"1": 1.0, "2": -1.0, "None": nan}
    cells = []
    for cell in published:
        group = groups[tuple(cell[key] for key in keys)]
        forward = group["winner_noswap"].map(by_output).to_numpy()
        backward = -group["winner_swap"].map(by_output).to_numpy()
        gold = group["label"].map({1: 1.0, 2: -1.0}).to_numpy()
        cells.append((cell, forward, backward, gold))
    return cells


def test_llmbar_published_agreement(llmbar: list[Cell]) -> None:
    assert len(llmbar) == 325
    for cell, forward, backward, _ in llmbar:
        count, n = cell["equal"].split("%")[0].split("=")[0].split("/")
        audit = audit_swaps(forward, backward)
        # The authors count a pair that failed in both orders as agreement; we leave it out.
        both_failed = int((np.isnan(forward) & np.isnan(backward)).sum())
        consistent = audit.consistency.value * (audit.n_pairs - audit.n_failed)
        assert audit.n_pairs == int(n)
        assert round(consistent) + both_failed == int(count)


def test_llmbar_position_bias_against_scipy(llmbar: list[Cell]) -> None:
    first = second = 0
    for _, forward, backward, _ in llmbar:
        audit = audit_swaps(forward, backward)
        place_1 = int(((forward == 1) & (backward == 1)).sum())
        place_2 = int(((forward == -1) & (backward == -1)).sum())
        assert (audit.n_toward_first, audit.n_toward_second) == (place_1, place_2)
        if place_1 + place_2:
            expected = stats.binomtest(place_1, place_1 + place_2).pvalue
            assert audit.test.p_value == pytest.approx(expected)
        first, second = first + place_1, second + place_2
    assert (first, second) == (7102, 1949)  # the cross table of all stored pairs


def test_llmbar_published_accuracy(llmbar: list[Cell]) -> None:
    """Of either order, and of pairs that both orders get right."""
    for cell, forward, backward, gold in llmbar:
        both = combine_orders(forward, backward, inconsistent="null").outcome
        for name, right in (
            ("correct_False", forward == gold),
            ("correct_True", backward == -gold),
            ("correct_both", both == gold),
        ):
            count, n = cell[name].split(" = ")[0].split(" / ")
            assert (int(right.sum()), len(right)) == (int(count), int(n))


@pytest.mark.parametrize(
    ("model", "first", "second", "biased"),
    [
        ("ChatGPT", 1363, 502, 1),
        ("ChatGPT-0301", 1645, 115, 1),
        ("Falcon", 2642, 31, 1),
        ("GPT-4", 190, 433, -1),  # against the first place
        ("LLaMA2", 602, 648, 0),
        ("PaLM2", 660, 220, 1),
    ],
)
def test_llmbar_position_bias_of_each_judge(
    llmbar: list[Cell], model: str, first: int, second: int, biased: int
) -> None:
    cells = [cell for cell in llmbar if cell[0]["model"] == model]
    forward, backward = (np.concatenate([cell[i] for cell in cells]) for i in (1, 2))
    audit = audit_swaps(forward, backward)
    assert (audit.n_toward_first, audit.n_toward_second) == (first, second)
    expected = stats.binomtest(first, first + second)
    n = first + second
    tail = sum(math.comb(n, k) for k in range(min(first, second) + 1))  # too small for a float
    exact = math.log(2 * tail) - n * math.log(2)
    assert audit.test.log_p_value == pytest.approx(exact)
    low, high = expected.proportion_ci(method="exact")
    interval = audit.first_share_of_inconsistent.interval()
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert (low > 0.5) - (high < 0.5) == biased
