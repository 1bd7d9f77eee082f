"""The samples of a generation table as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from statllm.generations import Generations
from statllm.ragged import BoolArray, IntArray, Ragged
from statllm.scoring._columns import flat_parts, flat_values, take_flat
from statllm.selection._draws import Words, drawn, ordered
from statllm.selection.settings import RuleSettings


@dataclass(frozen=True)
class Samples:
    """All samples of a table, one after the other; a sample is named by its flat index.

    With gold responses, index n_samples + i is the gold response of prompt i.
    """

    generations: Generations
    gold: pa.Array | None = None

    @property
    def n_prompts(self) -> int:
        return self.generations.n_prompts

    @cached_property
    def lengths(self) -> IntArray:
        """Samples per prompt."""
        return self.generations.n_samples

    @cached_property
    def rows(self) -> IntArray:
        """Prompt of each sample."""
        return np.repeat(np.arange(self.n_prompts, dtype=np.int64), self.lengths)

    @cached_property
    def positions(self) -> IntArray:
        """Place of each sample in its row."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.rows), dtype=np.int64) - starts[self.rows]

    def flat(self, name: str) -> pa.Array | None:
        """Return a per-sample column, or None."""
        return flat_values(self.generations.column(name)) if name in self.generations else None

    def verdicts(self) -> tuple[BoolArray, BoolArray]:
        """Return which samples are known to be right, and which to be wrong."""
        correct = self.flat("correct")
        assert correct is not None
        right = correct.fill_null(False).to_numpy(zero_copy_only=False)
        wrong = pc.invert(correct).fill_null(False).to_numpy(zero_copy_only=False)
        return right, wrong

    def usable(self, settings: RuleSettings) -> BoolArray:
        """Return which samples may stand in a pair: not null, nor truncated where that matters."""
        parts = flat_parts(self.generations.column("response"))
        usable: BoolArray = np.concatenate(
            [part.is_valid().to_numpy(zero_copy_only=False) for part in parts]
        )
        finish = self.flat("finish_reason")
        if finish is not None and settings.truncated == "exclude":
            cut = pc.fill_null(pc.equal(finish, "length"), False)
            usable &= ~cut.to_numpy(zero_copy_only=False)
        return usable

    def listed(self, member: BoolArray) -> Ragged:
        """Return the flat indices of each prompt's members, in the order of the samples."""
        at = np.flatnonzero(member)
        return Ragged.from_lengths(at, np.bincount(self.rows[at], minlength=self.n_prompts))

    def shuffled(self, member: BoolArray, prompts: Words, purpose: int) -> Ragged:
        """Return the same in an order drawn from the prompts' random words."""
        at = np.flatnonzero(member)
        rows = self.rows[at]
        order = drawn(prompts[rows], purpose, self.positions[at])
        return ordered(at, rows, order, self.n_prompts)

    def take(self, name: str, indices: IntArray) -> pa.ChunkedArray | None:
        """Return a per-sample column at flat indices, or None; null for a gold response."""
        if name not in self.generations:
            return None
        parts = flat_parts(self.generations.column(name))
        return take_flat([*parts, pa.nulls(self.n_prompts, parts[0].type)], indices)

    def texts(self, indices: IntArray) -> pa.ChunkedArray:
        """Return the responses, gold ones included."""
        gold = [] if self.gold is None else [self.gold]
        return take_flat([*flat_parts(self.generations.column("response")), *gold], indices)

    def places(self, indices: IntArray) -> pa.Array:
        """Return sample numbers within the row; null for a gold response."""
        gold = indices >= len(self.rows)
        return pa.array(np.append(self.positions, 0)[np.where(gold, -1, indices)], mask=gold)

    def codes(self, name: str) -> tuple[IntArray, pa.Array]:
        """Return each sample's text as a number, -1 for null, and the distinct texts."""
        values = self.flat(name)
        assert values is not None
        encoded = values.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes.astype(np.int64), encoded.dictionary
