"""Prediction-powered inference: a biased judge, corrected by few human labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Page, Setup, asked, figure_to, lab_samples, run, shown

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.ppi import corrected_win_rate
from statllm.estimators.proportions import proportion
from statllm.experiment.report import markdown_table
from statllm.lab import model_path, problems

LABELS = (25, 50, 100, 200)
UNLABELLED = 800


def verdict_pairs(setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of "one sample" against "greedy answer": by truth, and by a judge.

    The judge is the model: it prefers the answer that more of its other samples give. Where as
    many do it takes the second one, which is the greedy answer: a position bias. Two times the
    same answer are a tie.
    """
    size = setup.pick((600, 8), (100, 4))
    samples = lab_samples(*size)
    greedy = asked(model_path(), problems("test", size[0], seed=5))
    true, judged = [], []
    for row, reference, single in zip(
        samples.column("answer").to_pylist(),
        samples.column("reference").to_pylist(),
        greedy.column("answer").to_pylist(),
        strict=True,
    ):
        one, other, voters = row[0], single[0], row[1:]
        true.append(0.5 + ((one == reference) - int(other == reference)) / 2)
        if one == other:
            judged.append(0.5)
        else:
            judged.append(float(voters.count(one) > voters.count(other)))
    return np.array(true), np.array(judged)


def trial(true: np.ndarray, judged: np.ndarray, n: int, rng: Any) -> list[tuple[float, float]]:
    """Intervals from labels alone and with the judge, of one draw from the pool as a population."""
    labelled = rng.integers(len(true), size=n)
    others = rng.integers(len(true), size=UNLABELLED)
    found = corrected_win_rate(judged[others], judged[labelled], true[labelled])
    ends = [each.interval(0.95) for each in (found.classical, found.estimate)]
    return [(end.low, end.high) for end in ends]


def make(setup: Setup) -> Page:
    """Win rate of one sample over the greedy answer, from a judge and few labels."""
    true, judged = verdict_pairs(setup)
    rate, by_judge = mean_estimate(true), mean_estimate(judged)
    bias = mean_estimate(judged - true)
    rng, times = np.random.default_rng(0), setup.pick(1000, 40)
    rows, curves = [], {}
    for n in LABELS:
        ends = np.array([trial(true, judged, n, rng) for _ in range(times)])
        width = (ends[..., 1] - ends[..., 0]).mean(axis=0)
        held = (ends[..., 0] <= true.mean()) & (true.mean() <= ends[..., 1])
        cover = [proportion(int(held[:, j].sum()), times) for j in (0, 1)]
        narrower = mean_estimate(ends[:, 1, 1] - ends[:, 1, 0] - (ends[:, 0, 1] - ends[:, 0, 0]))
        curves[n] = (width, cover, narrower)
        rows.append([n, *(f"{w:.3f}" for w in width), shown(narrower), *map(shown, cover)])
    with figure_to(setup, "judges") as axes:
        for j, (name, colour, marker) in enumerate(
            (("labels alone", "#D55E00", "s"), ("labels and judge (PPI++)", "#0072B2", "o"))
        ):
            axes.plot(LABELS, [curves[n][0][j] for n in LABELS], color=colour, marker=marker,
                      label=name)  # fmt: skip
        axes.axhline(2 * abs(bias.value), color="#8C8C8C", linestyle=(0, (2, 2)))
        axes.text(LABELS[-1], 2 * abs(bias.value), "twice the judge's bias", ha="right",
                  va="bottom")  # fmt: skip
        axes.set_xlabel("human labels")
        axes.set_ylabel("width of the 95 % interval")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    middle = curves[100]
    saved = 1 - (middle[0][1] / middle[0][0]) ** 2
    return Page(
        stem="judges",
        title="Prediction-powered inference: a biased judge, corrected",
        finding=f"The judge gives a sample a win rate over the greedy answer of "
        f"{shown(by_judge)}, the truth is {shown(rate)}; with 100 labels and the "
        f"judge the interval covers in {shown(middle[1][1])} of draws and is "
        f"{middle[0][1]:.3f} wide, from labels alone "
        f"{middle[0][0]:.3f}.",
        question="A model judges which of two answers is better. Its verdicts are cheap and "
        "biased, human labels are dear. How good is system A against B?",
        formula="θ = λ · mean(judge, unlabelled) + mean(human − λ · judge, labelled), with λ = "
        "Cov(human, judge) / ((1 + n / N) Var(judge)): the labelled pairs measure the judge's "
        "bias, whatever it is. λ = 0 is the labels alone, λ = 1 plain PPI.",
        done=f"A is one sample of the lab model at T = 1, B its greedy answer, on {len(true)} "
        "problems. The human is the exact verifier (two right answers are a tie); the judge is "
        "the model itself, which prefers the answer that more of its other samples give, and in "
        "doubt the second one, B's (a position bias). The problems are taken as a population, "
        "whose win rate is known, and n labelled and "
        f"{UNLABELLED} unlabelled ones are drawn from it, {times} times.",
        result=f"The judge's bias is {shown(bias)}.\n\n"
        + markdown_table(
            ["labels", "width, labels alone", "width, with judge", "difference",
             "coverage, labels alone", "coverage, with judge"], rows)
        + f"\n\nAt 100 labels the narrower interval is worth {saved:.0%} of the labels.",
        sure=f"Coverage: Wilson intervals over {times} draws; 95 % is nominal. The judge's "
        "interval counts its own noise only, which is why it can exclude the truth.",
        tools="`statllm.estimators.ppi` (`corrected_win_rate`, `ppi_mean`, quantiles, "
        "regressions); `statllm audit-judge`. Coverage with 20 labels, clusters, strata: "
        "[studies/validity](../validity).",
        source="The survey's 5.3 (arXiv 2502.17814); Angelopoulos et al. 2023 (arXiv 2301.09633) "
        "and, for λ, 2023 (PPI++, arXiv 2311.01453).",
        alt="Width of the interval by number of labels, with and without the judge",
        figures={
            "truth": rate.to_dict(), "judge": by_judge.to_dict(), "bias": bias.to_dict(),
            "by_labels": {str(n): {"width": c[0].tolist(), "difference": c[2].to_dict(),
                                   "coverage": [x.to_dict() for x in c[1]]}
                          for n, c in curves.items()},
        },
    )  # fmt: skip


if __name__ == "__main__":
    run(make, __doc__ or "")
