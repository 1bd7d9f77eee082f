"""Contexts that a watermark's random numbers hang on, and which schemes have enough of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import Scheme
from statllm.ragged import BoolArray, Ragged


def check_poolable(scheme: Scheme) -> int:
    """Return how many tokens before the scored one a scheme reads, if its marks may be pooled.

    A test of a whole corpus under one key needs as many independent random numbers as it counts.

    Raises
    ------
    ValueError
        Names the scheme that doesn't have them: SynthID with transformers' hashing (65,536 bit
        vectors: at 133,000 tokens z has a standard deviation of 6), textseal-gumbel (8,191
        numbers), and those whose only context is the token itself (unigram; self-hash of width 1).
        SynthID with DeepMind's hashing passes, though the bits of one token depend on each other
        a little: see `SynthId`.

    Examples
    --------
    >>> from statllm.estimators.watermark.schemes import make_scheme
    >>> check_poolable(make_scheme("vllm-gumbel", key=42))
    4
    >>> check_poolable(make_scheme("unigram", vocabulary=100))
    Traceback (most recent call last):
    ...
    ValueError: unigram can't be tested for radioactivity: it has one list for all contexts, ...
    """
    why = ""
    reach = 0
    given: Any = scheme
    if scheme.name == "unigram":
        why = "it has one list for all contexts, so a corpus is one draw of it"
    elif scheme.name == "textseal-gumbel":
        why = "it has 8,191 random numbers, too few for the tokens of a corpus"
    elif scheme.name == "synthid":
        reach = given.ngram - 1
        if given.flavour == "transformers":
            why = (
                "with transformers' hashing it has 65,536 vectors of bits, too few for the tokens "
                "of a corpus"
            )
    else:
        reach = getattr(given, "context_width", 0) or getattr(given, "ngram", 0)
        # the scored token is the last one of its own window
        reach -= getattr(given, "seeding", "") == "selfhash" or getattr(given, "self_salt", False)
        if reach == 0:
            why = "it reads no token before the scored one"
    if why:
        raise ValueError(f"{scheme.name} can't be tested for radioactivity: {why}")
    return int(reach)


@dataclass(frozen=True, eq=False)
class Contexts:
    """The contexts of a training text: the `reach` tokens before each of its tokens.

    Attributes
    ----------
    hashes : ndarray of uint64, shape (n_contexts,)
        Distinct and rising; 8 bytes a context.
    reach : int
    """

    hashes: NDArray[np.uint64]
    reach: int

    @classmethod
    def of(cls, texts: Ragged, reach: int) -> Contexts:
        """Collect the contexts of texts; before a text's start there are tokens -1.

        Examples
        --------
        >>> known = Contexts.of(Ragged.from_lists([[1, 2, 3, 1, 2]]), 2)
        >>> known.has(Ragged.from_lists([[1, 2, 7, 7]]))
        array([ True,  True,  True, False])
        """
        return cls(np.unique(_context_hashes(texts, reach)), reach)

    def joined(self, other: Contexts) -> Contexts:
        """Return the contexts of both.

        Raises
        ------
        ValueError
            If they are of different lengths.
        """
        if self.reach != other.reach:
            raise ValueError(f"contexts of {self.reach} and of {other.reach} tokens")
        return Contexts(np.union1d(self.hashes, other.hashes), self.reach)

    def has(self, texts: Ragged) -> BoolArray:
        """Return for each token, shape (n_tokens,), whether the context before it is one."""
        found: BoolArray = np.isin(_context_hashes(texts, self.reach), self.hashes)
        return found


def _context_hashes(texts: Ragged, reach: int) -> NDArray[np.uint64]:
    """Hash the `reach` tokens before each token."""
    flat, positions = np.asarray(texts.values, np.int64), texts.positions
    hashes = np.zeros(len(flat), np.uint64)
    for back in range(1, reach + 1):
        before = np.concatenate([np.full(min(back, len(flat)), -1), flat[:-back]])
        token = np.where(positions >= back, before, -1).astype(np.uint64)
        # splitmix64 (Steele, Lea and Flood 2014), chained
        hashes = (hashes ^ token) + np.uint64(0x9E3779B97F4A7C15)
        hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    return hashes
