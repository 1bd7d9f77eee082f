"""Journey learning on the lab's problems: do texts with errors and their repair teach more?

`python studies/journey/study.py` makes the policy of lab.yaml, its trees (exact and noisy process
rewards), trains every arm with five seeds, and writes result.md, .json, .png, interaction.md (does
DPO's gain depend on the kind of SFT?), arms.md and counts.json. `--quick` does
it all with two seeds on few problems. What is there already isn't made again.
`python studies/journey/process_rewards.py` then looks at the process rewards on the same trees.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
from journey_dpo import interaction, preferred  # noqa: E402
from journey_examples import FLIP, examples  # noqa: E402

from statllm.experiment.report import markdown_table, write_result  # noqa: E402
from statllm.experiment.scores import Result, compare_scores  # noqa: E402
from statllm.files import read_parquet, write_json, write_parquet, write_text  # noqa: E402
from statllm.generations import Generations  # noqa: E402
from statllm.journey import NoisyReward, Tree, read_trees, search  # noqa: E402
from statllm.journey.policy import open_policy  # noqa: E402
from statllm.journey.recipe import (  # noqa: E402
    JourneyRecipe,
    format_examples,
    read_journey_recipe,
)
from statllm.lab import problems  # noqa: E402
from statllm.lab.corrections import Course, teach_corrections  # noqa: E402
from statllm.lab.steps import LabStepVerifier, check_solution, complaint_about  # noqa: E402
from statllm.models import load_tokenizer  # noqa: E402
from statllm.sampling import sample  # noqa: E402
from statllm.scoring import score  # noqa: E402
from statllm.training import train_sft  # noqa: E402

UNITS = {
    "sampled right": "share of answers", "greedy right": "share of problems",
    "majority right": "share of problems", "tokens": "tokens per sampled answer",
    "reflects": "share of sampled answers", "corrects itself": "share of sampled answers",
    "has a wrong step": "share of sampled answers",
}  # fmt: skip
COMPARISONS = (
    ("journey", "shortcut"),
    ("journey", "shortcut, equal tokens"),
    ("shortcut", "random shortcuts"),
    ("journey", "journey, repairs only"),
    ("journey, repairs only", "shortcut"),
    ("journey, noisy reward", "journey"),
    ("journey + DPO", "journey"),
    ("shortcut", "format"),
    ("journey", "format"),
    ("shortcut + DPO", "shortcut"),
    ("journey + DPO", "journey + DPO, random sides"),
    ("shortcut + DPO", "shortcut + DPO, random sides"),
    ("journey + DPO, equal pairs", "journey + DPO"),
    ("journey + DPO", "shortcut + DPO"),
)


@dataclass(frozen=True)
class Size:
    """How much is run."""

    seeds: int
    trees: int
    examples: int
    pair_problems: int
    test: int
    steps: int | None = None  # of training, instead of the file's

    def changed(self, recipe: JourneyRecipe, seed: int) -> JourneyRecipe:
        """Return the recipe of a seed: other problems in every phase, other draws."""
        assert recipe.format is not None
        assert recipe.pairs is not None
        content = recipe.model_dump()
        content["format"]["seed"] += seed
        content["format"]["training"]["seed"] = seed
        content["problems"] |= {"n": self.trees, "seed": recipe.problems.seed + seed}
        content["policy"]["sampling"]["seed"] = seed
        content["extract"]["seed"] = content["training"]["seed"] = seed
        pairs = content["pairs"]
        if self.steps is not None:
            for part in (content, pairs, content["format"]):
                part["training"]["max_steps"] = self.steps
        pairs["problems"] |= {"n": self.pair_problems, "seed": recipe.pairs.problems.seed + seed}
        pairs["sampling"]["seed"] = pairs["settings"]["seed"] = pairs["training"]["seed"] = seed
        return JourneyRecipe.model_validate(content)


FULL = Size(seeds=5, trees=110, examples=64, pair_problems=40, test=120)
QUICK_COURSE = Course(steps=12, lr=0.004, adam_lr=0.002)
QUICK = Size(seeds=2, trees=24, examples=8, pair_problems=8, test=16, steps=4)


def grown(recipe: JourneyRecipe, model: Path, folder: Path, flip: float, seed: int) -> list[Tree]:
    """Return the trees of a seed under a reward whose verdicts flip at a rate."""
    path = folder / f"trees-{flip:g}.jsonl"
    if path.exists():
        return read_trees(path)
    own = recipe.policy
    policy = open_policy(model, own.sampling, own.step_end, own.max_step_tokens)
    exact = LabStepVerifier()
    reward = NoisyReward(exact, flip, seed, complaint_about) if flip else exact
    asked = problems("train", recipe.problems.n or 250, recipe.problems.seed)
    return search(asked, policy, reward, recipe.search, path)


def trained(recipe: JourneyRecipe, start: Path, table: pa.Table, out: Path, more: float) -> Path:
    """SFT-2; the arm with equal tokens has `more` examples, and takes so many more steps."""
    if not out.exists():
        steps = round((recipe.training.max_steps or 1) * more)
        # Parts of a journey that are followed by an error don't end by themselves.
        ends = "response_ids" not in table.column_names
        settings = recipe.training.model_copy(update={"max_steps": steps, "require_eos": ends})
        train_sft(start, table, out, settings, progress=False)
    return out


def measured(model: Path, test: pa.Table, recipe: JourneyRecipe, out: Path) -> dict[str, Any]:
    """Scores of a model on each held-out problem: {measure: (problems,)}."""
    if not out.exists():
        write_parquet(pa.table(answers(model, test, recipe)), out)
    table = read_parquet(out)
    return {name: table[name].to_numpy() for name in table.column_names}


def answers(model: Path, test: pa.Table, recipe: JourneyRecipe) -> dict[str, list[float]]:
    """Answer every problem greedily, and a few times by sampling at the policy's temperature."""
    common = recipe.policy.sampling.model_copy(update={"seed": 7})
    greedy = common.model_copy(update={"n": 1, "temperature": 0.0})
    k = recipe.evaluation.k if recipe.evaluation else 4
    one = score(Generations(sample(model, test, greedy, progress=False)))
    many = score(
        Generations(sample(model, test, common.model_copy(update={"n": k}), progress=False))
    )
    found: dict[str, list[float]] = {name: [] for name in UNITS}
    rows = zip(
        test["prompt"].to_pylist(), many.column("response").to_pylist(),
        many.column("correct").to_pylist(), many.column("n_tokens").to_pylist(),
        one.column("correct").to_pylist(),
        many.column("majority_answer_correct").to_pylist(), strict=True,
    )  # fmt: skip
    for prompt, texts, right, tokens, greedy_right, majority in rows:
        wrong = [any(not v.right for v in check_solution(prompt, text)) for text in texts]
        found["sampled right"].append(float(np.mean(right)))
        found["greedy right"].append(float(greedy_right[0]))
        found["majority right"].append(float(majority or 0))
        found["tokens"].append(float(np.mean(tokens)))
        found["reflects"].append(float(np.mean(["Wait," in text for text in texts])))
        both = [bad and ok for bad, ok in zip(wrong, right, strict=True)]
        found["corrects itself"].append(float(np.mean(both)))
        found["has a wrong step"].append(float(np.mean(wrong)))
    return found


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Two seeds, few problems.")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/journey"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # the model is so small that more threads only wait for each other
    size = QUICK if options.quick else FULL
    base = read_journey_recipe(HERE / "lab.yaml")
    test = problems("test", size.test, 0)
    start = options.output / "base"
    if not start.exists():
        teach_corrections(start, course=QUICK_COURSE if options.quick else Course())
    tokenizer = load_tokenizer(start)
    scores: dict[str, dict[str, list[Any]]] = {name: {} for name in UNITS}
    counts = []
    for seed in range(size.seeds):
        recipe, folder = size.changed(base, seed), options.output / f"seed_{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        assert recipe.format is not None
        model = folder / "format"
        if not model.exists():
            settings = recipe.format.training
            train_sft(start, format_examples(recipe.format), model, settings, progress=False)
        trees = {flip: grown(recipe, model, folder, flip, seed) for flip in (0.0, FLIP)}
        tables, about = examples(trees, recipe, size.examples, seed, tokenizer)
        arms = {"format": model}
        for arm, table in tables.items():
            more = table.num_rows / tables["journey"].num_rows if "equal" in arm else 1.0
            arms[arm] = trained(recipe, model, table, folder / arm, more)
        after, pairs = preferred(recipe, arms, folder, seed, tokenizer)
        arms, about = arms | after, about | pairs
        for arm, path in arms.items():
            found = measured(path, test, recipe, folder / f"scores-{arm}.parquet")
            for name, values in found.items():
                scores[name].setdefault(arm, []).append(values)
        counts.append(about)
        print(f"seed {seed} is done", flush=True)
    stacked = {
        name: {arm: np.stack(rows) for arm, rows in arms.items()} for name, arms in scores.items()
    }
    result = compare_scores(stacked, COMPARISONS, UNITS, name="journey")
    write_result(result, options.output)
    decided = {name: stacked[name] for name in ("sampled right", "greedy right")}
    together = interaction(decided, UNITS)
    write_result(together, options.output, stem="interaction", figure=False)
    write_text(arms_page(result), options.output / "arms.md")
    write_json(counts, options.output / "counts.json")
    for name in ("result", "interaction", "arms"):
        print((options.output / f"{name}.md").read_text(encoding="utf-8"))
    keys = [key for key in counts[0] if key != "seed"]
    head = ("what", *(f"seed {row['seed']}" for row in counts))
    print(markdown_table(head, [(key, *(row.get(key, 0) for row in counts)) for key in keys]))


def arms_page(result: Result) -> str:
    """Every arm in a row: the first measure with its interval, the others' means."""
    found = {(level.arm, level.measure): level.estimate for level in result.levels}
    decides, *others = result.measures
    rows = []
    for arm in dict.fromkeys(level.arm for level in result.levels):
        first = found[arm, decides]
        cells = [
            f"{found[arm, measure].value:.{1 + 2 * (measure != 'tokens')}f}" for measure in others
        ]
        rows.append([arm, f"{first.value:.3f} {first.interval():.3f}", *cells])
    return markdown_table(("arm", decides, *others), rows) + "\n"


if __name__ == "__main__":
    main()
