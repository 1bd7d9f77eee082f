"""Preference collapse: does training on preferences keep the minority's share?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from common import Page, Setup, asked, figure_to, response_log_p, run, shown, verdicts

from statllm.estimators.preference_matching import matching_divergences, optimal_policy
from statllm.experiment import compare_scores
from statllm.experiment.report import markdown, markdown_table
from statllm.lab import Problem, careful_solution, generate, model_path
from statllm.results import format_p
from statllm.training import PreferenceSettings, train_preference

SHARE = 0.7  # of the raters that prefer the longer opening
BATCH, STEPS, RATE = 32, 48, 3e-4
ARMS: dict[str, dict[str, Any]] = {
    "dpo .1": {"loss": "dpo", "beta": 0.1},
    "dpo 1": {"loss": "dpo", "beta": 1.0},
    "pm": {"loss": "pm"},
    "sft": {"loss": "sft"},
    "pm, coin": {"loss": "pm"},  # its labels are coins
}
UNITS = {"divergence": "nats", "share": "probability", "kept": "probability",
         "right": "share of samples"}  # fmt: skip


def wordings(problem: Problem) -> tuple[str, str]:
    """Two right solutions that differ in their opening: what the majority prefers comes first."""
    return careful_solution(problem, 1), careful_solution(problem, 0)


def preferences(n: int, seed: int, share: float) -> pa.Table:
    """Pairs of both wordings of new problems; each is labelled by one rater, drawn at random."""
    rng = np.random.default_rng([11, seed])
    rows = []
    for problem in islice(generate("train", seed=700 + seed), n):
        liked, other = wordings(problem)
        if rng.random() >= share:
            liked, other = other, liked
        rows.append(
            {"prompt_id": problem.problem_id, "prompt": problem.prompt, "chosen": liked,
             "rejected": other, "weight": 1.0}
        )  # fmt: skip
    return pa.Table.from_pylist(rows)


@contextmanager
def trained(arm: str, seed: int, steps: int) -> Iterator[Path]:
    """The lab model after an arm's training."""
    pairs = preferences(steps * BATCH, seed, 0.5 if "coin" in arm else SHARE)
    settings = PreferenceSettings(
        learning_rate=RATE, batch_size=BATCH, lr_scheduler="cosine", warmup_steps=4, seed=seed,
        checkpoint_every=None, **ARMS[arm],
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        train_preference(model_path(), pairs, out, settings, progress=False)
        yield out


def measures(model: str | Path, test: list[Problem]) -> dict[str, np.ndarray]:
    """By held-out problem: divergence, the majority's share, both wordings' mass, right samples."""
    prompts = [problem.prompt for problem in test]
    logps = np.stack(
        [response_log_p(model, prompts, texts).sum()
         for texts in zip(*map(wordings, test), strict=True)],
        axis=1,
    )  # fmt: skip
    truth = np.log([[SHARE, 1 - SHARE]] * len(test))
    table = pa.table(
        {"prompt_id": [p.problem_id for p in test], "prompt": prompts,
         "reference": [str(p.answer) for p in test]}
    )  # fmt: skip
    return {
        "divergence": matching_divergences(truth, logps),
        "share": 1 / (1 + np.exp(logps[:, 1] - logps[:, 0])),
        "kept": np.exp(logps).sum(axis=1),
        "right": verdicts(asked(model, table, 1, 1.0, seed=3)).mean(axis=1),
    }


def make(setup: Setup) -> Page:
    """Train with every loss on the same labels, and compare with what the raters think."""
    n_test, seeds, steps = setup.pick((100, 5, STEPS), (24, 2, 5))
    test = list(islice(generate("test", seed=51), n_test))
    start = measures(model_path(), test)
    scores: dict[str, dict[str, Any]] = {m: {"start": start[m][None]} for m in UNITS}
    for arm in ARMS:
        made = []
        for seed in range(seeds):
            with trained(arm, seed, steps) as model:
                made.append(measures(model, test))
        for measure in UNITS:
            scores[measure][arm] = np.stack([one[measure] for one in made])
    result = compare_scores(
        scores,
        [("pm", "dpo .1"), ("pm", "dpo 1"), ("pm", "sft"), ("pm", "pm, coin"),
         ("pm", "start")],
        UNITS,
        name="preference collapse",
    )  # fmt: skip
    level = {(found.measure, found.arm): found.estimate for found in result.levels}
    with figure_to(setup, "preference_collapse", (6.4, 3.2)) as axes:
        arms = ["start", *ARMS]
        axes.axvline(SHARE, color="#D55E00")
        axes.text(SHARE, len(arms) - 0.45, "the raters", color="#D55E00", ha="center")
        for place, arm in enumerate(arms):
            interval = level["share", arm].interval(0.95)
            axes.plot(scores["share"][arm].mean(axis=1), [place] * len(scores["share"][arm]), "|",
                      color="#56B4E9", markersize=10)  # fmt: skip
            axes.plot([interval.low, interval.high], [place, place], color="#0072B2", linewidth=2)
            axes.plot([level["share", arm].value], [place], "o", color="#0072B2")
        axes.set_yticks(range(len(arms)), arms)
        axes.set_xlim(0, 1)
        axes.set_xlabel("the policy's share of the wording that the majority prefers")
    closed = [[np.log(0.51 / 0.49), 0.0]]
    tilted = float(start["share"].mean())
    odds = np.log([[SHARE, 1 - SHARE]])
    rows = [
        [name, f"{optimal_policy(closed, None, beta, tau)[0, 0]:.3f}",
         f"{optimal_policy(odds, np.log([[tilted, 1 - tilted]]), beta, tau)[0, 0]:.4f}"]
        for name, beta, tau in (
            ("RLHF or DPO, β = 1", 1.0, 0.0), ("RLHF or DPO, β = .1", 0.1, 0.0),
            ("RLHF or DPO, β = .02", 0.02, 0.0), ("preference matching", 0.0, 1.0),
        )
    ]  # fmt: skip
    contrasts = {(c.name, c.measure): c for c in result.contrasts}
    against = contrasts["pm - dpo .1", "divergence"]
    milder = contrasts["pm - dpo 1", "divergence"]
    plain = contrasts["pm - sft", "divergence"]
    return Page(
        stem="preference_collapse",
        title="Preference collapse: what becomes of the minority",
        finding=f"Where {SHARE:.0%} of the raters prefer one wording, DPO at β = .1 gives it "
        f"{shown(level['share', 'dpo .1'])}, preference matching {shown(level['share', 'pm'])}; "
        f"matching's divergence from the raters is smaller than DPO's by "
        f"{-against.estimate.value:.3f} nats at β = .1 (p {format_p(against.log_p_holm)}), and "
        f"differs by {milder.estimate.value:+.3f} at β = 1 (p {format_p(milder.log_p_holm)}) and "
        f"by {plain.estimate.value:+.3f} from that of SFT on the chosen responses "
        f"(p {format_p(plain.log_p_holm)}).",
        question="Raters don't agree. A model that is trained on their preferences could answer "
        "as they would, each view as often as it is held. Does it, or does the majority take "
        "all?",
        formula="Raters prefer y to y' with probability σ(r − r') (Bradley-Terry). RLHF, and DPO "
        "with unlimited data, maximises E[r − β log(π / π_ref)]; its maximum π_ref exp(r / β) "
        "tilts the reference and exaggerates r by 1 / β. Preference matching maximises "
        "E[r − log π], with the maximum softmax(r): the raters' own odds. As a loss of pairs: "
        "−log σ(log π(y+) − log π(y−)), `loss: pm`. Measure: the divergence "
        "KL(softmax r ‖ π) over both responses, nats.",
        done=f"Two right solutions of each of {steps * BATCH} new problems, with the opening "
        f"'Step by step:' and without, are shown to a rater; {SHARE:.0%} of the raters prefer the "
        f"first. All arms see the same pairs for {steps} steps of {BATCH}, {seeds} seeds each with "
        "other problems and raters; 'pm, coin' has labels from a coin; 'sft' trains on the chosen "
        f"responses alone. Measured on {n_test} held-out problems: "
        "divergence; the policy's share of the preferred wording among the two; the probability "
        "of both together (*kept*); right answers among its samples at T = 1.",
        result="Best policies in closed form, for a preference of 51 in 100 without a reference, "
        f"and for the {SHARE:.0%} here with the start's own share of {tilted:.3f}:\n\n"
        + markdown_table(["objective", "share of .51", f"share of {SHARE:g}"], rows)
        + "\n\n"
        + markdown(result),
        sure="Seeds and problems are both random samples; p is adjusted within each measure. "
        f"The learning rate ({RATE:g}) was chosen on pairs of another seed before: of 2e-4, 5e-4 "
        "and 1e-3, matching was nearest to the raters at 2e-4, and DPO at β = .1 nearest to its "
        "own best policy at 5e-4; it is one between. DPO at β = .1 passes the raters' share on its "
        "way, so that where it stands after few steps is also a matter of their number. SFT "
        "matches as well where every response is shown equally often, as here: its best policy "
        "gives each the share of its wins among all. One small model, two wordings; the paper "
        "trains a reward model and uses PPO on OPT and Llama, which was not run here.",
        tools="`loss: pm` of `statllm train` (`entropy`, the coefficient of −log π, is 1), "
        "`statllm.training.losses.pm_loss`; `statllm.estimators.preference_matching` "
        "(`optimal_policy`, `matching_divergence`).",
        source="Xiao et al. 2024 (arXiv 2405.16455; JASA 2025); the survey's 4.6 "
        "(arXiv 2502.17814). That the reward can be taken out of the objective, as in DPO "
        "(arXiv 2305.18290), is our step, not the paper's.",
        alt="Share of the majority's wording under each loss, and among the raters",
        figures={"rows": result.to_rows()},
    )


if __name__ == "__main__":
    run(make, __doc__ or "")
