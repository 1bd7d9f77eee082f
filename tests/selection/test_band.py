"""Bands of a quality: against brute force, and what is missing or wrong."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.selection import BandSettings, band

RNG = np.random.default_rng(5)
WORDS = ["one", "two", "three", "four", "five"]
N, K = 60, 4


@pytest.fixture(scope="module")
def pool() -> Generations:
    texts = [[" ".join(RNG.choice(WORDS, 3)) for _ in range(K)] for _ in range(N)]
    return Generations(
        pa.table(
            {
                "prompt_id": [f"p{i}" for i in range(N)],
                "prompt": [f"question {i}" for i in range(N)],
                "response": texts,
                "reward": RNG.normal(size=(N, K)).tolist(),
                "logprob": (-RNG.gamma(3, size=(N, K))).tolist(),
                "logprob_alone": (-5 - RNG.gamma(3, size=(N, K))).tolist(),
                "n_tokens": pa.array(RNG.integers(1, 9, (N, K)).tolist(), pa.list_(pa.int32())),
                "grade": RNG.normal(size=N),
                "tags": RNG.integers(0, 5, (N, K)).tolist(),
            }
        )
    )


def brute(pool: Generations, quality: str) -> np.ndarray:
    found = []
    for row in pool.table.to_pylist():
        best, worst = int(np.argmax(row["reward"])), int(np.argmin(row["reward"]))
        a, b = (set(row["response"][i].split()) for i in (best, worst))
        found.append(
            {
                "jaccard": len(a & b) / len(a | b),
                "perplexity": math.exp(-row["logprob"][best] / row["n_tokens"][best]),
                "ifd": row["logprob"][best] / row["logprob_alone"][best],
                "grade": row["grade"],
                "tags": row["tags"][best],
            }[quality]
        )
    return np.array(found, dtype=float)


@pytest.mark.parametrize("quality", ["jaccard", "perplexity", "ifd", "grade", "tags"])
@pytest.mark.parametrize(("low", "high"), [(0.25, 1.0), (0.0, 0.5), (0.4, 0.6)])
def test_what_is_kept_is_what_brute_force_keeps(
    pool: Generations, quality: str, low: float, high: float
) -> None:
    named = {"quality": quality} if quality in ("jaccard", "perplexity", "ifd") else {
        "quality": "column", "column": quality
    }  # fmt: skip
    found = band(pool, BandSettings(**named, low=low, high=high))
    values = brute(pool, quality)
    bounds = np.quantile(values, [low, high])
    kept = (values >= bounds[0]) & (values <= bounds[1])
    assert found.ledger["kept"].to_pylist() == kept.tolist()
    assert found.ledger["quality"].to_pylist() == pytest.approx(values.tolist())
    assert sum(found.counts().values()) == N
    assert [found.thresholds[name] for name in ("low", "high")] == pytest.approx(bounds.tolist())


def test_the_pair_is_the_best_against_the_worst(pool: Generations) -> None:
    for pair in band(pool, BandSettings(low=0)).pairs.to_pylist():
        row = int(pair["prompt_id"][1:])
        rewards = pool.column("reward")[row].as_py()
        assert rewards[pair["chosen_index"]] == max(rewards)
        assert rewards[pair["rejected_index"]] == min(rewards)


def test_what_cannot_be_judged_has_a_reason(pool: Generations) -> None:
    grades = pool.column("grade").to_pylist()
    grades[0], grades[1] = None, math.nan
    rewards = pool.column("reward").to_pylist()
    rewards[2] = [1.0] * K
    rewards[3] = [1.0, None, None, None]
    given = pool.with_columns({"grade": grades, "reward": rewards})
    found = band(given, BandSettings(quality="column", column="grade", low=0, missing="drop"))
    reasons = found.ledger["reason"].to_pylist()[:4]
    assert reasons == ["unknown_quality", "unknown_quality", "tied", "too_few_responses"]
    with pytest.raises(InputError, match="reward"):
        band(given, BandSettings(quality="column", column="grade"))


def test_what_is_wrong_is_named(pool: Generations) -> None:
    with pytest.raises(InputError, match="band needs the column 'other'"):
        band(pool, BandSettings(quality="column", column="other"))
    with pytest.raises(InputError, match="column 'prompt' holds string, not numbers"):
        band(pool, BandSettings(quality="column", column="prompt"))
    bare = Generations(pool.table.drop_columns(["logprob_alone"]))
    with pytest.raises(InputError, match="band by ifd needs the column 'logprob_alone'"):
        band(bare, BandSettings(quality="ifd"))
    for wrong in ({"quality": "column"}, {"column": "grade"}, {"low": 0.8, "high": 0.2}):
        with pytest.raises(ValueError, match="low|column"):
            BandSettings(**wrong)


def test_an_empty_table_has_an_empty_answer(pool: Generations) -> None:
    found = band(Generations(pool.table.slice(0, 0)))
    assert found.pairs.num_rows == found.ledger.num_rows == 0
