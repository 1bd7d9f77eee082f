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
from statllm.selection._draws import words_of
from statllm.selection._extremes import extremes
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples
from statllm.selection._tables import build_pairs, require
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import RIP_BOUNDS, RipSettings

_BEST, _WORST = 7, 8  # purposes of draws
_PAPERS = ("min_rejected_reward", "min_rejected_length", "max_gap")  # always in the ledger


def rip(generations: Generations, settings: RipSettings | None = None) -> Selection:
    """Select prompts by their worst response (Yu et al. 2025, arXiv 2501.18578).

    Each prompt's pair is its best against its worst response by reward. The prompt is kept
    where the worst response has at least a certain reward *and* at least a certain length *and*
    the gap between best and worst is at most a certain number. Quantiles are those of the
    unfiltered pool, each metric by itself (linear interpolation). Every weight is 1.

    With ``reward_sd`` a prompt has to have, besides, a gap whose lower bound exceeds 0:
    ``gap - q sd``, where q is the quantile of the range of as many standard normal deviates as
    the prompt has rewards (Tukey's bound for all pairs at once). Independent normal errors of
    equal size are assumed.

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
        ``short_rejected``, ``large_gap``; ``high_rejected_reward``, ``long_rejected``,
        ``small_gap`` where the other directions are asked for; ``gap_not_sure``. A prompt that
        fails several filters has the first as its reason; ``passes_...`` in the ledger tell of
        each of the paper's. `thresholds` has the numbers that were applied.

    Raises
    ------
    InputError
        If a column is missing, a reward is null or NaN (unless ``missing="drop"``), or the tokens
        of a worst response are null where they are its length.

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
    prompts = words_of(generations.column("prompt_id"), settings.seed)
    best, worst = extremes(samples, rewards, usable, prompts, settings.ties, (_BEST, _WORST))
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
    metrics = {"rejected_reward": reward, "rejected_length": length, "gap": gap}
    bounds = {
        bound: _bound(getattr(settings, bound), getattr(settings, quantile), metrics[metric][pool])
        for metric, bound, quantile in RIP_BOUNDS
    }
    below = np.less_equal if settings.gap_inclusive else np.less
    passes = {
        "passes_reward": _between(reward, bounds["min_rejected_reward"], None),
        "passes_length": _between(length, bounds["min_rejected_length"], None),
        "passes_gap": _passes(gap, bounds["max_gap"], below),
    }
    turned = {
        "high_rejected_reward": _between(reward, None, bounds["max_rejected_reward"]),
        "long_rejected": _between(length, None, bounds["max_rejected_length"]),
        "small_gap": _between(gap, bounds["min_gap"], None),
    }
    for reason, passed in zip(
        ("low_rejected_reward", "short_rejected", "large_gap"), passes.values(), strict=True
    ):
        reasons.drop(reason, ~passed)
    for reason, passed in turned.items():
        reasons.drop(reason, ~passed)
    sure: dict[str, Any] = {}
    if settings.reward_sd is not None:
        n_rated = np.bincount(samples.rows[usable], minlength=n)
        low = gap - settings.reward_sd * _tukey(n_rated, settings.sure_level)
        reasons.drop("gap_not_sure", ~(low > 0))
        sure = {"gap_low": low}
    rows = np.flatnonzero(reasons.kept)
    pairs = Pairs(rows, np.zeros_like(rows), best[rows], worst[rows])
    table = build_pairs(samples, "rip", pairs, weight=np.ones(len(pairs)))
    numbers: dict[str, Any] = {
        **metrics,
        **{name: pa.array(passed, mask=~pool) for name, passed in passes.items()},
        **{
            name: np.full(n, np.nan if bound is None else bound)
            for name, bound in bounds.items()
            if bound is not None or name in _PAPERS
        },
        **sure,
    }
    thresholds = {name: bound for name, bound in bounds.items() if bound is not None}
    return Selection(table, build_ledger(samples, "rip", reasons, pairs, numbers), thresholds)


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
        if counts.null_count:  # a quantile of the pool would be NaN, and nothing kept
            row = int(rows[pc.index(counts.is_null(), True).as_py()])
            name = samples.generations.prompt_ids[row]
            raise InputError(f"the tokens of prompt_id '{name}' are null for its worst response")
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


def _tukey(n_rated: IntArray, level: float) -> FloatArray:
    """Quantile of the range of n standard normal deviates, for each n; NaN below two."""
    from scipy.stats import studentized_range

    out = np.full(len(n_rated), np.nan)
    for n in np.unique(n_rated[n_rated > 1]):
        out[n_rated == n] = studentized_range.ppf(level, int(n), np.inf)
    return out


def _between(values: FloatArray, low: float | None, high: float | None) -> BoolArray:
    """Where a metric lies between its bounds, if there are any; NaN doesn't."""
    return _passes(values, low, np.greater_equal) & _passes(values, high, np.less_equal)


def _passes(values: FloatArray, bound: float | None, compare: np.ufunc) -> BoolArray:
    """Where a metric passes; NaN never does, unless there's no bound."""
    if bound is None:
        return np.ones(len(values), dtype=bool)
    passed: BoolArray = compare(values, bound)
    return passed
