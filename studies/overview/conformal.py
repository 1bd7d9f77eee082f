"""Conformal prediction: answers, or sets of them, with an error rate that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Page, Setup, column, figure_to, lab_samples, run, shown, verdicts

from statllm.estimators.comparison import mean_estimate, ratio_estimate
from statllm.estimators.conformal import conformal_quantile, conformal_selection, fact_test
from statllm.estimators.proportions import proportion
from statllm.experiment.report import markdown_table

ALPHAS = (0.05, 0.1, 0.15, 0.2)
SET_ALPHAS = (0.2, 0.3, 0.4)


def splits(n: int, times: int) -> list[np.ndarray]:
    """Random halves: True is calibration."""
    rng = np.random.default_rng(1)
    return [rng.permutation(n) < n // 2 for _ in range(times)]


def selection(share: np.ndarray, right: np.ndarray, alpha: float, halves: Any) -> dict[str, Any]:
    """Of each problem: how often it was selected, and wrongly; and each split's proportion."""
    kept, wrong, rates = np.zeros(len(share)), np.zeros(len(share)), []
    for half in halves:
        found = conformal_selection(share[half], right[half], share[~half], alpha)
        picked = np.flatnonzero(~half)[found.selected]
        kept[picked] += 1
        wrong[picked] += ~right[picked]
        rates.append(found.false_discovery_proportion(right[~half]))
    tested = sum(~half for half in halves)
    return {
        "rates": np.array(rates),
        "wrong": ratio_estimate(wrong, kept, "wrong among selected", "share"),
        "kept": ratio_estimate(kept, tested, "selected", "share"),
    }


def answer_sets(
    truth_share: np.ndarray, shares: list[np.ndarray], alpha: float, halves: Any
) -> dict[str, Any]:
    """Sets of sampled answers with a vote share of at least 1 - q; coverage and size by problem."""
    n = len(truth_share)
    covered, size, tested = np.zeros(n), np.zeros(n), np.zeros(n)
    for half in halves:
        least = 1 - conformal_quantile(1 - truth_share[half], alpha)
        test = ~half
        tested += test
        covered += test & (truth_share >= least - 1e-12)
        size += test * np.array([np.sum(votes >= least - 1e-12) for votes in shares])
    seen = tested > 0
    return {
        "coverage": mean_estimate(covered[seen] / tested[seen], name="coverage", unit="share"),
        "size": mean_estimate(size[seen] / tested[seen], name="size", unit="answers"),
        "everything": float(least <= 0),
    }


def make(setup: Setup) -> Page:
    """Select answers, and make sets of them, on the lab model's samples."""
    scored = lab_samples(*setup.pick((600, 8), (100, 4)))
    right = np.nan_to_num(column(scored, "majority_answer_correct")).astype(bool)
    share = np.nan_to_num(column(scored, "vote_share"))
    # Equal shares are put in a random order: ties would only be selected together.
    share = share + 1e-6 * np.random.default_rng(0).random(len(share))
    truth_share = verdicts(scored).mean(axis=1)
    answers = [[a for a in row if a is not None] for row in scored.column("answer").to_pylist()]
    n_samples = verdicts(scored).shape[1]
    shares = [np.unique(row, return_counts=True)[1] / n_samples for row in answers]
    halves = splits(len(share), setup.pick(200, 20))
    chosen = {alpha: selection(share, right, alpha, halves) for alpha in ALPHAS}
    sets = {alpha: answer_sets(truth_share, shares, alpha, halves) for alpha in SET_ALPHAS}
    half = halves[0]
    fact = fact_test(share[half], right[half], 0.1, 0.05)
    given = fact.answers(share[~half])
    wrong_ones = ~right[~half]
    slips = proportion(int(given[wrong_ones].sum()), int(wrong_ones.sum()))
    with figure_to(setup, "conformal") as axes:
        axes.plot([0, 0.25], [0, 0.25], color="#8C8C8C", linewidth=1, linestyle=(0, (2, 2)))
        for alpha, found in chosen.items():
            interval = found["wrong"].interval(0.95)
            low, high = np.quantile(found["rates"], (0.05, 0.95))
            axes.plot([alpha, alpha], [low, high], color="#56B4E9", linewidth=5, alpha=0.5)
            axes.plot([alpha, alpha], [interval.low, interval.high], color="#0072B2")
            axes.plot([alpha], [found["wrong"].value], "o", color="#0072B2")
        axes.axhline(1 - right.mean(), color="#D55E00", linewidth=1)
        axes.text(0.001, 1 - right.mean(), "all answers", va="bottom", color="#D55E00")
        axes.set_xlabel("error rate that was asked for")
        axes.set_ylabel("wrong among selected")
        axes.set_xlim(0, 0.25)
        axes.set_ylim(bottom=0)
    at = chosen[0.1]
    table = markdown_table(
        ["asked for", "mean over splits", "pooled: wrong among selected", "selected"],
        [[f"{alpha:g}", f"{f['rates'].mean():.3f}", shown(f["wrong"]), shown(f["kept"])]
         for alpha, f in chosen.items()],
    )  # fmt: skip
    set_table = markdown_table(
        ["coverage asked for", "coverage", "answers in a set"],
        [
            [f"{1 - alpha:g}", shown(found["coverage"]), shown(found["size"], 2)]
            for alpha, found in sets.items()
        ],
    )
    return Page(
        stem="conformal",
        title="Conformal prediction: an error rate that was asked for",
        finding=f"Asked for at most 10 % wrong answers among those selected, on average over "
        f"splits, it gives {at['rates'].mean():.3f} (all splits pooled: {shown(at['wrong'])}) and "
        f"keeps {shown(at['kept'])} of the problems; all answers together are wrong in "
        f"{1 - right.mean():.3f}.",
        question="Which answers can be used without a check, if at most one in ten may be wrong, "
        "and the model's confidence is not to be believed?",
        formula="With calibration problems whose truth is known, the p-value of a new answer with "
        "score s is (1 + #{wrong calibration answers with a score ≥ s}) / (n + 1); "
        "Benjamini-Hochberg on these keeps the expected share of wrong ones below α. A set of all "
        "answers with 1 − share ≤ q, q the ⌈(n + 1)(1 − α)⌉-th smallest of the calibration "
        "problems' 1 − share(true answer), holds the true one with probability 1 − α at least.",
        done=f"{len(share)} held-out problems with {n_samples} samples of the lab model are "
        f"split at random into calibration and test, {len(halves)} times; the score is the "
        "majority's vote share. A problem whose true answer was never sampled has a share of 0.",
        result="Selection (the guarantee is for the mean over splits; intervals over problems):"
        "\n\n" + table
        + "\n\nSets of answers:\n\n" + set_table
        + f"\n\nFactTest (answer only above a certainty; at most α = .1 of the wrong ones get "
        f"through with probability .95): it answers {given.mean():.3f} of the test problems of "
        f"the first split, and lets through {shown(slips)} of the wrong answers.",
        sure="The guarantee is for the mean over calibration and test samples, not for each split: "
        "the pale bars hold 90 % of the splits. Intervals take the problems as the random sample; "
        "splits of one pool are not new data. Shares of few votes have few values, so that sets "
        "hold the truth more often than they need to. All of it is for new problems of the same "
        "kind.",
        tools="`statllm.estimators.conformal`; `statllm conformal answers | sets | claims`, "
        "`statllm select conformal`. Error rates in many settings: "
        "[studies/conformal_selection](../conformal_selection), "
        "[validity](../validity/conformal.md).",
        source="The survey's 4.1 (arXiv 2502.17814); Gui, Jin and Ren 2024 (arXiv 2405.10301); "
        "Nie et al. 2024 (FactTest, arXiv 2411.02603); Vovk et al. 2005.",
        alt="Share of wrong answers among the selected ones against what was asked for",
        figures={
            "selection": {f"{a:g}": {"wrong": f["wrong"].to_dict(), "kept": f["kept"].to_dict()}
                          for a, f in chosen.items()},
            "sets": {f"{a:g}": {"coverage": f["coverage"].to_dict(), "size": f["size"].to_dict()}
                     for a, f in sets.items()},
            "all_wrong": float(1 - right.mean()),
        },
    )  # fmt: skip


if __name__ == "__main__":
    run(make, __doc__ or "")
