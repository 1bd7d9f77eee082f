"""Likelihood scores against loops, closed forms and published conventions."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.estimators.likelihood.predictive_entropy import predictive_entropy
from statllm.estimators.likelihood.sequence import (
    cocoa,
    conditional_pmi,
    likelihood_scores,
    mars,
    pointwise_mutual_information,
    token_sar,
)
from statllm.ragged import Ragged

ROWS = st.lists(st.lists(st.floats(-8, 0), max_size=6), max_size=6)
NAN = float("nan")


@settings(deadline=None)
@given(ROWS)
def test_scores_equal_a_loop_over_responses(rows: list[list[float]]) -> None:
    scores = likelihood_scores(rows)
    for i, row in enumerate(rows):
        if not row:
            assert np.isnan(
                [scores.logprob[i], scores.mean_logprob[i], scores.min_logprob[i]]
            ).all()
            continue
        assert scores.logprob[i] == pytest.approx(math.fsum(row))
        assert scores.perplexity[i] == pytest.approx(math.exp(-math.fsum(row) / len(row)))
        assert scores.length_normalised_probability[i] == pytest.approx(
            math.prod(math.exp(x) for x in row) ** (1 / len(row))
        )
        assert scores.min_token_probability[i] == pytest.approx(min(math.exp(x) for x in row))


def test_published_values() -> None:
    # uqlm's sequence_probability is length-normalised by default: 0.741, and 0.549 without.
    scores = likelihood_scores([[-0.1, -0.5]])
    assert scores.length_normalised_probability[0] == pytest.approx(0.741, abs=5e-4)
    assert scores.probability[0] == pytest.approx(0.549, abs=5e-4)


def test_what_is_missing_never_looks_confident() -> None:
    scores = likelihood_scores([[], [-0.1, NAN], [-0.2]])
    for name in ("logprob", "mean_logprob", "min_logprob", "probability", "perplexity"):
        assert np.isnan(getattr(scores, name)[:2]).all(), name
        assert np.isfinite(getattr(scores, name)[2]), name
    assert np.isnan(token_sar([[], [-0.1, NAN]], [[], [1.0, 1.0]])).all()
    assert np.isnan(mars([[], [-0.1, NAN]], [[], [1.0, 1.0]])).all()
    assert np.isnan(predictive_entropy([[], [-1.0, NAN]]).entropy).all()
    assert np.isnan(cocoa([[-1.0], [], [-1.0]], [[], [0.5], [NAN]])).all()


def test_every_layout_gives_the_same() -> None:
    rows = [[-0.5, -1.5], [-2.0]]
    expected = likelihood_scores(rows).logprob
    column = pa.array(rows, pa.list_(pa.float32()))
    assert np.array_equal(likelihood_scores(column).logprob, expected)
    ragged = Ragged.from_lists(rows)
    assert np.array_equal(likelihood_scores(ragged).logprob, expected)
    assert likelihood_scores(rows).to_frame()["perplexity"].tolist() == pytest.approx(
        [math.e, math.e**2]
    )


def test_order_of_responses_and_tokens_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    rows = [(-rng.exponential(size=n)).tolist() for n in (3, 5, 1, 4)]
    scores, turned = likelihood_scores(rows), likelihood_scores([row[::-1] for row in rows[::-1]])
    assert turned.logprob[::-1] == pytest.approx(scores.logprob)
    assert turned.min_logprob[::-1] == pytest.approx(scores.min_logprob)


def test_zero_probability_is_minus_infinity_not_missing() -> None:
    scores = likelihood_scores([[-1.0, -np.inf]])
    assert scores.logprob[0] == -np.inf
    assert scores.probability[0] == 0
    # A token that counts for nothing can't spoil a weighted score.
    assert token_sar([[-1.0, -np.inf]], [[1.0, 0.0]])[0] == 1.0


def test_rounding_above_zero_is_taken_off_and_more_is_refused() -> None:
    assert likelihood_scores([[1e-7]]).logprob[0] == 0
    with pytest.raises(ValueError, match="logarithms of probabilities"):
        likelihood_scores([[0.7, 0.2]])  # probabilities


def test_weighted_scores_equal_loops() -> None:
    rng = np.random.default_rng(1)
    rows = [(-rng.exponential(size=n)).tolist() for n in (3, 1, 6)]
    weights = [rng.uniform(size=len(row)).tolist() for row in rows]
    sar, log_mars = token_sar(rows, weights), mars(rows, weights)
    for i, (row, weight) in enumerate(zip(rows, weights, strict=True)):
        total = sum(weight)
        assert sar[i] == pytest.approx(
            sum(-x * w / total for x, w in zip(row, weight, strict=True))
        )
        product = math.prod(
            math.exp(x) ** (1 / (2 * len(row)) + w / total / 2)
            for x, w in zip(row, weight, strict=True)
        )
        assert math.exp(log_mars[i]) == pytest.approx(product)
    even = [[1.0] * len(row) for row in rows]
    assert mars(rows, even) == pytest.approx(likelihood_scores(rows).mean_logprob)
    assert -token_sar(rows, even) == pytest.approx(likelihood_scores(rows).mean_logprob)
    assert token_sar(rows, [[5 * w for w in row] for row in weights]) == pytest.approx(sar)


def test_weights_that_cannot_be_used() -> None:
    assert np.isnan(token_sar([[-1.0]], [[0.0]])[0])
    with pytest.raises(ValueError, match="relevance must not be negative"):
        token_sar([[-1.0]], [[-0.5]])
    with pytest.raises(ValueError, match="row 1 of importance has 2 values for 1 tokens"):
        mars([[-1.0], [-2.0]], [[1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="1 rows of relevance for 2 responses"):
        token_sar([[-1.0], [-2.0]], [[1.0]])


def test_mutual_information_equals_lm_polygraph() -> None:
    # Its loops: log p - log p(alone), 0 for the first token; and for CPMI only where H >= tau.
    tokens, alone, spread = [-0.4, -1.2, -0.3], [0.0, -2.0, -0.1], [0.9, 0.01, 0.3]
    expected = np.mean([-0.4, -1.2 + 2.0, -0.3 + 0.1])
    assert pointwise_mutual_information([tokens], [alone])[0] == pytest.approx(expected)
    expected = np.mean([-0.4, -1.2, -0.3 + 3.599 * 0.1])
    assert conditional_pmi([tokens], [alone], [spread])[0] == pytest.approx(expected)
    always = conditional_pmi([tokens], [alone], [spread], threshold=0.0, weight=1.0)
    assert always == pytest.approx(pointwise_mutual_information([tokens], [alone]))
    assert np.isnan(conditional_pmi([tokens], [alone], [[0.9, NAN, 0.3]])[0])


def test_cocoa_forms() -> None:
    tokens, similarity = [[-0.2, -0.6], [-3.0]], [[1.0, 0.5, 0.0], [0.9]]
    assert cocoa(tokens, similarity) == pytest.approx([0.8 * 0.5, 3.0 * 0.1])
    assert cocoa(tokens, similarity, "ppl") == pytest.approx([0.4 * 0.5, 3.0 * 0.1])
    entropies = [[0.3, 0.5], [1.0]]
    assert cocoa(entropies, similarity, "mte") == pytest.approx([0.4 * 0.5, 0.1])
    with pytest.raises(ValueError, match="similarity must lie in"):
        cocoa([[-1.0]], [[1.5]])
    with pytest.raises(ValueError, match="form must be"):
        cocoa([[-1.0]], [[0.5]], "sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 rows of similarity for 1 responses"):
        cocoa([[-1.0]], [[0.5], [0.5]])


def test_predictive_entropy_is_unbiased_and_its_error_honest() -> None:
    rng = np.random.default_rng(2)
    p = np.array([0.6, 0.2, 0.1, 0.06, 0.04])
    truth = -(p * np.log(p)).sum()
    samples = rng.choice(len(p), size=(20_000, 8), p=p)
    result = predictive_entropy(Ragged.from_lengths(np.log(p)[samples].ravel(), [8] * 20_000))
    spread = result.entropy.std()
    assert result.entropy.mean() == pytest.approx(truth, abs=4 * spread / np.sqrt(20_000))
    assert np.sqrt((result.se**2).mean()) == pytest.approx(spread, rel=0.02)
    assert truth in result.mean.interval(0.999)
    assert result.mean.n == 20_000


def test_predictive_entropy_published_value() -> None:
    # 8 answers of -0.2, one of -1.5 and one of -2.0 per token: 0.51 (jlko/semantic_uncertainty).
    result = predictive_entropy([[-0.2] * 8 + [-1.5, -2.0]])
    assert result.entropy[0] == pytest.approx(0.51)
    assert np.isnan(predictive_entropy([[-1.0]]).se[0])
