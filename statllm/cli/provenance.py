"""`statllm select provenance`: rows in, those without watermarked or contaminated text out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import console, table_of
from statllm.cli.deduplicate import Normalise
from statllm.cli.engine import part_progress
from statllm.cli.settings import with_settings
from statllm.cli.watermark import (
    Corpus,
    SchemeName,
    Text,
    Tokenizer,
    Tokens,
    detection_settings,
    document_column,
    tokenizer_of,
)
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError
from statllm.scoring.watermarks.settings import DetectionSettings

if TYPE_CHECKING:
    from statllm.engines.decontamination import Benchmark


@with_settings(DetectionSettings, EngineSettings, skip=("gpus",))
def provenance(
    corpus: Corpus,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The kept rows: Parquet, or a folder of it."),
    ],
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="Watermarks: YAML list of entries: name, scheme, key, and options of the scheme. "
            "Keys are never shown."
        ),
    ] = None,
    benchmark: Annotated[
        list[Path] | None,
        typer.Option(help="Items that must not be there, as of decontaminate; may be repeated."),
    ] = None,
    p_values: Annotated[
        str | None,
        typer.Option(
            help="Column of p-values, of `statllm contamination membership`, say; small ones go."
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="One line per document (with --key-file) or row: kept or dropped, and why "
            "(Parquet)."
        ),
    ] = None,
    scheme: SchemeName = None,
    tokens: Tokens = None,
    text: Text = None,
    tokenizer: Tokenizer = None,
    benchmark_text: Annotated[
        str | None,
        typer.Option(
            help="Column of CORPUS that is compared with --benchmark; default: --text or prompt."
        ),
    ] = None,
    benchmark_column: Annotated[
        str | None,
        typer.Option(help="Texts of --benchmark; default: that of --benchmark-text."),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Words in a row that contaminate.")] = 13,
    normalisation: Normalise = "words",
    fdr: Annotated[
        float,
        typer.Option(
            help="Expected share of false ones among the rows called watermarked, and among those "
            "called by --p-values."
        ),
    ] = 0.01,
    settings: dict[str, Any] | None = None,
) -> None:
    """Drop rows that carry a watermark, repeat a benchmark, or have small p-values.

    Give one of --key-file, --benchmark and --p-values, or several: a row goes by the first of
    them that drops it, and the ledger has the numbers of all.

    Examples:

        statllm select provenance corpus.parquet -o clean.parquet --key-file keys.yaml \
--ledger ledger.parquet

        statllm select provenance corpus.parquet -o clean.parquet --benchmark test.jsonl \
--benchmark-text text --benchmark-column question

        statllm select provenance scores.parquet -o clean.parquet --p-values p --fdr .05
    """
    from statllm.engines.convert import parquet_source
    from statllm.engines.provenance import select_provenance
    from statllm.scoring.watermarks import read_configurations

    if key_file is None and not benchmark and p_values is None:
        raise InputError(
            "give --key-file, --benchmark or --p-values: what shall rows be dropped by?"
        )
    _check_options(key_file, benchmark, locals(), settings or {})
    detection, engine = detection_settings(settings, fdr)
    configurations = [] if key_file is None else read_configurations(key_file, scheme)
    column = "token_ids" if key_file is None else document_column(tokens, text, tokenizer)
    compared = benchmark_text or text or "prompt"
    items = _items(benchmark, benchmark_column or compared, n, normalisation) if benchmark else None
    with parquet_source(corpus, output) as source, part_progress() as on_part:
        found = select_provenance(
            source,
            output,
            configurations,
            ledger,
            detection,
            column=column,
            tokenizer=tokenizer_of(tokenizer),
            fdr=fdr,
            benchmark=items,
            benchmark_text=compared,
            p_values=p_values,
            settings=engine,
            on_part=on_part,
        )
    rows = [*found.counts.items(), ("all rows", sum(found.counts.values()))]
    out = console()
    out.print(table_of(f"{output}: {found.n_kept} rows", ("reason", "rows"), rows))
    if found.n_short_items:
        out.print(
            f"{found.n_short_items} of {found.n_items} items have fewer than {n} words and can't "
            "be found"
        )


def _check_options(
    key_file: Path | None,
    benchmark: list[Path] | None,
    given: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Refuse options of a check that isn't made."""
    if key_file is None:
        names = [name for name in ("scheme", "tokens", "tokenizer") if given[name] is not None]
        names += [name for name in DetectionSettings.model_fields if name in settings]
        if given["text"] is not None and not benchmark:
            names.append("text")
        if names:
            option = names[0].replace("_", "-")
            raise InputError(f"--{option} has no effect without --key-file")
    if not benchmark:
        for name in ("benchmark_text", "benchmark_column"):
            if given[name] is not None:
                option = name.replace("_", "-")
                raise InputError(f"--{option} has no effect without --benchmark")


def _items(paths: list[Path], column: str, n: int, normalisation: Any) -> Benchmark:
    """The benchmark's items, by their prompt_id where a file has one."""
    from statllm._formats import read_table
    from statllm.cli.columns import column as column_of
    from statllm.engines.decontamination import Benchmark
    from statllm.selection._words import strings

    files: list[tuple[str, Any, Any]] = []
    for path in paths:
        table = read_table(path, {}, {})
        texts = strings(column_of(table, path, column), f"{path}: column '{column}'")
        ids = table["prompt_id"].to_pylist() if "prompt_id" in table.column_names else None
        files.append((path.name, texts, ids))
    return Benchmark.of(files, n, normalisation)
