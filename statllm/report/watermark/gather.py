"""What the page needs of the detections, in one pass through them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.estimators.non_null_share import non_null_share
from statllm.ragged import FloatArray, IntArray
from statllm.results import Estimate

BINS = 20
#: Levels of the tail: 10^(-k / 4), k from 0 on.
PER_DECADE = 4
_DECADES = 320
_ROWS = 1 << 16
_OWN = ("n_tokens", "log_p", "log_q", "watermarked", "configuration")


@dataclass
class PValues:
    """Counts of p-values: enough for a histogram, a tail and Storey's estimate.

    Attributes
    ----------
    bins : ndarray of int64, shape (20,)
        p-values in (k / 20, (k + 1) / 20].
    tail : ndarray of int64
        p-values whose -4 log10 has this whole part; the last one holds all that are smaller.
    least : float
        The smallest log p; NaN without any.
    """

    bins: IntArray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    tail: IntArray = field(default_factory=lambda: np.zeros(PER_DECADE * _DECADES + 1, np.int64))
    least: float = math.nan

    def add(self, log_p: FloatArray) -> None:
        """Count more of them; NaN is left out."""
        log_p = np.minimum(log_p[~np.isnan(log_p)], 0.0)
        if not len(log_p):
            return
        place = np.clip(np.ceil(np.exp(log_p) * BINS) - 1, 0, BINS - 1).astype(np.int64)
        self.bins += np.bincount(place, minlength=BINS)
        depth = np.minimum(-log_p / math.log(10) * PER_DECADE + 1e-9, len(self.tail) - 1)
        self.tail += np.bincount(depth.astype(np.int64), minlength=len(self.tail))
        self.least = float(np.nanmin([self.least, log_p.min()]))

    @property
    def n(self) -> int:
        """How many there are."""
        return int(self.bins.sum())

    @property
    def at_most(self) -> IntArray:
        """p-values of at most 10^(-k / 4), for each k."""
        counts: IntArray = np.cumsum(self.tail[::-1])[::-1]
        return counts

    def share_marked(self) -> Estimate:
        """Share of documents that aren't by chance, by Storey's estimate."""
        return non_null_share(int(self.bins[BINS // 2 :].sum()), self.n)


@dataclass
class OfConfiguration:
    """One configuration over the corpus.

    Attributes
    ----------
    name : str
    p : PValues
    called : int
        Documents called watermarked that this configuration explains best.
    scored, repeated : int
        Tokens that count, and that repeat a (seed, token) pair of their document.
    short : int
        Documents with 1 to 49 tokens that count.
    """

    name: str
    p: PValues = field(default_factory=PValues)
    called: int = 0
    scored: int = 0
    repeated: int = 0
    short: int = 0


#: Fewer tokens than these make a document short.
SHORT = 50


@dataclass(frozen=True)
class Called:
    """A document that is called watermarked."""

    document: str
    configuration: str
    log_p: float
    log_q: float
    n_tokens: int
    n_scored: int


@dataclass
class Gathered:
    """The corpus, in numbers that don't grow with it.

    Attributes
    ----------
    configurations : list of OfConfiguration
    n_documents, n_tokens : int
    n_called : int
        Documents that are called watermarked.
    p : PValues
        Of documents, over all configurations (Bonferroni).
    called : list of Called
        The first of them by q.
    """

    configurations: list[OfConfiguration]
    n_documents: int = 0
    n_tokens: int = 0
    n_called: int = 0
    p: PValues = field(default_factory=PValues)
    called: list[Called] = field(default_factory=list)


def gather(detections: str | Path | pa.Table, most: int = 100) -> Gathered:
    """Read detections once, in batches.

    Parameters
    ----------
    detections : path or pyarrow.Table
        What `statllm watermark detect` wrote: a file or a folder.
    most : int
        Called documents that are listed.

    Raises
    ------
    InputError
        If a column is missing, or there is no document.
    """
    found: Gathered | None = None
    best: list[tuple[float, int, Called]] = []
    for table in _batches(detections):
        if found is None:
            found = Gathered([OfConfiguration(name) for name in _names(table, detections)])
        _count(found, table)
        _keep_best(best, found, table, most)
        found.n_documents += table.num_rows
    if found is None or not found.n_documents:
        raise InputError(f"{_called(detections)} holds no document")
    found.called = [row for _, _, row in sorted(best, key=lambda item: (-item[0], -item[1]))]
    return found


def _count(found: Gathered, table: pa.Table) -> None:
    called = table["watermarked"].to_numpy()
    found.n_called += int(called.sum())
    found.n_tokens += int(table["n_tokens"].to_numpy().sum())
    found.p.add(_floats(table["log_p"]))
    names = np.asarray(table["configuration"].to_pylist(), object)
    for each in found.configurations:
        each.p.add(_floats(table[f"log_p[{each.name}]"]))
        scored = table[f"n_scored[{each.name}]"].to_numpy()
        each.scored += int(scored.sum())
        each.repeated += int(table[f"n_repeated[{each.name}]"].to_numpy().sum())
        each.short += int(((scored > 0) & (scored < SHORT)).sum())
        each.called += int((called & (names == each.name)).sum())


def _keep_best(
    best: list[tuple[float, int, Called]], found: Gathered, table: pa.Table, most: int
) -> None:
    """The documents with the smallest log p of those called; of equal ones, the first."""
    log_p = _floats(table["log_p"])
    for place in np.flatnonzero(table["watermarked"].to_numpy()):
        ranked = (-float(log_p[place]), -(found.n_documents + int(place)))
        if len(best) == most and (not best or ranked <= best[0][:2]):
            continue
        row = {name: table[name][int(place)].as_py() for name in table.column_names}
        configuration = str(row["configuration"])
        document = Called(
            _document(row, found.n_documents + int(place)),
            configuration,
            float(log_p[place]),
            float(row["log_q"]),
            int(row["n_tokens"]),
            int(row[f"n_scored[{configuration}]"]),
        )
        (heapq.heappush if len(best) < most else heapq.heappushpop)(best, (*ranked, document))


def _document(row: dict[str, Any], place: int) -> str:
    """What names a document: its prompt_id, or its row; and its sample, where there are several."""
    name = str(row.get("prompt_id", f"row {row.get('row', place)}"))
    return name if row.get("sample") is None else f"{name}, sample {row['sample']}"


def _floats(column: Any) -> FloatArray:
    return np.asarray(column.to_numpy(), np.float64)


def _names(table: pa.Table, detections: str | Path | pa.Table) -> list[str]:
    """Names of the configurations, and that no column is missing."""
    names = [name[6:-1] for name in table.column_names if name.startswith("log_p[")]
    wanted = [*_OWN, *(f"{of}[{name}]" for name in names for of in ("n_scored", "n_repeated"))]
    missing = [name for name in wanted if name not in table.column_names]
    if missing or not names:
        raise InputError(
            f"{_called(detections)} has no column '{(missing or ['log_p[NAME]'])[0]}'; is it what "
            "`statllm watermark detect` wrote?"
        )
    return names


def _batches(detections: str | Path | pa.Table) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    from statllm._formats import parquet_files

    if isinstance(detections, pa.Table):
        yield detections
        return
    for path in parquet_files(detections):
        try:
            file = pq.ParquetFile(path)
            for batch in file.iter_batches(_ROWS):
                yield pa.Table.from_batches([batch], file.schema_arrow)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} can't be read: {error}") from error


def _called(detections: str | Path | pa.Table) -> str:
    return "the table" if isinstance(detections, pa.Table) else str(detections)
