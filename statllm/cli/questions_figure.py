"""The picture of `statllm questions`: lengths, references and topics of one set or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from statllm.cli.questions_sets import QuestionSet


def draw(
    sets: list[QuestionSet], names: list[str], labels: list[Any], level: float, path: Path
) -> None:
    """Draw a panel for each thing that is known; a colour for each set."""
    import numpy as np

    from statllm.cli.figures import new_picture, save_picture
    from statllm.report.drawing import style_of

    known = any(np.isfinite(each.difficulty.length).any() for each in sets)
    referenced = any(each.has_references for each in sets)
    figure, axes = new_picture(3.6 * (1 + known + referenced), 3.4, 1 + known + referenced)
    panels = list(np.atleast_1d(axes))
    n_topics = 1 + max(int(each.max()) for each in labels)
    pooled = np.bincount(np.concatenate(labels), minlength=n_topics)
    order = np.argsort(-pooled, kind="stable")
    for place, (each, name, codes) in enumerate(zip(sets, names, labels, strict=True)):
        style = style_of(place)
        panel = iter(panels)
        if known:
            length = np.sort(each.difficulty.length[np.isfinite(each.difficulty.length)])
            share = np.arange(1, len(length) + 1) / max(len(length), 1)
            next(panel).step(length, share, where="post", color=style.colour, label=name)
        if referenced:
            shares = each.references.figures()
            at = np.arange(len(shares)) + 0.18 * (place - (len(sets) - 1) / 2)
            limits = [one.interval(level) for one in shares]
            here = next(panel)
            here.vlines(at, [i.low for i in limits], [i.high for i in limits], color=style.colour)
            here.plot(at, [one.value for one in shares], style.marker, color=style.colour)
            here.set_xticks(range(len(shares)), [one.name.split(": ")[1] for one in shares])
        counts = np.bincount(codes, minlength=n_topics)[order]
        next(panel).plot(
            np.arange(1, n_topics + 1), counts / counts.sum(), style.marker, color=style.colour,
            markersize=3, label=name,
        )  # fmt: skip
    panel = iter(panels)
    if known:
        here = next(panel)
        here.set_xlabel("median length of a question's responses (words)")
        here.set_ylabel("share of questions")
    if referenced:
        here = next(panel)
        here.set_xlabel("length of the reference answer")
        here.set_ylabel(f"share of questions, {level:.0%} intervals")
    here = next(panel)
    here.set_xlabel("cluster, by falling size in all sets")
    here.set_ylabel("share of questions")
    here.legend(frameon=False, fontsize="small")
    save_picture(figure, path)
