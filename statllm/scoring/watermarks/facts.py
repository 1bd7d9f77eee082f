"""What is plain to see in texts, without a test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from statllm.errors import InputError
from statllm.estimators.watermark.chosen import ChosenLaw
from statllm.estimators.watermark.power import power
from statllm.ragged import Ragged
from statllm.scoring.watermarks.configurations import Configuration
from statllm.scoring.watermarks.evidence import Evidence

_FEW_PAIRS = 50


def outside(tokens: Ragged, deployed: Configuration) -> str:
    """Say that ids lie outside of the scheme's vocabulary; empty if none does."""
    scheme: Any = deployed.scheme
    size = getattr(scheme, "vocabulary", None)
    wrong = 0 if size is None else int(np.sum(tokens.values >= size))
    if not wrong:
        return ""
    return f"{wrong} token ids aren't below the vocabulary of {size}"


def without_prompts(tokens: Ragged, prompts: Ragged) -> tuple[float, Ragged]:
    """Share of texts that begin with their prompt, and all texts without theirs."""
    rows, begins = [], 0
    for k in range(len(tokens.offsets) - 1):
        text = tokens.values[tokens.offsets[k] : tokens.offsets[k + 1]]
        prompt = prompts.values[prompts.offsets[k] : prompts.offsets[k + 1]]
        sure = max(len(prompt) - 1, 1)  # the last one may have grown together with the response
        if len(prompt) and np.array_equal(text[:sure], prompt[:sure]):
            begins += 1
            text = text[len(prompt) :]
        rows.append(text)
    lengths = [len(row) for row in rows]
    return begins / len(rows), Ragged.from_lengths(np.concatenate(rows), lengths)


def context_width(deployed: Configuration) -> int:
    """Tokens before the scored one on which its random number hangs."""
    scheme: Any = deployed.scheme
    if scheme.name == "unigram":
        return 0
    if scheme.name == "kgw" and scheme.seeding == "lefthash":
        return 1
    return int(getattr(scheme, "context_width", getattr(scheme, "ngram", 2) - 1))


def too_little(
    own: Evidence, deployed: Configuration, log_probabilities: ArrayLike | None, alpha: float
) -> str:
    """Say why a watermark could not be seen even if it were there; empty if it could."""
    total = own.n_scored + own.n_repeated
    if own.n_scored < _FEW_PAIRS:
        return f"{own.n_scored} distinct pairs of {total} tokens are scored"
    if own.n_repeated > 0.9 * total:
        return f"{own.n_repeated} of {total} tokens repeat a pair, and don't count"
    if log_probabilities is None or "gumbel" not in deployed.scheme.name:
        return ""
    given = np.asarray(log_probabilities, np.float64).ravel()
    try:
        law = ChosenLaw.from_log_probabilities(given[~np.isnan(given)])
    except ValueError as error:
        raise InputError(str(error)) from error
    n = min(own.n_scored, 100_000)
    chance = power(n, law, alpha)
    if chance >= 0.5:
        return ""
    return (
        f"tokens this probable leave a watermark a chance of {chance:.0%} to be seen in {n} "
        f"distinct pairs at {alpha:g}"
    )
