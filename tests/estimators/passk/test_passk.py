"""pass@k and its kin against enumeration, published tables and the laws that they estimate."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.passk import (
    accuracy_within_budget,
    all_at_k,
    best_at_k,
    curve,
    majority_at_k,
    pass_at_k,
    success_counts,
    tokens_at_k,
)
from statllm.ragged import Ragged


def _winner(votes: list[str | None], right: dict[str, bool]) -> float:
    counts = {a: votes.count(a) for a in votes if a}
    top = [a for a in counts if counts[a] == max(counts.values())]
    return float(np.mean([right[a] for a in top])) if top else 0.0


@given(n=st.integers(1, 12), data=st.data())
def test_any_and_all_are_binomial_coefficients(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    for k in range(1, n + 1):
        assert pass_at_k([c], [n], k)[0] == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k))
        assert all_at_k([c], [n], k)[0] == pytest.approx(math.comb(c, k) / math.comb(n, k))


def test_large_counts_don_t_overflow_and_small_ones_don_t_cancel() -> None:
    assert pass_at_k([1], [10_000], 10_000)[0] == 1
    assert pass_at_k([1], [100_000], [1])[0, 0] == pytest.approx(1e-5, rel=1e-10)
    assert all_at_k([9_999], [10_000], 5_000)[0] == pytest.approx(0.5)


def test_too_few_samples_are_missing_and_not_zero() -> None:
    assert np.isnan(pass_at_k([1, 3], [2, 8], 4)).tolist() == [True, False]
    assert np.isnan(majority_at_k(Ragged.from_lists([["a"]]), Ragged.from_lists([[1]]), 2)).all()


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=7),
    st.sets(st.sampled_from("abcd")),
)
def test_majority_is_the_mean_over_all_subsets(answers: list[str | None], good: set[str]) -> None:
    right = {a: a in good for a in "abcd"}
    ragged = Ragged.from_lists([answers], object)
    correct = Ragged.from_lists([[bool(a) and right[str(a)] for a in answers]])
    for k in range(1, len(answers) + 1):
        subsets = [_winner(list(s), right) for s in itertools.combinations(answers, k)]
        assert majority_at_k(ragged, correct, k)[0] == pytest.approx(np.mean(subsets))
    if len(answers) <= 4:
        draws = [_winner(list(s), right) for s in itertools.product(answers, repeat=4)]
        found = majority_at_k(ragged, correct, 4, draw="with")[0]
        assert found == pytest.approx(np.mean(draws))


@pytest.mark.parametrize("k", [1, 2, 63, 64, 400, 1000])
def test_the_majority_of_two_answers_is_binomial_and_hypergeometric(k: int) -> None:
    """Many votes, where binomial coefficients are huge and 1 / k! is less than any float."""
    right, n = 520, 1000
    answers = Ragged.from_lists([["a"] * right + ["b"] * (n - right)], object)
    correct = Ragged.from_lists([[1] * right + [0] * (n - right)])
    for draw, law in (
        ("with", stats.binom(k, right / n)),
        ("without", stats.hypergeom(n, right, k)),
    ):
        expected = law.sf(k // 2) + (0.5 * law.pmf(k // 2) if k % 2 == 0 else 0)
        found = majority_at_k(answers, correct, k, draw)[0]  # type: ignore[arg-type]
        assert found == pytest.approx(expected, rel=1e-9)


def test_many_tasks_at_once_are_what_each_is_alone() -> None:
    """Tasks of unlike shapes: none right, none answered, all distinct, several right answers."""
    rng = np.random.default_rng(6)
    lists = [(rng.zipf(1.5, rng.integers(1, 60)) % 12).tolist() for _ in range(40)]
    lists += [[None] * 5, list(range(300)), [0] * 7, []]
    answers = Ragged.from_lists(lists, object)
    correct = Ragged.from_lists([[a is not None and a % 3 == 1 for a in row] for row in lists])
    ks = [1, 2, 5, 16, 90]
    for draw in ("without", "with"):
        together = majority_at_k(answers, correct, ks, draw)  # type: ignore[arg-type]
        for task, row in enumerate(lists):
            one = Ragged.from_lists([row], object)
            verdict = Ragged.from_lists([correct.row(task).tolist()])
            for place, k in enumerate(ks):
                alone = majority_at_k(one, verdict, k, draw)[0]  # type: ignore[arg-type]
                np.testing.assert_allclose(together[task, place], alone, rtol=1e-12)
        # Of distinct answers each is the winner equally often.
        np.testing.assert_allclose(together[41], 1 / 3, rtol=1e-12)
        assert np.all(together[40] == 0) or draw == "without"
    assert np.isnan(majority_at_k(answers, correct, 10**9)).all()
    with pytest.raises(ValueError, match="more than 1000 with replacement"):
        majority_at_k(answers, correct, 1001, "with")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1)), min_size=1, max_size=6),
)
def test_best_is_the_mean_over_all_subsets(samples: list[tuple[int, float]]) -> None:
    reward, value = zip(*samples, strict=True)
    ragged = Ragged.from_lists([reward], np.float64), Ragged.from_lists([value], np.float64)
    for k in range(1, len(samples) + 1):
        means = []
        for subset in itertools.combinations(samples, k):
            top = max(r for r, _ in subset)
            means.append(np.mean([v for r, v in subset if r == top]))
        assert best_at_k(*ragged, k)[0] == pytest.approx(np.mean(means), abs=1e-12)


def test_best_by_the_verdict_is_pass_at_k() -> None:
    correct = Ragged.from_lists([[1, 0, 0, 1, 0], [0, 0, 0]], np.float64)
    c, n = success_counts(correct)
    np.testing.assert_allclose(best_at_k(correct, correct, [1, 2, 3]), pass_at_k(c, n, [1, 2, 3]))


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="task 1 has 5 successes in 4 samples"):
        pass_at_k([1, 5], [4, 4], 1)
    with pytest.raises(ValueError, match="a verdict of task 1 is 2"):
        success_counts(Ragged.from_lists([[1.0], [0.0, 2.0]]))
    with pytest.raises(ValueError, match="task 0: answer 'a' is both right and wrong"):
        majority_at_k(Ragged.from_lists([["a", "a"]]), Ragged.from_lists([[1, 0]]), 1)
    with pytest.raises(ValueError, match="at least 1"):
        pass_at_k([1], [4], 0)
    with pytest.raises(ValueError, match="one column for each"):
        curve([[1.0, 2.0]], [1])
    two = Ragged.from_lists([["a", "b"]], object)
    for verdict in (float("nan"), 0.5, 2.0):  # bool() of each is true: counted as right before
        with pytest.raises(ValueError, match="a verdict of task 0 is"):
            majority_at_k(two, Ragged.from_lists([[verdict, 0.0]]), 1)
        with pytest.raises(ValueError, match="a verdict of task 0 is"):
            accuracy_within_budget(
                Ragged.from_lists([[verdict, 0.0]]), Ragged.from_lists([[5.0, 5.0]]), [10]
            )
    for length in (float("nan"), -1.0):
        with pytest.raises(ValueError, match="n_tokens of a sample of task 0 is"):
            accuracy_within_budget(
                Ragged.from_lists([[1.0, 0.0]]), Ragged.from_lists([[length, 5.0]]), [10]
            )
    for k in (0, 1.5, float("inf"), "two"):
        with pytest.raises(ValueError, match="k must be"):
            tokens_at_k(Ragged.from_lists([[1.0, 5.0]]), k)
        with pytest.raises(ValueError, match="k must be"):
            majority_at_k(two, Ragged.from_lists([[1.0, 0.0]]), k)
    with pytest.raises(ValueError, match="one column for each"):
        curve(np.zeros((5, 0)), [])
    with pytest.raises(ValueError, match="two independent"):
        curve([[1.0], [math.nan]], [1])


def test_tau_bench_as_published(shared_data: Path) -> None:
    """pass^1..4 of GPT-4o on the airline tasks: .420 .273 .220 .200 (tau-bench's README)."""
    folder = shared_data / "agents_kruns"
    runs = pd.read_csv(folder / "tau_airline_gpt4o.csv").groupby("task_id")["reward"]
    c, n = runs.sum().to_numpy(), runs.count().to_numpy()
    ks = [1, 2, 3, 4]
    found = curve(all_at_k(c, n, ks), ks, name="pass^k")
    assert found.value.round(3).tolist() == [0.42, 0.273, 0.22, 0.2]
    reference = json.loads((folder / "ref.json").read_text())["tau_airline_gpt4o"]["pass_at_k"]
    np.testing.assert_allclose(pass_at_k(c, n, ks).mean(axis=0), list(reference.values()))


def test_game_of_24_as_published(shared_data: Path) -> None:
    """Best of 100 of Yao et al. 2023: 33 % (IO), 49 % (CoT); single samples 7.3 and 4.0 %."""
    samples = pd.read_parquet(shared_data / "sc_tot" / "game24.parquet")
    for prompt, single, ten, hundred in (("io", 0.0734, None, 0.33), ("cot", 0.0403, 0.2148, 0.49)):
        one = samples[samples["prompt"] == prompt].groupby("qid")["correct"]
        found = pass_at_k(one.sum().to_numpy(int), one.count().to_numpy(), [1, 10, 100])
        assert found.mean(axis=0)[0] == pytest.approx(single, abs=5e-5)
        assert found.mean(axis=0)[2] == pytest.approx(hundred)
        if ten is not None:
            assert found.mean(axis=0)[1] == pytest.approx(ten, abs=5e-5)


@pytest.mark.parametrize("n_tasks", [30, 100])
def test_the_band_holds_for_all_k_together(n_tasks: int) -> None:
    """Success rates Beta(.5, .8), 10 samples: the true curves are ratios of Beta functions."""
    rng = np.random.default_rng(n_tasks)
    ks = np.array([1, 2, 3, 5, 8])
    a, b = 0.5, 0.8
    truth = [1 - math.exp(_log_beta(a, b + k) - _log_beta(a, b)) for k in ks.tolist()]
    repeats, inside, each = 400, 0, 0
    for _ in range(repeats):
        c = rng.binomial(10, rng.beta(a, b, n_tasks))
        found = curve(pass_at_k(c, 10, ks), ks, rng=rng)
        inside += bool(np.all((found.low <= truth) & (truth <= found.high)))
        each += truth[1] in found.estimates[1].interval()
    # Three standard errors of 400 draws are .033.
    assert inside / repeats > 0.95 - 0.045
    assert inside / repeats < 0.99
    assert abs(each / repeats - 0.95) < 0.045


def test_clusters_widen_the_band() -> None:
    rng = np.random.default_rng(1)
    c = np.repeat(rng.binomial(8, rng.beta(0.5, 0.5, 20)), 5)
    ks = [1, 4]
    alone = curve(pass_at_k(c, 8, ks), ks)
    together = curve(pass_at_k(c, 8, ks), ks, clusters=np.repeat(np.arange(20), 5))
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert np.all(ratio > 2)  # sqrt(5) of the error, and fewer degrees of freedom
    assert together.estimates[0].n == 20


def test_the_band_of_unequal_clusters_holds_every_interval() -> None:
    """With half of the tasks in one cluster t has far fewer degrees of freedom than clusters."""
    rng = np.random.default_rng(2)
    c = rng.binomial(8, rng.beta(0.5, 0.5, 60))
    found = curve(pass_at_k(c, 8, [1, 4]), [1, 4], clusters=np.r_[np.zeros(30), np.arange(1, 31)])
    for place, estimate in enumerate(found.estimates):
        interval = estimate.interval()
        assert found.low[place] <= interval.low
        assert found.high[place] >= interval.high
    with pytest.raises(ValueError, match="3 of 3 tasks are complete, in 1 clusters"):
        curve([[0.5]] * 3, [1], clusters=[1, 1, 1])


def test_more_samples_than_anyone_has_take_no_memory() -> None:
    found = pass_at_k(np.arange(5), 4, [4, 10**12])
    assert found[:, 0].tolist() == [0, 1, 1, 1, 1]
    assert np.isnan(found[:, 1]).all()
    assert all_at_k([0, 0], [0, 3], 2).tolist()[1] == 0


def test_budgets() -> None:
    length = Ragged.from_lists([[10, 30], [50]])
    right = Ragged.from_lists([[1, 1], [0]])
    assert accuracy_within_budget(right, length, [10, 30]).tolist() == [[0.5, 1.0], [0.0, 0.0]]
    assert tokens_at_k(length, 3).tolist() == [60.0, 150.0]


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
