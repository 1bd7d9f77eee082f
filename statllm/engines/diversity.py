"""Rows whose texts cover what a corpus says: embeddings by an engine, k-center over all of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.engines.rows import column_names, numbered, write_masked
from statllm.engines.run import OnPart, check_targets, join, work_through
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.scoring._encoders import LongTexts
from statllm.scoring.embeddings import embed
from statllm.scoring.model_cache import model_fingerprint
from statllm.selection._words import strings
from statllm.selection.diversity import Diversity, diversity, k_center


@dataclass(frozen=True)
class EmbedWork:
    """`statllm.scoring.embeddings.embed` of a batch's texts.

    Parameters
    ----------
    embedder : str
        A folder.
    column : str
        The texts; empty ones and nulls have no vector.
    long_texts : {"error", "cut"}
    """

    embedder: str
    column: str
    long_texts: LongTexts = "error"
    outputs: tuple[str, ...] = ("rows",)
    hashes: tuple[str, ...] = ("rows",)

    def decides(self) -> Mapping[str, Any]:
        """Return the model's digest and the settings."""
        return {
            "embedder": model_fingerprint(self.embedder, {}),
            "column": self.column,
            "long_texts": self.long_texts,
        }

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Embed a batch."""
        texts = strings(table[self.column], f"column '{self.column}'").to_pylist()
        some = [place for place, text in enumerate(texts) if text]
        vectors = None
        if some:
            found = embed([[texts[i] for i in some]], self.embedder, long_texts=self.long_texts)
            vectors = np.full((len(texts), found.shape[1]), np.nan, np.float32)
            vectors[some] = found
        width = 0 if vectors is None else vectors.shape[1]
        flat = pa.array(np.zeros(0, np.float32) if vectors is None else vectors.ravel())
        lengths = np.full(len(texts) + 1, width)
        lengths[0] = 0
        columns: dict[str, Any] = {
            "vector": pa.ListArray.from_arrays(pa.array(np.cumsum(lengths), pa.int32()), flat)
        }
        if "prompt_id" in table.column_names:
            columns["prompt_id"] = table["prompt_id"]
        return {"rows": pa.table(columns)}, {"embedded": len(some)}


@dataclass(frozen=True)
class DiverseRows:
    """What `select_diverse` has done.

    Attributes
    ----------
    before, after : Diversity
        Of all texts, and of the kept ones.
    counts : dict
        Rows by reason: kept, near_a_kept_one, empty.
    radius : float
        Largest cosine distance of a text from the nearest kept one.
    """

    before: Diversity
    after: Diversity
    counts: dict[str, int]
    radius: float


def select_diverse(
    source: Source,
    output: Path,
    embedder: str | Path,
    k: int,
    ledger: Path | None = None,
    *,
    column: str = "prompt",
    long_texts: LongTexts = "error",
    seed: int = 0,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> DiverseRows:
    """Keep `k` rows such that every text is near a kept one.

    Texts are embedded batch by batch; all vectors are then in memory at once, about 20 bytes a
    row and dimension, for each pick is compared with all.

    Parameters
    ----------
    source : Source
        Without `where`.
    output, ledger : Path
        The kept rows, and one line per row: ``.parquet`` files, or folders of such files.
    embedder : str or Path
        As for `statllm.scoring.embeddings.embed`.
    k : int
    column : str
        The texts.
    long_texts : {"error", "cut"}
        Of texts that the model can't read whole.
    seed : int
        Of the first pick, and of ties.
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many; first of embedding, then of dropping.

    Raises
    ------
    InputError
        As `statllm.engines.run`, `embed`, `diversity` and `k_center`.
    """
    check_targets(source, output, ledger)
    column_names(source, column)
    settings = settings or EngineSettings()
    work = EmbedWork(str(Path(embedder).expanduser()), column, long_texts)
    folder = output.with_name(f"{output.name}.vectors")
    job, counts = work_through(source, work, folder, settings, on_part, unique=False)
    vectors = _vectors(job, counts["rows"])
    before = diversity(vectors)
    centers = k_center(vectors, k, seed=seed)
    kept = np.zeros(len(vectors), np.bool_)
    kept[centers.rows] = True
    after = diversity(vectors[kept]) if k > 1 else before
    del vectors
    if ledger is not None:

        def lines(table: pa.Table, first: int) -> pa.Table:
            here = slice(first, first + table.num_rows)
            near = centers.nearest[here]
            stays = kept[here]
            reason = np.where(near < 0, "empty", np.where(stays, "kept", "near_a_kept_one"))
            names: dict[str, Any] = {"row": pa.array(np.arange(here.start, here.stop))}
            if "prompt_id" in table.column_names:
                names["prompt_id"] = table["prompt_id"]
            return pa.table(
                names
                | {
                    "kept": pa.array(stays),
                    "reason": pa.array(reason.tolist(), pa.string()),
                    "rule": pa.array(["diverse"] * len(near), pa.string()),
                    "nearest": pa.array(near, mask=near < 0),
                    "distance": pa.array(centers.distance[here], from_pandas=True),
                }
            )

        join(job, "rows", ledger, numbered(lines))
    write_masked(source, kept, output, settings, on_part)
    shutil.rmtree(folder)
    empty = int(np.sum(centers.nearest < 0))
    found = {"kept": k, "near_a_kept_one": len(kept) - k - empty, "empty": empty}
    return DiverseRows(before, after, found, float(centers.radius[-1]))


def _vectors(job: Any, n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """All vectors, shape (n, d); NaN for a text without one."""
    out: np.ndarray[Any, np.dtype[np.float32]] | None = None
    start = 0
    for file in job.files("rows"):
        for batch in file.iter_batches(columns=["vector"]):
            column = batch["vector"]
            flat = column.flatten().to_numpy()
            if len(flat):
                width = int(column.value_lengths().to_numpy().max())
                if out is None:
                    out = np.full((n, width), np.nan, np.float32)
                out[start : start + len(column)] = _rows(column, width)
            start += len(column)
    if out is None:
        raise InputError("no row has a text")
    return out


def _rows(column: Any, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A batch's vectors; one whose texts are all empty has lists of length 0."""
    lengths = column.value_lengths().to_numpy()
    out = np.full((len(column), width), np.nan, np.float32)
    out[lengths > 0] = column.flatten().to_numpy().reshape(-1, width)
    return out
