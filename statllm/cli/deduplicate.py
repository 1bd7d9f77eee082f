"""`statllm select near-duplicates` and `decontaminate`: rows in, fewer rows and a ledger out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from statllm.cli.columns import column as column_of
from statllm.cli.columns import numbers
from statllm.cli.common import InputFile, Where, conditions, console, table_of
from statllm.errors import InputError

Output = Annotated[
    Path, typer.Option("--output", "-o", help="The kept rows: Parquet, JSONL or CSV.")
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
) -> None:
    """Keep one row of each cluster of near-duplicate texts; empty texts are dropped.

    Examples:

        statllm select near-duplicates prompts.jsonl -o kept.jsonl --ledger ledger.parquet

        statllm select near-duplicates prompts.jsonl -o kept.jsonl --threshold .7 --score reward
    """
    import pyarrow as pa

    from statllm.selection.near_duplicates import DUPLICATE_PRESETS
    from statllm.selection.near_duplicates import near_duplicates as rule

    if preset is not None and preset not in DUPLICATE_PRESETS:
        known = ", ".join(DUPLICATE_PRESETS)
        raise InputError(f"--preset: there is no preset '{preset}'; there are {known}")
    table, texts = _read(source, column, where, output, ledger)
    base = None if preset is None else DUPLICATE_PRESETS[preset]
    chosen: dict[str, Any] = {} if base is None else base.settings()
    options = {"threshold": threshold, "shingle": shingle, "permutations": permutations}
    given = {name: value for name, value in options.items() if value is not None}
    if given.keys() & {"threshold", "permutations"}:
        chosen.pop("rows", None)  # a published banding belongs to its own numbers
    chosen |= given
    found = rule(
        texts,
        normalisation=normalisation,
        score=None if score is None else numbers(table, source, score),
        seed=seed,
        **chosen,
    )
    of = pa.array(found.duplicate_of, mask=found.duplicate_of < 0)
    decided = {
        "duplicate_of": of,
        "jaccard": pa.array(found.jaccard, from_pandas=True),
        "cluster": pa.array(found.cluster, mask=found.empty),
    }
    if "prompt_id" in table.column_names:
        decided["duplicate_of_prompt_id"] = table["prompt_id"].take(of)
    _write(table, found.kept, found.reasons(), "near-duplicates", decided, output, ledger)
    _say(output, found.counts(), found.summary())


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
) -> None:
    """Drop the rows that share n words in a row with a text of another file.

    Examples:

        statllm select decontaminate prompts.jsonl -o clean.jsonl --against test.jsonl

        statllm select decontaminate prompts.jsonl -o clean.jsonl --against a.csv --against b.csv \
--against-column question
    """
    import numpy as np
    import pyarrow as pa

    from statllm.selection.decontamination import decontaminate as rule

    table, texts = _read(source, column, where, output, ledger)
    files = [_texts(path, against_column or column, None)[1] for path in against]
    found = rule(texts, pa.concat_arrays(files), n=n, normalisation=normalisation)
    ends = np.cumsum([len(file) for file in files])
    which = np.searchsorted(ends, found.reference, side="right")
    which = np.where(found.leaks, which, 0)
    begins = ends - [len(file) for file in files]
    names = pa.array([str(path) for path in against])
    none = ~found.leaks
    decided = {
        "reference_file": names.take(pa.array(which, mask=none)),
        "reference_row": pa.array(found.reference - begins[which], mask=none),
        "ngram": pa.array(found.ngram, pa.string()),
        "n_matches": pa.array(found.n_matches),
        "n_ngrams": pa.array(found.n_ngrams),
    }
    reasons = ["leak" if leak else "kept" for leak in found.leaks]
    _write(table, none, reasons, "decontaminate", decided, output, ledger)
    _say(output, {"kept": int(none.sum()), "leak": int(found.leaks.sum())}, found.summary())


def _read(
    source: Path, column: str, where: list[str] | None, output: Path, ledger: Path | None
) -> tuple[Any, Any]:
    """The table and its texts; files that can't be written are refused before the work."""
    from statllm._formats import check_output

    check_output(output)
    check_output(ledger)
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


def _texts(source: Path, column: str, where: list[str] | None) -> tuple[Any, Any]:
    from statllm._formats import read_table
    from statllm.selection._words import strings

    table = read_table(source, {}, conditions(where))
    return table, strings(column_of(table, source, column), f"{source}: column '{column}'")


def _write(
    table: Any,
    kept: Any,
    reasons: list[str],
    rule: str,
    decided: dict[str, Any],
    output: Path,
    ledger: Path | None,
) -> None:
    """Write the ledger, then the kept rows: rows without a ledger can't be explained."""
    import pyarrow as pa

    from statllm._formats import write_table

    n = table.num_rows
    if ledger is not None:
        columns: dict[str, Any] = {"row": pa.array(range(n), pa.int64())}
        if "prompt_id" in table.column_names:
            columns["prompt_id"] = table["prompt_id"]
        columns |= {
            "kept": pa.array(kept),
            "reason": pa.array(reasons, pa.string()),
            "rule": pa.array([rule] * n, pa.string()),
        }
        write_table(pa.table(columns | decided), ledger)
    write_table(table.filter(pa.array(kept)), output)


def _say(output: Path, counts: dict[str, int], summary: str) -> None:
    out = console()
    rows: list[tuple[str, int]] = [(name, count) for name, count in counts.items() if count]
    rows.append(("all rows", sum(counts.values())))
    out.print(table_of(f"{output}: {counts['kept']} rows", ("reason", "rows"), rows))
    out.print(summary)
