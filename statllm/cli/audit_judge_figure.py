"""The picture of a judge's audit: figures with intervals, and wins by length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statllm.estimators.judge_audit import JudgeAudit, Verdicts


def draw(audits: dict[str, JudgeAudit], verdicts: dict[str, Verdicts], path: Path) -> None:
    """Draw shares and coefficients of every judge, with what a fair judge has; save it.

    Raises
    ------
    InputError
        If matplotlib isn't installed.
    """
    from statllm.cli.figures import new_picture, picture_text, save_picture
    from statllm.estimators.judge_audit import length_curve

    curves = {
        name: length_curve(each) for name, each in verdicts.items() if each.length_a is not None
    }
    curves = {name: curve for name, curve in curves.items() if len(curve.n)}
    shown = {
        name: [each for each in audit.findings if each.estimate.unit != "log odds"]
        for name, audit in audits.items()
    }
    labels = list(dict.fromkeys(each.estimate.name for found in shown.values() for each in found))
    fair = {
        each.estimate.name: each.fair
        for found in shown.values()
        for each in found
        if each.fair is not None
    }
    rows = max(len(labels), 4)
    tall = 1.2 + 0.32 * rows * max(1, len(audits)) ** 0.5
    figure, drawn = new_picture(11 if curves else 7, tall, columns=2 if curves else 1)
    axes = drawn if curves else [drawn]
    height = {label: len(labels) - 1 - i for i, label in enumerate(labels)}
    for i, (name, found) in enumerate(shown.items()):
        shift = 0.5 * ((i + 0.5) / len(shown) - 0.5)
        ys = [height[each.estimate.name] - shift for each in found]
        ends = [each.estimate.interval(0.95) for each in found]
        values = [each.estimate.value for each in found]
        axes[0].hlines(ys, [end.low for end in ends], [end.high for end in ends], color=f"C{i}")
        title = picture_text(name) or "judge"
        axes[0].plot(values, ys, "o", color=f"C{i}", markersize=4, label=title)
    for label, value in fair.items():
        axes[0].plot([value] * 2, [height[label] - 0.4, height[label] + 0.4], color="0.5", lw=1)
    axes[0].set_yticks([height[label] for label in labels], labels)
    axes[0].set_xlabel("share or coefficient, 95 % interval; grey: a fair judge")
    if len(shown) > 1:
        axes[0].legend(fontsize="small")
    if curves:
        for i, name in enumerate(shown):
            if name not in curves:
                continue
            curve = curves[name]
            axes[1].fill_between(
                curve.difference, curve.low, curve.high, alpha=0.15, color=f"C{i}", lw=0
            )
            axes[1].plot(curve.difference, curve.share, "o-", color=f"C{i}", markersize=4)
        axes[1].axhline(0.5, color="0.5", lw=1)
        axes[1].set_ylim(0, 1)
        axes[1].set_xlabel("difference of lengths over their sum")
        axes[1].set_ylabel("share for the longer response")
    save_picture(figure, path)
