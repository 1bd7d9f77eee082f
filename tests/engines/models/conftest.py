"""What the tests of models on engines share: tables, small pieces, and a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from statllm.engines import EngineSettings
from statllm.lab import problems

NO_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")


@pytest.fixture(params=["local", pytest.param("ray", marks=NO_RAY)])
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine."""
    return str(request.param)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the workers have; the number of threads may change rounding."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Prompts, in row groups that aren't those of parts."""
    pq.write_table(problems("test", 26, 0), tmp_path / "prompts.parquet", row_group_size=17)
    return tmp_path


@pytest.fixture
def answers() -> pa.Table:
    """Prompts with 0 to 4 short responses; some are null."""
    rng = np.random.default_rng(3)
    rows = [[str(d) for d in rng.integers(0, 10, k)] for k in rng.integers(0, 5, 30)]
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(30)],
            "prompt": [f"{i % 10} vs {i % 7}" for i in range(30)],
            "response": rows,
        }
    )


@pytest.fixture
def pieces() -> Callable[..., EngineSettings]:
    """Two actors; one process, this one, since another takes seconds to import torch."""

    def settings(engine: Any, **changes: Any) -> EngineSettings:
        given = {"workers": 1 + (engine == "ray"), "part_rows": 8, "batch_rows": 5} | changes
        return EngineSettings(engine=engine, **given)

    return settings


@pytest.fixture
def same_but_for_rounding() -> Callable[[pa.Table, pa.Table, set[str]], None]:
    """Check that tables are equal, some columns up to rounding."""

    def flat(column: pa.ChunkedArray) -> Any:
        while pa.types.is_list(column.type):
            column = pc.list_flatten(column)
        return column.to_numpy()

    def check(found: pa.Table, expected: pa.Table, rounded: set[str]) -> None:
        assert found.schema.equals(expected.schema)
        exact = [name for name in found.column_names if name not in rounded]
        assert found.select(exact).equals(expected.select(exact))
        for name in rounded & set(found.column_names):
            a, b = (flat(table[name]) for table in (found, expected))
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-4, err_msg=name)

    return check
