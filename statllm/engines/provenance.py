"""Training rows without watermarked, contaminated or otherwise suspect text, with a ledger."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from statllm.engines._provenance_ledger import PValues, Verdicts, write_ledger
from statllm.engines.decontamination import Benchmark, LeakWork
from statllm.engines.job import Job
from statllm.engines.rows import column_names, write_masked
from statllm.engines.run import OnPart, check_targets, work_through
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.engines.watermarks import detect_corpus
from statllm.errors import InputError
from statllm.estimators.multiplicity import benjamini_hochberg
from statllm.ragged import BoolArray
from statllm.scoring.watermarks import Configuration, DetectionSettings

_ROWS = 100_000  # read at a time, of single columns


@dataclass(frozen=True)
class Provenance:
    """What `select_provenance` has done.

    Attributes
    ----------
    counts : dict
        Rows by reason, which add up to the source's: kept, then of the checks that were made
        watermarked, contaminated and called (by p-values), each row by the first of them, and
        untested (kept: no check could say anything about it).
    fdr : float
    n_items, n_short_items : int
        Items of the benchmark, and those of too few words to be found.
    """

    counts: dict[str, int]
    fdr: float
    n_items: int = 0
    n_short_items: int = 0

    @property
    def n_kept(self) -> int:
        """Rows that were written."""
        return self.counts["kept"] + self.counts["untested"]


def select_provenance(
    source: Source,
    output: Path,
    configurations: Sequence[Configuration] = (),
    ledger: Path | None = None,
    detection: DetectionSettings | None = None,
    *,
    column: str = "token_ids",
    tokenizer: str | None = None,
    fdr: float = 0.01,
    benchmark: Benchmark | None = None,
    benchmark_text: str = "prompt",
    p_values: str | None = None,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> Provenance:
    """Drop the rows that are watermarked, share runs of words with a benchmark, or are called.

    The checks are those that are given, at least one. Watermarks and p-values are each adjusted
    by Benjamini and Hochberg, over documents and over rows; overlap with a benchmark is a rule
    without error rate: `n` words in a row. Memory is that of a batch, and about 40 bytes a row.
    A killed run goes on from its last part; the watermark's tests are done again if it had
    written all of them.

    Parameters
    ----------
    source : Source
        Without `where`.
    output : Path
        The kept rows: a ``.parquet`` file, or a folder of such files (a name without suffix).
    configurations : sequence of Configuration
        Watermarks to test for.
    ledger : Path, optional
        A ``.parquet`` file: kept, reason, rule, and the numbers that decided. One line per
        document if there are configurations, else one per row.
    detection, column, tokenizer
        As `statllm.engines.watermarks.detect_corpus`.
    fdr : float
        Expected share of false ones among the documents called watermarked, and among the rows
        called by `p_values`.
    benchmark : Benchmark, optional
    benchmark_text : str
        Column of texts, or of lists of texts, that are compared with the benchmark.
    p_values : str, optional
        Column of p-values, one per row; null and NaN say nothing, and count as 1.
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        If no check is given, a column is missing, or a p-value isn't one; as `detect_corpus`.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> table = pa.table({"prompt": ["So, who is the king of Siam?", "Who is Ann?"], "p": [0.4, 0]})
    >>> pq.write_table(table, folder / "in.parquet")
    >>> items = Benchmark.of([("test.csv", ["Who is the king of Siam?"], None)], n=5)
    >>> select_provenance(
    ...     Source(folder / "in.parquet"), folder / "clean.parquet", benchmark=items, p_values="p",
    ...     settings=EngineSettings(workers=1),
    ... ).counts
    {'kept': 0, 'contaminated': 1, 'called': 1, 'untested': 0}
    """
    check_targets(source, output, ledger)
    if not configurations and benchmark is None and p_values is None:
        raise InputError("nothing to select by: give keys, a benchmark, or a column of p-values")
    settings = settings or EngineSettings()
    n = sum(part.rows for part in source.parts(1 << 30))
    verdicts = Verdicts.none(n)
    called = None
    if p_values is not None:
        called = _called(source, p_values, n, fdr)
        verdicts.add("called", called.called, ~np.isnan(called.p))
    job = folder = None
    if benchmark is not None:
        column_names(source, benchmark_text)
        folder = output.with_name(f"{output.name}.leaks")
        work = LeakWork(benchmark.references, benchmark_text)
        job, _ = work_through(source, work, folder, settings, on_part, unique=False)
        ngrams = job.column("leaks", "n_ngrams", np.empty(n, np.int64))
        matches = job.column("leaks", "n_matches", np.empty(n, np.int64))
        verdicts.add("contaminated", matches > 0, ngrams > 0)
    found = None
    if configurations:
        found = output.with_name(f"{output.name}.detections.parquet")
        detect_corpus(
            source,
            found,
            configurations,
            detection,
            column=column,
            tokenizer=tokenizer,
            fdr=fdr,
            settings=settings,
            on_part=on_part,
        )
        verdicts.add("watermarked", *_watermarked(found, n))
    if ledger is not None:
        lines = _documents(found) if found is not None else _rows(source)
        names = () if benchmark is None else benchmark.names
        leaks = None if job is None else _leaks(job)
        write_ledger(lines, ledger, verdicts, leaks, names, called)
    write_masked(source, verdicts.kept, output, settings, on_part)
    if found is not None:
        found.unlink()
    if folder is not None:
        shutil.rmtree(folder)
    if benchmark is None:
        return Provenance(verdicts.counts(), fdr)
    return Provenance(verdicts.counts(), fdr, len(benchmark.names), benchmark.references.n_short)


def _watermarked(found: Path, n: int) -> tuple[BoolArray, BoolArray]:
    """Which rows have a watermarked document, and which one that was tested."""
    marked, tested = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    with pq.ParquetFile(found) as file:
        for batch in file.iter_batches(columns=["row", "watermarked", "log_p"]):
            rows = batch["row"].to_numpy()
            marked[rows[batch["watermarked"].to_numpy(zero_copy_only=False)]] = True
            tested[rows[batch["log_p"].is_valid().to_numpy(zero_copy_only=False)]] = True
    return marked, tested


def _called(source: Source, name: str, n: int, fdr: float) -> PValues:
    column_names(source, name)
    p = np.full(n, np.nan)
    for part in source.parts(1 << 30):
        for first, table in source.batches(part, _ROWS, [name]):
            kind = table[name].type
            if not (
                pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
            ):
                raise InputError(f"{source.path}: column '{name}' holds {kind}, not p-values")
            values = table[name].cast(pa.float64()).to_numpy()
            wrong = np.flatnonzero((values < 0) | (values > 1))
            if len(wrong):
                raise InputError(
                    f"{source.path}: '{name}' is {values[wrong[0]]:g} in row {first + wrong[0]}; "
                    "a p-value lies between 0 and 1"
                )
            p[first : first + len(values)] = values
    with np.errstate(divide="ignore"):
        log_q = benjamini_hochberg(np.log(np.nan_to_num(p, nan=1.0)))
    return PValues(name, p, np.where(np.isnan(p), np.nan, np.exp(log_q)), fdr)


def _documents(found: Path) -> Iterator[pa.Table]:
    """The documents' lines, as the detection wrote them."""
    with pq.ParquetFile(found) as file:
        for batch in file.iter_batches(batch_size=_ROWS):
            yield pa.Table.from_batches([batch])


def _rows(source: Source) -> Iterator[pa.Table]:
    """A line per row: its number, and its prompt_id if it has one."""
    names = column_names(source)
    wanted = ["prompt_id"] if "prompt_id" in names else names[:1]
    for part in source.parts(1 << 30):
        for first, table in source.batches(part, _ROWS, wanted):
            lines = {"row": pa.array(np.arange(first, first + table.num_rows))}
            if "prompt_id" in names:
                lines["prompt_id"] = table["prompt_id"]
            yield pa.table(lines)


def _leaks(job: Job) -> Iterator[pa.Table]:
    """What the benchmark's check wrote, in the order of the rows."""
    for file in job.files("leaks"):
        for batch in file.iter_batches(batch_size=_ROWS):
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
