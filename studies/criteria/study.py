"""LLMCrit in the lab: do criteria, or demonstrations, make a small model's feedback better?

`python studies/criteria/study.py` trains one feedback model per seed, asks each for feedback by
four strategies at three granularities, holds it against the syntax tree, and chooses the best of
several texts by its verdicts. `--quick` does it all with two seeds, on little. A seed that has been
run is not run again.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import yaml
from feedback_tables import write_tables
from numpy.typing import NDArray

from statllm.errors import InputError
from statllm.files import atomic_folder, read_json, read_parquet, write_json, write_parquet
from statllm.generations import Generations
from statllm.lab.code_style import BY_NAME, House, helps, house, true_findings
from statllm.lab.code_style.houses import spoilt
from statllm.lab.code_style.model import VIOLATIONS, Training, feedback_model, feedback_tokenizer
from statllm.sampling import SamplingSettings, sample
from statllm.scoring.criteria import (
    COMPLETION,
    GRANULARITIES,
    STRATEGIES,
    Truth,
    feedback_prompts,
    read_answers,
)

HERE = Path(__file__).parent
# near_tie 0: a text may then hang on the batch by rounding, and the batches are always the same
GREEDY = SamplingSettings(n=1, temperature=0.0, max_new_tokens=64, batch_size=128, near_tie=0.0)
SHORT = 1  # demonstrations per aspect of the cells that ask about length


@dataclass(frozen=True)
class Task:
    """A house, and texts that were written for it."""

    name: str
    house: House
    texts: tuple[str, ...]

    def truth(self) -> dict[tuple[str, int, str], Truth]:
        """What is true of every text and criterion of the house."""
        known = {}
        for place, text in enumerate(self.texts):
            found = true_findings(text, list(self.house.remedies), self.house.remedies)
            for finding in found:
                one = BY_NAME[finding.criterion]
                key = f"{one.aspect}/{one.name}"
                known[self.name, place, key] = Truth(
                    finding.met, self.house.remedies[one.criterion_id]
                )
        return known

    def quality(self) -> NDArray[np.float64]:
        """Share of the house's criteria that each text doesn't violate."""
        truth = self.truth()
        violated = np.zeros(len(self.texts))
        for (_, place, _), one in truth.items():
            violated[place] += one.met is False
        return 1 - violated / len(self.house.remedies)


def make_tasks(n: int, candidates: int, seed: str = "test") -> list[Task]:
    """Draw tasks whose texts have a violation at least, and aren't all equally good."""
    rng = random.Random(f"criteria-{seed}")
    tasks: list[Task] = []
    while len(tasks) < n:
        one = house(rng)
        texts = tuple(
            spoilt(rng, list(one.remedies), rng.choices(*VIOLATIONS)[0]) for _ in range(candidates)
        )
        task = Task(f"task{len(tasks)}", one, texts)
        if len(set(task.quality())) > 1:
            tasks.append(task)
    return tasks


def cells(demos: int) -> Iterator[tuple[str, str, int]]:
    """Strategy, granularity, demonstrations per aspect: the twelve, and two with fewer."""
    for strategy in STRATEGIES:
        for granularity in GRANULARITIES:
            yield strategy, granularity, demos
    for strategy in ("icl", "cricl"):
        yield strategy, "aspect", SHORT


def questions(tasks: list[Task], demos: int) -> pa.Table:
    """All prompts; ``n_demos`` tells the cells of one strategy and granularity apart."""
    tables = []
    for strategy, granularity, n_demos in cells(demos):
        for task in tasks:
            texts = [(task.name, place, text) for place, text in enumerate(task.texts)]
            asked = feedback_prompts(
                task.house.guideline, texts, strategy, granularity,  # type: ignore[arg-type]
                n_demos=n_demos, wording=COMPLETION,
            )  # fmt: skip
            ids = [f"{n_demos}/{name}" for name in asked["prompt_id"].to_pylist()]
            asked = asked.set_column(0, "prompt_id", pa.array(ids, pa.string()))
            tables.append(asked.append_column("n_demos", pa.array([n_demos] * len(ids))))
    return pa.concat_tables(tables)


def findings(answers: pa.Table, tasks: list[Task]) -> pa.Table:
    """What was said, cell by cell, and whether following it helps."""
    tables = []
    by_name = {task.name: task for task in tasks}
    for n_demos in sorted(set(answers["n_demos"].to_pylist())):
        chosen = answers.filter(pa.compute.equal(answers["n_demos"], n_demos))
        for task in tasks:
            mine = chosen.filter(pa.compute.equal(chosen["text_id"], task.name))
            found = read_answers(Generations(mine), task.house.guideline).findings
            helpful = [helped(row, by_name) for row in found.to_pylist()]
            found = found.append_column("helpful", pa.array(helpful, pa.bool_()))
            tables.append(found.append_column("n_demos", pa.array([n_demos] * len(found))))
    return pa.concat_tables(tables)


def helped(row: dict[str, Any], tasks: dict[str, Task]) -> bool | None:
    """Whether a claim's fix, done at one of its quotations, takes the violation away."""
    if row["met"] is not False:
        return None
    text = tasks[row["text_id"]].texts[row["text_place"]]
    criterion = BY_NAME[row["criterion"].split("/")[1]]
    return any(helps(text, criterion.criterion_id, row["fix"], quote) for quote in row["quotes"])


def run_seed(seed: int, settings: dict[str, Any], tasks: list[Task], folder: Path) -> pa.Table:
    """Train, ask, read; each step's file is kept."""
    done = folder / f"seed_{seed}" / "findings.parquet"
    if done.exists():
        return read_parquet(done)
    model = folder / f"seed_{seed}" / "model"
    if not model.exists():
        tokenizer = feedback_tokenizer()
        trained, losses = feedback_model(tokenizer, Training(settings["tokens"]), seed)
        late = losses[-max(1, len(losses) // 10) :]
        print(
            f"seed {seed}: {len(losses)} steps, loss of the last tenth "
            f"{np.mean(late):.3f} nats per token of feedback", flush=True,
        )  # fmt: skip
        with atomic_folder(model) as temporary:
            trained.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    answers = sample(model, questions(tasks, settings["demos"]), GREEDY)
    found = findings(answers, tasks)
    write_parquet(found, done)
    print(f"seed {seed}: {len(found)} findings", flush=True)
    return found


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Two seeds, on little.")
    parser.add_argument("-o", "--output", type=Path, help="Folder; runs/criteria when left out.")
    parser.add_argument("--only-seed", type=int, help="Train and ask this one, and stop.")
    options = parser.parse_args()
    settings = yaml.safe_load((HERE / "lab.yaml").read_text(encoding="utf-8"))
    quick = settings.pop("quick")
    settings = {**settings, **(quick if options.quick else {})}
    folder = options.output or Path("runs") / ("criteria-quick" if options.quick else "criteria")
    torch.set_num_threads(1)  # so small a model is no faster with more
    record = folder / "settings.json"
    if record.is_file() and read_json(record) != settings:
        raise InputError(f"{folder} holds a study with other settings: choose another folder")
    write_json(settings, record)
    tasks = make_tasks(settings["tasks"], settings["candidates"])
    if options.only_seed is not None:  # so that several machines or cores can share the work
        run_seed(options.only_seed, settings, tasks, folder)
        return
    runs = [run_seed(seed, settings, tasks, folder) for seed in settings["seeds"]]
    truth = {place: one for task in tasks for place, one in task.truth().items()}
    quality = {task.name: task.quality() for task in tasks}
    write_tables(runs, truth, quality, settings, folder)
    for name in ("result", "granularity", "length", "selection", "layers"):
        print((folder / f"{name}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
