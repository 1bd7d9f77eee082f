"""What every model of the study is asked, and the scores of its answers."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from distill_arms import Settings

from statllm.distill import ProbeSettings, probe_prompts
from statllm.estimators.passk import majority_at_k
from statllm.files import read_parquet, write_parquet
from statllm.generations import Generations
from statllm.lab import generate
from statllm.lab.rewards import true_statements
from statllm.lab.variants import as_table, longer, renamed, reworded
from statllm.ragged import Ragged
from statllm.sampling import SamplingSettings, sample
from statllm.scoring import score

SETS = ("plain", "reworded", "renamed", "longer", "misled", "irrelevant")
UNITS = {
    "right": "share of problems", "tokens": "tokens of an answer",
    "right, new names": "share of problems", "right, longer": "share of problems",
    "same answer, other words": "share of problems", "swayed": "difference of shares",
    "distracted": "difference of shares", "right when misled": "share of problems",
}  # fmt: skip
MOST_TOKENS = 120


def test_sets(settings: Settings) -> dict[str, pa.Table]:
    """The held-out problems in all their forms; rows of all but the longer ones are paired."""
    problems = list(islice(generate("test", 0), settings.test))
    plain = as_table(problems)
    more = as_table(islice(longer(settings.steps_of_longer, "test", 0), settings.test))
    asked = {
        kind: probe_prompts(plain, ProbeSettings(kind=kind, before="\nA:"))
        for kind in ("misled", "irrelevant")
    }
    return {
        "plain": plain, "reworded": as_table(map(reworded, problems)),
        "renamed": as_table(map(renamed, problems)), "longer": more, **asked,
    }  # fmt: skip


def answers(model: Path, sets: dict[str, pa.Table], n: int, folder: Path) -> dict[str, Generations]:
    """Greedy answers to every set, and `n` samples of the plain one."""
    found = {}
    for name in (*SETS, "samples"):
        path = folder / f"{name}.parquet"
        if not path.is_file():
            drawn = name == "samples"
            chosen = SamplingSettings(
                n=n if drawn else 1, temperature=1.0 if drawn else 0.0, seed=7,
                max_new_tokens=MOST_TOKENS, batch_size=512,
            )  # fmt: skip
            table = sets["plain" if name == "samples" else name]
            scored = score(Generations(sample(model, table, chosen, progress=False)))
            write_parquet(scored.table, path)
        found[name] = Generations(read_parquet(path))
    return found


def column(given: Generations, name: str) -> np.ndarray[Any, Any]:
    """The one sample of each row; a missing answer is None."""
    return np.array([row[0] for row in given.column(name).to_pylist()], dtype=object)


def measures(found: dict[str, Generations]) -> dict[str, np.ndarray[Any, Any]]:
    """Scores of one model, a number per problem."""
    right = {name: column(found[name], "correct").astype(float) for name in SETS}
    said = {name: column(found[name], "answer") for name in SETS}
    aim = np.array(found["misled"].column("suggested").to_pylist(), dtype=object)

    def gives(name: str) -> np.ndarray[Any, Any]:
        return np.asarray(said[name] == aim, dtype=float)

    return {
        "right": right["plain"],
        "tokens": column(found["plain"], "n_tokens").astype(float),
        "right, new names": right["renamed"],
        "right, longer": right["longer"],
        "same answer, other words": np.asarray(said["plain"] == said["reworded"], dtype=float),
        "swayed": gives("misled") - gives("plain"),
        "distracted": gives("irrelevant") - gives("plain"),
        "right when misled": right["misled"],
    }


def majorities(found: dict[str, Generations], most: int) -> np.ndarray[Any, Any]:
    """Exact maj@k of every problem for k = 1 to `most`, shape (problems, most)."""
    samples = found["samples"]
    voted = Ragged.from_lists(samples.column("answer").to_pylist(), object)
    right = Ragged.from_lists(samples.column("correct").to_pylist())
    return majority_at_k(voted, right, np.arange(1, most + 1))


def mistakes(of_seeds: list[dict[str, Generations]]) -> dict[str, int]:
    """Count what wrong greedy answers are made of, and what became of steps that were done again.

    A step is done again if its opening word comes twice. A wrong answer without a false statement
    was misread, and no check of its arithmetic can find that.
    """
    counts = dict.fromkeys(
        ("greedy answers", "wrong", "wrong, statements all true", "greedy, step done again",
         "samples", "samples, step done again", "of these right"), 0,
    )  # fmt: skip
    for found in of_seeds:
        for text, right in zip(
            column(found["plain"], "response"), column(found["plain"], "correct"), strict=True
        ):
            counts["greedy answers"] += 1
            counts["wrong"] += not right
            counts["wrong, statements all true"] += not right and true_statements(text) == 1
            counts["greedy, step done again"] += _again(text)
        table = found["samples"]
        for texts, verdicts in zip(
            table.column("response").to_pylist(), table.column("correct").to_pylist(), strict=True
        ):
            for text, right in zip(texts, verdicts, strict=True):
                counts["samples"] += 1
                counts["samples, step done again"] += _again(text)
                counts["of these right"] += _again(text) and bool(right)
    return counts


def _again(text: str) -> bool:
    opened = re.findall("First|Then|Finally", text)
    return len(opened) != len(set(opened))


def at_budgets(
    votes: dict[str, np.ndarray[Any, Any]], cost: dict[str, float], budgets: tuple[int, ...]
) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
    """Scores at equal budgets, and the k that each arm can pay.

    A budget is a multiple of what a sample of "two stages" takes on average; an arm takes the
    majority of as many whole samples as fit, at least one, and at most as many as were drawn.

    Parameters
    ----------
    votes : mapping of ndarray, each of shape (seeds, problems, most)
        maj@k for k = 1 to most.
    cost : mapping of float
        Mean tokens of a sample.
    budgets : tuple of int
    """
    scores: dict[str, Any] = {}
    paid: dict[str, dict[str, int]] = {}
    for times in budgets:
        budget = times * cost["two stages"]
        name = f"right at {times} x the tokens"
        paid[name] = {
            arm: int(np.clip(budget // cost[arm], 1, values.shape[2]))
            for arm, values in votes.items()
        }
        scores[name] = {arm: votes[arm][:, :, k - 1] for arm, k in paid[name].items()}
    return scores, paid
