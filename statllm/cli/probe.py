"""`statllm probe`: what a sentence added to the prompts does to a model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import create_model

from statllm.cli.common import (
    Prompt,
    PromptId,
    Reference,
    Where,
    check_not_read,
    conditions,
    console,
    interval_text,
    mapping,
    printable,
    table_of,
    write_json,
)
from statllm.cli.sample import sampling_fields, sampling_settings
from statllm.cli.settings import validated, with_settings
from statllm.distill.probes import ProbeSettings
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.distill import ProbeReport
    from statllm.estimators.probes import ProbeEffect

probe = typer.Typer(
    name="probe",
    help="Ask the same problems with something added: a suggested answer, a wish, a distraction.",
    no_args_is_help=True,
)

_Sampling = create_model(
    "_Sampling",
    **sampling_fields(
        {"stop", "alpha", "n_answers", "window", "round"}, {"n": 1, "temperature": 0.0}
    ),
)

Before = Annotated[
    str | None,
    typer.Option(help="Put the sentence before the last such text; \\n is a line's end."),
]
Level = Annotated[float, typer.Option(help="Of the intervals.")]
Report = Annotated[Path | None, typer.Option("--output", "-o", help="All figures: JSON.")]
Figure = Annotated[Path | None, typer.Option(help="Differences: .png, .pdf or .svg.")]


@probe.command("prompts")
@with_settings(ProbeSettings, skip=("before",))
def prompts(
    source: Annotated[str, typer.Argument(metavar="PROBLEMS", help="A file, or lab:test.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet or JSONL.")],
    before: Before = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many problems.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Add a probe's sentence to every prompt.

    Examples:

        statllm probe prompts problems.parquet -o misled.parquet --kind misled

        statllm probe prompts lab:test --limit 200 --before "\\nA:" -o misled.parquet
    """
    from statllm._formats import check_output, write_table
    from statllm.distill import probe_prompts

    check_output(output, (".parquet", ".jsonl", ".ndjson"))
    chosen = validated(ProbeSettings, {**(settings or {}), "before": _marker(before)})
    columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference)
    made = probe_prompts(_problems(source, columns, where, limit), chosen)
    write_table(made, output)
    console().print(f"{output}: {made.num_rows} prompts, probe {chosen.kind}")


@probe.command()
def compare(
    neutral: Annotated[Path, typer.Argument(help="Scores of the plain prompts.")],
    probed: Annotated[Path, typer.Argument(help="Scores of the same problems with the probe.")],
    output: Report = None,
    cluster: Annotated[
        str | None, typer.Option(help="Column: problems that depend on each other.")
    ] = None,
    level: Level = 0.95,
    figure: Figure = None,
) -> None:
    """Compare answers with and without the probe: right ones, suggested ones, flips, exact tests.

    Any other wording of the same problems can be compared so: `prompt_id` matches them.

    Examples:

        statllm probe compare neutral.parquet misled.parquet -o misled.json
    """
    from statllm.distill import compare_probe
    from statllm.generations import Generations

    _check(output, figure, level, neutral, probed)
    found = compare_probe(Generations.read(neutral), Generations.read(probed), cluster)
    _tell([found], level, output, figure)


@probe.command()
@with_settings(_Sampling)
def run(
    model: Annotated[str, typer.Argument(help="A model folder, a hub or server name, or lab.")],
    source: Annotated[str, typer.Argument(metavar="PROBLEMS", help="A file, or lab:test.")],
    output: Report = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="May be repeated; default misled and irrelevant.")
    ] = None,
    before: Before = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many problems.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    where: Where = None,
    level: Level = 0.95,
    figure: Figure = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Ask a model with and without probes, one greedy answer each unless --n and --temperature.

    Examples:

        statllm probe run ./my-model problems.parquet -o probes.json --figure probes.png

        statllm probe run lab lab:test --limit 200 --max-new-tokens 80 --before "\\nA:"
    """
    from statllm.distill import compare_probe, probe_prompts
    from statllm.generations import Generations
    from statllm.sampling import sample
    from statllm.scoring import score
    from statllm.stages import resolve_model

    _check(output, figure, level)
    kinds = list(dict.fromkeys(kind or ("misled", "irrelevant")))
    own = [validated(ProbeSettings, {"kind": k, "before": _marker(before)}) for k in kinds]
    chosen = sampling_settings({"n": 1, "temperature": 0.0, **(settings or {})})
    columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference)
    problems = _problems(source, columns, where, limit)
    asked = [probe_prompts(problems, each) for each in own]
    name = resolve_model(model)
    neutral, *probed = (score(Generations(sample(name, t, chosen))) for t in (problems, *asked))
    _tell([compare_probe(neutral, each) for each in probed], level, output, figure)


def _marker(text: str | None) -> str | None:
    return None if text is None else text.replace("\\n", "\n")


def _problems(source: str, columns: dict[str, str], where: Any, limit: int | None) -> Any:
    from statllm.generations import Generations
    from statllm.recipe import Problems
    from statllm.stages import load_problems

    if source.startswith("lab:"):
        return load_problems(Problems(source=source, n=limit))
    return Generations.read(source, columns, conditions(where)).table.slice(0, limit)


def _check(output: Path | None, figure: Path | None, level: float, *sources: Path) -> None:
    from statllm._formats import check_output
    from statllm.cli.figures import PICTURES

    check_output(output, (".json",))
    check_output(figure, PICTURES)
    check_not_read(output, *sources)
    if not 0 < level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {level}")


def _tell(
    reports: list[ProbeReport], level: float, output: Path | None, figure: Path | None
) -> None:
    """Print, and write, all reports; p is adjusted over the probes of an outcome."""
    from statllm.results import format_p

    adjusted = _holm(reports)
    if output is not None:
        listed = [
            {**report.to_dict(level), "log_p_holm": adjusted[place]}
            for place, report in enumerate(reports)
        ]
        write_json({"level": level, "probes": listed}, output)
    if figure is not None:
        _draw(reports, level, figure)
    shares, differences = [], []
    for place, report in enumerate(reports):
        for effect in _effects(report):
            shares.append(
                (
                    report.kind, effect.name, f"{effect.neutral.value:.4f}",
                    f"{effect.probed.value:.4f}", f"{effect.n_lost}/{effect.n_gained}",
                )
            )  # fmt: skip
            differences.append(
                (
                    report.kind, effect.name, f"{effect.difference.value:+.4f}",
                    interval_text(effect.difference, level), format_p(adjusted[place][effect.name]),
                    "-" if effect.mde != effect.mde else f"{effect.mde:.4f}",
                )
            )  # fmt: skip
    # two tables, and words that fold: 80 columns would cut digits off
    named = ("probe", "outcome")
    out = console()
    columns = [*named, "neutral", "probed", "lost/gained"]
    out.print(table_of("shares of answers", columns, shares, wrap=named))
    columns = [*named, "difference", f"{level:.0%} interval", "p (Holm)", "detectable"]
    out.print(table_of("probed less neutral", columns, differences, wrap=named))
    for report in reports:
        test, lost = report.right.test, report.right.lost
        words = (
            f"{report.kind}: of the answers that were right, {lost.value:.4f} "
            f"{interval_text(lost, level)} became wrong; {test.method}, {report.n_items} problems"
        )
        dropped = f", {report.n_dropped} only in one table" if report.n_dropped else ""
        out.print(printable(words + dropped))


def _effects(report: ProbeReport) -> list[ProbeEffect]:
    return [report.right, *([] if report.suggested is None else [report.suggested])]


def _holm(reports: list[ProbeReport]) -> list[dict[str, float]]:
    from statllm.estimators.multiplicity import holm

    found: list[dict[str, float]] = [{} for _ in reports]
    named = {effect.name for report in reports for effect in _effects(report)}
    for name in named:
        of_name = [
            (place, effect)
            for place, report in enumerate(reports)
            for effect in _effects(report)
            if effect.name == name
        ]
        adjusted = holm([effect.test.log_p_value for _, effect in of_name])
        for (place, _), log_p in zip(of_name, adjusted, strict=True):
            found[place][name] = float(log_p)
    return found


def _draw(reports: list[ProbeReport], level: float, path: Path) -> None:
    from statllm.cli.figures import new_picture, save_picture
    from statllm.report.drawing import style_of

    lines = [(report.kind, effect) for report in reports for effect in _effects(report)]
    names = list(dict.fromkeys(effect.name for _, effect in lines))
    figure, axes = new_picture(height=1.0 + 0.5 * len(lines))
    axes.axvline(0, color="#8C8C8C", linewidth=0.8)
    for place, (_, effect) in enumerate(reversed(lines)):
        style = style_of(names.index(effect.name))
        interval = effect.difference.interval(level)
        axes.plot([interval.low, interval.high], [place, place], color=style.colour)
        axes.plot([effect.difference.value], [place], style.marker, color=style.colour)
    labels = [f"{kind}: {effect.name}" for kind, effect in reversed(lines)]
    axes.set_yticks(range(len(lines)), labels)
    axes.set_xlabel(f"share with the probe less share without, {level:.0%} interval")
    save_picture(figure, path)
