"""`statllm.selection.near_duplicates` on tables that are larger than memory."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.engines.job import Job
from statllm.engines.nodes import Nodes
from statllm.engines.rows import KeptRows, column_names, numbered
from statllm.engines.run import OnPart, check_targets, join, run, work_through
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.ragged import IntArray
from statllm.selection._candidates import connect
from statllm.selection._minhash import ShingleSets, band_keys
from statllm.selection._row_ledger import duplicates_ledger
from statllm.selection._words import Normalisation, strings
from statllm.selection.near_duplicates import (
    NearDuplicates,
    checked_banding,
    checked_scores,
    settled,
)


@dataclass(frozen=True)
class ShingleWork:
    """Shingle sets of a batch's texts, and the hashes of their MinHash bands.

    Texts without a word have no set: "sets" and "keys" have a row for each of the others only.
    """

    column: str
    score: str | None
    shingle: int
    normalisation: Normalisation
    rows: int
    bands: int
    seed: int
    outputs: tuple[str, ...] = ("rows", "sets", "keys")
    hashes: tuple[str, ...] = ("sets", "keys")

    def decides(self) -> Mapping[str, Any]:
        """Return the settings."""
        return asdict(self)

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Hash a batch."""
        texts = strings(table[self.column], f"column '{self.column}'")
        sets = ShingleSets.of(texts, self.shingle, self.normalisation)
        rows: dict[str, Any] = {
            "batch": np.full(table.num_rows, first),
            "empty": sets.lengths == 0,
        }
        if "prompt_id" in table.column_names:
            rows["prompt_id"] = table["prompt_id"]
        if self.score is not None:
            rows["score"] = _numbers(table, self.score)
        one, two = sets.digests()
        offsets = np.append(sets.offsets[sets.nonempty], len(sets.hashes))
        hashes = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(sets.hashes))
        keys = band_keys(sets, sets.nonempty, self.rows, self.bands, self.seed)
        return (
            {
                "rows": pa.table(rows),
                "sets": pa.table({"one": one, "two": two, "hashes": hashes}),
                "keys": pa.table({str(band): key for band, key in enumerate(keys)}),
            },
            {"sets": len(one)},
        )


def near_duplicates_file(
    source: Source,
    output: Path,
    ledger: Path | None = None,
    *,
    column: str = "prompt",
    threshold: float = 0.55,
    shingle: int = 2,
    normalisation: Normalisation = "words",
    permutations: int = 256,
    rows: int | None = None,
    max_miss: float = 0.01,
    score: str | None = None,
    seed: int = 0,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> NearDuplicates:
    """Keep one row of each cluster of near-duplicates.

    What is found is what `statllm.selection.near_duplicates.near_duplicates` finds. Workers hash
    the texts, and drop rows in the end; between the two, this process sorts one band's hashes
    after the other and compares the candidates' shingle sets, which lie on disk. It holds about
    90 bytes a row (measured at 1 and 3 million), 8 of which are the union-find; files beside the
    output, which go in the end, take 16 bytes a row and band (1 kB with 64 bands) and 16 a
    shingle. They are mapped: what the system counts as this process's file pages, it may drop.

    Parameters
    ----------
    source : Source
    output, ledger : Path
        The kept rows, and one line per row: ``.parquet`` files, or folders of such files (names
        without suffix).
    column : str
        The texts.
    score : str, optional
        Column; the row of a cluster with the largest number is kept, the first of equals.
    threshold, shingle, normalisation, permutations, rows, max_miss, seed
        As `statllm.selection.near_duplicates.near_duplicates`.
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many; first of hashing, then of dropping.

    Raises
    ------
    InputError
        As `statllm.engines.run` and `statllm.selection.near_duplicates.near_duplicates`.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow.parquet as pq
    >>> folder = Path(tempfile.mkdtemp())
    >>> texts = ["How many apples has Ann?", "Who is Ann?", "how many apples has Ann now"]
    >>> pq.write_table(pa.table({"prompt": texts}), folder / "in.parquet")
    >>> found = near_duplicates_file(
    ...     Source(folder / "in.parquet"), folder / "kept.parquet",
    ...     settings=EngineSettings(workers=1),
    ... )
    >>> found.counts(), pq.read_table(folder / "kept.parquet")["prompt"].to_pylist()
    ({'kept': 2, 'near_duplicate': 1, 'empty': 0}, ['How many apples has Ann?', 'Who is Ann?'])
    """
    check_targets(source, output, ledger)
    rows, bands = checked_banding(threshold, shingle, permutations, max_miss, rows)
    names = column_names(source, column, *([score] if score else []))
    settings = settings or EngineSettings()
    work = ShingleWork(column, score, shingle, normalisation, rows, bands, seed)
    folder = output.with_name(f"{output.name}.sets")
    unique = column == "prompt" and "prompt_id" in names
    job, counts = work_through(source, work, folder, settings, on_part, unique)
    found = _found(job, work, threshold, counts)
    if ledger is not None:
        _write_ledger(job, found, ledger)
    kept = _kept_rows(job, found)
    run(source, kept, {"rows": output}, settings, on_part=on_part, unique=False)
    shutil.rmtree(folder)
    return found


def _numbers(table: pa.Table, name: str) -> pa.ChunkedArray:
    try:
        return table[name].cast(pa.float64()).fill_null(np.nan)
    except pa.ArrowException as error:
        raise InputError(f"column '{name}' must hold one number per row") from error


def _found(
    job: Job, work: ShingleWork, threshold: float, counts: Mapping[str, int]
) -> NearDuplicates:
    """Compare what the workers have hashed."""
    n = counts["rows"]
    values = None
    if work.score is not None:
        values = checked_scores(job.column("rows", "score", np.empty(n)), n)
    empty = job.column("rows", "empty", np.empty(n, dtype=bool))
    nodes = Nodes.of(job, counts["sets"], work.bands)
    groups, n_candidates, n_verified = connect(
        nodes.sets, np.arange(len(nodes)), nodes.bands(), nodes.keys, threshold
    )
    node = np.full(n, -1)
    node[~empty] = nodes.of_set
    first = np.flatnonzero(~empty)[nodes.chosen]  # row of each node
    cluster = np.arange(n)
    cluster[~empty] = first[groups[nodes.of_set]]
    del groups, first

    def jaccard(left: IntArray, right: IntArray) -> Any:
        return nodes.sets.jaccard(node[left], node[right])

    return settled(
        cluster,
        empty,
        values,
        jaccard,
        threshold=float(threshold),
        shingle=work.shingle,
        bands=work.bands,
        rows=work.rows,
        n_candidates=n_candidates,
        n_verified=n_verified,
    )


def _write_ledger(job: Job, found: NearDuplicates, ledger: Path) -> None:
    """Write the ledger batch by batch; only the prompt_ids of `found.keepers` are in memory."""
    keeper_ids = None
    chunks, start = [], 0
    for file in job.files("rows"):
        if "prompt_id" not in file.schema_arrow.names:
            break
        ids = file.read(["prompt_id"])["prompt_id"]
        begin, end = np.searchsorted(found.keepers, [start, start + len(ids)])
        chunks += ids.take(pa.array(found.keepers[begin:end] - start)).chunks
        start += len(ids)
        keeper_ids = pa.chunked_array(chunks, ids.type)

    def lines(table: pa.Table, first: int) -> pa.Table:
        ids = None if keeper_ids is None else table["prompt_id"]
        return duplicates_ledger(found, ids, keeper_ids, first, first + table.num_rows)

    join(job, "rows", ledger, numbered(lines))


def _kept_rows(job: Job, found: NearDuplicates) -> KeptRows:
    """The work of dropping the others."""
    mask = job.folder / "kept.npy"
    np.save(mask, found.kept)
    numbers, starts, row = [], [], 0
    for file in job.files("rows"):
        batch = file.read(["batch"])["batch"].to_numpy()
        number, start = np.unique(batch, return_index=True)
        numbers.append(number)
        starts.append(row + start)
        row += len(batch)
    digest = hashlib.sha256(found.kept.tobytes()).hexdigest()
    return KeptRows(mask, digest, np.concatenate(numbers), np.concatenate(starts))
