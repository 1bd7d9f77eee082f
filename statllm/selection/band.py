"""Filters of prompts that other papers use, as rules to compare with: a band of one quality."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ragged import FloatArray, IntArray
from statllm.scoring.statistics import check_rewards
from statllm.selection._draws import words_of
from statllm.selection._extremes import extremes
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples
from statllm.selection._tables import build_pairs, require
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import RuleSettings

_BEST, _WORST = 24, 25  # purposes of draws

#: What each quality needs beside the rewards.
_NEEDS = {
    "jaccard": (),
    "perplexity": ("logprob", "n_tokens"),
    "ifd": ("logprob", "logprob_alone"),
}


class BandSettings(RuleSettings):
    """Best against worst, on prompts of which a quality lies in a band of the pool's quantiles.

    RIP (Yu et al. 2025, Table 2) is compared with such filters. By default the lowest quarter is
    left out, as there.
    """

    quality: Literal["jaccard", "perplexity", "ifd", "column"] = Field(
        default="jaccard",
        description="'jaccard': shared share of the words of the two responses. 'perplexity': of "
        "the chosen response, exp(-logprob / n_tokens). 'ifd': instruction-following difficulty "
        "of the chosen response, its mean loss with the prompt over that without (Li et al. "
        "2024), from logprob and logprob_alone. 'column': any number, see `column`.",
    )
    column: str | None = Field(
        default=None,
        description="With quality 'column': a number per prompt (a judge's grade of the prompt, a "
        "count of its tags), or per response, of which the chosen one's is taken.",
    )
    low: float = Field(default=0.25, ge=0, le=1, description="Quantile of the pool, included.")
    high: float = Field(default=1.0, ge=0, le=1, description="Quantile of the pool, included.")
    ties: Literal["random", "first"] = Field(
        default="random", description="Which of several best (or worst) responses is taken."
    )
    missing: Literal["error", "drop"] = Field(
        default="error",
        description="A null or NaN reward: refuse the table, or leave the response out.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.quality == "column") != (self.column is not None):
            raise ValueError("column and quality 'column' belong together")
        if self.low > self.high:
            raise ValueError(f"low is {self.low:g}, above high, {self.high:g}")
        return self


def band(generations: Generations, settings: BandSettings | None = None) -> Selection:
    """Pair best against worst by reward; keep prompts of which a quality lies in a band.

    Bounds are quantiles of the pairs that could be made, linearly interpolated, both included.
    Every weight is 1.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response``, ``reward`` and what the quality needs.
    settings : BandSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``too_few_responses``, ``tied`` (all rewards are equal),
        ``unknown_quality`` (null or NaN), ``below_band``, ``above_band``.

    Raises
    ------
    InputError
        If a column is missing, a reward is null or NaN (unless ``missing="drop"``), or the named
        column holds no numbers.

    Examples
    --------
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
    ...     "response": [["it is four", "it is five"], ["yes", "no"]],
    ...     "reward": [[1.0, 0.0], [1.0, 0.0]],
    ... }))
    >>> found = band(g, BandSettings(quality="jaccard", low=0.5))
    >>> found.ledger.select(["prompt_id", "quality", "reason"]).to_pylist()[1]
    {'prompt_id': 'q', 'quality': 0.0, 'reason': 'below_band'}
    """
    settings = settings or BandSettings()
    require(generations, "band", "prompt", "response", "reward")
    if settings.missing == "error":
        check_rewards(generations, "missing")
    samples = Samples(generations)
    rewards = generations.ragged("reward").values.astype(np.float64)
    usable = samples.usable(settings) & np.isfinite(rewards)
    prompts = words_of(generations.column("prompt_id"), settings.seed)
    best, worst = extremes(samples, rewards, usable, prompts, settings.ties, (_BEST, _WORST))
    both = (best >= 0) & (worst >= 0)
    padded = np.append(rewards, np.nan)  # index -1: no response
    reasons = Reasons(samples.n_prompts)
    reasons.drop("too_few_responses", ~both)
    reasons.drop("tied", both & (padded[best] == padded[worst]))
    quality = np.full(samples.n_prompts, np.nan)
    rows = np.flatnonzero(reasons.kept)
    quality[rows] = _quality(samples, settings, rows, best[rows], worst[rows])
    reasons.drop("unknown_quality", reasons.kept & ~np.isfinite(quality))
    thresholds = {}
    if reasons.kept.any():
        pool = quality[reasons.kept]
        thresholds = {
            name: float(np.quantile(pool, getattr(settings, name))) for name in ("low", "high")
        }
        reasons.drop("below_band", reasons.kept & (quality < thresholds["low"]))
        reasons.drop("above_band", reasons.kept & (quality > thresholds["high"]))
    rows = np.flatnonzero(reasons.kept)
    pairs = Pairs(rows, np.zeros_like(rows), best[rows], worst[rows])
    table = build_pairs(samples, "band", pairs, weight=np.ones(len(pairs)))
    ledger = build_ledger(samples, "band", reasons, pairs, {"quality": quality})
    return Selection(table, ledger, thresholds)


def _quality(
    samples: Samples, settings: BandSettings, rows: IntArray, best: IntArray, worst: IntArray
) -> FloatArray:
    """The quality of each of the pairs."""
    if settings.quality == "jaccard":
        chosen, rejected = samples.texts(best).to_pylist(), samples.texts(worst).to_pylist()
        return np.array(
            [_jaccard(a, b) for a, b in zip(chosen, rejected, strict=True)], dtype=float
        )
    if settings.quality == "column":
        assert settings.column is not None
        return _of_column(samples, settings.column, rows, best)
    require(samples.generations, f"band by {settings.quality}", *_NEEDS[settings.quality])
    first, second = (_of_column(samples, name, rows, best) for name in _NEEDS[settings.quality])
    with np.errstate(divide="ignore", invalid="ignore"):
        # Mean losses over the same tokens: their number cancels.
        ratio = first / second
    return np.asarray(np.exp(-ratio) if settings.quality == "perplexity" else ratio)


def _of_column(samples: Samples, name: str, rows: IntArray, best: IntArray) -> FloatArray:
    """A number per prompt, or the chosen response's."""
    require(samples.generations, "band", name)
    column = samples.generations.column(name)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        found = samples.take(name, best)
    else:
        found = column.take(pa.array(rows))
    assert found is not None
    try:
        values = found.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"column '{name}' holds {found.type}, not numbers") from error
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _jaccard(a: str, b: str) -> float:
    """Share of the words of either text that both have."""
    left, right = set(a.split()), set(b.split())
    return len(left & right) / len(left | right) if left | right else 1.0
