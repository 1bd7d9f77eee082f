"""`statllm audit-judge`: can a judge's pairwise verdicts be believed?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.audit_judge_rows import Coding, Columns, verdicts_of
from statllm.cli.common import (
    Where,
    check_report,
    conditions,
    console,
    interval_text,
    table_of,
    write_json,
)
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.judge_audit import Finding, JudgeAudit


def audit_judge(
    source: Annotated[
        Path,
        typer.Argument(metavar="VERDICTS", help="One row per verdict: Parquet, JSONL or CSV."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="All figures and tests: JSON.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="A picture of them: .png, .pdf or .svg.")
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(help="Column of pairs; default: as `statllm judge --verdicts` writes them."),
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Column: which response was shown first, a or b.")
    ] = None,
    verdict: Annotated[
        str, typer.Option(help="Column: a, b, tie; first, second, tie; or numbers.")
    ] = "verdict",
    coding: Annotated[
        Coding,
        typer.Option(help="Are verdicts of 1 about the first place, or response a?"),
    ] = "auto",
    human: Annotated[
        str | None, typer.Option(help="Column: what humans prefer, a, b or tie; may have gaps.")
    ] = None,
    length_a: Annotated[str | None, typer.Option(help="Column: length of response a.")] = None,
    length_b: Annotated[str | None, typer.Option(help="… of response b.")] = None,
    responses: Annotated[
        Path | None,
        typer.Option(help="The table that `statllm judge` was given: its responses' lengths."),
    ] = None,
    own: Annotated[
        str | None,
        typer.Option(help="Column: which response is by the judge's own family, a, b or tie."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Column: pairs that depend on each other; default: prompts or pairs."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Column of judges; each is audited by itself.")
    ] = None,
    where: Where = None,
) -> None:
    """Measure a judge's position, length and self-preference, and its agreement with humans.

    Every figure has an interval over prompts (or pairs); p-values are Holm's over all tests. Where
    humans have judged some of the pairs, the judge's win rate of a is corrected by them.

    Examples:

        statllm audit-judge verdicts.parquet --responses samples.parquet -o audit.json

        statllm audit-judge battles.csv --pair id --order order --verdict winner --human human
        --length-a len_a --length-b len_b --judge judge --figure audit.png
    """
    from statllm._formats import read_table
    from statllm.estimators.judge_audit import adjusted
    from statllm.estimators.judge_audit import audit_judge as audit

    check_report(output, figure, (source,))
    table = read_table(source, {}, conditions(where))
    names = Columns(pair, order, verdict, human, length_a, length_b, own, cluster, judge)
    found = verdicts_of(table, source, names, coding, responses)
    if not any(len(verdicts.read()) for verdicts, _ in found.values()):
        raise InputError(f"{source}: column '{verdict}' holds no verdict")
    audits = {name: audit(verdicts, others) for name, (verdicts, others) in found.items()}
    if pair is None:  # a is the sample that was drawn first: how often it wins means nothing
        audits = {name: _without(each, "correction") for name, each in audits.items()}
    audits = _together(audits, adjusted)
    if output is not None:
        report = {
            "source": str(source),
            "adjustment": "Holm over all tests of all judges",
            "judges": {name or "judge": each.to_dict() for name, each in audits.items()},
        }
        write_json(report, output)
    if figure is not None:
        from statllm.cli.audit_judge_figure import draw

        draw(audits, {name: verdicts for name, (verdicts, _) in found.items()}, figure)
    for name, each in audits.items():
        _print(f"{source}: {name}" if name else str(source), each)
    _explain(audits.values())


def _without(audit: JudgeAudit, topic: str) -> JudgeAudit:
    return replace(audit, findings=tuple(f for f in audit.findings if f.topic != topic))


def _together(audits: dict[str, JudgeAudit], adjusted: Any) -> dict[str, JudgeAudit]:
    """Adjust the tests of all judges as one family."""
    every: tuple[Finding, ...] = adjusted(
        tuple(each for audit in audits.values() for each in audit.findings)
    )
    found, start = {}, 0
    for name, audit in audits.items():
        end = start + len(audit.findings)
        found[name] = replace(audit, findings=every[start:end])
        start = end
    return found


def _print(title: str, audit: JudgeAudit) -> None:
    from statllm.results import format_p

    rows = []
    for each in audit.findings:
        adjusted = each.log_p_adjusted
        p = "" if adjusted is None else format_p(adjusted).removeprefix("= ")
        fair = "" if each.fair is None else f"{each.fair:g}"
        interval = interval_text(each.estimate, 0.95, 3)
        figure = each.estimate
        rows.append((figure.name, f"{figure.value:.3f}", interval, fair, p, figure.n))
    names = ("figure", "value", "95 % interval", "fair", "p (Holm)", "n")
    unread = f", {audit.n_unread} unread" if audit.n_unread else ""
    head = f"{title}: {audit.n_verdicts} verdicts on {audit.n_pairs} pairs{unread}"
    out = console()
    out.print(head, style="bold", markup=False)
    out.print(table_of("", names, rows, wrap=("figure",)))


def _explain(audits: Iterable[JudgeAudit]) -> None:
    """Say what each figure is, and what couldn't be measured."""
    found = [each for audit in audits for each in audit.findings]
    out = console()
    for name, words in {each.estimate.name: each.estimand for each in found}.items():
        out.print(f"{name}: {words}.", markup=False)
    topics = {each.topic for each in found}
    absent = {
        "length": "lengths (--length-a and --length-b, or --responses)",
        "humans": "human verdicts (--human)",
        "self-preference": "the judge's own responses (--own)",
        "repeats": "repeated questions",
    }
    missing = [what for topic, what in absent.items() if topic not in topics]
    if missing:
        out.print(f"Not measured, for want of {'; '.join(missing)}.", markup=False)
