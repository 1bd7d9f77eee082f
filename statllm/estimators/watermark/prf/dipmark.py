"""Reweighting of permuted probabilities: DiPmark and the gamma-reweight of unbiased watermarks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.ragged import Ragged


@dataclass(frozen=True)
class Dipmark:
    """DiPmark (Wu, Hu, Guo, Zhang and Huang 2024), as its released code and MarkLLM draw it.

    The vocabulary is permuted; with F the cumulative law along the permutation, the text's is
    F'(F_i) - F'(F_(i-1)), F'(x) = max(x - alpha, 0) + max(x - (1 - alpha), 0). On average over
    keys that is the model's law, and late places become likelier: the last ``vocabulary - reds``
    places are green. alpha = 1/2 is the gamma-reweight of Hu, Chen, Wu, Wu, Zhang and Huang
    (2024). Contexts seen before are left alone; each counts once. Permutations are those of
    PyTorch's CPU generator.

    Parameters
    ----------
    vocabulary : int
    key : int
        The private key of 128 bytes as a number, most significant byte first.
    context_width : int
    alpha : float
        In (0, 1/2], of generation alone.
    share : float
        gamma of the paper: the part of the vocabulary that isn't green.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> marks = Dipmark(vocabulary=100, key=1, context_width=2).marks(
    ...     Ragged.from_lists([[1, 2, 3, 4]], np.int64))
    >>> marks.positions, marks.null.greens
    (array([2, 3]), 50)
    """

    vocabulary: int
    key: int = field(repr=False)
    context_width: int = 5
    alpha: float = 0.45
    share: float = 0.5
    name = "dipmark"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key, 1024)
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary must be at least 2, not {self.vocabulary}")
        if self.context_width < 1:
            raise ValueError(f"context_width must be at least 1, not {self.context_width}")
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha must lie in (0, 1/2], not {self.alpha}")
        if not 0 < self.share < 1 or self.reds == 0:
            raise ValueError(f"share must leave green and other tokens, not {self.share}")

    @property
    def reds(self) -> int:
        """Places of the permutation that aren't green: its first."""
        return int(self.vocabulary * self.share)

    def marks(self, tokens: Ragged) -> Marks:
        """Read which tokens are green; those without a whole context aren't scored."""
        from statllm.estimators.watermark.prf._mersenne import are_green

        flat = checked_tokens(tokens, self.vocabulary)
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        scored = np.flatnonzero(positions >= self.context_width)
        windows = scored[:, None] - np.arange(self.context_width, 0, -1)
        seeds = self._seeds(flat[windows])
        early = are_green(seeds, flat[scored], self.reds, self.vocabulary)
        lengths = np.maximum(tokens.lengths - self.context_width, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        greens = self.vocabulary - self.reds
        null = Null("green", greens / self.vocabulary, greens, self.vocabulary)
        return Marks(1 - early, seeds, flat[scored], positions[scored], offsets, null, "seed")

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key."""
        from statllm.estimators.watermark.prf._mersenne import permutation

        law = np.asarray(probabilities, np.float64)
        if len(prefix) < self.context_width:
            return law
        context = np.asarray(prefix, np.int64)[None, -self.context_width :]
        order = permutation(int(self._seeds(context)[0]), self.vocabulary)
        total = np.cumsum(law[order])
        total /= total[-1]
        moved = np.maximum(total - self.alpha, 0) + np.maximum(total - (1 - self.alpha), 0)
        out = np.empty(self.vocabulary)
        out[order] = np.diff(moved, prepend=0.0)
        return out

    def _seeds(self, contexts: IntArray) -> NDArray[np.uint64]:
        """Seeds of contexts, shape (n, context_width): SHA-256 of their bytes and the key's."""
        key = int(self.key).to_bytes(128, "big")
        raw = np.ascontiguousarray(contexts, "<i8").tobytes()
        width = 8 * self.context_width
        return np.array(
            [
                int.from_bytes(hashlib.sha256(raw[i : i + width] + key).digest(), "big")
                % (2**32 - 1)
                for i in range(0, len(raw), width)
            ],
            np.uint64,
        )
