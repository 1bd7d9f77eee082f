"""NaturalReasoning's pairs: the best response by a score against the worst."""

from __future__ import annotations

import numpy as np

from statllm.generations import Generations
from statllm.selection._pairing import Pairs
from statllm.selection._scored_pool import ScoredPool
from statllm.selection._tables import build_pairs
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.self_score_settings import SelfScoreSettings


def self_score(generations: Generations, settings: SelfScoreSettings | None = None) -> Selection:
    """Pair each prompt's best response by a score with its worst (Yuan et al. 2025).

    Every weight is 1. As the paper filters, a prompt is dropped where even its best response is
    thought to be invalid (`min_chosen` 0).

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response`` and the scores. Used where present: ``finish_reason``,
        token ids, ``answer``.
    settings : SelfScoreSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``too_few_responses`` (fewer than two have a score and may
        be used), ``tied`` (all scores are equal), ``low_chosen``.

    Raises
    ------
    InputError
        If a column is missing, or a score is null or NaN (unless ``missing="drop"``).

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
    ...     "response": [["good", "bad", "so so"], ["poor", "poorer"]],
    ...     "reward": [[2.0, -3.0, 0.5], [-1.0, -2.0]],
    ... }))
    >>> found = self_score(g, SelfScoreSettings(min_chosen=0))
    >>> found.pairs.select(["chosen", "rejected"]).to_pylist()
    [{'chosen': 'good', 'rejected': 'bad'}]
    >>> found.counts()
    {'kept': 1, 'low_chosen': 1}
    """
    settings = settings or SelfScoreSettings()
    pool = ScoredPool.of(generations, settings, "self-score")
    samples = pool.samples
    both = (pool.best >= 0) & (pool.worst >= 0)
    chosen, rejected = pool.scores_at(pool.best), pool.scores_at(pool.worst)
    reasons = Reasons(samples.n_prompts)
    reasons.drop("too_few_responses", ~both)
    reasons.drop("tied", both & (chosen == rejected))
    if settings.min_chosen is not None:
        reasons.drop("low_chosen", both & ~(pool.filter_at(pool.best) >= settings.min_chosen))
    rows = np.flatnonzero(reasons.kept)
    pairs = Pairs(rows, np.zeros_like(rows), pool.best[rows], pool.worst[rows])
    table = build_pairs(samples, "self-score", pairs, weight=np.ones(len(pairs)))
    numbers = {
        "n_scored": pool.n_scored,
        "chosen_score": np.where(both, chosen, np.nan),
        "rejected_score": np.where(both, rejected, np.nan),
        "chosen_filter": np.where(both, pool.filter_at(pool.best), np.nan),
    }
    ledger = build_ledger(samples, "self-score", reasons, pairs, numbers)
    return Selection(table, ledger, _thresholds(settings))


def _thresholds(settings: SelfScoreSettings) -> dict[str, float]:
    return {} if settings.min_chosen is None else {"min_chosen": settings.min_chosen}
