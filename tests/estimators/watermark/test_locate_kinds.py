"""Segments of marks with two pivots or several bits a token."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.watermark.locate import locate
from statllm.estimators.watermark.marks import Marks, Null

_DEPTH, _MIXING = 10, 0.2


def marks_of(kind: str, rng: np.random.Generator, n: int, where: slice) -> Marks:
    """Chance, and a watermark in `where`: pivots of the drawn key rise, early layers lean to 1."""
    marked = np.zeros(n, np.bool_)
    marked[where] = True
    if kind == "bits":
        lean = np.multiply.outer(marked * 0.4, np.linspace(1, 0.1, _DEPTH))
        values = (rng.random((n, _DEPTH)) < 0.5 + 0.5 * lean).astype(np.uint8)
        null = Null("bits", depth=_DEPTH)
    else:
        values = rng.uniform(size=(n, 2))
        key = (rng.random(n) < _MIXING).astype(np.int64)
        at = np.flatnonzero(marked)
        values[at, key[at]] **= 0.3
        null = Null("uniform", mixing=_MIXING)
    place = np.arange(n)
    return Marks(values, place.astype(np.uint64), place, place, np.array([0, n]), null)


@pytest.mark.parametrize("kind", ["bits", "two keys"])
def test_a_segment_is_found_where_it_is(kind: str) -> None:
    held, misses = 0, []
    for seed in range(20):
        found = locate(marks_of(kind, np.random.default_rng(seed), 400, slice(150, 300)), delta=0.3)
        assert len(found) == 1
        assert found[0].log_p < np.log(0.01)
        misses.append((abs(found[0].start - 150), abs(found[0].stop - 300)))
        held += found[0].start_set[0] <= 150 <= found[0].start_set[1]
        held += found[0].stop_set[0] <= 300 <= found[0].stop_set[1]
    assert np.max(np.median(misses, axis=0)) < 15
    assert held >= stats.binom.ppf(1e-3, 40, 0.95)


@pytest.mark.parametrize("kind", ["bits", "two keys"])
def test_chance_has_a_segment_with_probability_alpha_at_most(kind: str) -> None:
    rng = np.random.default_rng(1)
    false = sum(bool(locate(marks_of(kind, rng, 200, slice(0, 0)), alpha=0.1)) for _ in range(300))
    assert false <= stats.binom.ppf(0.999, 300, 0.1)
