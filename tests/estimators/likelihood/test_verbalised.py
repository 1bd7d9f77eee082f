"""Stated confidences, P(True) and self-scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from statllm.estimators.likelihood.verbalised import (
    PROBABILITY_WORDS,
    p_true,
    p_true_uqlm,
    parse_confidence,
    self_score,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm 85% sure", 0.85),
        ("85 %", 0.85),
        ("12.5 percent", 0.125),
        ("85 per cent.", 0.85),
        ("Confidence: 95%\nThe answer is 3.", 0.95),
        ("Confidence – 80%", 0.8),
        ("8/10", 0.8),
        ("17 out of 20", 0.85),
        ("0.7", 0.7),
        (".85.", 0.85),
        ("p=.5", 0.5),
        ("1", 1.0),
        ("0", 0.0),
        ("100%", 1.0),
        # No number, none that is a confidence, or several.
        ("", NAN),
        (None, NAN),
        ("no idea", NAN),
        ("85", NAN),
        ("120%", NAN),
        ("-5%", NAN),
        ("12/10", NAN),
        ("0/0", NAN),
        ("60-80%", NAN),
        ("60–80 %", NAN),
        ("between 60 and 80%", NAN),
        ("60% to 80%", NAN),
        ("80% or rather 60%", NAN),
        ("0.8 and 0.9", NAN),
        ("1e-3", NAN),
        ("highly likely", NAN),
    ],
)
def test_one_text(text: str | None, expected: float) -> None:
    said = parse_confidence([text])
    assert said.confidence[0] == pytest.approx(expected, nan_ok=True)
    assert said.n_unparsed == np.isnan(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Highly  Likely.", 0.9),
        ("highly unlikely", 0.05),
        ("It's unlikely", 0.2),
        ("Probably not", 0.25),
        ("probably", 0.7),
        ("not likely", NAN),
        ("it isn't very likely", NAN),
        ("likelihood", NAN),
        ("probably, 90%", 0.9),
    ],
)
def test_expressions(text: str, expected: float) -> None:
    said = parse_confidence([text], words=PROBABILITY_WORDS)
    assert said.confidence[0] == pytest.approx(expected, nan_ok=True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(["percent", "ten", "plain"]))))
def test_written_numbers_are_read_back(numbers: list[tuple[int, str]]) -> None:
    written = {
        "percent": lambda x: f"My confidence is {x / 10}%.",
        "ten": lambda x: f"I'd say {x / 100} out of 10",
        "plain": lambda x: f"Confidence: {x / 1000:.3f}",
    }
    said = parse_confidence([written[kind](x) for x, kind in numbers])
    assert said.confidence == pytest.approx([x / 1000 for x, _ in numbers])
    assert said.n_unparsed == 0


def test_options() -> None:
    assert parse_confidence(["85", "7.5"], scale=100).confidence == pytest.approx([0.85, 0.075])
    last = parse_confidence(["80%, then 60%", "0.8 0.95", "3/10, 5/10"], which="last")
    assert last.confidence == pytest.approx([0.6, 0.95, 0.5])
    own = parse_confidence(["C (high)", "b"], words={"High": 0.9, "low": 0.1})
    assert own.confidence == pytest.approx([0.9, NAN], nan_ok=True)
    column = pa.chunked_array([["50%"], [None, "0.25"]])
    assert parse_confidence(column).confidence == pytest.approx([0.5, NAN, 0.25], nan_ok=True)
    assert parse_confidence([]).n_unparsed == 0
    with pytest.raises(ValueError, match="scale must be positive"):
        parse_confidence(["1"], scale=0)
    with pytest.raises(ValueError, match="which must be"):
        parse_confidence(["1"], which="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="values of words"):
        parse_confidence(["high"], words={"high": 90})


def test_p_true_and_self_score() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), size=50)  # True, " true", False, " false", something else
    true, false = np.log(p[:, :2]), np.log(p[:, 2:4])
    expected = p[:, :2].sum(1) / p[:, :4].sum(1)
    assert p_true(true, false) == pytest.approx(expected)
    assert self_score(true, false) == pytest.approx(special.logit(expected))
    assert p_true(false, true) == pytest.approx(1 - expected)
    # Far below what exp can hold.
    assert p_true([-900.0], [-901.0])[0] == pytest.approx(special.expit(1.0))
    assert self_score([-900.0], [-901.0])[0] == pytest.approx(1.0)


def test_p_true_without_an_answer_is_unknown() -> None:
    assert np.isnan(p_true([-np.inf, NAN, -1.0], [-np.inf, -1.0, NAN])).all()
    assert p_true([-1.0], [-np.inf])[0] == 1.0
    assert np.isnan(p_true([[-np.inf, -np.inf]], [[-np.inf, -np.inf]])[0])
    with pytest.raises(ValueError, match="logarithms"):
        p_true([0.9], [0.1])
    with pytest.raises(ValueError, match="2 log-probabilities of one word and 1"):
        self_score([-1.0, -1.0], [-1.0])


def test_p_true_of_uqlm() -> None:
    assert p_true_uqlm([True, False], np.log([0.7, 0.4])) == pytest.approx([0.7, 0.6])
    # Its difference from P(True): "False" at .4, "True" at .1, and .5 for anything else.
    assert p_true(np.log([0.1]), np.log([0.4]))[0] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="said_true"):
        p_true_uqlm([True], [-1.0, -2.0])
