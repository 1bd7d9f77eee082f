"""The arms of the study: what each is trained on, and the training."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from statllm.distill import ChainSettings, keep_chains
from statllm.errors import InputError
from statllm.files import read_parquet, write_json, write_parquet
from statllm.generations import Generations
from statllm.lab import careful_solution, generate
from statllm.lab.search import search_chains
from statllm.models import load_tokenizer
from statllm.recipe import merge
from statllm.scoring import score
from statllm.training import SFTSettings, train_sft

ARMS = ("short", "two stages", "one stage", "short again", "unverified")


class Settings(BaseModel):
    """What lab.yaml says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: tuple[int, ...]
    course: dict[str, Any]
    problems: int
    chains: int
    tries: int
    short: dict[str, Any]
    long: dict[str, Any]
    test: int
    steps_of_longer: int
    samples: int
    budgets: tuple[int, ...]


def read_settings(path: Path, quick: bool = False) -> Settings:
    """Read the file, with its part `quick` where that is asked for."""
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    changes = content.pop("quick")
    return Settings(**(merge(content, changes) if quick else content))


def sft(given: dict[str, Any], seed: int, **more: Any) -> SFTSettings:
    """Settings of one training."""
    return SFTSettings(
        lr_scheduler="cosine", warmup_ratio=0.1, batch_size=16, seed=seed, **{**given, **more}
    )


def data(settings: Settings, base: Path, folder: Path, seed: int) -> dict[str, pa.Table]:
    """Examples of both stages, and as many tokens of chains that nobody verified."""
    problems = list(islice(generate("train", seed), settings.problems))
    found = folder / "chains.parquet"
    if not found.is_file():
        searched = search_chains(base, problems, settings.chains, settings.tries, seed)
        write_parquet(score(Generations(searched)).table, found)
    scored = Generations(read_parquet(found))
    right = keep_chains(scored, ChainSettings(per_prompt=None, seed=seed))
    if not right.examples.num_rows:
        raise InputError(f"seed {seed}: the teacher has found no right chain")
    ledger = right.ledger.filter(right.ledger["kept"])
    spent = int(np.sum(ledger["n_tokens"].to_numpy()))
    drawn = keep_chains(
        scored, ChainSettings(per_prompt=None, right=False, budget=spent, seed=seed)
    )
    write_json(
        {"right": right.counts(), "unverified": drawn.counts(), "tokens": spent,
         "redone": int(np.sum(scored.column("redone").to_numpy()))},
        folder / "chains.json",
    )  # fmt: skip
    short = pa.table(
        {
            "prompt_id": [problem.problem_id for problem in problems],
            "prompt": [problem.prompt for problem in problems],
            "response": [careful_solution(problem) for problem in problems],
        }
    )
    columns = short.column_names
    long = right.examples.select(columns)
    return {
        "short": short,
        "long": long,
        "both": pa.concat_tables([short, long]),
        "unverified": drawn.examples.select(columns),
    }


def equal_tokens(steps: int, long: pa.Table, short: pa.Table, model: Path) -> int:
    """Steps on short solutions that see as many response tokens as `steps` on long ones."""
    tokenizer = load_tokenizer(model)
    means = [
        np.mean([len(tokenizer(text)["input_ids"]) + 1 for text in table["response"].to_pylist()])
        for table in (long, short)
    ]
    return round(steps * float(means[0] / means[1]))


def train_arms(settings: Settings, base: Path, folder: Path, seed: int) -> dict[str, Path]:
    """Train every arm of a seed that isn't there yet."""
    made = data(settings, base, folder, seed)
    n_short, n_long = settings.short["max_steps"], settings.long["max_steps"]
    again = equal_tokens(n_long, made["long"], made["short"], base)
    paths = {arm: folder / arm for arm in ARMS}
    plan: dict[str, tuple[Path, pa.Table, SFTSettings]] = {
        "short": (base, made["short"], sft(settings.short, seed)),
        "two stages": (paths["short"], made["long"], sft(settings.long, seed)),
        "one stage": (base, made["both"], sft(settings.long, seed, max_steps=n_short + n_long)),
        "short again": (paths["short"], made["short"], sft(settings.long, seed, max_steps=again)),
        "unverified": (paths["short"], made["unverified"], sft(settings.long, seed)),
    }
    for arm, (start, examples, chosen) in plan.items():
        if not paths[arm].is_dir():
            train_sft(start, examples, paths[arm], chosen, progress=False)
    return paths
