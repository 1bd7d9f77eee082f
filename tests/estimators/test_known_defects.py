"""Wrong numbers that other packages have given, each as a test that ours doesn't.

Calibration errors and conformal sets have files of their own beside their tests.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from statllm.estimators import (
    AnswerStream,
    Pairwise,
    Platt,
    auarc,
    aurc,
    auroc,
    calibration_error,
    eigenvalue_uncertainty,
    entropy,
    likelihood_scores,
    nli_relation,
    prr,
    semantic_clusters,
    semantic_entropy,
    top_k_entropy,
    uqlm_negentropy,
    vote_entropy,
)
from statllm.ragged import Ragged


@pytest.mark.parametrize("right_first", [True, False])
def test_constant_score_does_not_depend_on_the_order_of_rows(right_first: bool) -> None:
    # lm-polygraph: PRR +1.0 or -1.0 and AURC .154 or .846; MAPIE and torch-uncertainty the same.
    right = np.repeat([right_first, not right_first], 500)
    score = np.full(1000, 0.5)
    assert prr(score, right).value == pytest.approx(0, abs=1e-12)
    assert aurc(score, right).value == pytest.approx(0.5)
    assert auarc(score, right).value == pytest.approx(0.5)


def test_uncertainty_given_for_confidence_is_not_a_perfect_calibration() -> None:
    # lm-polygraph negates its input: uncertainties in [0, 1] leave all bins empty, so ECE 0.
    p = np.linspace(0.05, 0.95, 600)
    right = np.arange(600) % 2 == 0
    assert calibration_error(p, right).value > 0.1
    with pytest.raises(ValueError, match="between 0 and 1|outside"):
        calibration_error(-p, right)


def test_nan_is_never_the_most_confident() -> None:
    # lm-polygraph takes NaN for -1e7 uncertainty, TruthTorchLM for a truth value of 1e10.
    score, right = np.array([0.9, np.nan, 0.2, 0.4]), np.array([1, 0, 0, 1])
    for metric in (auroc, aurc, auarc, prr):
        with pytest.raises(ValueError, match="NaN"):
            metric(score, right)
    assert auroc(score, right, missing="drop").n == 3


def test_entropy_sums_over_clusters_not_samples() -> None:
    # lm-polygraph's (frequency, direct): 5 and 5 samples give 5 ln 2.
    halves = [[0] * 5 + [1] * 5]
    assert semantic_entropy(halves, kind="discrete").value[0] == pytest.approx(np.log(2))


def test_no_default_entropy_is_negative_and_repeats_count_once() -> None:
    # lm-polygraph (sum, mean): -.6436; TruthTorchLM counts k equal texts k squared times.
    labels = [[0] * 8 + [1, 2]]
    lp = [[-0.4] * 8 + [-3.0, -4.0]]
    texts = [["Paris"] * 8 + ["Lyon", "Nice"]]
    assert semantic_entropy(labels).value[0] > 0
    once = semantic_entropy(
        [[0, 1, 2]], [[-0.4, -3.0, -4.0]], "likelihood", texts=[["Paris", "Lyon", "Nice"]]
    )
    again = semantic_entropy(labels, lp, "likelihood", texts=texts)
    assert again.value[0] == pytest.approx(once.value[0])
    mass = np.exp([-0.4, -3.0, -4.0])
    share = mass / mass.sum()
    assert again.value[0] == pytest.approx(-(share * np.log(share)).sum())


def test_every_response_is_in_one_cluster() -> None:
    # uqlm: entailment either way and no break put four responses into clusters of 6 members.
    chain = np.zeros((4, 4, 3))
    chain[..., 1] = 1.0
    for i in range(4):
        chain[i, i] = (0.0, 0.0, 1.0)
    for i, j in ((0, 1), (2, 1), (2, 3)):
        chain[i, j] = (0.0, 0.0, 1.0)
    scores = Pairwise.from_stack(chain[None])
    for rule in ("strict", "jlko", "lorenzkuhn", "uqlm"):
        clusters = semantic_clusters(nli_relation(scores, rule))
        counts = np.bincount(clusters.values)
        assert counts.sum() == 4
        assert entropy([counts.tolist()], "plugin").value[0] <= np.log(4)


def test_rows_of_unequal_length_are_normalised_by_their_own() -> None:
    # uqlm divides by the length of the first row.
    rows = [["a", "b"], ["a", "a", "b", "b"], ["a", "a", "a"]]
    plugin = vote_entropy(rows, "plugin").value
    assert plugin == pytest.approx([np.log(2), np.log(2), 0.0])
    blocks = [np.eye(2), np.eye(4), np.ones((3, 3))]
    assert eigenvalue_uncertainty(Pairwise.from_blocks(blocks)) == pytest.approx([2, 4, 1])


def test_sequence_probability_is_not_length_normalised() -> None:
    # uqlm's `sequence_probability` gives .741 for log-probabilities -.1 and -.5.
    scores = likelihood_scores(Ragged.from_lengths(np.array([-0.1, -0.5]), [2]))
    assert scores.probability[0] == pytest.approx(0.5488, abs=1e-4)
    assert scores.length_normalised_probability[0] == pytest.approx(0.7408, abs=1e-4)


def test_few_top_logprobs_still_give_an_entropy() -> None:
    # uqlm: NaN with fewer than 15.
    top = np.log([[0.5, 0.25, 0.125]])
    assert np.isfinite(uqlm_negentropy(top)).all()
    bounds = top_k_entropy(top)
    assert bounds.missing_mass[0] == pytest.approx(0.125)
    assert bounds.low[0] == pytest.approx(-(np.exp(top) * top).sum() - 0.125 * np.log(0.125))


def test_platt_recovers_a_logistic_model_without_shrinking_it() -> None:
    # uqlm fits an L2-penalised slope to the raw score.
    rng = np.random.default_rng(0)
    p = rng.uniform(0.02, 0.98, 200_000)
    logit = np.log(p / (1 - p))
    right = rng.random(len(p)) < 1 / (1 + np.exp(-(3 * logit - 1)))
    model = Platt().fit(p, right)
    assert model.slope_ == pytest.approx(3, abs=0.05)
    assert model.intercept_ == pytest.approx(-1, abs=0.05)


def test_dirichlet_rule_stops_and_beta_rule_does_not_underflow() -> None:
    # AdaptiveConsistency: the Dirichlet rule fails on a ragged array; Beta is 0/0 near 500 votes.
    assert AnswerStream("dirichlet").update(["7"] * 12).stop
    decision = AnswerStream("beta", alpha=1e-300).update(["a", "b"] * 600 + ["a"] * 3)
    assert not decision.stop
    # P(p < 1/2) for 603 against 600 votes, by the normal approximation.
    assert decision.doubt == pytest.approx(0.4655, abs=1e-3)


def test_grassberger_has_its_sign() -> None:
    # ndd's Grassberger gives 6.22 for these counts, whose true value is near 2.7.
    counts = [[4, 12, 4, 5, 3, 1, 5, 1, 2, 2, 2, 2, 11, 3, 4, 12, 12, 1, 2]]
    value = entropy(counts, "grassberger2003").value[0]
    plugin = entropy(counts, "plugin").value[0]
    assert plugin < value < plugin + 0.3


def test_perfect_ranking_has_the_best_possible_area() -> None:
    # jlko's area under thresholded accuracy gives a perfect model .947.
    assert auarc(np.linspace(0, 1, 50), np.ones(50, bool)).value == pytest.approx(1)
    right = np.repeat([0, 1], 25)
    assert prr(np.linspace(0, 1, 50), right).value == pytest.approx(1)


def test_equal_scores_count_half() -> None:
    # Python-level scans for infinities and argsorts let rows decide.
    rng = np.random.default_rng(1)
    score, right = rng.integers(0, 4, 300) / 4, rng.random(300) < 0.5
    assert auroc(score, right).value == pytest.approx(roc_auc_score(right, score))
