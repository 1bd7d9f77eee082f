"""Laws of the scaling curves: their parameters, how well they fit, and the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nr_corpus import shown

from statllm.estimators.comparison import TEstimate, t_test
from statllm.estimators.multiplicity import holm
from statllm.estimators.scaling import ScalingFit
from statllm.files import atomic
from statllm.results import Interval, format_p

Row = dict[str, Any]
LARGEST = 1000  # an exponent of 10 is a step already


def value_of(fit: ScalingFit, key: str) -> str:
    """A parameter, or that it can't be told; limits beyond `LARGEST` are rounding's work."""
    found = fit.parameters[key]
    if not np.isfinite(found.se):
        return "not identified"
    interval = found.interval(0.95)
    if interval.high <= LARGEST:
        return shown(found)
    return f"{found.value:.3f} [{interval.low:.3f}, > {LARGEST:,}]"


def of_share(found: TEstimate) -> TEstimate:
    """The same share; its interval ends at 0 and 1, since nothing beyond can be true."""

    def limits(level: float) -> Interval:
        low, high = np.clip([found.interval(level).low, found.interval(level).high], 0, 1)
        return Interval(float(low), float(high), level, "t, cut at 0 and 1")

    return replace(found, interval_of=limits)


def goodness(name: str, fit: ScalingFit) -> Row:
    """How far a law misses the means: the largest residual, and whether any is beyond chance."""
    row = {"set": name, "law": fit.law, "rms": f"{fit.rms:.4f}"}
    if not fit.identified or len(fit.sizes) <= len(fit.parameters):
        return row | {"largest residual": "-", "p (Holm)": "-"}
    found = fit.residuals()
    worst = max(found, key=lambda each: abs(each.value))
    # With one size to spare all residuals are one number times a constant: one test.
    spare = len(fit.sizes) - len(fit.parameters)
    log_p = min(holm([t_test(each).log_p_value for each in (found if spare > 1 else [worst])]))
    size = worst.name.split(" ")[2]
    return row | {
        "largest residual": f"{shown(worst)} at {size}", "p (Holm)": format_p(float(log_p)),
    }  # fmt: skip


def draw(fits: dict[str, ScalingFit], path: Path) -> None:
    """Mean curves with intervals, and the law with its band, where it is identified."""
    from statllm.report.drawing import new_figure, style_of

    with new_figure(size=(6.4, 4.0)) as (figure, axes):
        for place, (name, fit) in enumerate(fits.items()):
            style = style_of(place)
            at = fit.sizes * 1.04 ** (place - 1)
            limits = [of_share(mean).interval(0.95) for mean in fit.means]
            axes.vlines(at, [i.low for i in limits], [i.high for i in limits], color=style.colour)
            axes.plot(
                at, [m.value for m in fit.means], style.marker, color=style.colour, label=name
            )
            line = np.geomspace(fit.sizes.min(), fit.sizes.max(), 60)
            law = [of_share(fit.predict(float(n))) for n in line]
            axes.plot(
                line, [each.value for each in law], color=style.colour, linestyle=style.line,
                linewidth=1,
            )  # fmt: skip
            if fit.identified:
                band = [each.interval(0.95) for each in law]
                axes.fill_between(
                    line, [i.low for i in band], [i.high for i in band], color=style.colour,
                    alpha=0.1, linewidth=0,
                )  # fmt: skip
        axes.set_xscale("log", base=2)
        sizes = next(iter(fits.values())).sizes
        axes.set_xticks(sizes, [f"{n:g}" for n in sizes])
        axes.set_xlabel("questions trained on")
        axes.set_ylabel("greedy accuracy, 95 % interval")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(fits))
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
