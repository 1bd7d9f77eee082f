"""Rules that keep or drop rows: what their passes over a source share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.ragged import IntArray


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows that were found worth keeping.

    Attributes
    ----------
    mask : Path
        A ``.npy`` file: which rows are kept, of those that the source's `where` keeps.
    digest : str
        Of the mask.
    numbers, starts : ndarray of int64, shape (n_batches,)
        Number in the source of each batch's first row, rising, and that row's place in the mask.
    """

    mask: Path
    digest: str
    numbers: IntArray
    starts: IntArray
    outputs: tuple[str, ...] = ("rows",)

    def decides(self) -> Mapping[str, Any]:
        """Return what tells this mask from others."""
        return {"mask": self.digest}

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Drop the others of a batch."""
        start = int(self.starts[np.searchsorted(self.numbers, first)])
        kept = np.load(self.mask, mmap_mode="r")[start : start + table.num_rows]
        return {"rows": table.filter(pa.array(kept))}, {}


def column_names(source: Source, *needed: str) -> list[str]:
    """Return the names of a source's columns, among which these must be.

    Raises
    ------
    InputError
        If one is missing, or the source can't be read.
    """
    schema = pq.read_schema(source.parts(1)[0].path)
    ours = {theirs: name for name, theirs in source.columns.items()}
    names = [ours.get(name, name) for name in schema.names]
    for name in needed:
        if name not in names:
            raise InputError(
                f"{source.path} has no column '{name}'; it has {', '.join(schema.names)}"
            )
    return names


def numbered(change: Callable[[pa.Table, int], pa.Table]) -> Callable[[pa.Table], pa.Table]:
    """Return `change` as a function of one batch after the other, told the first one's row."""
    row = 0

    def finish(table: pa.Table) -> pa.Table:
        nonlocal row
        first, row = row, row + table.num_rows
        return change(table, first)

    return finish
