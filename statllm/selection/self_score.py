"""NaturalReasoning's training data: the best response by a score, against the worst, or alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from statllm._formats import write_table
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ledger import KEPT
from statllm.ragged import FloatArray, IntArray
from statllm.scoring.statistics import check_rewards
from statllm.selection._draws import words_of
from statllm.selection._extremes import extremes
from statllm.selection._pairing import Pairs, paired
from statllm.selection._samples import Samples
from statllm.selection._tables import build_pairs, require, with_canonical_answers
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import AnswerRuleSettings, RuleSettings

_BEST, _WORST, _MODE, _OTHER = 20, 21, 22, 23  # purposes of draws


class SelfScoreSettings(RuleSettings):
    """Best against worst by a score (Yuan et al. 2025, arXiv 2502.13124).

    The paper's self-score is log p(yes) - log p(no) to "is this response valid?", which
    `statllm judge --kind yes-no` computes; a reward model's score goes the same way.
    """

    score: str = Field(default="reward", description="Column of the scores, a list per prompt.")
    min_chosen: float | None = Field(
        default=None,
        description="Drop a prompt whose best response scores below this. The paper's filter of "
        "self-scores is 0: yes is likelier than no.",
    )
    filter_score: str | None = Field(
        default=None, description="Column that min_chosen looks at; default: that of the scores."
    )
    ties: Literal["random", "first"] = Field(
        default="random", description="Which of several best (or worst) responses is taken."
    )
    missing: Literal["error", "drop"] = Field(
        default="error",
        description="A null or NaN score: refuse the table, or leave the response out.",
    )


class SelfConsistencySettings(AnswerRuleSettings):
    """A response with the most frequent answer against one with another (Yuan et al. 2025)."""

    pairs_per_prompt: int = Field(default=1, ge=1, description="Pairs of a prompt.")


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
    pool = _Pool.of(generations, settings, "self-score")
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


def self_consistency(
    generations: Generations, settings: SelfConsistencySettings | None = None
) -> Selection:
    """Pair a response with the most frequent answer with a random one with another answer.

    So Yuan et al. (2025) use self-consistency, the control of their self-score: unlike ScPO
    (`statllm.selection.scpo`) it asks for no share of votes, rejects any other answer rather than
    the rarest, and weighs all pairs alike. Responses without an answer take no part. Ties of the
    most frequent answer are drawn.

    Parameters
    ----------
    generations : Generations
        With ``prompt`` and ``response``. Used where present: ``answer``, ``finish_reason``, token
        ids.
    settings : SelfConsistencySettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``no_parsed_answer``, ``no_distinct_answers``.

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
    ...     "answer": [["A", "A", "B"], ["C", "C", None]],
    ...     "response": [["a", "also a", "b"], ["c", "c", "?"]],
    ... }))
    >>> found = self_consistency(g)
    >>> found.pairs["rejected"].to_pylist(), found.counts()
    (['b'], {'kept': 1, 'no_distinct_answers': 1})
    """
    settings = settings or SelfConsistencySettings()
    require(generations, "self-consistency", "prompt", "response")
    generations = with_canonical_answers(generations, settings.answer_rule)
    require(generations, "self-consistency", "answer")
    samples = Samples(generations)
    prompts = words_of(generations.column("prompt_id"), settings.seed)
    codes, _ = samples.codes("answer")
    usable = samples.usable(settings) & (codes >= 0)
    mode = _modes(samples, codes, usable, settings.seed)
    in_mode = usable & (codes == mode[samples.rows])
    others = usable & ~in_mode
    chosen = samples.shuffled(in_mode, prompts, _MODE)
    rejected = samples.shuffled(others, prompts, _OTHER)
    reasons = Reasons(samples.n_prompts)
    reasons.drop("no_parsed_answer", chosen.lengths == 0)
    reasons.drop("no_distinct_answers", rejected.lengths == 0)
    pairs = paired(chosen, rejected, settings.pairs_per_prompt, repeats=False)
    pairs = pairs.keep(reasons.kept[pairs.rows])
    table = build_pairs(samples, "self-consistency", pairs, weight=np.ones(len(pairs)))
    numbers = {
        "n_answers": chosen.lengths + rejected.lengths,
        "top_votes": chosen.lengths,
    }
    return Selection(table, build_ledger(samples, "self-consistency", reasons, pairs, numbers))


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
    pool = _Pool.of(generations, settings, "rft")
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


@dataclass(frozen=True, eq=False)
class _Pool:
    """Scores, and each prompt's best and worst response; -1 for none."""

    samples: Samples
    scores: FloatArray
    filters: FloatArray
    best: IntArray
    worst: IntArray
    n_scored: IntArray

    @classmethod
    def of(cls, generations: Generations, settings: SelfScoreSettings, rule: str) -> _Pool:
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


def _modes(samples: Samples, codes: IntArray, usable: Any, seed: int) -> IntArray:
    """Code of each prompt's most frequent answer among usable responses; -2 for none.

    Ties are drawn from hashes of prompt and answer, so that neither the order of the samples nor
    that of the prompts matters.
    """
    at = np.flatnonzero(usable)
    mode = np.full(samples.n_prompts, -2, dtype=np.int64)
    if not len(at):
        return mode
    width = int(codes.max()) + 1
    key, counts = np.unique(samples.rows[at] * width + codes[at], return_counts=True)
    rows, answers = key // width, key % width
    texts = samples.codes("answer")[1].to_pylist()
    ids = samples.generations.prompt_ids
    top = np.zeros(samples.n_prompts, dtype=np.int64)
    np.maximum.at(top, rows, counts)
    leading = np.flatnonzero(counts == top[rows])
    names = pa.array([f"{ids[rows[i]]}\0{texts[answers[i]]}" for i in leading], pa.string())
    word = words_of(names, seed) if len(leading) else np.empty(0, np.uint64)
    order = leading[np.lexsort((word, rows[leading]))]
    first = np.unique(rows[order], return_index=True)[1]
    mode[rows[order][first]] = answers[order][first]
    return mode


def _thresholds(settings: SelfScoreSettings) -> dict[str, float]:
    return {} if settings.min_chosen is None else {"min_chosen": settings.min_chosen}
