"""Random pairs: what training on pairs does when the preference says nothing."""

from __future__ import annotations

import numpy as np

from statllm.generations import Generations
from statllm.ragged import BoolArray, IntArray
from statllm.selection._draws import Words, drawn, first_of_each, words_of
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples
from statllm.selection._tables import build_pairs, require, with_canonical_answers
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import RandomSettings

_PURPOSES = 64  # of draws, beyond those of the other rules


def random_pairs(generations: Generations, settings: RandomSettings | None = None) -> Selection:
    """Draw two different responses of each prompt; which is the chosen one is drawn, too.

    A control: a rule whose gain isn't above that of random pairs has chosen nothing. Every weight
    is 1. Of several pairs of a prompt, each is drawn anew.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response`` and, where they are to differ by it, ``answer``.
    settings : RandomSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``too_few_responses`` (fewer than two may be used),
        ``all_equal``.

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"],
    ...     "response": [["one", "two"], ["same", "same"]],
    ... }))
    >>> random_pairs(g).counts()
    {'kept': 1, 'all_equal': 1}
    """
    settings = settings or RandomSettings()
    require(generations, "random", "prompt", "response")
    if settings.differ == "answer":
        generations = with_canonical_answers(generations, settings.answer_rule)
        require(generations, "random", "answer")
    samples = Samples(generations)
    prompts = words_of(generations.column("prompt_id"), settings.seed)
    codes, _ = samples.codes("response" if settings.differ == "text" else "answer")
    usable = samples.usable(settings) & (codes >= 0)
    found = [
        _drawn_pair(samples, codes, usable, prompts, _PURPOSES + 2 * number)
        for number in range(settings.pairs_per_prompt)
    ]
    chosen, rejected = (np.stack(side, axis=1) for side in zip(*found, strict=True))
    reasons = Reasons(samples.n_prompts)
    few = np.less(np.bincount(samples.rows[usable], minlength=samples.n_prompts), 2)
    reasons.drop("too_few_responses", few)
    reasons.drop("all_equal", np.less(rejected, 0).any(axis=1))
    rows = np.repeat(np.flatnonzero(reasons.kept), settings.pairs_per_prompt)
    numbers = np.tile(np.arange(settings.pairs_per_prompt, dtype=np.int64), int(reasons.kept.sum()))
    pairs = Pairs(rows, numbers, chosen[rows, numbers], rejected[rows, numbers])
    table = build_pairs(samples, "random", pairs, weight=np.ones(len(pairs)))
    return Selection(table, build_ledger(samples, "random", reasons, pairs, {}))


def _drawn_pair(
    samples: Samples, codes: IntArray, usable: BoolArray, prompts: Words, purpose: int
) -> tuple[IntArray, IntArray]:
    """Flat indices of each prompt's chosen response and of another one; -1 for none."""
    first = _drawn(samples, np.flatnonzero(usable), prompts, purpose)
    of_chosen = np.append(codes, -1)[first]
    other = usable & (codes != of_chosen[samples.rows])
    return first, _drawn(samples, np.flatnonzero(other), prompts, purpose + 1)


def _drawn(samples: Samples, at: IntArray, prompts: Words, purpose: int) -> IntArray:
    rows = samples.rows[at]
    word = drawn(prompts[rows], purpose, samples.positions[at])
    place = first_of_each(rows, samples.n_prompts, word)
    return np.where(place >= 0, np.append(at, -1)[place], -1)
