"""Options that several commands share, and what they mean together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.engine import engine_settings
from statllm.cli.settings import validated
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError
from statllm.scoring.watermarks.settings import DetectionSettings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from statllm.scoring.watermarks import Configuration

Corpus = Annotated[
    Path, typer.Argument(metavar="CORPUS", help="Parquet, a folder of Parquet files, or JSONL.")
]
KeyFile = Annotated[
    Path,
    typer.Option(
        help="YAML list of entries: name, scheme, key, and options of the scheme. Keys are never "
        "shown."
    ),
]
SchemeName = Annotated[str | None, typer.Option("--scheme", help="Of the entries that name none.")]
Tokens = Annotated[
    str | None, typer.Option(help="Column of token ids; default token_ids without --text.")
]
Text = Annotated[str | None, typer.Option(help="Column of texts; needs --tokenizer.")]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="Of the model that may have written the texts: a folder, a hub name, or lab."
    ),
]


def one_of(key_file: Path, scheme: str | None, configuration: str | None) -> Configuration:
    """The entry of a key file that is named, or its only one."""
    from statllm.scoring.watermarks import read_configurations

    found = read_configurations(key_file, scheme)
    if configuration is None and len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise InputError(f"{key_file} has several entries; --configuration is one of {names}")
    chosen = [each for each in found if configuration in (None, each.name)]
    if not chosen:
        raise InputError(f"{key_file} has no entry '{configuration}'")
    return chosen[0]


def detection_settings(
    given: dict[str, Any] | None, fdr: float
) -> tuple[DetectionSettings, EngineSettings | None]:
    """Return how documents are tested, and where.

    Raises
    ------
    InputError
        If an option has a wrong value, or `fdr` isn't in (0, 1).
    """
    if not 0 < fdr < 1:
        raise InputError(f"--fdr must lie between 0 and 1, not {fdr}")
    own, engine = engine_settings({"engine": "local", **(given or {})}, DetectionSettings)
    return validated(DetectionSettings, own), engine


def tokenizer_of(name: str | None) -> str | None:
    """Return the folder or hub name of a tokenizer; that of the built-in model for 'lab'."""
    from statllm.stages import resolve_model

    return None if name is None else resolve_model(name)


def document_column(tokens: str | None, text: str | None, tokenizer: str | None) -> str:
    """Return the column that holds the documents.

    Raises
    ------
    InputError
        If options contradict each other.
    """
    if text is None:
        if tokenizer is not None:
            raise InputError("--tokenizer has no effect without --text")
        return tokens or "token_ids"
    if tokens is not None:
        raise InputError("--tokens and --text exclude each other")
    if tokenizer is None:
        raise InputError("--text needs --tokenizer, that of the model that may have written it")
    return text


def log_probabilities_of(table: pa.Table, path: Path, column: str) -> NDArray[np.float64]:
    """Return all log-probabilities of a column of numbers in lists of any depth.

    Raises
    ------
    InputError
        If the column is missing or holds something else.
    """
    import numpy as np
    import pyarrow as pa

    if column not in table.column_names:
        raise InputError(f"{path} has no column '{column}'; it has {', '.join(table.column_names)}")
    flat = table[column].combine_chunks()
    while pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type):
        flat = flat.flatten()
    if not pa.types.is_floating(flat.type):
        raise InputError(f"{path}: column '{column}' must hold lists of log-probabilities")
    return np.asarray(flat.drop_null().to_numpy(zero_copy_only=False), np.float64)
