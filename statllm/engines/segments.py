"""Watermarked segments of the documents of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from statllm.engines.run import OnPart, run
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.estimators.watermark.locate import Segment, locate
from statllm.ragged import Ragged
from statllm.scoring.watermarks import Configuration, documents_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COLUMNS = {
    "start": pa.int64(),
    "stop": pa.int64(),
    "start_earliest": pa.int64(),
    "start_latest": pa.int64(),
    "stop_earliest": pa.int64(),
    "stop_latest": pa.int64(),
    "log_p": pa.float64(),
    "n_scored": pa.int64(),
}


@dataclass(frozen=True)
class SegmentWork:
    """`statllm.estimators.watermark.locate.locate` of each document of a batch."""

    configuration: Configuration
    column: str
    alpha: float = 0.01
    min_length: int = 32
    delta: float = 0.2
    tokenizer: str | None = None
    outputs: tuple[str, ...] = ("segments",)

    def decides(self) -> Mapping[str, Any]:
        """Return the configuration's digest and the settings."""
        return {
            "configuration": [self.configuration.name, self.configuration.digest()],
            "column": self.column,
            "alpha": self.alpha,
            "min_length": self.min_length,
            "delta": self.delta,
            "tokenizer": self.tokenizer,
        }

    @cached_property
    def _loaded(self) -> PreTrainedTokenizerBase | None:
        from statllm.models import load_tokenizer

        return None if self.tokenizer is None else load_tokenizer(self.tokenizer)

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Locate in a batch; counts are documents, and those with a segment."""
        documents = documents_of(table, self.column, self._loaded)
        found: list[tuple[int, Segment]] = []
        for number in range(documents.tokens.n_rows):
            low, high = documents.tokens.offsets[number : number + 2]
            tokens = documents.tokens.values[low:high]
            try:
                marks = self.configuration.scheme.marks(Ragged.from_lengths(tokens, [len(tokens)]))
                segments = locate(marks, self.alpha, self.min_length, self.delta)
            except ValueError as error:
                place = first + int(documents.rows[number])
                raise InputError(
                    f"configuration '{self.configuration.name}', row {place}: {error}"
                ) from error
            found += [(number, segment) for segment in segments]
        at = np.array([number for number, _ in found], np.int64)
        columns: dict[str, Any] = {"row": pa.array(documents.rows[at] + first)}
        if "prompt_id" in table.column_names:
            columns["prompt_id"] = table["prompt_id"].take(pa.array(documents.rows[at]))
        if documents.samples is not None:
            columns["sample"] = pa.array(documents.samples[at])
        rows = [_row(segment) for _, segment in found]
        for place, (name, kind) in enumerate(_COLUMNS.items()):
            columns[name] = pa.array([row[place] for row in rows], kind)
        counts = {"documents": documents.tokens.n_rows, "marked": len(np.unique(at))}
        return {"segments": pa.table(columns)}, {**counts, "segments": len(found)}


def _row(segment: Segment) -> tuple[Any, ...]:
    return (
        segment.start,
        segment.stop,
        *segment.start_set,
        *segment.stop_set,
        segment.log_p,
        segment.n_scored,
    )


def locate_corpus(
    source: Source,
    output: Path,
    work: SegmentWork,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> dict[str, int]:
    """Write the watermarked segments of every document, one per row.

    Parameters
    ----------
    source : Source
        One row per document, or lists of documents.
    output : Path
        A ``.parquet`` file, or a folder of such files: row, prompt_id and sample where there are
        any, start and stop (tokens, stop excluded), the smallest and largest of their confidence
        sets, log_p and n_scored.
    work : SegmentWork
        `alpha` bounds the probability of any false segment, document by document.
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many.

    Returns
    -------
    dict
        Numbers of documents, of those that have a segment ("marked"), and of segments.

    Raises
    ------
    InputError
        As `statllm.engines.run`, `documents_of` and `locate`.
    """
    chosen = settings or EngineSettings()
    counts = run(source, work, {"segments": output}, chosen, on_part=on_part, unique=False)
    return {name: counts[name] for name in ("documents", "marked", "segments")}
