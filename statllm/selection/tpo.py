"""TPO: prefer by rewards of what comes after the thought, with a price on its length."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from statllm.estimators.comparison import mean_estimate
from statllm.generations import Generations
from statllm.ragged import BoolArray, FloatArray, IntArray
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples
from statllm.selection._tables import build_pairs, require
from statllm.selection._tpo_pairs import Made, Pool, make_pairs
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.tpo_settings import TpoSettings

_LEVEL = 0.95


def tpo(generations: Generations, settings: TpoSettings | None = None) -> Selection:
    """Select pairs by the response after the thought (Wu et al. 2024, arXiv 2410.10630).

    A response's score is ``N(reward) - rho N(length)``, of the response part alone, standardised
    over the prompt's responses (`length_controlled`); the pair is the highest against the lowest
    score. A text that can't be cut into thought and response is rejected in its prompt's pair, in
    at most `max_failure_share` of all pairs. Both sides of a pair are whole texts, thought and
    response, after the prompt that asked for the thought. Every weight is 1.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response`` and ``reward`` (of the response part). Used where present:
        ``final_response`` (the response part, null where the text couldn't be cut),
        ``finish_reason``, token ids, ``answer``.
    settings : TpoSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``no_parsed_response``; ``too_few_responses`` (one, and
        nothing to reject); ``failures_over_cap`` (one, and what it could be paired with couldn't
        be cut and wasn't drawn); ``tied`` (all scores are equal). `thresholds` has ``rho``, and the
        mean length of the chosen minus that of the rejected response in pairs of two responses,
        ``length_difference``, with its 95 % interval over prompts (``_low``, ``_high``); with rho
        "auto" also ``rho_low`` and ``rho_high``, the smallest prices at which the lower and the
        upper end of that interval isn't above 0; and ``failure_share`` of the pairs. If no price
        of the grid is enough, rho is `max_rho` and ``length_difference`` above 0.

    Raises
    ------
    InputError
        If a column is missing, or the reward of a response isn't a finite number (unless
        ``missing="drop"``).

    Notes
    -----
    As rho rises, no prompt's chosen response gets longer and none of the rejected ones shorter,
    so that the smallest price that is enough is well defined. Responses that were cut off by the
    length limit take no part in N, unless ``truncated="include"``.

    Examples
    --------
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
    ...     "response": [["Hm. <R> Yes, it is so.", "<R> No.", "Hm."], ["<R> A.", "<R> B."]],
    ...     "reward": [[0.9, 0.2, None], [0.5, 0.5]],
    ... }))
    >>> found = tpo(g, TpoSettings(rho=0.2, response_part="<R>", max_failure_share=1))
    >>> found.pairs.select(["chosen", "rejected"]).to_pylist()
    [{'chosen': 'Hm. <R> Yes, it is so.', 'rejected': 'Hm.'}]
    >>> found.counts()
    {'kept': 1, 'tied': 1}
    """
    settings = settings or TpoSettings()
    require(generations, "tpo", "prompt", "response", "reward")
    pool = Pool.of(generations, settings)
    if settings.rho == "auto":
        made, rhos = _tuned(pool, settings)
    else:
        made, rhos = make_pairs(pool, float(settings.rho), settings), {}
    samples, n = pool.samples, pool.samples.n_prompts
    reasons = Reasons(n)
    reasons.drop("no_parsed_response", made.best < 0)
    alone = ~made.kept & (made.best >= 0) & (made.worst < 0)
    reasons.drop("failures_over_cap", alone & (pool.failure >= 0))
    reasons.drop("too_few_responses", alone)
    reasons.drop("tied", ~made.kept)
    rows = np.flatnonzero(made.kept)
    pairs = Pairs(rows, np.zeros_like(rows), made.best[rows], made.rejected[rows])
    table = build_pairs(samples, "tpo", pairs, weight=np.ones(len(pairs)))

    difference, low, high = _interval(made.length_differences(pool))
    thresholds = {
        "rho": made.rho,
        **rhos,
        "length_difference": difference,
        "length_difference_low": low,
        "length_difference_high": high,
        "failure_share": float(made.failed.sum() / len(rows)) if len(rows) else np.nan,
    }
    numbers = {
        "n_parsed": _per_prompt(pool.candidate, samples),
        "n_failed": _per_prompt(pool.failed, samples),
        "rho": np.full(n, made.rho),
        **made.numbers(pool),
        "rejected_failed": pa.array(made.failed, mask=~made.kept),
    }
    return Selection(table, build_ledger(samples, "tpo", reasons, pairs, numbers), thresholds)


def _tuned(pool: Pool, settings: TpoSettings) -> tuple[Made, dict[str, float]]:
    """Find the smallest price at which the chosen side isn't longer, and where it may lie."""
    n_steps = int(np.floor(settings.max_rho / settings.rho_step + 1e-9))
    grid = [settings.rho_step * step for step in range(n_steps + 1)]
    if grid[-1] < settings.max_rho - 1e-9:
        grid.append(settings.max_rho)
    chosen: Made | None = None
    lowest: float | None = None
    for rho in grid:
        made = make_pairs(pool, round(rho, 12), settings)
        mean, low, high = _interval(made.length_differences(pool))
        if lowest is None and not low > 0:
            lowest = made.rho
        if chosen is None and not mean > 0:
            chosen = made
        if chosen is not None and not high > 0:
            break
    rhos = {"rho_low": made.rho if lowest is None else lowest, "rho_high": made.rho}
    return made if chosen is None else chosen, rhos


def _interval(differences: FloatArray) -> tuple[float, float, float]:
    """Mean and its interval over prompts; NaN where there are too few."""
    if len(differences) < 2:
        mean = float(differences[0]) if len(differences) else float("nan")
        return mean, float("nan"), float("nan")
    estimate = mean_estimate(differences)
    interval = estimate.interval(_LEVEL)
    return estimate.value, interval.low, interval.high


def _per_prompt(mask: BoolArray, samples: Samples) -> IntArray:
    return np.bincount(samples.rows[mask], minlength=samples.n_prompts)
