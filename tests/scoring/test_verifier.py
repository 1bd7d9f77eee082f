"""Verdicts against a reference."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring import extract_column, verify


def table(reference, answer):
    ids = [str(i) for i in range(len(answer))]
    return Generations(
        pa.table(
            {
                "prompt_id": ids,
                "reference": pa.array(reference, pa.string()),
                "answer": pa.array(answer, pa.list_(pa.string())),
            }
        )
    )


def test_unparsed_is_wrong_and_unknown_is_null():
    g = table(["4", None, "", "#### 4"], [["4.0", None, "5"], ["4", None], ["4"], ["4", "5"]])
    assert verify(g).to_pylist() == [[True, False, False], [None, None], [None], [True, False]]


def test_exact():
    g = table(["4", "", None], [["4.0", "4", None], ["", "4"], ["4"]])
    assert verify(g, "exact").to_pylist() == [[False, True, False], [True, False], [None]]


def test_math_verify():
    pytest.importorskip("math_verify")
    g = table([r"\frac{1}{\sqrt{2}}", None], [[r"\frac{\sqrt{2}}{2}", r"\sqrt{2}", None], ["1"]])
    assert verify(g, "math-verify").to_pylist() == [[True, False, False], [None]]


def test_missing_columns_are_named():
    g = Generations(pa.table({"prompt_id": ["a"], "answer": [["4"]]}))
    with pytest.raises(InputError, match="column 'reference' is missing"):
        verify(g)


def test_gsm8k_released_verdicts(shared_data):
    """Our extraction and comparison give every one of OpenAI's 5,276 verdicts."""
    folder = shared_data / "gsm8k_openai"
    released = pq.read_table(folder / "model_solutions.parquet").to_pylist()
    gold = {
        row["qid"]: row["solution"] for row in pq.read_table(folder / "test.parquet").to_pylist()
    }
    by_question: dict[int, list[dict]] = {}
    for row in released:
        by_question.setdefault(row["qid"], []).append(row)
    responses = pa.array([[row["solution"] for row in rows] for rows in by_question.values()])
    g = table([gold[qid] for qid in by_question], extract_column(responses).to_pylist())
    expected = [[row["correct"] for row in rows] for rows in by_question.values()]
    assert verify(g).to_pylist() == expected
    assert sum(map(sum, expected)) == round(1319 * (0.2168 + 0.3904 + 0.3472 + 0.5625))
