"""Journeys as training data of which only the repair is learned, not the error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statllm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

    from statllm.journey.draft import Draft


def repairs(drafts: Sequence[Draft], tokenizer: PreTrainedTokenizerBase) -> pa.Table:
    """Return examples of journeys of which no rejected step is learned.

    A journey is cut after every rejected step; a part is learned given all before it, the rejected
    step included. So the losses of its tokens are those of the whole journey without the rejected
    steps' own. Only the last part ends in the end-of-text token: train with ``require_eos`` off.

    Parameters
    ----------
    drafts : sequence of Draft
        Of prompts that are strings.
    tokenizer : PreTrainedTokenizerBase

    Returns
    -------
    pa.Table
        ``prompt_id``, ``prompt_ids``, ``response_ids``; several rows per journey.

    Raises
    ------
    InputError
        If a prompt is a list of messages.

    Examples
    --------
    >>> from statllm.journey import Node, Tree, journey
    >>> from statllm.journey.draft import Phrases, make_draft
    >>> from statllm.lab import model_path
    >>> from statllm.models import load_tokenizer
    >>> nodes = (Node(-1), Node(0, "So 5.", right=False, rationale="no."),
    ...          Node(0, "So 4.", right=True, end="answer", correct=True))
    >>> tree = Tree("a", "2 + 2?\\n", "4", nodes)
    >>> words = Phrases(reflect=("But {rationale}",), back=("Again.",), separator=" ")
    >>> tokenizer = load_tokenizer(model_path())
    >>> (row,) = repairs([make_draft(tree, journey(tree, 2), words)], tokenizer).to_pylist()
    >>> tokenizer.decode(row["prompt_ids"]), tokenizer.decode(row["response_ids"])
    ('2 + 2?\\nSo 5.', ' But no. Again. So 4.<eos>')
    """
    import pyarrow as pa

    rows: dict[str, list[Any]] = {"prompt_id": [], "prompt_ids": [], "response_ids": []}
    for draft in drafts:
        before, part = draft.tree.prompt, ""
        if not isinstance(before, str):
            raise InputError(f"prompt_id '{draft.tree.prompt_id}' is a list of messages")
        ids: list[tuple[str, str]] = []
        for event, piece in zip(draft.events, draft.pieces, strict=True):
            text = (draft.separator if event is not draft.events[0] else "") + piece
            if event.kind == "step" and draft.tree.nodes[event.node].right is False:
                ids.append((before, part))
                before, part = before + part + text, ""
            else:
                part += text
        for number, (given, learned) in enumerate([*ids, (before, part)]):
            if not learned:
                continue  # two rejected steps in a row, or one at the very beginning
            end = [tokenizer.eos_token_id] if number == len(ids) else []
            rows["prompt_id"].append(draft.tree.prompt_id)
            rows["prompt_ids"].append(tokenizer(given)["input_ids"])
            rows["response_ids"].append([*tokenizer(learned)["input_ids"], *end])
    lists = pa.list_(pa.int32())
    return pa.table(
        {
            "prompt_id": pa.array(rows["prompt_id"], pa.string()),
            "prompt_ids": pa.array(rows["prompt_ids"], lists),
            "response_ids": pa.array(rows["response_ids"], lists),
        }
    )
