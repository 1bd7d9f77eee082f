"""What each model of a distillation achieves, against the tokens that its answers take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.estimators.comparison import mcnemar, mean_estimate, paired_difference, t_test
from statllm.estimators.multiplicity import holm
from statllm.estimators.passk import Curve, curve, majority_at_k
from statllm.estimators.power import minimum_detectable_effect
from statllm.estimators.proportions import proportion
from statllm.files import atomic
from statllm.generations import Generations
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]

#: What is compared: one greedy answer each, and as many samples as cost the same.
GREEDY, EQUAL_TOKENS = "greedy", "majority at equal tokens"


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's scored answers to held-out problems: one greedy, and k drawn ones.

    Both have ``prompt_id``, ``answer``, ``correct`` and ``n_tokens``.
    """

    greedy: Generations
    samples: Generations

    @property
    def right(self) -> FloatArray:
        """Whether each greedy answer is right, shape (n_problems,)."""
        return np.array([row[0] for row in self.greedy.column("correct").to_pylist()], np.float64)

    @property
    def k(self) -> int:
        """Samples of each problem."""
        return int(self.samples.n_samples.min())

    @property
    def cost(self) -> float:
        """Mean tokens of a sample, every problem counting the same."""
        return float(np.mean(self.samples.ragged("n_tokens").mean()))

    def majorities(self) -> FloatArray:
        """Return exact maj@1 to maj@k of every problem, shape (n_problems, k)."""
        answers = Ragged.from_lists(self.samples.column("answer").to_pylist(), object)
        return majority_at_k(answers, self.samples.ragged("correct"), np.arange(1, self.k + 1))

    def curve(self, name: str) -> Curve:
        """Return the means of `majorities` over problems, with their band."""
        return curve(self.majorities(), np.arange(1, self.k + 1), name=name)


def accuracies(found: Mapping[str, Answers]) -> pa.Table:
    """Return every model's accuracy and what it costs.

    Parameters
    ----------
    found : mapping of Answers
        By the model's name.

    Returns
    -------
    pyarrow.Table
        ``model, figure`` (greedy, or majority), ``k, tokens`` (mean of k answers), ``value, low,
        high`` (95 % interval), ``band_low, band_high`` (for all k together), ``n``.
    """
    rows: list[dict[str, Any]] = []
    for model, answers in found.items():
        right = answers.right
        estimate = proportion(right.sum(), len(right))
        tokens = mean_estimate(answers.greedy.ragged("n_tokens").values).value
        own = estimate.interval()
        rows.append(
            {
                "model": model, "figure": GREEDY, "k": 1, "tokens": tokens,
                "value": estimate.value, "low": own.low, "high": own.high, "band_low": None,
                "band_high": None, "n": estimate.n,
            }
        )  # fmt: skip
        for row in answers.curve(model).to_frame().to_dict("records"):
            names = ("value", "low", "high", "band_low", "band_high")
            named = {name: min(max(row[name], 0.0), 1.0) for name in names}  # they are of shares
            cost = {"k": int(row["x"]), "tokens": row["x"] * answers.cost, "n": row["n"]}
            rows.append({"model": model, "figure": "majority", **cost, **named})
    return pa.Table.from_pylist(rows)


def differences(found: Mapping[str, Answers]) -> pa.Table:
    """Compare each model with every earlier one, problem by problem.

    At equal tokens, the budget is one sample of the model that writes more; each takes the exact
    majority of as many whole samples as that pays, at least one and at most those that there are.

    Parameters
    ----------
    found : mapping of Answers
        By the model's name, in order.

    Returns
    -------
    pyarrow.Table
        ``comparison, measure, k, k_against`` (samples of each), ``value, low, high`` (95 %
        interval over problems; one training stands behind each model), ``log_p_value`` (exact
        McNemar, or t), ``log_p_holm`` (over the comparisons of a measure), ``detectable`` (the
        true difference that is found with probability .8; null without an error), ``n``.

    Raises
    ------
    InputError
        If two models have answered different problems.
    """
    votes = {model: answers.majorities() for model, answers in found.items()}
    rows: list[dict[str, Any]] = []
    for first, second in combinations(found, 2):
        a, b = found[first], found[second]
        if a.greedy.prompt_ids != b.greedy.prompt_ids:
            raise InputError(f"{first} and {second} have answered different problems")
        budget = max(a.cost, b.cost)
        k_a, k_b = (int(np.clip(budget // one.cost, 1, one.k)) for one in (a, b))
        drawn = votes[first][:, k_a - 1], votes[second][:, k_b - 1]
        for measure, (before, after), ks in (
            (GREEDY, (a.right, b.right), (1, 1)),
            (EQUAL_TOKENS, drawn, (k_a, k_b)),
        ):
            gain = paired_difference(before, after)
            test = mcnemar(before, after) if measure == GREEDY else t_test(gain)
            own = gain.interval()
            found_with = minimum_detectable_effect(gain.se, gain.df + 1) if gain.se > 0 else None
            rows.append(
                {
                    "comparison": f"{second} - {first}", "measure": measure, "k": ks[1],
                    "k_against": ks[0], "value": gain.value, "low": own.low, "high": own.high,
                    "log_p_value": test.log_p_value, "log_p_holm": math.nan,
                    "detectable": found_with, "n": len(before),
                }
            )  # fmt: skip
    for measure in (GREEDY, EQUAL_TOKENS):
        own_rows = [row for row in rows if row["measure"] == measure]
        for row, log_p in zip(own_rows, holm([r["log_p_value"] for r in own_rows]), strict=True):
            row["log_p_holm"] = float(log_p)
    return pa.Table.from_pylist(rows)


def draw_tokens(found: Mapping[str, Answers], path: Path) -> None:
    """Draw the majority's accuracy against the tokens of k samples, with bands over problems."""
    from statllm.report.drawing import new_figure, style_of

    with new_figure(size=(7.0, 4.2)) as (figure, axes):
        for place, (model, answers) in enumerate(found.items()):
            style, line = style_of(place), answers.curve(model)
            x = line.x.astype(np.float64) * answers.cost
            axes.fill_between(x, line.low, line.high, color=style.colour, alpha=0.12, lw=0)
            axes.plot(
                x, line.value, color=style.colour, marker=style.marker, markersize=4,
                linestyle=style.line, label=model,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tokens of k samples, mean")
        axes.set_ylabel("share right by majority of k, 95 % band over problems")
        axes.legend(frameon=False, fontsize=8)
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
