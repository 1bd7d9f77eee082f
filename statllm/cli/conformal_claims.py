"""`statllm conformal claims`: which claims of a response to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.calibration_rows import (
    AsJson,
    CalibrationFile,
    CalibrationFraction,
    CalibrationWhere,
    Seed,
    as_dict,
    calibrating,
    chosen_way,
    say_json,
)
from statllm.cli.columns import column, numbers
from statllm.cli.common import conditions, console, estimates
from statllm.errors import InputError


def claims(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="One row per claim, or per response with lists: Parquet, JSONL, CSV."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The rows with a column 'kept' added, null for responses that calibrate.",
        ),
    ],
    prompt_id: Annotated[
        str, typer.Option(help="Column: claims with the same value are of one response.")
    ] = "prompt_id",
    confidence: Annotated[str, typer.Option(help="Column, larger is surer.")] = "confidence",
    correct: Annotated[str, typer.Option(help="Column of 0/1, null where unknown.")] = "correct",
    alpha: Annotated[
        float, typer.Option(help="What is kept may hold too few right claims this often.")
    ] = 0.1,
    level: Annotated[
        float, typer.Option(help="Share of a response's kept claims that must be right; 1: all.")
    ] = 1.0,
    calibration: CalibrationFile = None,
    calibration_where: CalibrationWhere = None,
    calibration_fraction: CalibrationFraction = None,
    seed: Seed = 0,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE: only these rows.")] = None,
    as_json: AsJson = False,
) -> None:
    """Leave out claims until the rest of a response is right with probability 1 - alpha.

    Responses whose every claim has a verdict calibrate and the others are filtered, unless an
    option says which calibrate; then the share of factual responses is measured on the labelled
    rest. Both parts must be of one kind.

    Examples:

        statllm conformal claims claims.parquet -o kept.parquet --alpha 0.15

        statllm conformal claims claims.jsonl -o kept.jsonl --level 0.8 --calibration-fraction 0.5
    """
    import numpy as np

    from statllm._formats import check_output, read_table, write_table
    from statllm.estimators.conformal.factuality import conformal_factuality

    check_output(output)
    chosen_way(calibration, calibration_where, calibration_fraction, alpha)
    if not 0 < level <= 1:
        raise InputError(f"--level must lie in (0, 1], not {level:g}")
    table = read_table(source, {}, conditions(where))
    rows = _Claims(table, source, prompt_id, confidence, correct)
    if calibration is None:
        fitting = rows
        fit = calibrating(
            rows.responses, source, rows.known, calibration_where, calibration_fraction, seed
        )
        new = ~fit
    else:
        other = read_table(calibration, {}, {})
        fitting = _Claims(other, calibration, prompt_id, confidence, correct)
        fit, new = fitting.known, np.ones(len(rows.known), dtype=bool)
        if not fit.any():
            raise InputError(f"{calibration}: no labelled row to calibrate on")
    rule = conformal_factuality(*fitting.of(fit), alpha, level)
    kept = rule.keep(rows.of(new)[0])
    write_table(rows.with_kept(table, new, kept.values), output)
    tested = new & rows.known
    figures = (
        [rule.factual(*rows.of(tested)), rule.removed(rows.of(tested)[0])] if tested.any() else []
    )
    n_kept, n_claims = int(kept.values.sum()), len(kept.values)
    if as_json:
        say_json(
            threshold=rule.threshold,
            alpha=alpha,
            level=level,
            n_calibration=int(fit.sum()),
            n_responses=int(new.sum()),
            n_claims=n_claims,
            n_kept=n_kept,
            factual=as_dict(figures[0]) if figures else None,
            removed=as_dict(figures[1]) if figures else None,
            note=rule.note,
        )
        return
    out = console()
    out.print(f"{fit.sum()} responses calibrate, {new.sum()} are filtered")
    out.print(
        rule.note
        or f"claims with {confidence} > {rule.threshold:.6g} are kept: with probability "
        f"{1 - alpha:g} at least a share {level:g} of them is right"
    )
    if figures:
        out.print(estimates(f"{tested.sum()} labelled responses that didn't calibrate", figures))
    out.print(f"{output}: {n_kept} of {n_claims} claims kept")


class _Claims:
    """Claims of a table, response by response."""

    def __init__(
        self, table: Any, source: Path, prompt_id: str, confidence: str, correct: str
    ) -> None:
        import numpy as np
        import pyarrow as pa

        from statllm.ragged import Ragged

        self.nested = pa.types.is_list(column(table, source, confidence).type)
        if self.nested:
            lengths, sure = _flat(table, source, confidence)
            same, right = _flat(table, source, correct)
            unknown = np.array(table[correct].is_null().to_pylist())
            if not np.array_equal(same[~unknown], lengths[~unknown]):
                row = np.flatnonzero(~unknown & (same != lengths))[0]
                raise InputError(
                    f"{source}: '{correct}' isn't as long as '{confidence}' in row {row}"
                )
            verdicts = np.full(lengths.sum(), np.nan)
            verdicts[np.repeat(~unknown, lengths)] = right
            self.order = np.arange(len(sure))
            self.responses = table
        else:
            sure, verdicts = numbers(table, source, confidence), numbers(table, source, correct)
            ids = column(table, source, prompt_id).to_pylist()
            _, first, codes = np.unique(ids, return_index=True, return_inverse=True)
            self.order = np.argsort(codes, kind="stable")
            lengths = np.bincount(codes)
            self.responses = table.take(first)
            sure, verdicts = sure[self.order], verdicts[self.order]
        wrong = verdicts[~np.isnan(verdicts) & ~np.isin(verdicts, [0, 1])]
        if len(wrong):
            raise InputError(f"{source}: a value of '{correct}' is {wrong[0]:g}, not 0 or 1")
        # A claim without a confidence is never kept.
        self.scores = Ragged.from_lengths(np.where(np.isnan(sure), -np.inf, sure), lengths)
        self.right = Ragged.from_lengths(verdicts, lengths)
        lacking = self.right.with_values(np.isnan(verdicts)).sum()
        self.known = (lacking == 0) & ~unknown if self.nested else lacking == 0

    def of(self, rows: Any) -> tuple[Any, Any]:
        """Scores and verdicts of some responses."""
        from statllm.ragged import Ragged

        inside = rows[self.scores.rows]
        lengths = self.scores.lengths[rows]
        return (
            Ragged.from_lengths(self.scores.values[inside], lengths),
            Ragged.from_lengths(self.right.values[inside], lengths),
        )

    def with_kept(self, table: Any, new: Any, kept: Any) -> Any:
        """The table with a column that says which claims are kept."""
        import numpy as np
        import pyarrow as pa

        inside = new[self.scores.rows]
        values, mask = np.zeros(len(inside), dtype=bool), np.ones(len(inside), dtype=bool)
        values[self.order[inside]], mask[self.order[inside]] = kept, False
        if not self.nested:
            return table.append_column("kept", pa.array(values, mask=mask))
        parts = np.split(values, self.scores.offsets[1:-1])
        lists = [part.tolist() if use else None for part, use in zip(parts, new, strict=True)]
        return table.append_column("kept", pa.array(lists, pa.list_(pa.bool_())))


def _flat(table: Any, source: Path, name: str) -> tuple[Any, Any]:
    """Lengths and values of a list column, null as NaN."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column(table, source, name)
    try:
        flat = pc.list_flatten(values).cast(pa.float64()).to_numpy()
        lengths = pc.list_value_length(values).fill_null(0).to_numpy()
    except pa.ArrowException as error:
        raise InputError(f"{source}: column '{name}' must hold a list per row") from error
    return lengths.astype(np.int64), flat
