"""Pairs for DPO after SFT: some right and some wrong responses of a prompt, and random pairs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from statllm.generations import Generations
from statllm.ragged import Ragged
from statllm.selection._draws import drawn, words_of
from statllm.selection._pairing import Pairs
from statllm.selection._samples import Samples
from statllm.selection._tables import (
    build_pairs,
    require,
    with_canonical_answers,
    with_verdicts,
)
from statllm.selection.result import Reasons, Selection, build_ledger
from statllm.selection.settings import AnswerRuleSettings

_RIGHT, _WRONG, _PAIR = 201, 202, 203  # purposes of draws, beyond those of the other rules


class JourneyPairsSettings(AnswerRuleSettings):
    """Five positives, five negatives, five random pairs (arXiv 2410.18982, DPO phase).

    The paper draws 20 responses per question at temperature .7 and top_p .95.
    """

    positives: int = Field(5, ge=1, description="Right responses that are drawn of a prompt.")
    negatives: int = Field(5, ge=1, description="Wrong responses that are drawn.")
    pairs_per_prompt: int = Field(5, ge=1, description="Different pairs of the one and the other.")
    fewer: Literal["drop", "use"] = Field(
        "drop",
        description="What becomes of a prompt with fewer right or wrong responses than that: it is "
        "dropped, or takes what there is. The paper doesn't say.",
    )


def journey_pairs(
    generations: Generations, settings: JourneyPairsSettings | None = None
) -> Selection:
    """Draw right and wrong responses of each prompt, and pairs among them, all at random.

    Pairs are drawn without replacement from the positives x negatives that there are; every weight
    is 1. Unlike IRPO's walk through both lists, a response may be in several pairs while another
    one is in none.

    Parameters
    ----------
    generations : Generations
        With ``prompt``, ``response`` and ``correct``, or ``reference`` to make it from.
    settings : JourneyPairsSettings, optional

    Returns
    -------
    Selection
        Reasons for dropping a prompt: ``no_reference``, ``too_few_right``, ``too_few_wrong``. The
        ledger has ``n_right`` and ``n_wrong``.

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"], "response": [list("abcd"), list("ef")],
    ...     "correct": [[True, True, False, False], [True, True]],
    ... }))
    >>> rule = JourneyPairsSettings(positives=2, negatives=2, pairs_per_prompt=3)
    >>> found = journey_pairs(g, rule)
    >>> found.counts(), found.pairs.num_rows
    ({'kept': 1, 'too_few_wrong': 1}, 3)
    """
    settings = settings or JourneyPairsSettings()
    rule = "journey"
    require(generations, rule, "prompt", "response")
    generations = with_verdicts(with_canonical_answers(generations, settings.answer_rule))
    require(generations, rule, "correct")
    samples = Samples(generations)
    prompts = words_of(generations.column("prompt_id"), settings.seed)
    right, wrong = samples.verdicts()
    usable = samples.usable(settings)
    rights = samples.shuffled(right & usable, prompts, _RIGHT)
    wrongs = samples.shuffled(wrong & usable, prompts, _WRONG)
    n = samples.n_prompts
    reasons = Reasons(n)
    verdicts = np.bincount(samples.rows[right | wrong], minlength=n)
    reasons.drop("no_reference", np.equal(verdicts, 0))
    drop = settings.fewer == "drop"
    reasons.drop("too_few_right", rights.lengths < (settings.positives if drop else 1))
    reasons.drop("too_few_wrong", wrongs.lengths < (settings.negatives if drop else 1))
    parts = [
        _of_prompt(row, rights, wrongs, prompts[row : row + 1], settings)
        for row in np.flatnonzero(reasons.kept)
    ]
    empty = np.zeros(0, dtype=np.int64)
    rows, numbers, chosen, rejected = (
        (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else [empty] * 4
    )
    pairs = Pairs(rows, numbers, chosen, rejected)
    decided = {"n_right": rights.lengths, "n_wrong": wrongs.lengths}
    table = build_pairs(samples, rule, pairs, weight=np.ones(len(pairs)))
    return Selection(table, build_ledger(samples, rule, reasons, pairs, decided))


def _of_prompt(
    row: int,
    rights: Ragged,
    wrongs: Ragged,
    word: np.ndarray[tuple[int], np.dtype[np.uint64]],
    settings: JourneyPairsSettings,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    """Prompt, number, chosen and rejected of a prompt's pairs."""
    positive = _first(rights, row, settings.positives)
    negative = _first(wrongs, row, settings.negatives)
    cells = np.arange(len(positive) * len(negative))
    order = np.argsort(drawn(np.repeat(word, len(cells)), _PAIR, cells), kind="stable")
    taken = cells[order[: settings.pairs_per_prompt]]
    return (
        np.full(len(taken), row, dtype=np.int64),
        np.arange(len(taken), dtype=np.int64),
        positive[taken // len(negative)],
        negative[taken % len(negative)],
    )


def _first(lists: Ragged, row: int, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    start, stop = int(lists.offsets[row]), int(lists.offsets[row + 1])
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = lists.values[start : min(stop, start + n)]
    return found
