"""Which rows calibrate a conformal rule, and its report as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.results import Estimate

CalibrationFile = Annotated[
    Path | None,
    typer.Option("--calibration", help="Labelled rows that calibrate; all rows of IN are decided."),
]
CalibrationWhere = Annotated[
    str | None,
    typer.Option(metavar="COLUMN=VALUE", help="These labelled rows of IN calibrate."),
]
CalibrationFraction = Annotated[
    float | None,
    typer.Option(help="This random share of the labelled rows of IN calibrates."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def chosen_way(file: Path | None, where: str | None, fraction: float | None, alpha: float) -> None:
    """Check the options that say what calibrates.

    Raises
    ------
    InputError
        If several are given, or a number is out of range.
    """
    if sum(option is not None for option in (file, where, fraction)) > 1:
        raise InputError(
            "--calibration, --calibration-where and --calibration-fraction exclude each other"
        )
    for name, value in (("alpha", alpha), ("calibration-fraction", fraction)):
        if value is not None and not 0 < value < 1:
            raise InputError(f"--{name} must lie between 0 and 1, not {value:g}")


def calibrating(
    table: Any, source: Path, known: Any, where: str | None, fraction: float | None, seed: int
) -> Any:
    """Say which units calibrate: all whose label is known, unless an option says which of them.

    `table` has one row per unit.

    Raises
    ------
    InputError
        If none does, or nothing is left to decide.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from statllm.cli.columns import column
    from statllm.cli.common import conditions

    part = known.copy()
    for name, value in conditions([where] if where else None).items():
        same = pc.equal(column(table, source, name).cast(pa.string()), value)
        part &= same.fill_null(False).to_numpy(zero_copy_only=False)
    if fraction is not None:
        candidates = np.flatnonzero(known)
        n = round(fraction * len(candidates))
        part[:] = False
        part[np.random.default_rng([seed, 1]).permutation(candidates)[:n]] = True
    if not part.any():
        raise InputError(f"{source}: no labelled row to calibrate on")
    if part.all():
        raise InputError(
            f"{source}: every label is known, nothing is to be decided; with "
            "--calibration-fraction a part of the rows shows how good the rule is"
        )
    return part


def say_json(**values: Any) -> None:
    """Print an object; numbers that aren't finite become null."""
    from statllm._formats import finite

    typer.echo(json.dumps(finite(values), ensure_ascii=False, indent=2))


def as_dict(estimate: Estimate) -> dict[str, Any] | None:
    """An estimate as plain values, None where nothing was measured."""
    return estimate.to_dict() if estimate.n else None
