"""Self-consistency: a response with the most frequent answer against one with another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from statllm.generations import Generations
from statllm.ragged import BoolArray, IntArray
from statllm.selection._draws import words_of
from statllm.selection._pairing import paired
from statllm.selection._samples import Samples
from statllm.selection._tables import build_pairs, require, with_canonical_answers
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import AnswerRuleSettings

_MODE, _OTHER = 22, 23  # purposes of draws


class SelfConsistencySettings(AnswerRuleSettings):
    """A response with the most frequent answer against one with another (Yuan et al. 2025)."""

    pairs_per_prompt: int = Field(default=1, ge=1, description="Pairs of a prompt.")


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


def _modes(samples: Samples, codes: IntArray, usable: BoolArray, seed: int) -> IntArray:
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
