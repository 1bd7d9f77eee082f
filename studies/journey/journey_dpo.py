"""DPO after each kind of SFT, its controls, and whether its gain depends on that kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from journey_examples import first, tokens_of
from numpy.typing import NDArray
from scipy import special

from statllm.experiment.scores import Result, compare_scores
from statllm.files import read_parquet
from statllm.generations import Generations
from statllm.journey import journey_pairs
from statllm.journey.recipe import JourneyRecipe
from statllm.lab import problems
from statllm.sampling import sample
from statllm.scoring import score
from statllm.training import train_preference

KINDS = ("journey", "shortcut")
GAINS = {
    "DPO after journey": ("journey + DPO", "journey"),
    "equal pairs, after journey": ("journey + DPO, equal pairs", "journey"),
    "DPO after shortcut": ("shortcut + DPO", "shortcut"),
    "above random sides, after journey": ("journey + DPO", "journey + DPO, random sides"),
    "above random sides, after shortcut": ("shortcut + DPO", "shortcut + DPO, random sides"),
}
INTERACTIONS = (
    ("DPO after journey", "DPO after shortcut"),
    ("equal pairs, after journey", "DPO after shortcut"),
    ("above random sides, after journey", "above random sides, after shortcut"),
)
Scores = Mapping[str, NDArray[np.float64]]


def preferred(
    recipe: JourneyRecipe, starts: Mapping[str, Path], folder: Path, seed: int, tokenizer: Any
) -> tuple[dict[str, Path], dict[str, Any]]:
    """DPO on pairs of each model's own answers: the new models, and their pairs in numbers.

    All take the same number of steps of as many pairs. Random sides: the same pairs, the preferred
    side of each drawn by a coin. Equal pairs: as many of journey's, at random, as shortcut gives.
    """
    pairs = {f"{kind} + DPO": _own_pairs(recipe, starts[kind], kind, folder) for kind in KINDS}
    fewer = pairs["shortcut + DPO"].num_rows
    pairs |= {f"{arm}, random sides": turned(table, seed) for arm, table in pairs.items()}
    pairs["journey + DPO, equal pairs"] = first(pairs["journey + DPO"], fewer, seed + 2000)
    assert recipe.pairs is not None
    found, about = {}, {}
    for arm, table in pairs.items():
        found[arm] = folder / arm
        if not found[arm].exists():
            start = starts[arm.partition(" ")[0]]
            train_preference(start, table, found[arm], recipe.pairs.training, progress=False)
        if "random" not in arm:
            both = [*table["chosen"].to_pylist(), *table["rejected"].to_pylist()]
            about[f"pairs, {arm}"] = table.num_rows
            about[f"tokens of a pair, {arm}"] = round(
                2 * float(tokens_of(both, tokenizer).mean()), 1
            )
    return found, about


def _own_pairs(recipe: JourneyRecipe, start: Path, kind: str, folder: Path) -> pa.Table:
    """Pairs of a model's own answers to the problems of the phase."""
    phase, path = recipe.pairs, folder / f"pairs-{kind}.parquet"
    assert phase is not None
    if not path.exists():
        asked = problems("train", phase.problems.n or 200, phase.problems.seed)
        scored = score(Generations(sample(start, asked, phase.sampling, progress=False)))
        journey_pairs(scored, phase.settings).write(path, folder / f"pairs-{kind}-ledger.parquet")
    return read_parquet(path)


def turned(pairs: pa.Table, seed: int) -> pa.Table:
    """Return the pairs, a coin deciding for each whether its sides change places."""
    other = {"chosen": "rejected", "rejected": "chosen"}
    names = []
    for name in pairs.column_names:
        side = name.partition("_")[0]
        names.append(name.replace(side, other[side], 1) if side in other else name)
    changed = pairs.rename_columns(names).select(pairs.column_names)
    coin = np.random.default_rng([seed, 31]).integers(0, 2, pairs.num_rows)
    both = pa.concat_tables([pairs, changed])
    return both.take(np.arange(pairs.num_rows) + pairs.num_rows * coin)


def interaction(scores: Mapping[str, Scores], units: Mapping[str, str]) -> Result:
    """Differences of differences: DPO's gain after journeys less that after shortcuts.

    A gain on the scale of shares has less room where more is right already. So it is looked at on
    that of log odds, too: there each score stands for its part in logit(mean), and the error is
    that of the delta method.
    """
    scales = dict(scores) | {
        "sampled right, log odds": {
            arm: linearised_logit(values) for arm, values in scores["sampled right"].items()
        }
    }
    gains = {
        measure: {name: arms[a] - arms[b] for name, (a, b) in GAINS.items()}
        for measure, arms in scales.items()
    }
    units = {measure: f"difference of {unit}" for measure, unit in units.items()}
    units["sampled right, log odds"] = "nats"
    return compare_scores(gains, INTERACTIONS, units, name="journey-interaction")


def linearised_logit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logit(m) + (score - m) / (m (1 - m)), m being the mean: their mean is logit(m)."""
    mean = scores.mean()
    return np.asarray(special.logit(mean) + (scores - mean) / (mean * (1 - mean)))
