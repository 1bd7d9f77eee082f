"""Training rows without watermarked text: detection, then the rows that are left, with a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from statllm.engines.rows import write_masked
from statllm.engines.run import OnPart, check_target
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.engines.watermarks import detect_corpus
from statllm.files import atomic
from statllm.scoring.watermarks import Configuration, DetectionSettings


@dataclass(frozen=True)
class Provenance:
    """What `select_provenance` has done.

    Attributes
    ----------
    counts : dict
        Rows by reason: kept, watermarked, untested (kept: nothing of them could be tested).
    fdr : float
    """

    counts: dict[str, int]
    fdr: float


def select_provenance(
    source: Source,
    output: Path,
    configurations: Sequence[Configuration],
    ledger: Path | None = None,
    detection: DetectionSettings | None = None,
    *,
    column: str = "token_ids",
    tokenizer: str | None = None,
    fdr: float = 0.01,
    settings: EngineSettings | None = None,
    on_part: OnPart = lambda done, of: None,
) -> Provenance:
    """Drop the rows that have a watermarked document, at a false-discovery rate.

    Parameters
    ----------
    source : Source
        Without `where`.
    output : Path
        The kept rows: a ``.parquet`` file, or a folder of such files (a name without suffix).
    configurations : sequence of Configuration
    ledger : Path, optional
        A ``.parquet`` file, one line per document: kept, reason, rule, and the p-values.
    detection, column, tokenizer, fdr, settings, on_part
        As `statllm.engines.watermarks.detect_corpus`.

    Raises
    ------
    InputError
        As `detect_corpus`.
    """
    for path in [output, *([ledger] if ledger else [])]:
        check_target(path)
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
    n = sum(part.rows for part in source.parts(1 << 30))
    kept, tested = np.ones(n, np.bool_), np.zeros(n, np.bool_)
    with pq.ParquetFile(found) as file:
        for batch in file.iter_batches(columns=["row", "watermarked", "log_p"]):
            rows = batch["row"].to_numpy()
            kept[rows[batch["watermarked"].to_numpy(zero_copy_only=False)]] = False
            tested[rows[batch["log_p"].is_valid().to_numpy(zero_copy_only=False)]] = True
    if ledger is not None:
        _write_ledger(found, ledger, kept)
    write_masked(source, kept, output, settings or EngineSettings(), on_part)
    found.unlink()
    counts = {
        "kept": int(np.sum(kept & tested)),
        "watermarked": int(np.sum(~kept)),
        "untested": int(np.sum(kept & ~tested)),
    }
    return Provenance(counts, fdr)


def _write_ledger(found: Path, ledger: Path, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    """One line per document; those of a row share its fate."""
    with atomic(ledger) as temporary, pq.ParquetFile(found) as file:
        writer: pq.ParquetWriter | None = None
        for batch in file.iter_batches(batch_size=100_000):
            table = pa.Table.from_batches([batch]).drop_columns("watermarked")
            stays = pa.array(kept[table["row"].to_numpy()])
            reason = pc.if_else(
                batch["watermarked"],
                "watermarked",
                pc.if_else(
                    stays,
                    pc.if_else(batch["log_p"].is_valid(), "kept", "untested"),
                    "another document of the row is watermarked",
                ),
            )
            place = table.column_names.index("n_tokens")
            rule = pa.array(["provenance"] * table.num_rows)
            for name, column in (("rule", rule), ("reason", reason), ("kept", stays)):
                table = table.add_column(place, name, column)
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()
