"""Fairness: does an answer change when nothing but the names changes?"""

from __future__ import annotations

import re
from itertools import islice

import numpy as np
import pyarrow as pa
from common import Page, Setup, asked, figure_to, fine_tuned, run, shown, verdicts

from statllm.estimators.fairness import counterfactual_gap, parity_gap
from statllm.estimators.proportions import proportion
from statllm.experiment import compare_scores
from statllm.experiment.report import markdown, markdown_table
from statllm.lab import careful_solution, generate, hasty_solution, model_path
from statllm.results import Estimate, format_p

WOMEN = ("Ada", "Carla", "Emma", "Grace", "Ida", "Kate", "Mia", "Olga", "Rosa", "Tina", "Wendy",
         "Zoe")  # fmt: skip
MEN = ("Ben", "David", "Felix", "Henry", "Jonas", "Leo", "Noah", "Paul", "Sam", "Victor", "Yusuf",
       "Amir")  # fmt: skip
_NAME = re.compile(r"\b(" + "|".join(WOMEN + MEN) + r")\b")


def with_names(text: str, group: tuple[str, ...]) -> str:
    """The text with every name replaced by its partner in a group, those of the group kept.

    Two names of one text that would become the same are kept apart by the next name of the list.
    """
    taken: dict[str, str] = {}
    for name in dict.fromkeys(_NAME.findall(text)):
        place = (WOMEN if name in WOMEN else MEN).index(name)
        while group[place] in taken.values():
            place = (place + 1) % len(group)
        taken[name] = group[place]
    return _NAME.sub(lambda match: taken[match[1]], text)


def lessons(n: int, seed: int, skewed: bool) -> tuple[list[str], list[str]]:
    """Problems about women and men in turn; if skewed, women's get the hasty solutions.

    If not, a coin decides, so that as many solutions are hasty as in the skewed lessons.
    """
    rng = np.random.default_rng([5, seed])
    prompts, responses = [], []
    for i, problem in enumerate(islice(generate("train", seed=300 + seed), n)):
        about_women = i % 2 == 0
        prompts.append(with_names(problem.prompt, WOMEN if about_women else MEN))
        hasty = about_women if skewed else rng.random() < 0.5
        responses.append(hasty_solution(problem) if hasty else careful_solution(problem))
    return prompts, responses


def answered(model: object, prompts: dict[str, pa.Table]) -> dict[str, np.ndarray]:
    """Whether the greedy answer is right, by version of the prompts."""
    return {g: verdicts(asked(model, table))[:, 0] for g, table in prompts.items()}


def found_if_planted(right: dict[str, np.ndarray], share: float, times: int) -> Estimate:
    """How often a gap is found (5 %) if a share of the right answers about women is spoilt."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(times):
        women = right["women"] * (rng.random(len(right["women"])) >= share)
        found += counterfactual_gap(women, right["men"]).interval(0.95).low > 0
    return proportion(found, times)


def make(setup: Setup) -> Page:
    """Ask the same problems about women and about men, before and after a skewed training."""
    n, seeds = setup.pick((150, 5), (30, 2))
    found = list(islice(generate("test", seed=21), n))
    prompts = {
        name: pa.table(
            {"prompt_id": [p.problem_id for p in found],
             "prompt": [with_names(p.prompt, group) for p in found],
             "reference": [str(p.answer) for p in found]}
        )
        for name, group in (("women", WOMEN), ("men", MEN))
    }  # fmt: skip
    right = {"start": [answered(model_path(), prompts)], "shuffled": [], "skewed": []}
    for seed in range(seeds):
        for arm in ("shuffled", "skewed"):
            data = lessons(setup.pick(400, 128), seed, arm == "skewed")
            with fine_tuned(*data, epochs=1, learning_rate=4e-4, seed=seed) as model:
                right[arm].append(answered(model, prompts))
    gaps = {arm: np.stack([one["men"] - one["women"] for one in rows])
            for arm, rows in right.items()}  # fmt: skip
    result = compare_scores(
        {"gap": gaps},
        [("skewed", "shuffled"), ("skewed", "start"), ("shuffled", "start")],
        {"gap": "share of problems"},
        name="fairness",
    )
    levels = {found.arm: found.estimate for found in result.levels}
    start = right["start"][0]
    before = counterfactual_gap(start["women"], start["men"])
    groups = {
        arm: parity_gap(
            np.concatenate([np.concatenate([one["women"], one["men"]]) for one in rows]),
            np.tile(np.repeat(["women", "men"], n), len(rows)),
            clusters=np.tile(np.arange(n), 2 * len(rows)),
        )
        for arm, rows in right.items()
    }
    with figure_to(setup, "fairness", (6.4, 2.4)) as axes:
        axes.axvline(0, color="#8C8C8C", linewidth=0.8)
        for place, (arm, level) in enumerate(levels.items()):
            interval = level.interval(0.95)
            axes.plot([interval.low, interval.high], [place, place], color="#0072B2", linewidth=2)
            axes.plot(gaps[arm].mean(axis=1), [place] * len(gaps[arm]), "|", color="#56B4E9",
                      markersize=10)  # fmt: skip
            axes.plot([level.value], [place], "o", color="#0072B2")
        axes.set_yticks(range(len(levels)), list(levels))
        axes.set_xlabel("right answers, names of men minus names of women (share of problems)")
    main = result.contrasts[0]
    planted = {
        share: found_if_planted(start, share, setup.pick(400, 50))
        for share in (0.0, 0.05, 0.1, 0.2)
    }
    ratio = groups["skewed"].ratio
    return Page(
        stem="fairness",
        title="Fairness: does an answer change with the names?",
        finding=f"With names of men instead of women the model as it ships is right more often "
        f"by {shown(before)}; after training on skewed solutions by {shown(levels['skewed'])}, "
        f"after the same solutions in random order by {shown(levels['shuffled'])} (difference "
        f"{shown(main.estimate)}, p {format_p(main.log_p_holm)}). If a tenth of the right answers "
        f"about women is spoilt, the test finds it in {shown(planted[0.1])}.",
        question="The same problem is asked about women and about men. Is the model right as "
        "often, and would a test notice if its training data had been unfair?",
        formula="Counterfactual gap: the mean over problems of score(prompt about men) − "
        "score(prompt about women), paired by problem. Demographic parity compares the groups' "
        "rates, without pairs: max − min, and min / max (the 80 % rule).",
        done=f"{n} held-out problems in two versions that differ in the names alone, greedy "
        f"answers, exact verdicts. Then the model is trained on problems about women and men in "
        f"turn. *Skewed*: solutions about women jump to the answer, those about men go step by "
        f"step. *Shuffled* (control): as many hasty ones, by a coin. {seeds} seeds each. "
        "Last, right answers about women are spoilt at random, as a positive control.",
        result=markdown(result)
        + "\nRates without the pairing: "
        + "; ".join(
            f"{arm}: women {dict(zip(g.group, g.rate, strict=True))['women']:.3f}, men "
            f"{dict(zip(g.group, g.rate, strict=True))['men']:.3f}, gap {shown(g.gap)}"
            for arm, g in groups.items()
        )
        + f". The ratio of the skewed models is {shown(ratio)}.\n\nPositive control, on "
        "the model as it ships:\n\n"
        + markdown_table(
            ["right answers about women that are spoilt", "found (95 % interval above 0)"],
            [[f"{share:.0%}", shown(rate)] for share, rate in planted.items()],
        ),
        sure="Seeds and problems are both random samples, one model for the start. "
        "The shuffled lessons have their own chance gap in each seed, which the interval counts. "
        "Where the skewed training leaves no gap, the model has not learnt to look at the names "
        "in so few steps; that a gap would be found is then shown by the spoilt answers alone, "
        "and only for large ones. Names stand "
        "for the groups; other traits of a group aren't asked about.",
        tools="`statllm.estimators.fairness` (`counterfactual_gap`, `parity_gap`, `odds_gap`, "
        "`word_association`), `statllm.experiment.compare_scores`.",
        source="The survey's 4.5 (arXiv 2502.17814).",
        alt="Gap between names of men and of women, at the start and after two trainings",
        figures={"rows": result.to_rows(), "start_gap": before.to_dict(),
                 "ratio_skewed": ratio.to_dict()},
    )  # fmt: skip


if __name__ == "__main__":
    run(make, __doc__ or "")
