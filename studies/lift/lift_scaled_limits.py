"""The paper's test outside of the training's limits: limits times .9, .8, ... .1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lift_answers import FloatArray
from lift_pages import Levels, contrast_table, contrasts, draw_arm, levels, shown

from statllm.experiment import compare_scores
from statllm.experiment.report import markdown_table
from statllm.files import atomic
from statllm.report.drawing import new_figure
from statllm.sampling.prompts import SCALES

#: Of a scale. A wrong answer and one over the limit lose against the written solution, which is
#: right; a right one within the limit ties.
BY_SCALE = {"violations": "share of answers", "wins": "share of answers", "words": "words"}
#: Over all scales. *obeyed*: violations that answers to the unscaled limit would be, without those
#: of answers to the scaled one, over .9 to .1; *shortened*: words at scale 1 less those at .1.
#: Both are 0 for a model that doesn't read the number.
OVER_SCALES = {
    "violations": "share of answers", "wins": "share of answers", "obeyed": "difference of shares",
    "shortened": "words",
}  # fmt: skip
CONTRASTS = (
    ("lift", "start"), ("lift", "plain"), ("lift", "rdpo .01"), ("lift", "rdpo .1"),
    ("lift", "random lift"), ("rdpo .1", "plain"),
)  # fmt: skip

Answers = Mapping[str, Sequence[Mapping[str, FloatArray]]]


def measured(answers: Answers) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores of each scale, and over all of them: {measure: {arm: (seeds, problems)}}.

    Parameters
    ----------
    answers : mapping
        Arm: one set of answers per seed, as `lift_answers.answered` gives them for all scales.
    """
    scales: list[dict[str, Any]] = [{name: {} for name in BY_SCALE} for _ in SCALES]
    over: dict[str, Any] = {name: {} for name in OVER_SCALES}
    for arm, found in answers.items():
        words, right, limits = (
            np.stack([each[name].reshape(len(SCALES), -1) for each in found])
            for name in ("words", "right", "limits")
        )  # (seeds, scales, problems)
        broken = (words > limits).astype(float)
        wins = np.where(words > limits, 0.0, right / 2)
        unasked = (words[:, :1] > limits).astype(float)
        for place, scores in enumerate(scales):
            scores["violations"][arm] = broken[:, place]
            scores["wins"][arm] = wins[:, place]
            scores["words"][arm] = words[:, place]
        over["violations"][arm] = broken.mean(axis=1)
        over["wins"][arm] = wins.mean(axis=1)
        over["obeyed"][arm] = (unasked - broken)[:, 1:].mean(axis=1)
        over["shortened"][arm] = words[:, 0] - words[:, -1]
    return scales, over


def figures(answers: Answers, limits: Sequence[int]) -> dict[str, Any]:
    """All figures of the scaled test."""
    scales, over = measured(answers)
    summary = compare_scores(over, CONTRASTS, OVER_SCALES, name="lift: scaled limits")
    return {
        "mean limit": float(np.mean(limits)),
        "scales": {
            f"{scale:g}": levels(compare_scores(found, (), BY_SCALE))
            for scale, found in zip(SCALES, scales, strict=True)
        },
        "over scales": levels(summary),
        "contrasts": contrasts(summary),
    }


def page(found: dict[str, Any], n_seeds: int, n: int) -> str:
    """All tables as Markdown."""
    over: Levels = found["over scales"]
    arms = list(over["violations"])
    parts = [
        f"{n_seeds} training seeds, {n} held-out problems, greedy answers. The limit of a problem "
        f"is a scale times the words of its written solution (mean {found['mean limit']:.1f}).",
        markdown_table(
            ["arm", "violations", "win rate", "obeyed", "shortened"],
            [
                [arm, *(shown(over[name][arm]) for name in ("violations", "wins", "obeyed")),
                 shown(over["shortened"][arm], 1)]
                for arm in arms
            ],
        ),
        contrast_table(found["contrasts"]),
    ]  # fmt: skip
    titles = {
        "violations": ("share of answers over the limit", 3),
        "wins": ("win rate against the written solution", 3),
        "words": ("mean words of an answer", 1),
    }
    for measure, (title, digits) in titles.items():
        rows = [
            [scale, *(shown(levels[measure][arm], digits) for arm in arms)]
            for scale, levels in found["scales"].items()
        ]
        parts += [f"**By scale**: {title}", markdown_table(["scale", *arms], rows)]
    return "\n\n".join(parts) + "\n"


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw violations and words by scale, a line per arm."""
    scales = np.array([float(scale) for scale in found["scales"]])
    with new_figure(rows=2, size=(7.0, 7.6)) as (figure, panels):
        for panel, measure in zip(panels, ("violations", "words"), strict=True):
            for place, arm in enumerate(found["over scales"]["violations"]):
                rows = [levels[measure][arm] for levels in found["scales"].values()]
                draw_arm(panel, arm, place, scales, 0.008, rows)
        panels[0].set_ylim(-0.02, 1.02)  # a t interval of a share may go beyond
        panels[0].set_ylabel("share of answers over the limit")
        panels[1].set_ylabel("mean words of an answer")
        panels[1].set_xlabel("limit as a multiple of the written solution's words")
        panels[1].plot(scales, found["mean limit"] * scales, ":", color="black", linewidth=0.8,
                       label="the limit")  # fmt: skip
        panels[1].legend(frameon=False, fontsize="small", loc="center left",
                         bbox_to_anchor=(1, 1.1))  # fmt: skip
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
