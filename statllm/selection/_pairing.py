"""Pairs from two lists per prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statllm.ragged import BoolArray, IntArray, Ragged


@dataclass(frozen=True)
class Pairs:
    """Pairs by flat sample indices; arrays of shape (n_pairs,).

    Attributes
    ----------
    rows : prompt of each pair
    numbers : the pair's number within its prompt
    chosen, rejected : flat sample indices
    """

    rows: IntArray
    numbers: IntArray
    chosen: IntArray
    rejected: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, mask: BoolArray) -> Pairs:
        """Return some of the pairs; their numbers stay."""
        return Pairs(self.rows[mask], self.numbers[mask], self.chosen[mask], self.rejected[mask])

    def per_prompt(self, n_prompts: int) -> IntArray:
        """Return the number of pairs of each prompt."""
        return np.bincount(self.rows, minlength=n_prompts)


def paired(chosen: Ragged, rejected: Ragged, k: int, *, repeats: bool) -> Pairs:
    """Walk both lists of a prompt in step, each wrapping around, until k pairs are made.

    Pair j is ``(chosen[j mod n_chosen], rejected[j mod n_rejected])`` (Pang et al. 2024). The
    walk is back at its first pair after lcm(n_chosen, n_rejected) steps; without `repeats` it
    ends there. A prompt with an empty list has no pair.
    """
    n_chosen, n_rejected = chosen.lengths, rejected.lengths
    both = (n_chosen > 0) & (n_rejected > 0)
    steps = np.where(both, k, 0)
    if not repeats:
        steps = np.minimum(steps, np.lcm(n_chosen, n_rejected))
    rows = np.repeat(np.arange(len(steps), dtype=np.int64), steps)
    numbers = np.arange(len(rows), dtype=np.int64) - (np.cumsum(steps) - steps)[rows]
    return Pairs(
        rows,
        numbers,
        chosen.values[chosen.offsets[rows] + numbers % n_chosen[rows]],
        rejected.values[rejected.offsets[rows] + numbers % n_rejected[rows]],
    )
