"""As many prompts as another selection keeps, drawn at random: the control of its size."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.selection._draws import words_of
from statllm.selection.result import Selection


def matched(selection: Selection, n_prompts: int, seed: int = 0) -> Selection:
    """Keep a random part of a selection's prompts, with all their pairs.

    A rule that filters prompts trains on fewer of them, too. Beside it belongs as large a subset
    drawn at random: what the rule gains over that is the rule's.

    Parameters
    ----------
    selection : Selection
    n_prompts : int
        How many of its kept prompts to keep.
    seed : int
        Decides the draw, together with the prompt_ids.

    Returns
    -------
    Selection
        In the ledger, those that weren't drawn have the reason ``not_drawn``.

    Raises
    ------
    InputError
        If the selection has fewer prompts than are to be kept.

    Examples
    --------
    >>> from statllm.generations import Generations
    >>> from statllm.selection import select
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["p", "q"], "prompt": ["P", "Q"], "response": [["a", "b"], ["c", "d"]],
    ... }))
    >>> matched(select("random", g), 1).counts()
    {'kept': 1, 'not_drawn': 1}
    """
    ledger = selection.ledger
    kept = ledger.filter(ledger["kept"])["prompt_id"]
    if n_prompts > len(kept):
        raise InputError(
            f"{n_prompts} prompts were to be drawn, but the selection keeps {len(kept)}"
        )
    words = words_of(kept, seed)
    drawn = pa.array(words.argsort(kind="stable")[:n_prompts])
    names = kept.combine_chunks().take(drawn) if len(kept) else kept
    stays = pc.is_in(ledger["prompt_id"], value_set=names)
    lost = pc.and_(ledger["kept"], pc.invert(stays))
    changes = {
        "kept": stays,
        "reason": pc.if_else(lost, "not_drawn", ledger["reason"]),
        "n_pairs": pc.if_else(stays, ledger["n_pairs"], pa.scalar(0, pa.int32())),
    }
    for name, values in changes.items():
        ledger = ledger.set_column(ledger.column_names.index(name), name, values)
    pairs = selection.pairs.filter(pc.is_in(selection.pairs["prompt_id"], value_set=names))
    return Selection(pairs, ledger, selection.thresholds)
