"""`statllm conformal`: answers, sets of options and claims, with a guarantee on the wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from statllm.cli.calibration_rows import AsJson, say_json
from statllm.cli.columns import VERDICTS, numbers, verdicts
from statllm.cli.common import conditions, console
from statllm.cli.conformal_claims import claims
from statllm.cli.conformal_sets import sets
from statllm.cli.verbs import Verbs
from statllm.errors import InputError

Guarantee = Literal["fdr", "accuracy", "fact-test"]


class _AnswersFirst(Verbs):
    """A file where a verb could stand means `answers`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["answers", *args]
        return super().parse_args(ctx, args)


conformal = typer.Typer(
    cls=_AnswersFirst,
    no_args_is_help=True,
    help="""Answer or withhold, sets of options, claims to keep: each with a guarantee.

    Examples:

        statllm conformal answers scores.parquet -o decided.parquet --alpha 0.1

        statllm conformal sets options.parquet -o sets.parquet --probs pA,pB,pC,pD

        statllm conformal claims claims.parquet -o kept.parquet --alpha 0.15
    """,
)


@conformal.command()
def answers(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="One row per answer: Parquet, JSONL or CSV.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The rows with a column 'given' added.")
    ],
    confidence: Annotated[
        str, typer.Option(help="Column, larger is surer; '-vote_entropy' turns its sign.")
    ] = "vote_share",
    correct: Annotated[
        str | None,
        typer.Option(
            help=f"Column of 0/1, null where unknown; default: the first of {', '.join(VERDICTS)}."
        ),
    ] = None,
    guarantee: Annotated[
        Guarantee,
        typer.Option(
            help="fdr: in expectation at most a share alpha of the given answers is wrong. "
            "accuracy: the same with probability 1 - delta. fact-test: with probability 1 - delta "
            "at most a share alpha of the wrong answers is given."
        ),
    ] = "fdr",
    alpha: Annotated[float, typer.Option(help="See --guarantee.")] = 0.1,
    delta: Annotated[float, typer.Option(help="See --guarantee.")] = 0.05,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE: only these rows.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which answers to give and which to withhold.

    Rows whose verdict is known calibrate; the others are decided. Both must be of one kind: the
    known ones a random part.

    Examples:

        statllm conformal answers scores.parquet -o decided.parquet --alpha 0.1

        statllm conformal answers scores.parquet -o d.parquet --delta 0.1 --guarantee fact-test
    """
    import numpy as np
    import pyarrow as pa

    from statllm._formats import check_output, read_table, write_table

    check_output(output)
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise InputError(f"--{name} must lie between 0 and 1, not {value:g}")
    table = read_table(source, {}, conditions(where))
    label, right = verdicts(table, source, correct)
    score = numbers(table, source, confidence.removeprefix("-"))
    score = -score if confidence.startswith("-") else score
    usable = np.isfinite(score)
    known, new = usable & np.isfinite(right), usable & ~np.isfinite(right)
    if not known.any():
        raise InputError(f"{source}: no row has both '{label}' and '{confidence}' to calibrate on")
    if not new.any():
        raise InputError(f"{source}: every verdict in '{label}' is known, nothing is to be decided")
    given, said = _decide(guarantee, score[known], right[known], score[new], alpha, delta)
    decided = np.zeros(len(score), dtype=bool)  # a row without a confidence is withheld
    decided[new] = given
    column = pa.array(decided, mask=np.isfinite(right))  # and a known one needs no decision
    write_table(table.append_column("given", column), output)
    n_new = int(len(score) - np.isfinite(right).sum())
    if as_json:
        say_json(
            guarantee=guarantee,
            alpha=alpha,
            delta=None if guarantee == "fdr" else delta,
            n_calibration=int(known.sum()),
            n_calibration_right=int(right[known].sum()),
            n_new=n_new,
            n_given=int(given.sum()),
            bound=said,
        )
        return
    out = console()
    out.print(f"{known.sum()} rows calibrate, {int(right[known].sum())} of them right")
    out.print(said)
    out.print(f"{output}: {given.sum()} of {n_new} answers given")


def _decide(
    guarantee: str, known: Any, right: Any, new: Any, alpha: float, delta: float
) -> tuple[Any, str]:
    """Which new answers are given, and a line about the bound."""
    from statllm.estimators.conformal.abstention import fact_test
    from statllm.estimators.conformal.selection import conformal_selection
    from statllm.estimators.selective.risk_control import selective_threshold

    if guarantee == "fdr":
        picked = conformal_selection(known, right, new, alpha)
        line = f"confidence >= {picked.score_threshold:.6g}: expected share of wrong <= {alpha:g}"
        if not picked.n_selected:
            line = f"no answer is sure enough for an expected share of wrong <= {alpha:g}"
        return picked.selected, picked.note or line
    if guarantee == "accuracy":
        rule = selective_threshold(known, right, alpha, delta)
        return rule.keep(new), rule.summary()
    test = fact_test(known, right, alpha, delta)
    line = (
        f"confidence > {test.threshold:.6g}: with probability {1 - delta:g} at most a share "
        f"{alpha:g} of wrong answers is given"
    )
    return test.answers(new), test.note or line


conformal.command()(sets)
conformal.command()(claims)
