"""RIP: keep prompts whose worst response is still good, long, and not far behind the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.scoring.statistics import check_rewards
from statllm.selection._draws import Words, drawn, first_of_each, words_of
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples
from statllm.selection._tables import build_pairs, require
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import RipSettings

_BEST, _WORST = 7, 8  # purposes of draws


def rip(generations: Generations, settings: RipSettings | None = None) -> Selection:
    """Select prompts by their worst response (Yu et al. 2025, arXiv 2501.18578).

    Each prompt's pair is its best against its worst response by reward. The prompt is kept
    where the worst response has at least a certain reward *and* at least a certain length *and*
    the gap between best and worst is at most a certain number. Quantiles are those of the
    unfiltered pool, each metric by itself (linear interpolation). Every weight is 1.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response`` and ``reward``. Used where present: ``finish_reason``,
        ``n_tokens`` or ``token_ids`` (for lengths in tokens), ``answer``.
    settings : RipSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``too_few_responses`` (fewer than two have a reward and
        may be used), ``tied`` (all rewards are equal), ``low_rejected_reward``,
        ``short_rejected``, ``large_gap``. A prompt that fails several filters has the first as
        its reason; ``passes_...`` in the ledger tell of each. `thresholds` has the numbers
        that were applied.

    Raises
    ------
    InputError
        If a column is missing, or a reward is null or NaN (unless ``missing="drop"``).

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
    ...     "response": [["a long one", "short", "longer still"], ["so so", "fine"]],
    ...     "reward": [[0.9, 0.2, 0.5], [0.6, 0.7]],
    ... }))
    >>> selection = rip(g, RipSettings(min_rejected_reward=0.5))
    >>> selection.pairs.select(["chosen", "rejected"]).to_pylist()
    [{'chosen': 'fine', 'rejected': 'so so'}]
    >>> selection.counts()
    {'kept': 1, 'low_rejected_reward': 1}
    """
    settings = settings or RipSettings()
    require(generations, "rip", "prompt", "response", "reward")
    if settings.missing == "error":
        check_rewards(generations, "missing")
    samples = Samples(generations)
    n = samples.n_prompts
    rewards = generations.ragged("reward").values.astype(np.float64)
    usable = samples.usable(settings) & np.isfinite(rewards)
    best, worst = _extremes(samples, rewards, usable, settings)
    paired = (best >= 0) & (worst >= 0)

    padded = np.append(rewards, np.nan)  # index -1: no response
    reward = np.where(paired, padded[worst], np.nan)
    # 8.3 - 7.3 must be 1: the digits that subtraction makes up are rounded off.
    gap = np.round(np.where(paired, padded[best], np.nan) - reward, 12)
    length = _lengths(samples, worst, settings)
    reasons = Reasons(n)
    reasons.drop("too_few_responses", ~paired)
    if settings.drop_ties:
        reasons.drop("tied", gap == 0)
    pool = reasons.kept
    bounds = {
        "min_rejected_reward": _bound(
            settings.min_rejected_reward, settings.rejected_reward_quantile, reward[pool]
        ),
        "min_rejected_length": _bound(
            settings.min_rejected_length, settings.rejected_length_quantile, length[pool]
        ),
        "max_gap": _bound(settings.max_gap, settings.gap_quantile, gap[pool]),
    }
    passes = {
        "passes_reward": _passes(reward, bounds["min_rejected_reward"], np.greater_equal),
        "passes_length": _passes(length, bounds["min_rejected_length"], np.greater_equal),
        "passes_gap": _passes(
            gap, bounds["max_gap"], np.less_equal if settings.gap_inclusive else np.less
        ),
    }
    for reason, passed in zip(
        ("low_rejected_reward", "short_rejected", "large_gap"), passes.values(), strict=True
    ):
        reasons.drop(reason, ~passed)
    rows = np.flatnonzero(reasons.kept)
    pairs = Pairs(rows, np.zeros_like(rows), best[rows], worst[rows])
    table = build_pairs(samples, "rip", pairs, weight=np.ones(len(pairs)))
    numbers: dict[str, Any] = {
        "rejected_reward": reward,
        "rejected_length": length,
        "gap": gap,
        **{name: pa.array(passed, mask=~pool) for name, passed in passes.items()},
        **{name: np.full(n, np.nan if bound is None else bound) for name, bound in bounds.items()},
    }
    thresholds = {name: bound for name, bound in bounds.items() if bound is not None}
    return Selection(table, build_ledger(samples, "rip", reasons, pairs, numbers), thresholds)


def _extremes(
    samples: Samples, rewards: FloatArray, usable: BoolArray, settings: RipSettings
) -> tuple[IntArray, IntArray]:
    """Flat index of each prompt's best and worst response, two different ones; -1 for none."""
    prompts = words_of(samples.generations.column("prompt_id"), settings.seed)
    at = np.flatnonzero(usable)
    best = _lowest(samples, at, -rewards[at], prompts, _BEST, settings)
    at = at[at != best[samples.rows[at]]]
    return best, _lowest(samples, at, rewards[at], prompts, _WORST, settings)


def _lowest(
    samples: Samples,
    at: IntArray,
    values: FloatArray,
    prompts: Words,
    purpose: int,
    settings: RipSettings,
) -> IntArray:
    """Of the samples `at`, each prompt's one with the lowest value; -1 for none."""
    lowest = np.full(samples.n_prompts, np.inf)
    np.minimum.at(lowest, samples.rows[at], values)
    at = at[values == lowest[samples.rows[at]]]
    rows, places = samples.rows[at], samples.positions[at]
    tie = places if settings.ties == "first" else drawn(prompts[rows], purpose, places)
    first = first_of_each(rows, samples.n_prompts, tie)
    return np.where(first >= 0, np.append(at, -1)[first], -1)


def _lengths(samples: Samples, worst: IntArray, settings: RipSettings) -> FloatArray:
    """Length of each prompt's worst response; NaN where there is none."""
    out = np.full(samples.n_prompts, np.nan)
    rows = np.flatnonzero(worst >= 0)
    if settings.length == "tokens":
        counts = samples.take("n_tokens", worst[rows])
        if counts is None:
            ids = samples.take("token_ids", worst[rows])
            if ids is None:
                raise InputError("rip with length='tokens' needs the column 'n_tokens'")
            counts = pc.list_value_length(ids)
    else:
        texts = samples.texts(worst[rows])
        counts = (
            pc.utf8_length(texts)
            if settings.length == "characters"
            else pc.count_substring_regex(texts, r"\S+")
        )
    out[rows] = counts.cast(pa.float64()).to_numpy()
    return out


def _bound(number: float | None, quantile: float | None, pool: FloatArray) -> float | None:
    """The bound as a number; the quantile of an empty pool bounds nothing."""
    if quantile is None or len(pool) == 0:
        return number
    return float(np.quantile(pool, quantile))


def _passes(values: FloatArray, bound: float | None, compare: np.ufunc) -> BoolArray:
    """Where a metric passes; NaN never does, unless there's no bound."""
    if bound is None:
        return np.ones(len(values), dtype=bool)
    passed: BoolArray = compare(values, bound)
    return passed
