"""A privacy audit: which texts was a model trained on, and what epsilon does that rule out?"""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import numpy as np
from common import Page, Setup, figure_to, fine_tuned, response_log_p, run, shown

from statllm.estimators.comparison import mean_estimate, t_test
from statllm.estimators.contamination import mean_log_p, reference_ratio
from statllm.estimators.privacy import (
    epsilon_of_one_run,
    gaussian_epsilon,
    gaussian_mu,
    renyi_epsilon,
    tpr_at_fpr,
)
from statllm.estimators.selective import auroc
from statllm.experiment.report import markdown_table
from statllm.lab import careful_solution, generate, model_path
from statllm.lab.world import slip
from statllm.results import format_p

UNTOUCHED = "not trained"
GUESSED = 0.15  # of the canaries at each end
FPR = 0.05
BATCH = 16


def canaries(n: int) -> tuple[list[str], list[str]]:
    """Problems with a solution that has a wrong step: texts that the model would not write."""
    rng = random.Random("canaries")
    found = list(islice(generate("train", seed=77), n))
    return [p.prompt for p in found], [careful_solution(slip(p, rng)) for p in found]


def audit(score: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """AUROC, true-positive rate, and the lower bound of epsilon that one run shows."""
    order = np.argsort(score)
    r = round(GUESSED * len(score))
    correct = int(member[order[-r:]].sum() + (~member[order[:r]]).sum())
    return {
        "auroc": auroc(score, member).value,
        "tpr": tpr_at_fpr(score[member], score[~member], FPR).tpr.value,
        "epsilon": epsilon_of_one_run(correct, 2 * r, len(score)).low,
    }


def make(setup: Setup) -> Page:
    """Train with canaries that were put in by a coin, and guess which ones."""
    n, seeds = setup.pick(200, 60), range(setup.pick(5, 2))
    passes: tuple[int, ...] = setup.pick((1, 8), (8,))
    prompts, texts = canaries(n)
    before = response_log_p(model_path(), prompts, texts)
    found: dict[str, list[dict[str, float]]] = {}
    curves: dict[str, list[np.ndarray]] = {}
    grid = np.linspace(0, 1, 101)
    for seed in seeds:
        member = np.random.default_rng([3, seed]).random(n) < 0.5
        others = list(islice(generate("train", seed=200 + seed), n // 2))
        rows = [(prompts[i], texts[i]) for i in np.flatnonzero(member)]
        rows += [(p.prompt, careful_solution(p)) for p in others]
        scores: dict[str, Any] = {UNTOUCHED: mean_log_p(before)}
        for epochs in passes:
            name = f"{epochs} pass" + "es" * (epochs > 1)
            with fine_tuned(*zip(*rows, strict=True), epochs=epochs, learning_rate=5e-4,
                            seed=seed, batch_size=BATCH) as model:  # fmt: skip
                scores[name] = reference_ratio(response_log_p(model, prompts, texts), before)
        for name, score in scores.items():
            found.setdefault(name, []).append(audit(score, member))
            outside = np.sort(score[~member])[::-1]
            cut = outside[np.minimum((grid * len(outside)).astype(int), len(outside) - 1)]
            curves.setdefault(name, []).append(
                np.array([np.mean(score[member] > one) for one in cut])
            )
    with figure_to(setup, "privacy") as axes:
        axes.plot([0, 1], [0, 1], color="#8C8C8C", linewidth=1, linestyle=(0, (2, 2)))
        for (name, lines), colour in zip(
            curves.items(), ("#6B6B6B", "#0072B2", "#009E73", "#D55E00"), strict=False
        ):
            axes.plot(grid, np.mean(lines, axis=0), color=colour, label=name)
        axes.set_xlabel("share of canaries left out that are called members")
        axes.set_ylabel("share of members found")
        axes.legend(frameon=False, loc="lower right")
    levels = {
        name: {k: mean_estimate([row[k] for row in rows]) for k in ("auroc", "tpr")}
        for name, rows in found.items()
    }
    rows = [
        [name, shown(level["auroc"]), format_p(t_test(level["auroc"], 0.5).log_p_value),
         shown(level["tpr"]),
         f"{np.median([x['epsilon'] for x in found[name]]):.2f} "
         f"({min(x['epsilon'] for x in found[name]):.2f} to "
         f"{max(x['epsilon'] for x in found[name]):.2f})"]
        for name, level in levels.items()
    ]  # fmt: skip
    delta, steps = 1e-5, 15 * 60000 // 256
    noise = [
        [f"{sigma:g}", f"{gaussian_epsilon(delta, gaussian_mu(256 / 60000, sigma, steps)):.2f}",
         f"{renyi_epsilon(delta, 256 / 60000, sigma, steps):.2f}"]
        for sigma in (0.7, 1.1, 2.0)
    ]  # fmt: skip
    last = list(levels)[-1]
    return Page(
        stem="privacy",
        title="A privacy audit: what was the model trained on?",
        finding=f"After {last} the attack has an AUROC of {shown(levels[last]['auroc'])} over "
        f"training seeds and rules out every epsilon below "
        f"{np.median([x['epsilon'] for x in found[last]]):.2f} (median of "
        f"{len(seeds)} runs, 95 %); on a model that saw nothing it has "
        f"{shown(levels[UNTOUCHED]['auroc'])}.",
        question="Can somebody who has the model tell whether a text was in its training data, "
        "and what does success say of the privacy that the training gave?",
        formula="Under (ε, 0)-privacy a guess about a coin that put a text in or left it out is "
        "right with probability e^ε / (1 + e^ε) at most; so c right ones of r guesses rule out "
        "every ε at which P(Binomial(r, e^ε / (1 + e^ε)) ≥ c) is below .05. A promise goes the "
        "other way: DP-SGD with noise σ and sampling rate p over T steps has "
        "μ = p √(T (e^(1/σ²) − 1)), and δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).",
        done=f"{n} canaries, solutions with a wrong step, are each put into the training data by "
        f"a coin, anew for each of {len(seeds)} seeds, beside {n // 2} right solutions. The score "
        "of a canary is its log-probability per token under the trained model minus that under "
        f"the model before; the highest and the lowest {GUESSED:.0%} are guessed as in and out, "
        "which was fixed before. Control: the model before, which saw none of them.",
        result=markdown_table(
            ["trained for", "AUROC", "p (AUROC = .5)", f"found at a false-positive rate of {FPR}",
             "ε is at least: median (range)"], rows)
        + "\n\nWhat noise would promise (60,000 rows, batches of 256, 15 epochs, δ = 1e-5):\n\n"
        + markdown_table(["σ", "ε, central limit theorem", "ε, Rényi (an upper bound)"], noise)
        + "\n\nThe central limit theorem's ε is an approximation, and optimistic.",
        sure="Intervals and p: t over training seeds, each with its own coins, data and order. "
        "Each run's ε is a valid lower bound with probability .95, the median of them is a "
        "summary. A low bound is no proof of privacy: a better attack may come.",
        tools="`statllm.estimators.privacy`, `estimators.contamination` (Min-K%, zlib, reference "
        "and curvature scores with conformal p-values); `statllm contamination`.",
        source="The survey's 4.3 (arXiv 2502.17814); Carlini et al. 2022; Steinke, Nasr and "
        "Jagielski 2023; Dong, Roth and Su 2022 (Gaussian privacy).",
        alt="Share of members found by share of others accused, by passes over the data",
        figures={name: {"auroc": levels[name]["auroc"].to_dict(),
                        "tpr": levels[name]["tpr"].to_dict(),
                        "epsilon": [x["epsilon"] for x in rows_]}
                 for name, rows_ in found.items()},
    )  # fmt: skip


if __name__ == "__main__":
    run(make, __doc__ or "")
