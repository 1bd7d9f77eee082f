"""IRPO: prefer right responses to wrong ones, several pairs per prompt."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ragged import BoolArray, Ragged
from statllm.selection._draws import Words, drawn, words_of
from statllm.selection._pairing import Pairs, paired
from statllm.selection._samples import Samples
from statllm.selection._tables import (
    build_pairs,
    require,
    with_canonical_answers,
    with_verdicts,
)
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import IrpoSettings

_RIGHT, _WRONG, _CAP = 4, 5, 6  # purposes of draws


def irpo(generations: Generations, settings: IrpoSettings | None = None) -> Selection:
    """Select pairs of a right and a wrong response (Pang et al. 2024, arXiv 2404.19733).

    The lists of right and of wrong responses are walked in step, each wrapping around, until K
    pairs are made; every weight is 1.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response`` and ``correct``, or ``reference`` to make it from. Used
        where present: ``answer``, ``gold_response``, ``finish_reason``, token ids.
    settings : IrpoSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``no_reference``, ``no_correct``, ``no_incorrect``,
        ``over_cap`` (none of its pairs is among the ``max_pairs`` drawn). Responses that ran
        into the length limit are in neither list unless asked for. A gold response has no
        index and no token ids.

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"], "response": [list("abcde"), ["f"]],
    ...     "correct": [[True, True, True, False, False], [True]],
    ... }))
    >>> selection = irpo(g, IrpoSettings(pairs_per_prompt=5))
    >>> [(p["chosen"], p["rejected"]) for p in selection.pairs.to_pylist()]
    [('a', 'd'), ('b', 'e'), ('c', 'd'), ('a', 'e'), ('b', 'd')]
    >>> selection.counts()
    {'kept': 1, 'no_incorrect': 1}
    """
    settings = settings or IrpoSettings()
    require(generations, "irpo", "prompt", "response")
    generations = with_verdicts(with_canonical_answers(generations, settings.answer_rule))
    require(generations, "irpo", "correct")
    gold = None
    if settings.gold != "ignore":
        require(generations, f"irpo with gold='{settings.gold}'", "gold_response")
        gold = _gold_responses(generations)
    samples = Samples(generations, gold)
    prompts = words_of(generations.column("prompt_id"), settings.seed)

    right, wrong = samples.verdicts()
    judged = np.bincount(samples.rows[right | wrong], minlength=samples.n_prompts) > 0
    usable = samples.usable(settings)
    right, wrong = right & usable, wrong & usable
    if not settings.unparsed_rejected:
        require(generations, "irpo without unparsed responses", "answer")
        wrong &= samples.codes("answer")[0] >= 0
    if settings.order == "shuffled":
        chosen = samples.shuffled(right, prompts, _RIGHT)
        rejected = samples.shuffled(wrong, prompts, _WRONG)
    else:
        chosen, rejected = samples.listed(right), samples.listed(wrong)
    n_correct, n_incorrect = chosen.lengths, rejected.lengths
    if gold is not None:
        chosen = _with_gold(chosen, gold, len(samples.rows), first=settings.gold == "first")

    reasons = Reasons(samples.n_prompts)
    reasons.drop("no_reference", ~judged)
    reasons.drop("no_correct", chosen.lengths == 0)
    reasons.drop("no_incorrect", n_incorrect == 0)
    pairs = paired(chosen, rejected, settings.pairs_per_prompt, repeats=settings.repeats)
    pairs = pairs.keep(reasons.kept[pairs.rows])
    if settings.max_pairs is not None:
        pairs = pairs.keep(_subset(pairs, prompts, settings.max_pairs))
        reasons.drop("over_cap", pairs.per_prompt(samples.n_prompts) == 0)
    table = build_pairs(samples, "irpo", pairs, weight=np.ones(len(pairs)))
    numbers = {
        "n_samples": samples.lengths,
        "n_correct": n_correct,
        "n_incorrect": n_incorrect,
        "gold": chosen.lengths > n_correct,
    }
    return Selection(table, build_ledger(samples, "irpo", reasons, pairs, numbers))


def _gold_responses(generations: Generations) -> pa.Array:
    column = generations.column("gold_response")
    if pa.types.is_nested(column.type):
        raise InputError(
            f"column 'gold_response' holds {column.type}, one text per prompt was expected"
        )
    return column.cast(pa.string()).combine_chunks()


def _with_gold(chosen: Ragged, gold: pa.Array, n_samples: int, *, first: bool) -> Ragged:
    """Add each prompt's gold response to its list, under the index n_samples + prompt."""
    prompts = np.flatnonzero(gold.is_valid().to_numpy(zero_copy_only=False))
    rows = np.concatenate([chosen.rows, prompts])
    values = np.concatenate([chosen.values, prompts + n_samples])
    side = np.concatenate(
        [np.zeros(len(chosen.values)), np.full(len(prompts), -1.0 if first else 1.0)]
    )
    order = np.lexsort((side, rows))  # stable: the samples keep their order
    return Ragged.from_lengths(values[order], np.bincount(rows, minlength=chosen.n_rows))


def _subset(pairs: Pairs, prompts: Words, size: int) -> BoolArray:
    """A random subset of the pairs, the same whatever the order of the prompts."""
    words = drawn(prompts[pairs.rows], _CAP, pairs.numbers)
    inside = np.zeros(len(pairs), dtype=bool)
    inside[np.argsort(words)[:size]] = True
    return inside
