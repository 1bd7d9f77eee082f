"""Metrics by name: each against its estimator on hand-made lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.estimators import lexical_similarity, predictive_entropy, semantic_entropy
from statllm.generations import Generations
from statllm.scoring import score
from statllm.scoring.metrics import METRICS

ANSWERS = [["4", "4", "5"], ["7", "8"], ["1"], []]
TEXTS = [["two is 4", "it is 4", "five 5"], ["7", "8"], ["1"], []]
LOGPROBS = [[-1.0, -2.0, -3.0], [-0.5, -4.0], [-0.25], []]
TOKENS = [[2, 2, 3], [1, 2], [1], []]


@pytest.fixture
def table() -> Generations:
    return Generations(
        pa.table(
            {
                "prompt_id": ["a", "b", "c", "d"],
                "response": pa.array(TEXTS, pa.list_(pa.string())),
                "answer": pa.array(ANSWERS, pa.list_(pa.string())),
                "logprob": pa.array(LOGPROBS, pa.list_(pa.float64())),
                "n_tokens": pa.array(TOKENS, pa.list_(pa.int32())),
            }
        )
    )


def column(scored: Generations, name: str) -> np.ndarray:
    return scored.column(name).to_numpy()


def test_all_are_there_and_larger_is_less_certain(table: Generations) -> None:
    scored = score(table, metrics=("all",))
    for name in (name for name, metric in METRICS.items() if not metric.model):
        values = column(scored, name)
        assert np.isnan(values[3]), name  # a prompt without samples has no score
        assert np.isfinite(values[:2]).all(), name
    np.testing.assert_allclose(
        column(scored, "predictive_entropy")[:3], [2.0, 2.25, 0.25], rtol=1e-12
    )
    np.testing.assert_allclose(
        column(scored, "token_nll")[:3], [(0.5 + 1 + 1) / 3, (0.5 + 2) / 2, 0.25]
    )


def test_each_is_its_estimators_value(table: Generations) -> None:
    scored = score(table, metrics=("all",))
    expected = {
        "predictive_entropy": predictive_entropy(LOGPROBS).entropy,
        "lexical_dissimilarity": 1 - lexical_similarity(TEXTS),
        "semantic_entropy_jlko": semantic_entropy(ANSWERS, LOGPROBS, "jlko", n_tokens=TOKENS).value,
        "semantic_entropy_likelihood": semantic_entropy(
            ANSWERS, LOGPROBS, "likelihood", texts=TEXTS
        ).value,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(column(scored, name), values, err_msg=name)


def test_extra_samples_stay_out(table: Generations) -> None:
    pool = [["vote", "extra", "vote"], ["vote", "vote"], ["vote"], []]
    marked = table.with_columns({"pool": pa.array(pool, pa.list_(pa.string()))})
    values = column(score(marked, metrics=("predictive_entropy",)), "predictive_entropy")
    assert values[0] == 2.0  # (1 + 3) / 2
    assert values[1] == 2.25


def test_only_what_is_asked_for_and_possible(table: Generations) -> None:
    assert not set(METRICS) & set(score(table).table.column_names)
    bare = Generations(table.table.select(["prompt_id", "answer"]))
    added = set(score(bare, metrics=("all",)).table.column_names) & set(METRICS)
    assert added == {"semantic_entropy_lm_polygraph_frequency_direct"}
    with pytest.raises(InputError, match="metric 'token_nll' needs the column 'logprob'"):
        score(bare, metrics=("token_nll",))
    with pytest.raises(InputError, match="metric 'luck' is unknown; metrics: all, predictive"):
        score(table, metrics=("luck",))
