"""Green lists (Kirchenbauer et al. 2023), as transformers and lm-watermarking draw them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.marks import FloatArray, IntArray, Marks, Null
from statllm.estimators.watermark.prf._hash_table import LM_SEED
from statllm.estimators.watermark.prf._lm_seeds import WINDOW_SEEDINGS, window_seeds
from statllm.estimators.watermark.prf._tokens import checked_key, checked_options, checked_tokens
from statllm.ragged import Ragged

#: Of transformers, too; the others are lm-watermarking's alone.
_SHARED = ("lefthash", "selfhash")
_SEEDINGS = (*_SHARED, *WINDOW_SEEDINGS)


@dataclass(frozen=True)
class Kgw:
    """A fixed share of the vocabulary is green after a context, and its logits are raised.

    Left-hash seeds on the last token alone, whatever the context's width (in transformers, too,
    though its documentation says that wider is sturdier); self-hash on the smallest product of
    hashes over the window, the scored token included. The other seedings are lm-watermarking's
    alone: see `window_seeds` for their formulas. The lists are those of PyTorch's CPU generator:
    text that was generated on a GPU has other lists, and no detector on a CPU finds it.

    Parameters
    ----------
    key : int
        ``hashing_key`` of transformers, ``hash_key`` of lm-watermarking.
    vocabulary : int
        Size of the model's logits, which may exceed the tokenizer's.
    share : float
        ``greenlist_ratio`` or gamma.
    bias : float
        delta, of generation alone.
    seeding : str
        ``"lefthash"``, ``"selfhash"`` or, of lm-watermarking, ``"additive"``, ``"multiplicative"``,
        ``"minfunc"``, ``"position"``, ``"skipgram"``, ``"anchored-skipgram"``, ``"simple-skip"``,
        ``"minhash"``, ``"anchored-minhash"``, ``"minskipgram"``, ``"noncomm"``.
    context_width : int
    flavour : {"transformers", "lm-watermarking"}
        They differ in the table of hashes, which self-hash uses.
    self_salt : bool
        Of lm-watermarking's own seedings: the window ends with the scored token itself (the
        ``True`` of ``ff-additive_prf-4-True``). Self-hash is anchored-minhash with it.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> scheme = Kgw(vocabulary=100, key=15485863)
    >>> marks = scheme.marks(Ragged.from_lists([[1, 2, 3, 4]], np.int64))
    >>> marks.positions, marks.null.greens
    (array([1, 2, 3]), 25)
    """

    vocabulary: int
    key: int = field(default=15485863, repr=False)
    share: float = 0.25
    bias: float = 2.0
    seeding: str = "lefthash"
    context_width: int = 1
    flavour: Literal["transformers", "lm-watermarking"] = "transformers"
    self_salt: bool = False
    name = "kgw"

    def __post_init__(self) -> None:
        checked_options(self)
        checked_key(self.key)
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary must be at least 2, not {self.vocabulary}")
        if not 0 < self.share < 1 or not 0 < self.greens < self.vocabulary:
            raise ValueError(f"share must leave green and other tokens, not {self.share}")
        if self.seeding not in _SEEDINGS:
            raise ValueError(f"seeding must be one of {_SEEDINGS}, not {self.seeding!r}")
        if self.flavour not in ("transformers", "lm-watermarking"):
            raise ValueError(
                f"flavour must be 'transformers' or 'lm-watermarking', not {self.flavour!r}"
            )
        if self.flavour == "transformers" and self.seeding not in _SHARED:
            raise ValueError(f"seeding {self.seeding!r} is lm-watermarking's alone; set flavour")
        if self.self_salt and self.seeding in _SHARED:
            raise ValueError(f"self_salt is no option of seeding {self.seeding!r}")
        least = 2 if self.seeding == "minskipgram" else 1
        if self.context_width < least:
            raise ValueError(f"context_width must be at least {least}, not {self.context_width}")

    @property
    def greens(self) -> int:
        """Tokens of a green list."""
        return int(self.vocabulary * self.share)

    @property
    def reads_target(self) -> bool:
        """Whether the scored token itself is the last one of the window."""
        return self.self_salt or self.seeding == "selfhash"

    def marks(self, tokens: Ragged) -> Marks:
        """Read which tokens are green; those without a whole context aren't scored."""
        from statllm.estimators.watermark.prf._green_lists import lists

        flat = checked_tokens(tokens, self.vocabulary)
        positions = np.arange(len(flat)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        first = self.context_width - self.reads_target
        scored = np.flatnonzero(positions >= first)
        back = np.arange(self._width, 0, -1)
        windows = flat[scored[:, None] + self.reads_target - back]
        seeds, targets = self._seeds(windows), flat[scored]
        if self.reads_target:
            values = self._pairs(seeds, targets)
        else:
            values = lists(self.greens, self.vocabulary).colours(seeds, targets)
        lengths = np.maximum(tokens.lengths - first, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        null = Null("green", self.greens / self.vocabulary, self.greens, self.vocabulary)
        return Marks(values, seeds, targets, positions[scored], offsets, null)

    def lists(self, contexts: IntArray) -> NDArray[np.uint8]:
        """Return green lists as bits, the least significant first.

        Parameters
        ----------
        contexts : ndarray of int64, shape (n, width)
            The last tokens; of left-hash one, else `context_width`.

        Returns
        -------
        ndarray of uint8, shape (n, ceil(vocabulary / 8))

        Raises
        ------
        ValueError
            If the scored token has a part in its list: there's none before it is known.

        Examples
        --------
        >>> bits = Kgw(vocabulary=100).lists(np.array([[7]]))
        >>> int(np.unpackbits(bits).sum())
        25
        """
        from statllm.estimators.watermark.prf._green_lists import drawn

        if self.reads_target:
            raise ValueError(f"seeding {self.seeding!r} has no list before the token is known")
        distinct, inverse = np.unique(self._seeds(contexts), return_inverse=True)
        return drawn(distinct, self.greens, self.vocabulary)[inverse]

    def reweighted(self, probabilities: FloatArray, prefix: IntArray) -> FloatArray:
        """Return the next token's law with green logits raised by `bias`."""
        law = np.asarray(probabilities, np.float64)
        prefix = np.asarray(prefix, np.int64)
        if len(prefix) < self.context_width:
            return law
        if self.reads_target:
            green = self._candidates(law, prefix)
        else:
            bits = self.lists(prefix[None, len(prefix) - self._width :])[0]
            green = np.unpackbits(bits, bitorder="little")[: self.vocabulary].astype(np.bool_)
        raised = np.where(green, law * np.exp(self.bias), law)
        return np.asarray(raised / raised.sum(), np.float64)

    @property
    def _width(self) -> int:
        return 1 if self.seeding == "lefthash" else self.context_width

    def _candidates(self, law: FloatArray, prefix: IntArray) -> NDArray[np.bool_]:
        """Green ones among the likeliest tokens: 40 in transformers, 41 in lm-watermarking."""
        n = 40 + (self.flavour == "lm-watermarking")
        tokens = np.argsort(-law, kind="stable")[:n]
        before = prefix[len(prefix) - self.context_width + 1 :]
        windows = np.column_stack([np.tile(before, (len(tokens), 1)), tokens])
        green = np.zeros(self.vocabulary, np.bool_)
        green[tokens] = self._pairs(self._seeds(windows), tokens).astype(np.bool_)
        return green

    def _seeds(self, windows: IntArray) -> NDArray[np.uint64]:
        """The seed of each window."""
        function = {"lefthash": "additive", "selfhash": "anchored-minhash"}
        table = self.key if self.flavour == "transformers" else LM_SEED
        return window_seeds(function.get(self.seeding, self.seeding), windows, self.key, table)

    def _pairs(self, seeds: NDArray[np.uint64], targets: IntArray) -> NDArray[np.uint8]:
        """Colours of targets, each under a seed of its own."""
        from statllm.estimators.watermark.prf._mersenne import are_green

        pairs = seeds << np.uint64(32) | targets.astype(np.uint64)
        distinct, inverse = np.unique(pairs, return_inverse=True)
        colours: NDArray[np.uint8] = are_green(
            distinct >> np.uint64(32),
            (distinct & np.uint64(0xFFFFFFFF)).astype(np.int64),
            self.greens,
            self.vocabulary,
        )
        return colours[inverse]
