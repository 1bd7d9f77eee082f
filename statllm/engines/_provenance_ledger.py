"""The ledger of `select provenance`: every check's numbers, and the first reason to drop a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statllm.files import atomic
from statllm.ragged import BoolArray, FloatArray, IntArray

#: Reasons to drop a row; the first that holds is the one that counts.
_REASONS = ("watermarked", "contaminated", "called")


@dataclass(frozen=True, eq=False)
class PValues:
    """A column of p-values over all rows, and what they call at a false-discovery rate."""

    name: str
    p: FloatArray
    q: FloatArray
    fdr: float

    @property
    def called(self) -> BoolArray:
        """Rows whose adjusted p-value is at most the rate."""
        return self.q <= self.fdr


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What the checks say of every row.

    Attributes
    ----------
    dropped : dict
        Of each check that was made, which rows it drops.
    tested : ndarray of bool, shape (n_rows,)
        Some check could say something.
    """

    dropped: dict[str, BoolArray]
    tested: BoolArray

    @classmethod
    def none(cls, n: int) -> Verdicts:
        """Nothing was checked yet."""
        return cls({}, np.zeros(n, np.bool_))

    def add(self, reason: str, drops: BoolArray, tests: BoolArray) -> None:
        """Add a check: what it drops, and what it could test."""
        self.dropped[reason] = drops
        self.tested[tests] = True

    @property
    def kept(self) -> BoolArray:
        """Rows that no check drops."""
        gone = np.zeros(len(self.tested), np.bool_)
        for drops in self.dropped.values():
            gone |= drops
        return ~gone

    def counts(self) -> dict[str, int]:
        """Return rows by their first reason; they add up."""
        left = np.ones(len(self.tested), np.bool_)
        found = {}
        for reason in _REASONS:
            if reason in self.dropped:
                found[reason] = int(np.sum(left & self.dropped[reason]))
                left &= ~self.dropped[reason]
        kept, untested = int(np.sum(left & self.tested)), int(np.sum(left & ~self.tested))
        return {"kept": kept, **found, "untested": untested}


def write_ledger(
    lines: Iterator[pa.Table],
    ledger: Path,
    verdicts: Verdicts,
    leaks: Iterator[pa.Table] | None,
    items: Sequence[str],
    called: PValues | None,
) -> None:
    """Write one line per document or row; documents of a row share its fate.

    Parameters
    ----------
    lines : iterator of Table
        ``row``, rising, and what else is known of the line: of documents what the detection wrote.
    ledger : Path
    verdicts : Verdicts
    leaks : iterator of Table, optional
        What `LeakWork` wrote, a line per row of the source.
    items : sequence of str
        The benchmark's names.
    called : PValues, optional
    """
    kept = verdicts.kept
    cursor = None if leaks is None else _Cursor(leaks)
    names = pa.array(items, pa.string())
    with atomic(ledger) as temporary:
        writer: pq.ParquetWriter | None = None
        for table in lines:
            rows = table["row"].to_numpy()
            reason = np.where(verdicts.tested[rows], "kept", "untested").astype(object)
            more: dict[str, Any] = {}
            if called is not None:  # the weakest reason first: stronger ones overwrite it
                said = f"called by {called.name} at a false-discovery rate of {called.fdr:g}"
                reason[called.called[rows]] = said
                own = "" if called.name not in table.column_names else " (given)"
                more[called.name + own] = pa.array(called.p[rows], from_pandas=True)
                more[f"q[{called.name}]"] = pa.array(called.q[rows], from_pandas=True)
            if cursor is not None:
                found = cursor.take(rows)
                by = names.take(found["item"].combine_chunks())
                hit = by.is_valid().to_numpy(zero_copy_only=False)
                reason[hit] = [f"contaminated by {name}" for name in by.drop_null().to_pylist()]
                more["contaminated_by"] = by
                more |= {name: found[name] for name in ("ngram", "n_matches", "n_ngrams")}
            if "watermarked" in table.column_names:
                marked = table["watermarked"].to_numpy(zero_copy_only=False)
                others = verdicts.dropped["watermarked"][rows] & ~marked
                # a kept row may have documents of which nothing could be said
                if called is None and cursor is None:
                    silent = table["log_p"].is_null().to_numpy(zero_copy_only=False)
                    reason[silent] = "untested"
                reason[others] = "another document of the row is watermarked"
                reason[marked] = "watermarked"
                table = table.drop_columns("watermarked")
            place = [n for n in ("row", "prompt_id", "sample") if n in table.column_names]
            lead = {name: table[name] for name in place}
            lead["kept"] = pa.array(kept[rows])
            lead["reason"] = pa.array(reason, pa.string())
            lead["rule"] = pa.array(["provenance"] * table.num_rows, pa.string())
            rest = {name: table[name] for name in table.column_names if name not in place}
            table = pa.table(lead | rest | more)
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()


class _Cursor:
    """Lines of consecutive tables, taken by numbers that never fall."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self.tables, self.first = tables, 0
        self.table = next(tables)

    def take(self, numbers: IntArray) -> pa.Table:
        taken = []
        while True:
            here = int(np.searchsorted(numbers, self.first + self.table.num_rows))
            taken.append(self.table.take(pa.array(numbers[:here] - self.first)))
            numbers = numbers[here:]
            if not len(numbers):
                return pa.concat_tables(taken)
            self.first += self.table.num_rows
            self.table = next(self.tables)
