"""Calibration: does a vote share of .8 mean that 8 answers in 10 are right?"""

from __future__ import annotations

import numpy as np
from common import Page, Setup, column, figure_to, lab_samples, run, shown

from statllm.estimators.calibration import (
    calibration_error,
    debiased_squared_calibration_error,
    reliability_curve,
    smooth_calibration_error,
    spiegelhalter,
)
from statllm.estimators.calibrators import Isotonic, cross_fit
from statllm.estimators.comparison import mean_estimate
from statllm.estimators.selective import auroc
from statllm.experiment.report import markdown_table
from statllm.results import format_p

BINS = 15


def reference(confidence: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Plug-in errors that calibrated confidences of these values would show by chance."""
    return np.array(
        [
            calibration_error(confidence, rng.random(len(confidence)) < confidence, BINS).value
            for _ in range(draws)
        ]
    )


def make(setup: Setup) -> Page:
    """Judge the lab model's vote shares, before and after recalibration."""
    scored = lab_samples(*setup.pick((600, 8), (100, 4)))
    confidence, right = column(scored, "vote_share"), column(scored, "majority_answer_correct")
    known = np.isfinite(confidence) & np.isfinite(right)
    dropped = int((~known).sum())
    confidence, right = confidence[known], right[known].astype(bool)
    after = cross_fit(Isotonic(), confidence, right).probability[:, 1]
    chance = reference(confidence, setup.pick(300, 40), np.random.default_rng(0))
    rows, tests = [], {}
    for name, p in (("vote share", confidence), ("after isotonic, out of fold", after)):
        tests[name] = spiegelhalter(p, right)
        rows.append(
            [
                name,
                shown(mean_estimate(p)),
                shown(calibration_error(p, right, BINS)),
                shown(debiased_squared_calibration_error(p, right, BINS), 4),
                shown(smooth_calibration_error(p, right)),
                f"p {format_p(tests[name].log_p_value)}",
            ]
        )
    accuracy, rank = mean_estimate(right.astype(float)), auroc(confidence, right)
    plug_in = calibration_error(confidence, right, BINS).value
    change = cross_fit(Isotonic(), confidence, right).report(confidence).brier_change
    curves = {
        name: reliability_curve(p, right, 8, "equal-mass")
        for name, p in (("vote share", confidence), ("after isotonic", after))
    }
    with figure_to(setup, "calibration") as axes:
        axes.plot([0, 1], [0, 1], color="#8C8C8C", linewidth=1, linestyle=(0, (2, 2)))
        for (name, curve), colour, marker in zip(
            curves.items(), ("#0072B2", "#D55E00"), ("o", "s"), strict=True
        ):
            reach = np.maximum(
                [curve.frequency - curve.low_all, curve.high_all - curve.frequency], 0
            )
            axes.errorbar(
                curve.confidence, curve.frequency, yerr=reach, color=colour, marker=marker,
                linestyle="none", capsize=3, label=name,
            )  # fmt: skip
        axes.set_xlabel("confidence")
        axes.set_ylabel("share of right answers")
        axes.legend(frameon=False, loc="upper left")
    head = ["confidence", "mean", "ECE, plug-in", "squared error, debiased", "smooth ECE",
            "Spiegelhalter"]  # fmt: skip
    low, high = np.quantile(chance, (0.025, 0.975))
    return Page(
        stem="calibration",
        title="Calibration: can a confidence be believed?",
        finding=f"The majority is right in {shown(accuracy)}, the mean vote share is "
        f"{confidence.mean():.3f}; plug-in ECE {plug_in:.3f}, where calibrated votes would show "
        f"{chance.mean():.3f} by chance; isotonic regression changes the Brier score by "
        f"{shown(change, 4)}.",
        question="A model that gives the same answer in 8 of 10 samples is called 80 % sure. Is "
        "it right in 80 % of such cases?",
        formula="Calibrated means P(right | confidence = p) = p. The usual measure, "
        "ECE = Σ_b (n_b / n) |accuracy_b − confidence_b|, is positive even for a calibrated model, "
        "since accuracies of bins are noisy; the debiased squared error "
        "Σ_b (n_b / n) [(acc − conf)² − acc (1 − acc) / (n_b − 1)] isn't. Spiegelhalter's Z = "
        "Σ (y − p)(1 − 2p) / √Σ (1 − 2p)² p (1 − p) is standard normal under calibration.",
        done=f"{len(scored.prompt_ids)} held-out problems, "
        f"{scored.column('response').to_pylist()[0].__len__()} samples each at T = 1; the "
        f"confidence is the majority's share of the votes, its truth the exact verifier's verdict "
        f"({dropped} problems without a readable answer are left out). Isotonic regression is "
        "fitted on four fifths and judged on the fifth, five times.",
        result="Intervals: 95 %.\n\n"
        + markdown_table(head, rows)
        + f"\n\nIf the vote shares were calibrated, the plug-in ECE would be {chance.mean():.3f} "
        f"on average, and between {low:.3f} and {high:.3f} in 95 of 100 samples of this size. As "
        f"a ranking the vote share has an AUROC of {shown(rank)}.",
        sure="Problems are the random sample. Bars in the figure hold for all bins together. Out "
        "of fold, rows share most of their fitting data, which the errors don't count.",
        tools="`statllm.estimators.calibration`, `calibrators.cross_fit`; `statllm calibrate "
        "scores.parquet --confidence vote_share`. Size and coverage of all of them: "
        "[studies/validity](../validity).",
        source="Ji et al. 2025, An Overview of Large Language Models for Statisticians "
        "(arXiv 2502.17814), 4.1; Spiegelhalter 1986; Kumar, Liang and Ma 2019.",
        alt="Share of right answers by confidence, before and after isotonic regression",
        figures={"n": len(right), "dropped": dropped, "accuracy": accuracy.to_dict(),
                 "plug_in": plug_in, "by_chance": [float(chance.mean()), float(low), float(high)],
                 "brier_change": change.to_dict(),
                 "log_p": {name: found.log_p_value for name, found in tests.items()}},
    )  # fmt: skip


if __name__ == "__main__":
    run(make, __doc__ or "")
