"""Scores of responses, and each prompt's best and worst response by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ragged import FloatArray, IntArray
from statllm.scoring.statistics import check_rewards
from statllm.selection._draws import words_of
from statllm.selection._extremes import extremes
from statllm.selection._samples import Samples
from statllm.selection._tables import require
from statllm.selection.self_score_settings import SelfScoreSettings

_BEST, _WORST = 20, 21  # purposes of draws


@dataclass(frozen=True, eq=False)
class ScoredPool:
    """Scores, and each prompt's best and worst response; -1 for none."""

    samples: Samples
    scores: FloatArray
    filters: FloatArray
    best: IntArray
    worst: IntArray
    n_scored: IntArray

    @classmethod
    def of(cls, generations: Generations, settings: SelfScoreSettings, rule: str) -> ScoredPool:
        names = [settings.score, settings.filter_score or settings.score]
        require(generations, rule, "prompt", "response", *names)
        columns = [_scores(generations, name, settings.missing) for name in names]
        samples = Samples(generations)
        usable = samples.usable(settings) & np.isfinite(columns[0])
        if settings.min_chosen is not None:
            usable &= np.isfinite(columns[1])
        prompts = words_of(generations.column("prompt_id"), settings.seed)
        best, worst = extremes(samples, columns[0], usable, prompts, settings.ties, (_BEST, _WORST))
        n_scored = np.bincount(samples.rows[usable], minlength=samples.n_prompts)
        return cls(samples, columns[0], columns[1], best, worst, n_scored)

    def scores_at(self, indices: IntArray) -> FloatArray:
        """NaN for none."""
        return np.append(self.scores, np.nan)[indices]

    def filter_at(self, indices: IntArray) -> FloatArray:
        """NaN for none."""
        return np.append(self.filters, np.nan)[indices]


def _scores(generations: Generations, name: str, missing: str) -> FloatArray:
    """A column of scores; infinite ones count as missing ones."""
    if name == "reward" and missing == "error":
        check_rewards(generations, "missing")
    try:
        values: FloatArray = generations.ragged(name).values.astype(np.float64)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(f"column '{name}' must hold a number for each response") from error
    if missing == "error" and not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        row = int(np.searchsorted(np.cumsum(generations.n_samples), at, side="right"))
        raise InputError(
            f"column '{name}' has a score that is null or not finite at prompt_id "
            f"'{generations.prompt_ids[row]}'; missing: drop leaves such responses out"
        )
    return values
