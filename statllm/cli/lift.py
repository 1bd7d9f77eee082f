"""`statllm select lift`: preference pairs in, pairs with limits on words and a ledger out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import Where, check_outputs, conditions, console, table_of
from statllm.cli.settings import validated, with_settings
from statllm.selection.lift import LiftSettings


@with_settings(LiftSettings)
def lift(
    source: Annotated[
        Path, typer.Argument(metavar="PAIRS", help="Preference pairs: Parquet, JSONL or CSV.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Pairs: Parquet or JSONL.")],
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="One row per pair of PAIRS: its words, limits, and why it was dropped (Parquet, "
            "JSONL or CSV)."
        ),
    ] = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Ask pairs again with a limit on words, which may turn the preference (LIFT).

    Each pair whose responses differ enough gives two: one with a limit that both keep, and one
    with a limit that only the shorter response keeps, which is then chosen.

    Examples:

        statllm select lift pairs.parquet -o lifted.parquet --ledger lift.parquet

        statllm select lift pairs.jsonl -o limited.jsonl --no-originals
    """
    from statllm._formats import read_table
    from statllm.selection.lift import lift as rule

    chosen = validated(LiftSettings, settings or {})
    check_outputs(source, output, ledger)
    found = rule(read_table(source, {}, conditions(where)), chosen)
    found.write(output, ledger)
    rows = [*found.counts().items(), ("all pairs", found.ledger.num_rows)]
    out = console()
    out.print(table_of(f"{output}: {found.pairs.num_rows} pairs", ("reason", "pairs given"), rows))
    flips = sum(bool(flip) for flip in found.ledger["flipped"].to_pylist())
    kept = found.counts()["kept"]
    out.print(f"labels flipped: {flips} of {kept} pairs with a tight limit")
