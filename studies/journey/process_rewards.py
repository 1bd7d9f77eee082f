"""Process rewards against the exact verifier, on the steps of the study's trees.

`python studies/journey/process_rewards.py runs/journey` reads the exact trees and the policies of
a run of study.py; it writes rewards.md and rewards.json there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from statllm.experiment.report import markdown_table
from statllm.files import write_json, write_text
from statllm.journey import NoisyReward, RolloutReward, read_trees
from statllm.journey.policy import open_policy
from statllm.journey.quality import RewardQuality, candidates_of, reward_quality
from statllm.journey.recipe import read_journey_recipe
from statllm.lab.steps import LabStepVerifier

HERE = Path(__file__).parent
FLIPS = (0.0, 0.1, 0.2, 0.3)
RATED = 120  # steps of each seed that rollouts rate


def rewards(folder: Path) -> dict[str, RewardQuality]:
    """Return the quality of each process reward, all seeds together; problems are the clusters."""
    own = read_journey_recipe(HERE / "lab.yaml").policy
    said: dict[str, list[Any]] = {}
    truths: dict[str, list[Any]] = {}
    owners: dict[str, list[str]] = {}
    exact = LabStepVerifier()
    for seed, place in enumerate(sorted(folder.glob("seed_*"))):
        steps = candidates_of(read_trees(place / "trees-0.jsonl"))
        sampling = own.sampling.model_copy(update={"seed": seed + 1000})
        policy = open_policy(place / "format", sampling, own.step_end, own.max_step_tokens)
        todo: list[tuple[str, Any, list[Any]]] = [
            (f"exact, {100 * flip:g} % flips", NoisyReward(exact, flip, seed), steps)
            for flip in FLIPS
        ]
        for threshold, name in ((0.5, "rollouts, half right"), (1 / 8, "rollouts, any right")):
            todo.append((name, RolloutReward(policy, 8, threshold), steps[:RATED]))
        for name, reward, asked in todo:
            said.setdefault(name, []).extend(reward.rate(asked))
            truths.setdefault(name, []).extend(exact.rate(asked))
            owners.setdefault(name, []).extend(one.prompt_id for one in asked)
    return {name: reward_quality(said[name], truths[name], owners[name]) for name in said}


def page(found: dict[str, RewardQuality]) -> str:
    """Table of the process rewards, with the F1 that flips must lead to."""
    rows = []
    for name, quality in found.items():
        wrong = quality.wrong_steps
        share = (wrong.true_positive + wrong.false_negative) / quality.n_steps
        flip = float(name.split(", ")[1].split()[0]) / 100 if name.startswith("exact") else None
        must = "-" if flip is None else f"{expected_f1(share, flip):.3f}"
        cells = [
            f"{one.value:.3f} {one.interval():.3f}"
            for one in (wrong.precision, wrong.recall, wrong.f1, quality.calibration)
        ]
        area = "-" if quality.auroc is None else f"{quality.auroc.value:.3f}"
        rows.append([name, quality.n_steps, *cells[:3], must, cells[3], area])
    head = ("process reward", "steps", "precision", "recall", "F1", "F1 expected", "ECE", "AUROC")
    return markdown_table(head, rows) + "\n"


def expected_f1(share: float, flip: float) -> float:
    """F1 of verdicts that flip, for a share of wrong steps: TP = share (1 - flip), and so on."""
    hit, false, missed = share * (1 - flip), (1 - share) * flip, share * flip
    return 2 * hit / (2 * hit + false + missed)


def main() -> None:
    """Read the command line, and write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="Of study.py.")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    found = rewards(folder)
    write_text(page(found), folder / "rewards.md")
    figures = {
        name: [
            one.to_dict()
            for one in (*quality.wrong_steps.figures(), quality.calibration, quality.brier)
        ]
        for name, quality in found.items()
    }
    write_json(figures, folder / "rewards.json")
    print(page(found))


if __name__ == "__main__":
    main()
