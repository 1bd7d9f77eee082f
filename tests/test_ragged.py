"""Ragged reductions against plain loops over lists."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.ragged import Ragged

rows = st.lists(st.lists(st.integers(-50, 50).map(float), max_size=6), max_size=8)


def naive_var(row: list[float]) -> float:
    if len(row) < 2:
        return math.nan
    centre = sum(row) / len(row)
    return sum((x - centre) ** 2 for x in row) / (len(row) - 1)


@given(rows)
def test_reductions_equal_a_loop_over_rows(lists: list[list[float]]) -> None:
    r = Ragged.from_lists(lists, dtype=float)
    nan = math.nan
    np.testing.assert_allclose(r.sum(), [sum(x) for x in lists])
    np.testing.assert_allclose(r.mean(), [sum(x) / len(x) if x else nan for x in lists])
    np.testing.assert_allclose(r.var(), [naive_var(x) for x in lists], atol=1e-9)
    np.testing.assert_array_equal(r.min(), [min(x) if x else nan for x in lists])
    np.testing.assert_array_equal(r.max(), [max(x) if x else nan for x in lists])
    np.testing.assert_array_equal(r.argmax(), [x.index(max(x)) if x else -1 for x in lists])
    np.testing.assert_array_equal(r.argmin(), [x.index(min(x)) if x else -1 for x in lists])
    assert r.to_lists() == lists


@given(rows, st.randoms(use_true_random=False))
def test_keep_drops_values_not_rows(lists: list[list[float]], random) -> None:
    r = Ragged.from_lists(lists, dtype=float)
    mask = [random.random() < 0.5 for _ in r.values]
    flags = iter(mask)
    assert r.keep(mask).to_lists() == [[x for x in row if next(flags)] for row in lists]


def test_integers_stay_integers_where_no_row_is_empty() -> None:
    whole = Ragged.from_lists([[3, 1], [2]])
    assert whole.max().tolist() == [3, 2]
    assert whole.max().dtype == np.int64
    assert whole.argmin().tolist() == [1, 0]
    assert Ragged.from_lists([[3, 1], []], dtype=int).argmax().tolist() == [0, -1]


def test_nan_propagates_and_is_never_the_best() -> None:
    r = Ragged.from_lists([[1.0, math.nan, 3.0], [2.0]])
    assert np.isnan(r.max()[0])
    assert r.argmax().tolist() == [-1, 0]
    assert np.isnan(r.mean()[0])


def test_variance_keeps_its_digits_at_a_large_level() -> None:
    r = Ragged.from_lists([[1e9 + 1, 1e9 + 2, 1e9 + 3]])
    assert r.var()[0] == pytest.approx(1.0, rel=1e-12)


def test_arrow_lists_are_viewed_without_a_copy() -> None:
    array = pa.array([[1.0, 2.0], [], None, [3.0]])
    r = Ragged.from_arrow(array)
    assert r.to_lists() == [[1.0, 2.0], [], [], [3.0]]
    flat = array.flatten().to_numpy(zero_copy_only=True)
    assert np.shares_memory(r.values, flat)


def test_arrow_slices_and_chunks_are_read_whole() -> None:
    chunked = pa.chunked_array([[[1.0], [2.0, 3.0]], [[4.0]]]).slice(1)
    assert Ragged.from_arrow(chunked).to_lists() == [[2.0, 3.0], [4.0]]
    assert Ragged.from_arrow(pa.chunked_array([], pa.list_(pa.float64()))).n_rows == 0


def test_null_values_become_nan() -> None:
    assert np.isnan(Ragged.from_arrow(pa.array([[1.0, None]])).row(0)[1])


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 3, 2, 3], []])
def test_offsets_that_do_not_fit_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        Ragged(np.arange(3.0), np.array(offsets, dtype=np.int64))
