"""`statllm select near-duplicates` and `decontaminate`: rows in, fewer rows and a ledger out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel

from statllm.cli.columns import column as column_of
from statllm.cli.columns import numbers
from statllm.cli.common import InputFile, Where, check_outputs, conditions, console, table_of
from statllm.cli.engine import engine_settings, part_progress
from statllm.cli.settings import with_settings
from statllm.engines.settings import EngineSettings
from statllm.errors import InputError

Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="The kept rows: Parquet, JSONL or CSV; with --engine also a folder."
    ),
]
Ledger = Annotated[
    Path | None,
    typer.Option(help="One row per row of IN: kept or dropped, and why (Parquet, JSONL or CSV)."),
]
Column = Annotated[str, typer.Option(help="The texts to compare.")]
Normalise = Annotated[
    Literal["words", "whitespace"],
    typer.Option(
        help="words: lower case, punctuation and symbols dropped. whitespace: lower case, symbols "
        "kept, so that x+y and x-y differ."
    ),
]


@with_settings(EngineSettings, skip=("gpus",))
def near_duplicates(
    source: InputFile,
    output: Output,
    ledger: Ledger = None,
    column: Column = "prompt",
    preset: Annotated[
        str | None,
        typer.Option(help="natural-reasoning, gopher or fineweb; single options override it."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Jaccard similarity of near-duplicates; default 0.55.")
    ] = None,
    shingle: Annotated[
        int | None, typer.Option(help="Words in a row that are compared; default 2.")
    ] = None,
    permutations: Annotated[
        int | None, typer.Option(help="MinHash values of a text; default 256.")
    ] = None,
    normalisation: Normalise = "words",
    score: Annotated[
        str | None,
        typer.Option(help="Column; the row of a cluster with the largest number is kept."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the permutations.")] = 0,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Keep one row of each cluster of near-duplicate texts; empty texts are dropped.

    Examples:

        statllm select near-duplicates prompts.jsonl -o kept.jsonl --ledger ledger.parquet

        statllm select near-duplicates prompts.jsonl -o kept.jsonl --threshold .7 --score reward

        statllm select near-duplicates huge.parquet -o kept --engine local --workers 8
    """
    from statllm.selection._row_ledger import duplicates_ledger
    from statllm.selection.near_duplicates import DUPLICATE_PRESETS
    from statllm.selection.near_duplicates import near_duplicates as rule

    _, engine = engine_settings(settings or {}, BaseModel)
    if preset is not None and preset not in DUPLICATE_PRESETS:
        known = ", ".join(DUPLICATE_PRESETS)
        raise InputError(f"--preset: there is no preset '{preset}'; there are {known}")
    base = None if preset is None else DUPLICATE_PRESETS[preset]
    chosen: dict[str, Any] = {} if base is None else base.settings()
    options = {"threshold": threshold, "shingle": shingle, "permutations": permutations}
    given = {name: value for name, value in options.items() if value is not None}
    if given.keys() & {"threshold", "permutations"}:
        chosen.pop("rows", None)  # a published banding belongs to its own numbers
    chosen |= given
    chosen |= {"normalisation": normalisation, "seed": seed}
    if engine is None:
        table, texts = _read(source, column, where, output, ledger)
        found = rule(
            texts, score=None if score is None else numbers(table, source, score), **chosen
        )
        ids = table["prompt_id"] if "prompt_id" in table.column_names else None
        keeper_ids = None if ids is None else ids.take(found.keepers)
        _write(table, found.kept, duplicates_ledger(found, ids, keeper_ids), output, ledger)
    else:
        from statllm.engines import Source
        from statllm.engines.deduplication import near_duplicates_file

        given_rows = Source(source, {}, conditions(where))
        with part_progress() as on_part:
            found = near_duplicates_file(
                given_rows,
                output,
                ledger,
                column=column,
                score=score,
                settings=engine,
                on_part=on_part,
                **chosen,
            )
    _say(output, found.counts(), found.summary())


@with_settings(EngineSettings, skip=("gpus",))
def decontaminate(
    source: InputFile,
    output: Output,
    against: Annotated[
        list[Path], typer.Option(help="What must not leak, a benchmark, say; may be repeated.")
    ],
    ledger: Ledger = None,
    column: Column = "prompt",
    against_column: Annotated[
        str | None, typer.Option(help="The texts of --against; default: that of --column.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Words in a row that make a leak.")] = 13,
    normalisation: Normalise = "words",
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Drop the rows that share n words in a row with a text of another file.

    Examples:

        statllm select decontaminate prompts.jsonl -o clean.jsonl --against test.jsonl

        statllm select decontaminate prompts.jsonl -o clean.jsonl --against a.csv --against b.csv \
--against-column question

        statllm select decontaminate huge.parquet -o clean --against test.jsonl --engine local
    """
    import pyarrow as pa

    from statllm.selection._row_ledger import leaks_ledger
    from statllm.selection.decontamination import decontaminate as rule

    _, engine = engine_settings(settings or {}, BaseModel)
    found: Any
    if engine is None:
        table, texts = _read(source, column, where, output, ledger)
        references = _references(against, against_column or column)
        every = pa.concat_arrays([part for _, part in references])
        found = rule(texts, every, n=n, normalisation=normalisation)
        files = [(name, len(part)) for name, part in references]
        ids = table["prompt_id"] if "prompt_id" in table.column_names else None
        _write(table, ~found.leaks, leaks_ledger(found, files, ids), output, ledger)
        counts = found.counts()
    else:
        from statllm.engines import Source
        from statllm.engines.decontamination import decontaminate_file

        with part_progress() as on_part:
            found = decontaminate_file(
                Source(source, {}, conditions(where)),
                _references(against, against_column or column),
                output,
                ledger,
                column=column,
                n=n,
                normalisation=normalisation,
                settings=engine,
                on_part=on_part,
            )
        counts = found.counts
    leaks = counts["leak"]
    _say(output, {"kept": sum(counts.values()) - leaks, "leak": leaks}, found.summary())


def _read(
    source: Path, column: str, where: list[str] | None, output: Path, ledger: Path | None
) -> tuple[Any, Any]:
    """The table and its texts; files that can't be written are refused before the work."""
    check_outputs(source, output, ledger)
    table, texts = _texts(source, column, where)
    if "prompt_id" in table.column_names and column == "prompt":
        found = table["prompt_id"].value_counts()
        if len(found) < table.num_rows:
            name = next(row["values"] for row in found.to_pylist() if row["counts"] > 1)
            raise InputError(
                f"{source}: prompt_id '{name}' has several rows, its samples; one row per prompt "
                "was expected"
            )
    return table, texts


def _references(against: list[Path], column: str) -> list[tuple[str, Any]]:
    return [(str(path), _texts(path, column, None)[1]) for path in against]


def _texts(source: Path, column: str, where: list[str] | None) -> tuple[Any, Any]:
    from statllm._formats import read_table
    from statllm.selection._words import strings

    table = read_table(source, {}, conditions(where))
    return table, strings(column_of(table, source, column), f"{source}: column '{column}'")


def _write(table: Any, kept: Any, lines: Any, output: Path, ledger: Path | None) -> None:
    """Write the ledger, then the kept rows: rows without a ledger can't be explained."""
    import pyarrow as pa

    from statllm._formats import write_table

    if ledger is not None:
        write_table(lines, ledger)
    write_table(table.filter(pa.array(kept)), output)


def _say(output: Path, counts: dict[str, int], summary: str) -> None:
    out = console()
    rows: list[tuple[str, int]] = [(name, count) for name, count in counts.items() if count]
    rows.append(("all rows", sum(counts.values())))
    out.print(table_of(f"{output}: {counts['kept']} rows", ("reason", "rows"), rows))
    out.print(summary)
