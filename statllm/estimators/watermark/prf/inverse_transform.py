"""The inverse-transform watermark on a context's hash (Li, Ruan, Wang, Long and Su 2025)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._hash_table import LM_SEED, TABLE, hash_table
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.ragged import Ragged

_STEPS = 1 << 24


@dataclass(frozen=True)
class InverseTransform:
    """The context gives a number u and a permutation; u is carried through the cumulative law.

    The chosen token is the first, in the order of its rank under the permutation, where the
    cumulative probability exceeds u, so u and eta = rank / (vocabulary - 1) are close. By chance
    they are independent. With r = abs(u - eta), m = floor((vocabulary - 1)(1 - r)) the pivot

        Y = (m + 1) / vocabulary x (2 (1 - r) - m / (vocabulary - 1)),

    the probability that chance is at least as far, is exactly uniform; for large vocabularies it
    is (1 - r)^2. All targets of one context share its u, so a context counts once. A number costs
    as many steps of PyTorch's CPU generator as its token's id.

    Parameters
    ----------
    vocabulary : int
        Size of the model's logits.
    key : int
        32 bits.
    context_width : int
    seeding : {"skipgram", "additive"}
        Of the context's oldest token alone (through a table of 1,000,003 seeds), or of the sum of
        all. A skip-gram context repeats as often as a token does.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> scheme = InverseTransform(vocabulary=100, context_width=2, seeding="additive")
    >>> scheme.marks(Ragged.from_lists([[1, 2, 3, 4]], np.int64)).positions
    array([2, 3])
    """

    vocabulary: int
    key: int = field(default=15485863, repr=False)
    context_width: int = 4
    seeding: Literal["skipgram", "additive"] = "skipgram"
    name = "inverse-transform"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key, 32)
        if not 2 <= self.vocabulary <= 1 << 30:
            raise ValueError(f"vocabulary must lie between 2 and 2^30, not {self.vocabulary}")
        if self.context_width < 1:
            raise ValueError(f"context_width must be at least 1, not {self.context_width}")
        if self.seeding not in ("skipgram", "additive"):
            raise ValueError(f"seeding must be 'skipgram' or 'additive', not {self.seeding!r}")

    def marks(self, tokens: Ragged) -> Marks:
        """Read the pivots of documents, each from its `context_width`-th token on."""
        from statllm.estimators.watermark.prf._ranks import firsts_and_values

        flat = checked_tokens(tokens, self.vocabulary)
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        scored = np.flatnonzero(positions >= self.context_width)
        oldest = flat[scored - self.context_width]
        total = np.concatenate([[0], np.cumsum(flat)])
        seeds = self._seeds(oldest, total[scored] - total[scored - self.context_width])
        targets = flat[scored]
        first, ranks = firsts_and_values(seeds, targets, self.vocabulary)
        distance = np.abs(first / _STEPS - ranks / (self.vocabulary - 1))
        lengths = np.maximum(tokens.lengths - self.context_width, 0)
        return Marks(
            _pivots(distance, self.vocabulary),
            seeds,
            targets,
            positions[scored],
            np.concatenate([[0], np.cumsum(lengths)]),
            Null("uniform"),
            "seed",
        )

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key: all on one token."""
        from statllm.estimators.watermark.prf._ranks import first_and_permutation

        law = np.asarray(probabilities, np.float64)
        if law.shape != (self.vocabulary,):
            raise ValueError(f"probabilities must have shape ({self.vocabulary},), not {law.shape}")
        context = np.asarray(prefix, np.int64)[-self.context_width :]
        if len(context) < self.context_width:
            return law
        seed = self._seeds(context[:1], np.sum(context, keepdims=True))[0]
        first, ranks = first_and_permutation(seed, self.vocabulary)
        order = np.empty(self.vocabulary, np.int64)
        order[ranks] = np.arange(self.vocabulary)
        cumulative = np.cumsum(law[order])
        chosen = order[
            int(np.searchsorted(cumulative, first / _STEPS * cumulative[-1], side="right"))
        ]
        return np.asarray(np.arange(self.vocabulary) == chosen, np.float64)

    def _seeds(self, oldest: IntArray, sums: IntArray) -> NDArray[np.uint64]:
        """Low 32 bits, all that PyTorch's generator keeps."""
        if self.seeding == "skipgram":
            # the authors' code takes lm-watermarking's hash
            seeds = hash_table(LM_SEED)[self.key * oldest % TABLE] + 1
        else:
            seeds = self.key * sums
        return seeds.view(np.uint64) & np.uint64(0xFFFFFFFF)


def _pivots(distance: FloatArray, vocabulary: int) -> FloatArray:
    """Probability of at least this distance by chance; u has steps, so 0 is half of one."""
    r = np.clip(distance, 0.5 / _STEPS, 1 - 0.5 / _STEPS)
    m = np.floor((vocabulary - 1) * (1 - r))
    y: FloatArray = (m + 1) / vocabulary * (2 * (1 - r) - m / (vocabulary - 1))
    return y
