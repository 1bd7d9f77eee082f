"""The same texts read otherwise: after their prompts, and with or without special tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from statllm.estimators.watermark.marks import Marks, Scheme
from statllm.ragged import BoolArray, IntArray, Ragged
from statllm.scoring.watermarks.evidence import Evidence, pooled_marks
from statllm.scoring.watermarks.mistakes import PROMPT_MISSING, SPECIAL

_WIDEST = 64  # tokens of a prompt: more than any context


@dataclass(frozen=True)
class Reading:
    """Texts as the generator may have had them before it.

    Attributes
    ----------
    mistake : str
        What is wrong with the given texts if these are the right ones.
    name : str
    tokens : Ragged
    origin : ndarray of int64, shape (n_tokens,)
        Flat place of each token in the given texts; -1 for those that aren't theirs.
    """

    mistake: str
    name: str
    tokens: Ragged = field(repr=False)
    origin: IntArray = field(repr=False)


def after_prompts(tokens: Ragged, prompts: Ragged) -> Reading:
    """Read texts after the last 64 tokens of their prompts.

    Examples
    --------
    >>> tokens = Ragged.from_lists([[5, 6], [7]], np.int64)
    >>> reading = after_prompts(tokens, Ragged.from_lists([[1, 2], []], np.int64))
    >>> reading.tokens.to_lists(), reading.origin
    ([[1, 2, 5, 6], [7]], array([-1, -1,  0,  1,  2]))
    """
    before = [prompts.row(k)[-_WIDEST:] for k in range(len(prompts))]
    return _with_before(tokens, before, PROMPT_MISSING, "contexts that reach into the prompt")


def other_beginnings(tokens: Ragged, special_tokens: Sequence[int]) -> Iterator[Reading]:
    """Yield texts after each special token, without the token that all begin with, and without any
    special token.

    Examples
    --------
    >>> tokens = Ragged.from_lists([[1, 5, 6], [1, 7, 0]], np.int64)
    >>> [(each.name, each.tokens.to_lists()) for each in other_beginnings(tokens, [0])]
    [('texts after token 0', [[0, 1, 5, 6], [0, 1, 7, 0]]),
     ('texts without the token 1 that all begin with', [[5, 6], [7, 0]]),
     ('texts without special tokens', [[1, 5, 6], [1, 7]])]
    """
    for token in dict.fromkeys(special_tokens):
        before = [np.array([token])] * len(tokens)
        yield _with_before(tokens, before, SPECIAL, f"texts after token {token}")
    starts = tokens.offsets[:-1][tokens.lengths > 0]
    first = np.unique(tokens.values[starts])
    if len(starts) > 1 and len(first) == 1:
        kept = np.ones(len(tokens.values), np.bool_)
        kept[starts] = False
        yield _without(tokens, kept, f"texts without the token {first[0]} that all begin with")
    kept = ~np.isin(tokens.values, list(special_tokens))
    if not kept.all():
        yield _without(tokens, kept, "texts without special tokens")


def changed_evidence(scheme: Scheme, given: Ragged, reading: Reading) -> Evidence:
    """Test the marks that a reading has and the given texts have not, or with another seed.

    What both have in common says nothing on which is right; so a text that is found anyway doesn't
    speak for every reading of it. Exact over keys like `pooled`; NaN where nothing changes, or the
    scheme can't read the tokens.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> scheme = make_scheme("kgw", vocabulary=100)
    >>> given = Ragged.from_lists([[5, 6, 7]], np.int64)
    >>> prompt = Ragged.from_lists([[1, 2]], np.int64)
    >>> changed_evidence(scheme, given, after_prompts(given, prompt)).n_scored
    1
    """
    try:
        before, after = scheme.marks(given), scheme.marks(reading.tokens)
    except ValueError:
        return Evidence(float("nan"), 0, 0)
    known = np.zeros(len(given.values), np.bool_)
    seeds, targets = np.zeros(len(known), np.uint64), np.zeros(len(known), np.int64)
    at = _places(before, given)
    known[at], seeds[at], targets[at] = True, before.seeds, before.targets
    origin = reading.origin[_places(after, reading.tokens)]
    same = known[origin] & (seeds[origin] == after.seeds) & (targets[origin] == after.targets)
    return pooled_marks(scheme, after.kept((origin >= 0) & ~same))


def _places(marks: Marks, tokens: Ragged) -> IntArray:
    """Flat place of each mark's token."""
    return tokens.offsets[marks.documents] + marks.positions


def _with_before(tokens: Ragged, before: list[IntArray], mistake: str, name: str) -> Reading:
    values, origin, lengths = [], [], []
    for k, own in enumerate(before):
        start, end = tokens.offsets[k], tokens.offsets[k + 1]
        values += [own, tokens.values[start:end]]
        origin += [np.full(len(own), -1), np.arange(start, end)]
        lengths.append(len(own) + int(end - start))
    read = Ragged.from_lengths(np.concatenate(values).astype(np.int64), lengths)
    return Reading(mistake, name, read, np.concatenate(origin))


def _without(tokens: Ragged, kept: BoolArray, name: str) -> Reading:
    total = np.concatenate([[0], np.cumsum(kept)])
    read = Ragged(tokens.values[kept], total[tokens.offsets])
    return Reading(SPECIAL, name, read, np.flatnonzero(kept))
