"""Equivalence of answers."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.scoring import equivalence, equivalent, merge_equivalent

math = pytest.mark.skipif(
    equivalence.importlib.util.find_spec("math_verify") is None, reason="math-verify is missing"
)


def test_exact_and_canonical():
    assert equivalent("", "", "exact")
    assert not equivalent("1.0", "1", "exact")
    assert equivalent("1.0", "1")
    assert not equivalent("", "")
    assert not equivalent(None, None)
    assert not equivalent(None, "1", "exact")


@math
@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
        ("1/3", "0.333333", True),  # six decimals
        ("1/3", "0.33", False),
        (r"\{1,2\}", r"\{2,1\}", True),
        ("(1,2)", "(2,1)", False),
        ("x^2-1", "(x-1)(x+1)", True),
        ("2x", "3x", False),
        (r"3\pi", "3*pi", True),
        ("sqrt(4)", "2", True),
        ("paris", "pairs", False),  # not the product p*a*r*i*s
        ("5", "6", False),
        (r"\frac{", "{{", False),  # malformed
        ("a" * 500, "b" * 500, False),
    ],
)
def test_math_verify(a, b, equal):
    assert equivalent(a, b, "math-verify") is equal
    assert equivalent(b, a, "math-verify") is equal


@math
def test_a_comparison_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(equivalence, "_COMPUTING_TIME", 1.0)
    assert not equivalent("9^{9^{9^9}}", "9^{9^{9^8}}", "math-verify")
    monkeypatch.undo()
    assert equivalent("y+2", "2+y", "math-verify")  # and the next one is answered


@math
def test_a_process_that_died_is_replaced():
    assert equivalent("t+1", "1+t", "math-verify")
    equivalence._WORKER._process.kill()
    equivalence._WORKER._process.wait()
    assert equivalent("t+2", "2+t", "math-verify")


@math
def test_outside_the_main_thread():
    verdicts: list[bool] = []
    thread = threading.Thread(
        target=lambda: verdicts.append(equivalent("z^3", "z*z*z", "math-verify"))
    )
    thread.start()
    thread.join()
    assert verdicts == [True]


@math
def test_merging_picks_the_most_frequent_of_a_class():
    row = [r"\sqrt{4}", "2", "2", None, "x+1", "1+x", "7"]
    expected = ["2", "2", "2", None, "1+x", "1+x", "7"]
    assert merge_equivalent(pa.array([row, []])).to_pylist() == [expected, []]
    backwards = merge_equivalent(pa.array([row[::-1]])).to_pylist()
    assert backwards == [expected[::-1]]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(equivalence.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package math-verify: pip install 'statllm"):
        equivalent("1", "2", "math-verify")


def test_unknown_method():
    with pytest.raises(InputError, match="equivalence 'fuzzy' is unknown; use exact, canonical"):
        equivalent("1", "2", "fuzzy")  # type: ignore[arg-type]
