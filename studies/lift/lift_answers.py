"""What every model of the study is asked with a limit on words, and how its answers score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.estimators.winrate import length_instructed_win_rate
from statllm.generations import Generations
from statllm.lab import careful_solution, generate, model_path
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.prompts import (
    count_words,
    length_benchmark,
    length_prompts,
    load_template,
)
from statllm.scoring import score

FloatArray = NDArray[np.float64]

FIXED = (1, 4, 8, 12, 20)
GREEDY = SamplingSettings(n=1, temperature=0.0, max_new_tokens=80, batch_size=512)


def benchmark(test: pa.Table) -> tuple[pa.Table, FloatArray]:
    """AlpacaEval-LI's rule: the shortest of three answers sets the limit and is the baseline.

    Returns the prompts with their limits, and whether each baseline is right.
    """
    settings = SamplingSettings(n=3, max_new_tokens=80, batch_size=512, seed=7)
    texts = sample(model_path(), test, settings)["response"]
    prompts = length_benchmark(test, texts, load_template("lift_words"))
    baselines = test.append_column(
        "response", pa.array([[t] for t in prompts["baseline"].to_pylist()])
    )
    right = score(Generations(baselines)).column("correct").to_pylist()
    return prompts, np.array([row[0] for row in right], dtype=float)


def solution_words(n: int, seed: int) -> list[int]:
    """Words of the written solution of each test problem, one statement per step."""
    return [count_words(careful_solution(each)) for each in islice(generate("test", seed), n)]


def limited(test: pa.Table, limits: Any, scales: Sequence[float] = (1.0,)) -> pa.Table:
    """The problems with limits on words, one row per scale and problem."""
    return length_prompts(test, limits, load_template("lift_words"), scales)


def answered(model: str | Path, sets: Mapping[str, pa.Table]) -> dict[str, dict[str, FloatArray]]:
    """Greedy answers to sets of prompts, asked all at once: right ones, words and limits by set."""
    tables = []
    for name, table in sets.items():
        ids = pa.array([f"{name}/{each}" for each in table["prompt_id"].to_pylist()])
        kept = table.select(["prompt", "reference", "max_words"])
        tables.append(kept.append_column("prompt_id", ids))
    given = score(Generations(sample(model, pa.concat_tables(tables), GREEDY)))
    every = {
        "right": [row[0] for row in given.column("correct").to_pylist()],
        "words": [count_words(row[0]) for row in given.column("response").to_pylist()],
        "limits": given.column("max_words").to_pylist(),
    }
    ends = np.cumsum([table.num_rows for table in tables])[:-1]
    parts = {name: np.split(np.array(values, float), ends) for name, values in every.items()}
    return {which: {name: parts[name][place] for name in parts} for place, which in enumerate(sets)}


def scored(
    found: Mapping[str, FloatArray], baseline: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Violations, right answers and words; with a baseline's verdicts, wins against it as well."""
    words, limits, right = found["words"], found["limits"], found["right"]
    scores = {"violations": (words > limits).astype(float), "right": right, "words": words}
    if baseline is not None:
        judged = 0.5 + (right - baseline) / 2  # the judge doesn't see the limit
        scores["wins"] = np.where(words > limits, 0.0, judged)
        rate = length_instructed_win_rate(judged, words, limits).value
        assert np.isclose(scores["wins"].mean(), rate)
    return scores
