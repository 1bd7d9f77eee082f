"""NaturalReasoning's pairs and examples: golden cases, filters, ties, ledgers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.selection import (
    SelfConsistencySettings,
    SelfScoreSettings,
    rft,
    select,
    self_consistency,
    self_score,
)

SCORES = [[2.0, -3.0, 0.5], [-0.1, -2.0, -5.0], [0.0, -1.0, -1.0], [1.0, 1.0, 1.0]]


@pytest.fixture
def scored(table):
    return table(reward=SCORES)


def test_best_against_worst(scored):
    found = self_score(scored)
    pairs = found.pairs.select(["prompt_id", "chosen_index", "rejected_index"]).to_pylist()
    assert [(p["prompt_id"], p["chosen_index"]) for p in pairs] == [("p0", 0), ("p1", 0), ("p2", 0)]
    assert [p["rejected_index"] for p in pairs[:2]] == [1, 2]
    assert pairs[2]["rejected_index"] in (1, 2)
    assert found.ledger["reason"].to_pylist() == ["kept", "kept", "kept", "tied"]
    assert found.pairs["weight"].to_pylist() == [1.0] * 3


def test_the_filter_drops_what_is_chosen_below_zero(scored):
    """The paper drops a pair if the chosen response's self-score is below 0: 0 itself stays."""
    found = self_score(scored, SelfScoreSettings(min_chosen=0))
    assert found.ledger["reason"].to_pylist() == ["kept", "low_chosen", "kept", "tied"]
    assert found.ledger["chosen_score"].to_pylist() == [2.0, -0.1, 0.0, 1.0]
    assert dict(found.thresholds) == {"min_chosen": 0.0}


def test_another_score_can_filter(table):
    """Ranked by a reward model, filtered by the self-score of what it prefers."""
    g = table(reward=[[3.0, 1.0], [3.0, 1.0]])
    g = g.with_columns({"own": [[-1.0, 5.0], [1.0, -5.0]]})
    found = self_score(g, SelfScoreSettings(min_chosen=0, filter_score="own"))
    assert found.ledger["reason"].to_pylist() == ["low_chosen", "kept"]
    assert found.ledger["chosen_filter"].to_pylist() == [-1.0, 1.0]


def test_rft_needs_no_second_response(table):
    g = table(reward=[[1.0], [2.0, 3.0], [None, None]])
    found = rft(g, SelfScoreSettings(missing="drop"))
    assert found.examples["response"].to_pylist() == ["0:1.0", "1:3.0"]
    assert found.ledger["reason"].to_pylist() == ["kept", "kept", "no_scored_response"]
    assert found.counts() == {"kept": 2, "no_scored_response": 1}
    pairs = self_score(g, SelfScoreSettings(missing="drop"))
    assert pairs.ledger["reason"].to_pylist() == ["too_few_responses", "kept", "too_few_responses"]


def test_rft_s_examples_are_trained_on_as_they_are(table):
    from statllm.training.data import check_examples

    g = table(
        reward=[[1.0, 2.0]],
        response=[["a", "b"]],
        finish_reason=[["stop", "stop"]],
        token_ids=[[[1, 0], [2, 0]]],
    )
    g = g.with_columns({"prompt_token_ids": pa.array([[5, 6]], pa.list_(pa.int32()))})
    examples = check_examples(rft(g).examples)
    assert examples["response_ids"].to_pylist() == [[2, 0]]
    assert examples["prompt_ids"].to_pylist() == [[5, 6]]


def test_what_was_cut_off_is_neither(table):
    g = table(reward=[[5.0, 1.0, 0.0]], finish_reason=[["length", "stop", "stop"]])
    assert self_score(g).pairs["chosen_index"].to_pylist() == [1]
    both = SelfScoreSettings(truncated="include")
    assert self_score(g, both).pairs["chosen_index"].to_pylist() == [0]


def test_missing_scores_are_refused_by_name(table):
    g = table(reward=[[1.0, 2.0], [1.0, None]])
    with pytest.raises(InputError, match="reward"):
        self_score(g)
    own = g.with_columns({"own": [[1.0, 2.0], [1.0, float("nan")]]})
    with pytest.raises(InputError, match="'own' has a score that is null .* prompt_id 'p1'"):
        self_score(own, SelfScoreSettings(score="own"))
    with pytest.raises(InputError, match="self-score needs the column 'other'"):
        self_score(g, SelfScoreSettings(score="other"))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scores=st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=5), min_size=1, max_size=6),
    bound=st.integers(-3, 3),
)
def test_against_a_loop(table, scores, bound):
    g = table(reward=[[float(x) for x in row] for row in scores])
    found = self_score(g, SelfScoreSettings(min_chosen=bound, seed=3))
    for row, line in zip(scores, found.ledger.to_pylist(), strict=True):
        if len(row) < 2:
            expected = "too_few_responses"
        elif len(set(row)) == 1:
            expected = "tied"
        else:
            expected = "kept" if max(row) >= bound else "low_chosen"
        assert line["reason"] == expected
    at = dict(zip(g.prompt_ids, scores, strict=True))
    for pair in found.pairs.to_pylist():
        row = at[pair["prompt_id"]]
        assert row[pair["chosen_index"]] == max(row)
        assert row[pair["rejected_index"]] == min(row)
    order = np.random.default_rng(0).permutation(len(scores))
    turned = self_score(g.take(order), SelfScoreSettings(min_chosen=bound, seed=3))
    assert sorted(turned.pairs["chosen"].to_pylist()) == sorted(found.pairs["chosen"].to_pylist())


def test_self_consistency_prefers_the_mode_to_a_random_other(table):
    g = table(answer=[["A", "B", "A", "C", "A", None]] * 200)
    found = self_consistency(g, SelfConsistencySettings(seed=1))
    chosen = found.pairs["chosen_answer"].to_pylist()
    rejected = found.pairs["rejected_answer"].to_pylist()
    assert set(chosen) == {"A"}
    assert 70 <= rejected.count("B") <= 130  # not ScPO's rarest, but any other
    assert rejected.count("B") + rejected.count("C") == 200
    assert len(set(found.pairs["chosen_index"].to_pylist())) == 3


def test_self_consistency_draws_ties_and_needs_two_answers(table):
    g = table(answer=[["A", "B"]] * 200 + [["A", "A"], [None, None]])
    found = self_consistency(g, SelfConsistencySettings(seed=2))
    assert 70 <= found.pairs["chosen_answer"].to_pylist().count("A") <= 130
    assert found.ledger["reason"].to_pylist()[-2:] == ["no_distinct_answers", "no_parsed_answer"]
    again = self_consistency(g.take(np.arange(202)[::-1]), SelfConsistencySettings(seed=2))
    assert dict(
        zip(found.pairs["prompt_id"].to_pylist(), found.pairs["chosen"].to_pylist(), strict=True)
    ) == dict(
        zip(again.pairs["prompt_id"].to_pylist(), again.pairs["chosen"].to_pylist(), strict=True)
    )


def test_by_name(scored):
    assert select("self-score", scored, min_chosen=0).counts()["kept"] == 2
