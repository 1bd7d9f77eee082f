"""Occurrences before each mark, and what is made of them, against dictionaries."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from statllm.estimators.watermark.deduplicate import effective_n
from statllm.estimators.watermark.marks import Marks, Null
from statllm.estimators.watermark.prf._first import earlier_in_document, first_in_document


@pytest.mark.parametrize("distinct", [1, 3, 40, 2**63])
@pytest.mark.parametrize("lengths", [[], [0], [1, 0, 2], [500, 3, 0, 1000], [257] * 9])
def test_numbers_of_earlier_ones(distinct: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(len(lengths))
    n = sum(lengths)
    seeds = rng.integers(0, distinct, n, np.uint64) * np.uint64(2) + np.uint64(1)
    targets = rng.integers(-2, 2, n)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    expected, effective = [], []
    for low, high in pairwise(offsets.tolist()):
        seen: Counter[tuple[int, int]] = Counter()
        for pair in zip(seeds[low:high].tolist(), targets[low:high].tolist(), strict=True):
            expected.append(seen[pair])
            seen[pair] += 1
        squares = sum(count**2 for count in seen.values())
        effective.append((high - low) ** 2 / squares if squares else 0.0)
    assert earlier_in_document(seeds, targets, offsets).tolist() == expected
    first = first_in_document(seeds, targets, offsets)
    assert first.tolist() == [before == 0 for before in expected]
    marks = Marks(np.ones(n), seeds, targets, np.arange(n), offsets, Null("uniform"))
    np.testing.assert_allclose(effective_n(marks), effective, rtol=1e-15)
