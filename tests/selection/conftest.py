"""Small generation tables."""

from __future__ import annotations

import pyarrow as pa
import pytest

from statllm.generations import Generations

_TYPES = {
    "response": pa.string(),
    "answer": pa.string(),
    "correct": pa.bool_(),
    "reward": pa.float64(),
    "finish_reason": pa.string(),
    "pool": pa.string(),
    "n_tokens": pa.int32(),
    "token_ids": pa.list_(pa.int32()),
}


@pytest.fixture
def table():
    """Build a table; responses are "i:answer" unless they are given."""

    def build(**columns) -> Generations:
        n = len(next(iter(columns.values())))
        columns.setdefault("prompt_id", [f"p{i}" for i in range(n)])
        columns.setdefault("prompt", [f"question {key}" for key in columns["prompt_id"]])
        if "response" not in columns:
            rows = next(
                columns[name] for name in ("answer", "correct", "reward") if name in columns
            )
            columns["response"] = [[f"{i}:{x}" for i, x in enumerate(row)] for row in rows]
        return Generations(
            pa.table(
                {
                    name: pa.array(rows, pa.list_(_TYPES[name])) if name in _TYPES else rows
                    for name, rows in columns.items()
                }
            )
        )

    return build
