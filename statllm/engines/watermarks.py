"""Watermark tests of a corpus that is larger than memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from statllm.engines.rows import numbered
from statllm.engines.run import (
    OnPart,
    check_targets,
    parts_folder,
    put_together,
    work_through,
)
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.estimators.multiplicity import benjamini_hochberg
from statllm.scoring.watermarks import (
    Configuration,
    DetectionSettings,
    detect_watermarks,
    documents_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DOCUMENTS = "documents"
_TESTED = "tested"


@dataclass(frozen=True)
class WatermarkWork:
    """`statllm.scoring.watermarks.detect_watermarks` of a batch.

    Parameters
    ----------
    configurations : sequence of Configuration
    settings : DetectionSettings
    column : str
        Token ids or texts.
    tokenizer : str, optional
        A folder or a name on the hub, for texts.
    """

    configurations: Sequence[Configuration]
    settings: DetectionSettings
    column: str
    tokenizer: str | None = None
    outputs: tuple[str, ...] = ("detections",)

    def decides(self) -> Mapping[str, Any]:
        """Return digests of the configurations, never their keys, and the settings."""
        return {
            "configurations": [[each.name, each.digest()] for each in self.configurations],
            "settings": self.settings.model_dump(mode="json"),
            "column": self.column,
            "tokenizer": self.tokenizer,
        }

    @cached_property
    def _loaded(self) -> PreTrainedTokenizerBase | None:
        from statllm.models import load_tokenizer

        return None if self.tokenizer is None else load_tokenizer(self.tokenizer)

    def __call__(self, table: pa.Table, first: int) -> tuple[dict[str, pa.Table], dict[str, int]]:
        """Test a batch; counts are documents, and those that could be tested."""
        documents = documents_of(table, self.column, self._loaded)
        found = detect_watermarks(documents, self.configurations, self.settings)
        columns: dict[str, Any] = {"row": pa.array(documents.rows + first)}
        if "prompt_id" in table.column_names:
            columns["prompt_id"] = table["prompt_id"].take(pa.array(documents.rows))
        if documents.samples is not None:
            columns["sample"] = pa.array(documents.samples)
        for name in found.column_names:
            columns[name] = found[name]
        tested = found.num_rows - found["log_p"].null_count
        return (
            {"detections": pa.table(columns)},
            {_DOCUMENTS: found.num_rows, _TESTED: tested},
        )


@dataclass(frozen=True)
class CorpusDetection:
    """What `detect_corpus` has found.

    Attributes
    ----------
    n_documents, n_tested : int
    n_found : int
        Documents with an adjusted p-value of at most `fdr`.
    fdr : float
    """

    n_documents: int
    n_tested: int
    n_found: int
    fdr: float

    def summary(self) -> str:
        """Return one line of text."""
        return (
            f"{self.n_found} of {self.n_tested} tested documents are called watermarked at a "
            f"false-discovery rate of {self.fdr:g} (Benjamini-Hochberg); "
            f"{self.n_documents - self.n_tested} had nothing to test"
        )


def detect_corpus(
    source: Source,
    output: Path,
    configurations: Sequence[Configuration],
    detection: DetectionSettings | None = None,
    *,
    column: str = "token_ids",
    tokenizer: str | None = None,
    fdr: float = 0.01,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> CorpusDetection:
    """Test every document, and adjust the p-values over all of them.

    Memory is that of a batch, and 16 bytes a document for the adjustment.

    Parameters
    ----------
    source : Source
        One row per document, or lists of documents.
    output : Path
        A ``.parquet`` file, or a folder of such files (a name without suffix): row, prompt_id and
        sample where there are any, what `detect_watermarks` returns, ``log_q`` (adjusted by
        Benjamini and Hochberg over the corpus) and ``watermarked`` (log q <= ln `fdr`).
    configurations : sequence of Configuration
    detection : DetectionSettings, optional
    column, tokenizer
        As `WatermarkWork`.
    fdr : float
        Expected share of false ones among the documents that are called watermarked, if their
        p-values are independent or positively dependent. One key makes documents that share
        phrases dependent: see `statllm.estimators.watermark.design_effect`.
    settings : EngineSettings, optional
    on_part : callable
        Told how many parts are done, of how many.

    Raises
    ------
    InputError
        As `statllm.engines.run`, `documents_of` and `detect_watermarks`.
    """
    check_targets(source, output)
    work = WatermarkWork(tuple(configurations), detection or DetectionSettings(), column, tokenizer)
    folder = parts_folder(work, {"detections": output})
    settings = settings or EngineSettings()
    job, counts = work_through(source, work, folder, settings, on_part, unique=False)
    log_p = job.column("detections", "log_p", np.empty(counts[_DOCUMENTS]))
    log_q = benjamini_hochberg(np.nan_to_num(log_p, nan=0.0))
    log_q[np.isnan(log_p)] = np.nan
    called = log_q <= np.log(fdr)

    def adjusted(table: pa.Table, first: int) -> pa.Table:
        here = slice(first, first + table.num_rows)
        place = table.column_names.index("log_p") + 1
        table = table.add_column(place, "watermarked", pa.array(called[here]))
        return table.add_column(place, "log_q", pa.array(log_q[here], from_pandas=True))

    put_together(job, {"detections": output}, numbered(adjusted))
    return CorpusDetection(counts[_DOCUMENTS], counts[_TESTED], int(called.sum()), fdr)
