"""Synthetic data: a model that is trained on its own text, round after round."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from common import Page, Setup, asked, examples, figure_to, response_log_p, run, shown, verdicts

from statllm.estimators.contamination import mean_log_p
from statllm.experiment import compare_scores
from statllm.experiment.report import markdown
from statllm.lab import Problem, careful_solution, generate, hasty_solution, model_path
from statllm.lab.pretrain import CAREFUL_STYLES, HASTY_STYLES, LESSONS
from statllm.lab.world import slip
from statllm.results import format_p
from statllm.training import SFTSettings, train_sft

ARMS = ("real", "own", "checked")
STYLES = {"real": "#6B6B6B", "own": "#D55E00", "checked": "#0072B2"}
UNITS = {"real text": "nats a token", "right": "share of samples", "differ": "share of problems"}


def real_solution(problem: Problem, rng: random.Random) -> str:
    """A solution of the law that the lab model was trained on last."""
    lesson = LESSONS[-1]
    if rng.random() < lesson.slips:
        problem = slip(problem, rng)
    if rng.random() < lesson.careful[len(problem.steps) - 2]:
        return careful_solution(problem, rng.choices((0, 1), CAREFUL_STYLES)[0])
    return hasty_solution(problem, rng.choices((0, 1, 2, 3), HASTY_STYLES)[0])


def lessons(arm: str, model: Any, found: list[Problem], seed: int, turn: int) -> pa.Table:
    """What an arm is trained on in a round: responses to the same problems."""
    rng = random.Random(f"{seed}-{turn}")
    real = [real_solution(problem, rng) for problem in found]
    prompts = [problem.prompt for problem in found]
    if arm == "real":
        return examples(prompts, real)
    table = pa.table(
        {"prompt_id": [p.problem_id for p in found], "prompt": prompts,
         "reference": [str(p.answer) for p in found]}
    )  # fmt: skip
    n = 2 if arm == "checked" else 1  # half of the samples are right, or less
    scored = asked(model, table, n, 1.0, seed=1000 * seed + turn)
    texts = scored.column("response").to_pylist()
    ended = scored.column("finish_reason").to_pylist()
    right = verdicts(scored).astype(bool)
    rows = []
    for i, (prompt, samples) in enumerate(zip(prompts, texts, strict=True)):
        for j, text in enumerate(samples):
            if ended[i][j] != "length" and text.strip() and (arm != "checked" or right[i, j]):
                rows.append((prompt, text))
    return examples([p for p, _ in rows], [r for _, r in rows])


def measures(model: Any, test: dict[str, Any]) -> dict[str, np.ndarray]:
    """By problem: real text's NLL per token; right samples; whether two samples' answers differ."""
    scored = asked(model, test["problems"], 2, 1.0, seed=9)
    answers = scored.column("answer").to_pylist()
    return {
        "real text": real_text(model, test),
        "right": verdicts(scored).mean(axis=1),
        "differ": np.array([float(a != b) for a, b in answers]),
    }


def real_text(model: Any, test: dict[str, Any]) -> np.ndarray:
    """Negative log-likelihood per token of real solutions of the held-out problems, nats."""
    found: np.ndarray = -mean_log_p(response_log_p(model, test["prompts"], test["texts"]))
    return found


def rounds(arm: str, seed: int, setup: Setup, test: dict[str, Any]) -> tuple[Any, list[float]]:
    """Train round after round; the measures at the end, and the course of the first one."""
    n, turns = setup.pick((128, 3), (32, 1))
    course: list[float] = []
    model: Any = model_path()
    with TemporaryDirectory() as folder:
        for turn in range(turns):
            found = list(islice(generate("train", seed=500 + 20 * seed + turn), n))
            data = lessons(arm, model, found, seed, turn)
            settings = SFTSettings(
                learning_rate=3e-4, warmup_steps=4, max_steps=n // 8, batch_size=16, seed=seed,
                lr_scheduler="cosine", checkpoint_every=None,
            )  # fmt: skip
            out = Path(folder) / f"round_{turn}"
            train_sft(model, data, out, settings, progress=False)
            model = out
            course.append(float(real_text(model, test).mean()))
        return measures(model, test), course


def make(setup: Setup) -> Page:
    """Real text, own text, and own text that a verifier lets through."""
    n_test, seeds = setup.pick((100, 5), (30, 2))
    found = list(islice(generate("test", seed=41), n_test))
    rng = random.Random("real")
    test = {
        "prompts": [p.prompt for p in found],
        "texts": [real_solution(p, rng) for p in found],
        "problems": pa.table(
            {"prompt_id": [p.problem_id for p in found], "prompt": [p.prompt for p in found],
             "reference": [str(p.answer) for p in found]}
        ),
    }  # fmt: skip
    start = measures(model_path(), test)
    scores: dict[str, dict[str, Any]] = {m: {"start": start[m][None]} for m in UNITS}
    courses: dict[str, list[list[float]]] = {}
    for arm in ARMS:
        made = [rounds(arm, seed, setup, test) for seed in range(seeds)]
        courses[arm] = [course for _, course in made]
        for measure in UNITS:
            scores[measure][arm] = np.stack([one[measure] for one, _ in made])
    result = compare_scores(
        scores,
        [("own", "real"), ("checked", "own"), ("checked", "real"), ("real", "start")],
        UNITS,
        name="synthetic data",
    )
    with figure_to(setup, "synthetic_data") as axes:
        for arm, lines in courses.items():
            whole = np.concatenate(
                [np.full((seeds, 1), start["real text"].mean()), np.array(lines)], axis=1
            )
            x = np.arange(whole.shape[1])
            axes.plot(x, whole.T, color=STYLES[arm], linewidth=0.6, alpha=0.5)
            axes.plot(x, whole.mean(axis=0), color=STYLES[arm], linewidth=2, label=arm)
        axes.set_xticks(x)
        axes.set_xlabel("rounds of training on the text named")
        axes.set_ylabel("NLL of real text, nats a token")
        axes.legend(frameon=False)
    found_by = {(c.name, c.measure): c for c in result.contrasts}
    own = found_by["own - real", "real text"]
    right = found_by["checked - own", "right"]
    differ = found_by["own - real", "differ"]
    cost = found_by["checked - own", "real text"]
    return Page(
        stem="synthetic_data",
        title="Synthetic data: what becomes of a model that reads itself",
        finding=f"After {len(courses['own'][0])} rounds on its own text, real text costs the "
        f"model {shown(own.estimate)} nats a token more than after as much real text (p "
        f"{format_p(own.log_p_holm)}), and the answers of two samples differ more often by "
        f"{shown(differ.estimate)}; checking that text adds {shown(right.estimate)} right "
        f"samples, and costs {shown(cost.estimate)} nats a token of real text.",
        question="A model's own output is cheap training data. Does it wear the model out, and "
        "does checking it help?",
        formula="Each round fits the model to a sample of itself. Without an error of estimation "
        "nothing would change; with finite samples the errors add up, and what wasn't sampled is "
        "lost (model collapse). Measures: −log p per token of real solutions; the share of right "
        "samples; how often the answers of two samples differ.",
        done=f"The lab model is trained for {len(courses['own'][0])} rounds with the same number "
        "of steps on the same new problems in each round: *real* solutions (of the law it was "
        "pretrained on; the control), its *own* samples at T = 1, and own samples "
        f"that the verifier found right (*checked*, two samples a problem). {seeds} seeds, each "
        "with other problems, samples and order.",
        result=markdown(result),
        sure="Seeds and held-out problems are both random samples. Only a small model and few "
        "rounds: what many rounds do to a large one can't be read off this. What is checked is "
        "right answers alone, so that the checked text "
        "leaves out hasty and wrong solutions, which real text has. 'Checked' sees "
        "twice as many samples, but is trained for as many steps.",
        tools="`statllm.training.train_sft`, `statllm.sampling`, `statllm.scoring`, "
        "`statllm.experiment.compare_scores`. Labels that are synthetic, not texts: "
        "[judges](judges.md).",
        source="The survey's 3.6 and 5.1 (arXiv 2502.17814); Shumailov et al. 2024 (Nature 631).",
        alt="Negative log-likelihood of real text by round, for three kinds of training text",
        figures={"rows": result.to_rows(), "courses": courses},
    )


if __name__ == "__main__":
    run(make, __doc__ or "")
