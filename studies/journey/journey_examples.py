"""The examples of each arm's SFT, out of the trees of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.journey import Extraction, Tree, extract
from statllm.journey.recipe import JourneyRecipe
from statllm.journey.repairs import repairs

FLIP = 0.2  # of verdicts, for the noisy process reward


def first(table: pa.Table, n: int, seed: int) -> pa.Table:
    """Return `n` of the rows, drawn by the seed, in random order; all if there are fewer."""
    order = np.random.default_rng([seed, 17]).permutation(table.num_rows)
    return table.take(order[:n])


def up_to_tokens(table: pa.Table, tokens: int, tokenizer: Any, seed: int) -> pa.Table:
    """Return rows in random order until their responses hold so many tokens, again if need be."""
    lengths = response_tokens(table, tokenizer)
    rng = np.random.default_rng([seed, 23])
    taken: list[int] = []
    held = 0
    while held < tokens:
        for row in rng.permutation(table.num_rows):
            if held >= tokens:
                break
            taken.append(int(row))
            held += int(lengths[row])
    return table.take(taken)


def tokens_of(texts: Sequence[str], tokenizer: Any) -> NDArray[np.int64]:
    """Tokens of each text, without the one that ends it."""
    return np.array([len(tokenizer(text)["input_ids"]) for text in texts], dtype=np.int64)


def response_tokens(table: pa.Table, tokenizer: Any) -> NDArray[np.int64]:
    """Tokens of each response."""
    return tokens_of(table["response"].to_pylist(), tokenizer)


def examples(
    trees: dict[float, list[Tree]], recipe: JourneyRecipe, n: int, seed: int, tokenizer: Any
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """Return each arm's examples, `n` of journeys, and how many there were to choose from."""

    def taken(flip: float, **changes: Any) -> Extraction:
        return extract(trees[flip], recipe.extract.model_copy(update=changes))

    exact = taken(0.0)
    found = {"journey": first(exact.examples, n, seed)}
    chosen = set(found["journey"]["prompt_id"].to_pylist())
    plain = taken(0.0, kind="shortcut").examples
    same = [row for row, one in enumerate(plain["prompt_id"].to_pylist()) if one in chosen]
    found["shortcut"] = plain.take(same)
    whole = taken(0.0, kind="shortcut", require_trial=False, leaves="all").examples
    one_each = taken(0.0, kind="shortcut", require_trial=False).examples
    found["random shortcuts"] = first(one_each, found["journey"].num_rows, seed + 1000)
    tokens = int(response_tokens(found["journey"], tokenizer).sum())
    found["shortcut, equal tokens"] = up_to_tokens(whole, tokens, tokenizer, seed)
    found["journey, noisy reward"] = first(taken(FLIP).examples, n, seed)
    drafts = [one for one in exact.drafts if one.tree.prompt_id in chosen]
    found["journey, repairs only"] = repairs(drafts, tokenizer)
    about = {
        "seed": seed, **exact.counts(),
        **{f"tokens, {arm}": int(response_tokens(table, tokenizer).sum())
           for arm, table in found.items() if "response" in table.column_names},
        **{f"examples, {arm}": table.num_rows for arm, table in found.items()},
    }  # fmt: skip
    return found, about
