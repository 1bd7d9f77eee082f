"""The numbers of the uncertainty page against other implementations and by brute force."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from statllm.errors import InputError
from statllm.estimators.selective import aurc, delong_test
from statllm.report.uncertainty.calibration import diagram_edges, prepare_calibration
from statllm.report.uncertainty.coverage import prepare_coverage
from statllm.report.uncertainty.ranking import prepare_ranking
from statllm.report.uncertainty.scores import Answers, read_answers, score_columns


def some_answers(n: int = 80, seed: int = 0, clusters: bool = False) -> Answers:
    """A good, a poor and a tied score, and an uncertainty, with some missing."""
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    right = rng.random(n) < p
    gaps = np.where(rng.random(n) < 0.1, np.nan, p + rng.normal(0, 0.3, n))
    scores = {
        "good": p,
        "poor": rng.random(n),
        "tied": np.round(4 * p) / 4,
        "-loss": -p + rng.normal(0, 0.1, n),
        "gaps": gaps,
    }
    return read_answers(scores, right, np.arange(n) // 2 if clusters else None)


@pytest.mark.parametrize("clusters", [False, True])
def test_the_ranking_is_that_of_scikit_learn(clusters: bool) -> None:
    answers = some_answers(clusters=clusters)
    ranks = prepare_ranking(answers)
    assert [r.auroc.value for r in ranks] == sorted((r.auroc.value for r in ranks), reverse=True)
    for rank in ranks:
        known = answers.usable(rank.score)
        score, right = rank.score.confidence[known], answers.right[known]
        assert rank.auroc.value == pytest.approx(roc_auc_score(right, score), abs=1e-12)
        pairs = [(a, b) for a in score[right] for b in score[~right]]
        assert rank.ties == pytest.approx(np.mean([a == b for a, b in pairs]), abs=1e-12)
        assert (rank.n, rank.n_missing) == (known.sum(), (~known).sum())
        assert rank.auroc.n == (
            len(np.unique(answers.clusters[known])) if clusters else known.sum()
        )


def test_an_uncertainty_is_turned() -> None:
    right = [1, 1, 0, 1, 0]
    loss = [0.1, 0.3, 0.9, 0.2, 0.7]
    for name in ("-loss", "vote_entropy", "-vote_entropy"):
        (rank,) = prepare_ranking(read_answers({name: loss}, right))
        assert rank.auroc.value == 1
        assert rank.score.name == name.removeprefix("-")
        assert not rank.score.is_probability
    (rank,) = prepare_ranking(read_answers({"loss": loss}, right))
    assert rank.auroc.value == 0


def test_the_lead_of_the_best_is_adjusted_for_all_pairs() -> None:
    """The same as, or above, Holm over every pair of scores."""
    answers = some_answers(150, seed=4)
    ranks = prepare_ranking(answers)
    by_name = {score.name: score for score in answers.scores}
    log_p = {}
    for a, b in combinations(by_name, 2):
        both = answers.usable(by_name[a]) & answers.usable(by_name[b])
        columns = (by_name[name].confidence[both] for name in (a, b))
        log_p[frozenset((a, b))] = delong_test(*columns, answers.right[both]).log_p_value
    every = multipletests(np.exp(list(log_p.values())), method="holm")[1]
    expected = dict(zip(log_p, every, strict=True))
    for rank in ranks[1:]:
        full = expected[frozenset((ranks[0].score.name, rank.score.name))]
        assert math.exp(rank.log_p) >= full - 1e-12
    assert min(math.exp(rank.log_p) for rank in ranks[1:]) < 0.01


def test_the_best_of_equals_is_rarely_called_better() -> None:
    """Scores without information: some pair is called different in at most 5 % of data sets."""
    rng = np.random.default_rng(1)
    n_sets, called, naive = 120, 0, 0
    for _ in range(n_sets):
        right = rng.random(60) < 0.5
        ranks = prepare_ranking(read_answers({f"s{k}": rng.random(60) for k in range(6)}, right))
        called += any(rank.log_p < math.log(0.05) for rank in ranks[1:])
        naive += abs(ranks[-1].difference.value) > 1.96 * ranks[-1].difference.se
    assert called <= 0.05 * n_sets + 3 * math.sqrt(0.05 * 0.95 * n_sets)
    assert naive > 0.2 * n_sets  # which is why they are adjusted


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_has_the_area_that_is_printed(seed: int) -> None:
    """Risk at 1, 2, ... kept answers, ties in random order, averages to AURC."""
    answers = some_answers(60, seed)
    for score in answers.scores:
        known = answers.usable(score)
        curve = prepare_coverage(answers, score)
        confidence, right = score.confidence[known], answers.right[known]
        k = np.arange(1, known.sum() + 1)
        wrong_at = np.interp(
            k / known.sum(), np.append(0, curve.coverage), np.append(0, curve.risk * curve.coverage)
        )
        assert aurc(confidence, right).value == pytest.approx(
            float(np.mean(wrong_at * known.sum() / k)), abs=1e-9
        )
        assert curve.line_risk[-1] == pytest.approx(1 - right.mean())
        assert curve.best[-1] == pytest.approx(curve.error)
        assert (curve.best <= curve.line_risk + 1e-12).all()


def test_limits_of_clusters_of_one_are_those_without_clusters() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(30)
    right = rng.random(30) < p
    alone = read_answers({"p": p}, right)
    grouped = read_answers({"p": p}, right, np.arange(30))
    one, other = (prepare_coverage(a, a.scores[0]) for a in (alone, grouped))
    inner = (one.risk > 0) & (one.risk < 1)
    # The variance has n - 1 where the binomial has n.
    np.testing.assert_allclose(one.low[inner], other.low[inner], atol=0.06)
    np.testing.assert_allclose(one.high[inner], other.high[inner], atol=0.06)


def test_doubled_rows_in_clusters_are_no_surer() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(40)
    right = rng.random(40) < p
    twice = read_answers({"p": np.repeat(p, 2)}, np.repeat(right, 2), np.repeat(np.arange(40), 2))
    once = read_answers({"p": p}, right, np.arange(40))
    (a,), (b,) = prepare_ranking(once), prepare_ranking(twice)
    assert b.auroc.se == pytest.approx(a.auroc.se, rel=1e-9)
    wide, same = (prepare_coverage(x, x.scores[0]) for x in (once, twice))
    np.testing.assert_allclose(wide.high, same.high, atol=1e-9)
    assert same.threshold is None


def test_rows_in_any_order_give_the_same_ranking() -> None:
    answers = some_answers()
    order = np.random.default_rng(0).permutation(answers.n)
    shuffled = read_answers(
        {("" if s.rises else "-") + s.name: s.values[order] for s in answers.scores},
        answers.right[order],
    )
    for one, other in zip(prepare_ranking(answers), prepare_ranking(shuffled), strict=True):
        assert one.score.name == other.score.name
        assert one.auroc.value == pytest.approx(other.auroc.value, abs=1e-12)
        assert one.aurc.se == pytest.approx(other.aurc.se, abs=1e-12)
    for one, other in zip(answers.scores, shuffled.scores, strict=True):
        a, b = prepare_coverage(answers, one), prepare_coverage(shuffled, other)
        np.testing.assert_allclose(a.line_risk, b.line_risk)


@given(st.lists(st.sampled_from([0.0, 0.125, 0.3, 0.5, 0.875, 1.0]), min_size=2, max_size=60))
def test_each_confidence_has_a_bin_of_its_own(p: list[float]) -> None:
    edges, values = diagram_edges(np.array(p)), np.unique(p)
    assert (np.diff(edges) > 0).all()
    if len(values) > 1:
        assert len(edges) == len(values) + 1
        assert (np.searchsorted(edges, values) == np.arange(1, len(values) + 1)).all()


def test_the_diagram_counts_every_answer_once() -> None:
    answers = some_answers(200)
    for score in answers.scores:
        if score.is_probability:
            found = prepare_calibration(answers, score)
            assert found.bins.count.sum() == found.n == answers.n
            assert found.bars[2].sum() == pytest.approx(1)
            hits = (found.bins.frequency * found.bins.count).sum()
            assert hits == pytest.approx(answers.right.sum())
            assert min(found.log_p) >= min(test.log_p_value for test in found.tests)


def test_only_probabilities_are_drawn_as_such() -> None:
    right, p = [1, 0, 1], [0.2, 0.4, 0.9]
    columns = {"p": p, "vote_margin": p, "-q": p, "logit": [0.3, 2.0, -1.0]}
    found = read_answers(columns, right).scores
    assert {score.name: score.is_probability for score in found} == {
        "p": True, "vote_margin": False, "q": False, "logit": False,
    }  # fmt: skip


def test_known_columns_are_found_with_their_sign() -> None:
    names = ["prompt", "semantic_entropy_jlko", "vote_share", "pass_rate", "degree"]
    assert score_columns(names) == ["vote_share", "-degree", "-semantic_entropy_jlko"]


@pytest.mark.parametrize(
    ("scores", "correct", "clusters", "message"),
    [
        ({"p": [0.1, 0.2]}, [1, 1], None, "all answers are right"),
        ({"p": [0.1, 0.2]}, [0, 0], None, "all answers are wrong"),
        ({"p": [0.1]}, [1], None, "all answers are right"),
        ({"p": [0.1, 0.2]}, [math.nan, math.nan], None, "no answer has a verdict"),
        ({"p": [0.1, 0.2]}, [1, 2], None, "must be 1 or 0"),
        ({"p": [0.1, 0.2]}, [1, 0, 1], None, "p: .* values for 3 rows"),
        ({"p": [0.5, 0.5]}, [1, 0], None, "'p' has one value only"),
        ({"p": [math.nan, math.nan]}, [1, 0], None, "'p' has no value"),
        ({"p": [0.5, 0.7, math.nan]}, [1, 1, 0], None, "right answers only"),
        ({}, [1, 0], None, "none was given"),
        ({"p": [0.1, 0.2]}, [1, 0], ["a"], "1 cluster labels for 2 rows"),
        ({"p": [0.1, 0.2]}, [1, 0], ["a", "a"], "all rows are in one cluster"),
        ({"p": [0.1, 0.2]}, [[1, 0]], None, "one per row"),
    ],
)
def test_what_can_not_be_ranked_is_refused(
    scores: dict[str, list[float]], correct: list[float], clusters: list[str] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_answers(scores, correct, clusters)


def test_real_confidences_give_the_published_auroc(shared_data: Path) -> None:
    """Plaut et al.: AUROC of the maximum softmax probability, unparseable answers wrong."""
    folder = shared_data / "calib_plaut"
    if not folder.is_dir():
        pytest.skip("calib_plaut is not beside this checkout")
    import pandas as pd

    rows = pd.read_parquet(folder / "conf.parquet")
    published = pd.read_csv(folder / "ref.csv").set_index(["dataset", "model", "prompt"])
    for model in ("Llama-7b", "Mixtral"):
        key = ("arc", model, "first")
        mine = rows[(rows.dataset == key[0]) & (rows.model == model) & (rows.prompt == "first")]
        scores = {"msp": mine.msp, "max_logit": mine.max_logit}
        ranks = prepare_ranking(read_answers(scores, mine.grade == "Correct"))
        for rank in ranks:
            expected = published.loc[key, f"pub_auroc_{rank.score.name}"]
            assert rank.auroc.value == pytest.approx(expected, abs=2e-6)
