"""Scores of claims from their tokens."""

from __future__ import annotations

import numpy as np
import pytest

from statllm.estimators.likelihood.claims import claim_conditioned_probability, claim_tokens
from statllm.estimators.likelihood.sequence import likelihood_scores


def test_claims_take_their_tokens_in_the_order_given() -> None:
    rows = [[-0.1, -0.2, -0.3], [], [-0.5, -0.7]]
    claims = claim_tokens(rows, [2, 0, 0], [[1, 0], [2], []])
    assert claims.to_lists() == [[-0.7, -0.5], [-0.3], []]
    scores = likelihood_scores(claims)
    assert scores.probability[:2] == pytest.approx(np.exp([-1.2, -0.3]))
    assert np.isnan(scores.probability[2])  # a claim without tokens says nothing


@pytest.mark.parametrize(
    ("response", "positions", "match"),
    [([3], [[0]], "between 0 and 2"), ([1], [[0]], "places"), ([0], [[0.5]], "places")],
)
def test_what_does_not_exist_is_refused(response: list, positions: list, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        claim_tokens([[-0.1, -0.2], [], [-0.5]], response, positions)


def plain_ccp(logprobs: np.ndarray, labels: list[str]) -> float:
    entail = [lp for lp, x in zip(logprobs, labels, strict=True) if x == "entail"]
    contra = [lp for lp, x in zip(logprobs, labels, strict=True) if x == "contra"]
    return float(np.log(np.exp(entail).sum() / np.exp(entail + contra).sum()))


def test_ccp_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    table = np.log(rng.dirichlet(np.ones(6), 40))
    relation = rng.integers(-1, 2, (40, 6))
    found = claim_conditioned_probability(table, relation)
    names = {1: "entail", 0: "neutral", -1: "contra"}
    for row, codes, value in zip(table, relation, found, strict=True):
        labels = ["entail"] + [names[c] for c in codes[1:]]
        assert value == pytest.approx(plain_ccp(row, labels))
    # Neutral alternatives change nothing, function words state nothing.
    more = np.concatenate([table, np.full((40, 1), -1.0)], axis=1)
    neutral = np.concatenate([relation, np.zeros((40, 1), dtype=int)], axis=1)
    np.testing.assert_allclose(claim_conditioned_probability(more, neutral), found)
    assert (claim_conditioned_probability(table, relation, np.ones(40, dtype=bool)) == 0).all()
    assert claim_conditioned_probability([[-0.5, -np.inf]], [[1, -1]])[0] == 0


def test_ccp_refuses_what_it_cannot_read() -> None:
    with pytest.raises(ValueError, match="one shape"):
        claim_conditioned_probability([[-1.0]], [[1, 0]])
    with pytest.raises(ValueError, match="relation must hold"):
        claim_conditioned_probability([[-1.0]], [[2]])
    with pytest.raises(ValueError, match="without NaN"):
        claim_conditioned_probability([[np.nan]], [[1]])
    with pytest.raises(ValueError, match="the token said"):
        claim_conditioned_probability([[-np.inf, -1.0]], [[1, 1]])
