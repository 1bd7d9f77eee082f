"""`statllm power`: how many prompts an evaluation needs, or what it could have seen."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statllm.cli.common import (
    Where,
    check_report,
    conditions,
    console,
    table_of,
    write_json,
)
from statllm.cli.two_logs import Cluster, Column, Filter, Item, WhereA, WhereB, read_two
from statllm.errors import InputError

if TYPE_CHECKING:
    from statllm.estimators.design import Design

_EFFECTS = (0.01, 0.02, 0.05, 0.1)


def power(
    pilot: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[A B]",
            help="Two logs of a pilot, as `statllm compare` reads them: how much models differ "
            "from prompt to prompt is taken from these.",
        ),
    ] = None,
    effect: Annotated[
        list[float] | None,
        typer.Option(help="Difference to find; may be repeated. Default .01, .02, .05, .1."),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(help="Without a pilot: standard deviation of the difference on one prompt."),
    ] = None,
    disagreement: Annotated[
        float | None,
        typer.Option(
            help="Without a pilot, for right or wrong answers: the share of prompts on which "
            "exactly one model is right. McNemar's exact test is planned."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Size of the two-sided test.")] = 0.05,
    wanted: Annotated[float, typer.Option("--power", help="Probability to find it.")] = 0.8,
    column: Column = None,
    filter: Filter = None,
    cluster: Cluster = None,
    item: Item = None,
    where: Where = None,
    where_a: WhereA = None,
    where_b: WhereB = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Samples that can be paid for: how many prompts, and how often each?"),
    ] = None,
    item_cost: Annotated[float, typer.Option(help="Cost of a new prompt, in samples of it.")] = 0.0,
    most_items: Annotated[
        int | None, typer.Option(min=1, help="Prompts that there are at most.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Power against prompts: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Plan a comparison of two models on the same prompts.

    Examples:

        statllm power samples_a.jsonl samples_b.jsonl --effect .02

        statllm power all.csv all.csv --where-a model=base --where-b model=tuned --cluster source

        statllm power --disagreement .2 --effect .03 --power .9

        statllm power --sd .45 --effect .05 --figure power.png
    """
    from statllm.estimators.power import (
        mcnemar_sample_size,
        minimum_detectable_effect,
        sample_size,
    )

    check_report(output, figure, pilot or ())
    for option, value in (("--alpha", alpha), ("--power", wanted)):
        if not 0 < value < 1:
            raise InputError(f"{option} must lie between 0 and 1, not {value}")
    if wanted <= alpha:
        raise InputError(f"--power {wanted:g} must be above --alpha {alpha:g}")
    given = sum([bool(pilot), sd is not None, disagreement is not None])
    if given != 1 or (pilot and len(pilot) != 2):
        raise InputError("give two logs of a pilot, or --sd, or --disagreement")
    if sd is not None and not (sd > 0 and math.isfinite(sd)):
        raise InputError(f"--sd must be positive, not {sd}")
    if disagreement is not None and not 0 < disagreement <= 1:
        raise InputError(f"--disagreement must be above 0 and at most 1, not {disagreement}")
    picks = {
        "--column": column, "--filter": filter, "--item": item, "--where": where,
        "--where-a": where_a, "--where-b": where_b,
    }  # fmt: skip
    unused = next((name for name, value in picks.items() if value and not pilot), None)
    if unused:
        raise InputError(f"{unused} picks from the logs of a pilot, and there are none")
    effects = sorted({abs(e) for e in effect}) if effect else list(_EFFECTS)
    if not all(0 < each < math.inf for each in effects):
        raise InputError("--effect must not be 0, and finite")
    out, report = console(), dict[str, Any](alpha=alpha, power=wanted)
    variances: tuple[float, float] | None = None
    if pilot:
        rows_of = [conditions([*(where or ()), *(own or ())]) for own in (where_a, where_b)]
        found = _Pilot.read(
            pilot[0], pilot[1], column, rows_of, filter=filter, cluster=cluster, item=item
        )
        sd, disagreement = found.sd, found.disagreement
        variances = found.variances
        smallest = minimum_detectable_effect(found.se, found.df + 1, wanted, alpha)
        report["pilot"] = {
            "items": found.items,
            "independent_units": found.n,
            "sd_per_unit": found.sd,
            "se": found.se,
            "minimum_detectable_effect": smallest,
            "disagreement": disagreement,
        }
        out.print(
            f"pilot: {found.items} common items, {found.n} independent units; the difference has "
            f"the standard error {found.se:.4f} and the standard deviation {found.sd:.4f} per unit"
        )
        out.print(
            f"such a pilot finds a difference of {smallest:.4f} with a power of {wanted:g} "
            f"at alpha {alpha:g}"
        )
    rows, planned = [], []
    for size in effects:
        try:
            if disagreement is not None:
                if size > disagreement:
                    raise ValueError(f"above the share {disagreement:g} of discordant prompts")
                win = (disagreement + size) / 2
                n = mcnemar_sample_size(win, disagreement - win, wanted, alpha)
                test = "McNemar, exact"
            else:
                assert sd is not None
                n = sample_size(size, sd, wanted, alpha)
                test = "paired t"
            rows.append((f"{size:g}", f"{n:,}", test))
            planned.append({"effect": size, "units": n, "test": test})
        except ValueError as error:
            rows.append((f"{size:g}", "-", str(error)))
            planned.append({"effect": size, "units": None, "test": str(error)})
    report["plan"] = planned
    unit = "clusters" if cluster else "prompts"
    title = f"{unit} for a power of {wanted:g} at alpha {alpha:g}, two-sided"
    out.print(table_of(title, ("difference", unit, "test"), rows, wrap=("test",)))
    if budget is not None:
        report["allocation"] = _allocate(out, variances, budget, item_cost, most_items)
    if output is not None:
        write_json(report, output)
    if figure is not None:
        _draw(effects, sd, disagreement, alpha, wanted, unit, figure)


@dataclass(frozen=True)
class _Pilot:
    """What a pilot says about the variance of differences.

    Attributes
    ----------
    items, n : int
        Common items; independent units: these, or clusters.
    se, df : float
        Of the difference.
    disagreement : float or None
        Share of items on which exactly one is right, for right or wrong answers.
    variances : tuple of float, or None
        Of differences between items, and between samples, where every item has several.
    """

    items: int
    n: int
    se: float
    df: float
    disagreement: float | None
    variances: tuple[float, float] | None

    @property
    def sd(self) -> float:
        """Standard deviation of the difference on one unit."""
        return self.se * math.sqrt(self.n)

    @classmethod
    def read(
        cls, a: Path, b: Path, column: str | None, where: list[dict[str, str]], **options: Any
    ) -> _Pilot:
        import numpy as np

        from statllm.estimators.design import compare

        _, paired = read_two(a, b, column, where, **options)
        design = paired.design
        found = compare(design, "A", "B")
        difference = found.difference
        if not difference.se > 0:
            raise InputError(f"{a} and {b} don't differ on any prompt, or have a single one")
        # With clusters the plan is in clusters, whose number is what counts.
        apart = None
        if found.exact is not None:
            pairs = design.pair("A", "B")
            apart = float(np.mean(pairs.a != pairs.b))
        variances = _item_and_sample(design)
        return cls(found.n_items, difference.n, difference.se, difference.df, apart, variances)


def _item_and_sample(design: Design) -> tuple[float, float] | None:
    """Variance of differences between items, and between samples, where items have several."""
    import numpy as np

    cell = 2 * design.item.code + design.model.code
    count = np.bincount(cell, minlength=2 * len(design.item.labels))
    if count.min() < 2 or len(design.item.labels) < 2:
        return None
    mean = np.bincount(cell, design.score) / count
    within = np.bincount(cell, (design.score - mean[cell]) ** 2) / (count - 1)
    noise = (within / count).reshape(-1, 2).sum(axis=1)
    difference = mean.reshape(-1, 2) @ [-1.0, 1.0]
    between = float(np.var(difference, ddof=1) - noise.mean())
    return max(between, 0.0), float(within.reshape(-1, 2).mean(axis=0).sum())


def _allocate(
    out: Any,
    variances: tuple[float, float] | None,
    budget: float,
    item_cost: float,
    most_items: int | None,
) -> dict[str, Any]:
    from statllm.estimators.power import allocate

    if variances is None:
        raise InputError("--budget needs a pilot in which every item has two samples or more")
    try:
        found = allocate(*variances, budget, item_cost, 1.0, most_items)
    except ValueError as error:
        raise InputError(f"--budget: {error}") from error
    out.print(
        f"{budget:g} samples a model are best spent on {found.items} prompts, {found.repeats} "
        f"each: standard error {found.se:.4f} (variance between prompts {variances[0]:.4f}, "
        f"between samples {variances[1]:.4f})"
    )
    return asdict(found) | {"item_variance": variances[0], "sample_variance": variances[1]}


def _draw(
    effects: list[float],
    sd: float | None,
    disagreement: float | None,
    alpha: float,
    wanted: float,
    unit: str,
    path: Path,
) -> None:
    import numpy as np

    from statllm.cli.figures import new_picture, save_picture
    from statllm.estimators.power import mcnemar_power, mean_power
    from statllm.report.drawing import style_of

    figure, axes = new_picture()
    for place, size in enumerate(effects):
        if disagreement is not None and size > disagreement:
            continue  # the table says so
        n = np.unique(np.geomspace(20, 100_000, 60).astype(int))
        if disagreement is not None:
            win = (disagreement + size) / 2
            values = [mcnemar_power(win, disagreement - win, int(m), alpha) for m in n]
        else:
            assert sd is not None
            values = [mean_power(size, sd, int(m), alpha) for m in n]
        style = style_of(place)
        axes.plot(n, values, color=style.colour, linestyle=style.line, label=f"{size:g}")
    axes.axhline(wanted, color="#8C8C8C", linewidth=1)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel(unit)
    axes.set_ylabel("power")
    if axes.lines[1:]:
        axes.legend(title="difference", frameon=False)
    save_picture(figure, path)
