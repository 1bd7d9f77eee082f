"""Rules that keep or drop rows: what their passes over a source share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statllm.engines.run import OnPart, run
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.files import atomic
from statllm.ragged import BoolArray, IntArray


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


@dataclass(frozen=True)
class MaskedRows:
    """Rows whose place in a ``.npy`` mask is true; rows are numbered over the whole source."""

    mask: Path
    digest: str
    outputs: tuple[str, ...] = ("rows",)

    def decides(self) -> Mapping[str, Any]:
        """Return what tells this mask from others."""
        return {"mask": self.digest}

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Drop the others of a batch."""
        kept = np.load(self.mask, mmap_mode="r")[first : first + table.num_rows]
        return {"rows": table.filter(pa.array(kept))}, {}


def write_masked(
    source: Source, kept: BoolArray, output: Path, settings: EngineSettings, on_part: OnPart
) -> None:
    """Write the rows of a source, without `where`, that a mask over all of them keeps."""
    mask = output.with_name(f"{output.name}.kept.npy")
    with atomic(mask) as temporary, temporary.open("wb") as handle:
        np.save(handle, kept)
    work = MaskedRows(mask, hashlib.sha256(kept.tobytes()).hexdigest())
    run(source, work, {"rows": output}, settings, on_part=on_part, unique=False)
    mask.unlink()


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
