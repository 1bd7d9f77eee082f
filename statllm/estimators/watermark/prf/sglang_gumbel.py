"""SGLang's Gumbel-max watermark (murmur3), with one key or two."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null, Seeds
from statllm.estimators.watermark.places import Places
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.estimators.watermark.prf.vllm_gumbel import as_marks, gumbel_choice
from statllm.ragged import Ragged


@dataclass(frozen=True)
class SglangGumbel:
    """What SGLang 0.5.23 writes with ``--enable-watermark``.

    Contexts are the last tokens, those of the prompt included: without the prompt the first
    `context_width` tokens can't be scored. With two keys a coin that is a function of the context
    decides between them, so the text's reader knows it, too, and the sum stays one Gamma variable.
    SGLang marks at most 4,096 different contexts of a request; later tokens count as chance here.

    Parameters
    ----------
    key : int
        SGLang's hexadecimal text as a number: 0x0123456789abcdef.
    key_b : int, optional
    mixing_probability : float
        Of `key`, where there are two.
    context_width : int
        ``context_window``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> tokens = Ragged.from_lists([[101, 7, 7, 2050, 128000, 5]], np.int64)
    >>> SglangGumbel(key=0x0123456789ABCDEF).marks(tokens).positions
    array([4, 5])
    """

    key: int = field(repr=False)
    key_b: int | None = field(default=None, repr=False)
    mixing_probability: float = 0.5
    context_width: int = 4
    name = "sglang-gumbel"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key)
        if self.key_b is not None:
            checked_key(self.key_b)
        if not 0 < self.mixing_probability < 1:
            raise ValueError(
                f"mixing_probability must lie between 0 and 1, not {self.mixing_probability}"
            )
        if not 1 <= self.context_width <= 64:
            raise ValueError(f"context_width must lie between 1 and 64, not {self.context_width}")

    def marks(self, tokens: Ragged) -> Marks:
        """Read the pivots of documents, each from its `context_width`-th token on."""
        return self.marks_at(self.places(tokens))

    @property
    def placing(self) -> Hashable:
        """Shared by all keys with this width."""
        return "sglang", self.context_width

    def places(self, tokens: Ragged) -> Places:
        """Find the tokens that have a whole context, and hash it."""
        from statllm.estimators.watermark.prf._murmur import context_hashes

        flat = checked_tokens(tokens, None)

        def hashes(scored: IntArray, positions: IntArray) -> Seeds:
            found: Seeds = context_hashes(flat, scored, self.context_width)
            return found

        return Places.of(tokens, flat, self.context_width, hashes, "seed")

    def marks_at(self, places: Places) -> Marks:
        """Read the pivots at some places."""
        from statllm.estimators.watermark.prf._murmur import gumbel_pivots

        values = gumbel_pivots(places.contexts, places.targets, *self._words())
        return as_marks(values, places.contexts, places, Null("uniform"))

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law under the key: all on one token.

        Without any context SGLang leaves the law alone.
        """
        from statllm.estimators.watermark.prf._murmur import gumbel_row

        context = np.asarray(prefix, np.int64)[-self.context_width :]
        if len(context) == 0:
            return np.asarray(probabilities, np.float64)
        return gumbel_choice(probabilities, gumbel_row(context, len(probabilities), *self._words()))

    def _words(self) -> tuple[np.uint64, np.uint64, np.uint64]:
        """Both keys, and below which coin the first is used (2^32 where it is alone)."""
        alone = self.key_b is None
        threshold = 1 << 32 if alone else int(self.mixing_probability * 2**32)
        second = self.key if self.key_b is None else self.key_b
        return np.uint64(self.key), np.uint64(second), np.uint64(threshold)
