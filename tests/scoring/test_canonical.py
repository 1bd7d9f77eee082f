"""The canonical form of answers."""

from __future__ import annotations

import time
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.scoring import canonical, canonical_column

SAME = [
    ["1234.5", "1,234.50", "$1,234.5", "1234.50 dollars", "+1234.5", "1234.500", "$ 1,234.5."],
    ["70", "070", "70.0", "70.", "**70**", "(70)", "x = 70", r"\boxed{70}", "$70$", "70%", r"70\%"],
    ["70000", "$70,000", "70,000", "7e4", r"7 \times 10^4", r"7\times10^{4}", "70 thousand"],
    ["2000000", "2 million", "2,000,000", "$2 million dollars"],
    ["0.5", "1/2", ".5", r"\frac{1}{2}", r"\dfrac12", "2/4", r"$\frac{1}{2}$", "½", "0.50"],
    ["-1.5", "-1 1/2", "−1.5", r"-\frac{3}{2}", "-$1.50", "$-1.5"],
    ["1/3", "2/6", r"\frac{1}{3}", r"\frac 1 3"],
    ["0", "-0", "0.00", "00", "+0"],
    ["18", "18 eggs", "18 eggs.", "18 bolts of fabric", "18 km/h", "18 m^2", "18°", "18 (eggs)"],
    ["B", "b", "(B)", "(b)", "B.", "B)", "**B**", r"\text{B}", r"\textbf{(B)}"],
    ["new york", "New York", "  NEW \n YORK. ", '"New York"', r"\text{New York}"],
    ["yes", "Yes", "YES!", "yes."],
    ["x+1", "x + 1", "$x+1$"],
    ["(1,2)", "(1, 2)", r"\left(1, 2\right)"],
    ["12/13/2001", " 12/13/2001."],
]

DIFFERENT = [
    ("1/3", "0.333"),
    ("50%", "0.5"),
    ("5 pm", "5 am"),
    ("2", "2 dozen"),
    ("2x", "2"),
    ("2 pi", "2"),
    ("1, 200", "1200"),
    ("1,5", "1.5"),
    ("12/13/2001", "13/12/2001"),
    ("7 July", "7 August"),
    (r"\Delta", r"\delta"),
    ("10:30", "10.30"),
    ("1e999999999", "1e999999998"),
    ("5/0", "0"),
    ("3 minutes 36 seconds", "3"),
    ("--5", "5"),
    ("1 3/2", "2.5"),
]


@pytest.mark.parametrize("group", SAME, ids=lambda group: group[0])
def test_same(group):
    assert {canonical(text) for text in group} == {group[0]}


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a, b):
    assert canonical(a) != canonical(b)


@pytest.mark.parametrize("text", [None, "", "  ", "...", "?!", '""', "$$"])
def test_nothing(text):
    assert canonical(text) is None


def test_units_can_be_kept():
    assert canonical("5 hours", units=True) == "5 hours"
    assert canonical("$5", units=True) == "5"


@given(
    st.one_of(
        st.text(max_size=30),
        st.text("0123456789.,/-+$%()[]{}\\ eExX^*=abgm'\"_\n\t½°", max_size=14),
    )
)
def test_idempotent(text):
    once = canonical(text)
    assert canonical(once) == once
    assert once is None or once.strip()


def _styles(value: Fraction) -> list[str]:
    """The same number in the styles that models use."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    styles = [
        f"{value.numerator}/{value.denominator}",
        f"{sign}\\frac{{{size.numerator}}}{{{size.denominator}}}",
        f"{3 * value.numerator}/{3 * value.denominator}",
    ]
    if 10**6 % value.denominator == 0:
        digits = f"{float(size):,.6f}"
        styles += [sign + digits, f"{sign}${digits}", f"{sign}00{digits.replace(',', '')}"]
        styles += [f"{sign}{digits} apples", f"{sign}{digits}0"]
    if value.denominator == 1:
        styles += [f"{sign}{size.numerator:,}", f"{value.numerator}.", f"{value.numerator}e0"]
    elif size > 1:
        whole, rest = divmod(size.numerator, size.denominator)
        styles.append(f"{sign}{whole} {rest}/{size.denominator}")
    return styles


_numbers = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1000)


@given(_numbers)
def test_every_style_of_a_number_is_one_answer(value):
    forms = {canonical(text) for text in _styles(value)}
    assert len(forms) == 1
    assert Fraction(forms.pop()) == value  # the canonical form is the number itself


@given(_numbers, _numbers)
def test_different_numbers_are_different_answers(a, b):
    assert (canonical(_styles(a)[0]) == canonical(_styles(b)[0])) == (a == b)


ADVERSARIAL = [
    "\\text{" * 200_000,
    "1" * 10**6,
    "(" * 10**6,
    "\\frac{" * 150_000,
    "x=" * 500_000,
    "1 - " * 250_000,
    "5 " + "a " * 500_000,
    "." * 10**6,
]


@pytest.mark.parametrize("text", ADVERSARIAL, ids=lambda text: text[:7])
def test_a_megabyte_takes_no_time(text):
    start = time.process_time()
    canonical(text)
    assert time.process_time() - start < 5


def test_column():
    column = pa.array([["1,000", None], [], ["1000.0", "..."]], pa.list_(pa.string()))
    assert canonical_column(column).to_pylist() == [["1000", None], [], ["1000", None]]
    assert canonical_column(column.slice(1)).to_pylist() == [[], ["1000", None]]
