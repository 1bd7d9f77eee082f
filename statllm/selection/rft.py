"""Rejection sampling: each prompt's best response by a score, to be trained on alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from statllm._formats import write_table
from statllm.generations import Generations
from statllm.ledger import KEPT
from statllm.selection._pairing import Pairs
from statllm.selection._scored_pool import ScoredPool
from statllm.selection._tables import build_pairs
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.self_score_settings import SelfScoreSettings


@dataclass(frozen=True, eq=False)
class Examples:
    """Responses to be trained on, and what became of every prompt.

    Attributes
    ----------
    examples : pyarrow.Table
        A row per prompt that is kept, as `statllm.training.train_sft` takes it.
    ledger : pyarrow.Table
        A row per prompt: ``prompt_id, kept, reason, n_pairs`` (here: examples), ``rule,
        iteration, n_scored, chosen_score, chosen_filter``.
    """

    examples: pa.Table
    ledger: pa.Table

    def counts(self) -> dict[str, int]:
        """Return prompts by reason, "kept" first; they add up."""
        return Selection(self.examples, self.ledger).counts()

    def summary(self) -> str:
        """Return one line."""
        counts = self.counts()
        kept = counts.pop(KEPT)
        dropped = ", ".join(f"{reason} {count}" for reason, count in counts.items())
        line = f"{kept} of {self.ledger.num_rows} prompts give an example"
        return f"{line}; dropped: {dropped}" if dropped else line

    def write(self, examples: str | Path, ledger: str | Path | None = None) -> None:
        """Write the tables; the ledger comes first."""
        if ledger is not None:
            write_table(self.ledger, ledger)
        write_table(self.examples, examples)


def rft(generations: Generations, settings: SelfScoreSettings | None = None) -> Examples:
    """Take each prompt's best response by a score: rejection sampling's training data.

    Unlike pairs it needs no second response, and none that is worse.

    Parameters
    ----------
    generations : Generations
        As for `self_score`.
    settings : SelfScoreSettings, optional

    Returns
    -------
    Examples
        Reasons for dropping a prompt: ``no_scored_response``, ``low_chosen``.

    Raises
    ------
    InputError
        As `self_score`.

    Examples
    --------
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
    ...     "response": [["good", "bad"], ["poor"]], "reward": [[2.0, -3.0], [-1.0]],
    ... }))
    >>> rft(g).examples["response"].to_pylist()
    ['good', 'poor']
    >>> rft(g, SelfScoreSettings(min_chosen=0)).summary()
    '1 of 2 prompts give an example; dropped: low_chosen 1'
    """
    settings = settings or SelfScoreSettings()
    pool = ScoredPool.of(generations, settings, "rft")
    samples, some = pool.samples, pool.best >= 0
    reasons = Reasons(samples.n_prompts)
    reasons.drop("no_scored_response", ~some)
    if settings.min_chosen is not None:
        reasons.drop("low_chosen", some & ~(pool.filter_at(pool.best) >= settings.min_chosen))
    rows = np.flatnonzero(reasons.kept)
    taken = Pairs(rows, np.zeros_like(rows), pool.best[rows], pool.best[rows])
    numbers = {
        "n_scored": pool.n_scored,
        "chosen_score": pool.scores_at(pool.best),
        "chosen_filter": pool.filter_at(pool.best),
    }
    ledger = build_ledger(samples, "rft", reasons, taken, numbers)
    pairs = build_pairs(samples, "rft", taken, weight=np.ones(len(taken)))
    names = {
        "prompt_id": "prompt_id",
        "prompt": "prompt",
        "chosen": "response",
        "weight": "weight",
        "prompt_ids": "prompt_ids",
        "chosen_ids": "response_ids",
        "chosen_finish": "response_finish",
        "rule": "rule",
        "iteration": "iteration",
        "model": "model",
    }
    given = {new: pairs[old] for old, new in names.items() if old in pairs.column_names}
    return Examples(pa.table(given), ledger)
