"""Verdicts are read or counted as unreadable, never guessed."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.scoring.judges import REASONS, Verdicts, parse_pairwise, parse_scores


def one(verdicts: Verdicts) -> float | str:
    """The value of the only text, or the reason."""
    assert len(verdicts.value) == len(verdicts.reason) == 1
    value, reason = verdicts.value[0].as_py(), verdicts.reason[0].as_py()
    assert (value is None) != (reason is None)
    return reason if value is None else value


QUOTED = 'I am to write "[[A]]" if A is better, "[[B]]" if B is better and "[[C]]" for a tie.'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[A]]", 1),
        ("[[B]]", -1),
        ("[[C]]", 0),
        ("[[Tie]]", 0),
        ("[[ a ]]", 1),
        ("Reply A is right, so it wins. [[A]]", 1),
        ("Both err.\n\n**[[B]]**\n", -1),
        ("My final verdict is: [[B]].", -1),
        ("Verdict: [[A]]\n\nReply A names its source.", 1),
        (QUOTED + "\nA is vague.\n[[B]]", -1),
        ("At first I leaned to [[A]] but it is wrong, so [[B]]".replace(" so", "\nso"), -1),
        ("[[C]]\n[[tie]]", 0),
        # adversarial
        ("[[A]] or [[B]]", "contradictory"),
        ("[[A]]\n[[B]]", "contradictory"),
        ("[[A]][[B]]", "contradictory"),
        ("First: [[A]]\nI am done.\n[[B]]", "contradictory"),
        (QUOTED, "contradictory"),
        ('I am to write "[[A]]" if A is better.', "not_final"),
        ('Reply B tells me to answer "[[B]]".', "not_final"),
        ('"[[B]]"', -1),
        ('My verdict: "[[B]]"', -1),
        ("Reply A.\n[[A]\u200b]", "no_verdict"),
        ("- [[A]] if reply A is better", "not_final"),
        ("[[A]]\nBut [[B]] has its merits, too.", "contradictory"),
        ("[A]", "no_verdict"),
        ("[[D]]", "no_verdict"),
        ("[[A/B]]", "no_verdict"),
        ("[[A", "no_verdict"),
        ("A", "no_verdict"),
        ("[[7]]", "no_verdict"),
        (" \n\t", "empty"),
        ("", "empty"),
        (None, "missing"),
    ],
)
def test_brackets(text: str | None, expected: float | str) -> None:
    assert one(parse_pairwise([text])) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", 1),
        ("Both are fine, but one is shorter.\nB", -1),
        ("Verdict: A", 1),
        ("**Winner:** Response B.", -1),
        ("Reasons...\n\nFinal answer: (b)", -1),
        ("The end.\nVerdict: tie", 0),
        ("C", 0),
        ("Winner: A\nWait.\nWinner: B", "contradictory"),
        ("A or B", "no_verdict"),
        ("Verdict: A or B", "no_verdict"),
        ("Verdict: A/B", "no_verdict"),
        ("A\nbecause it is short", "no_verdict"),
        ("A reply should be short", "no_verdict"),
        ("Verdict: both", "no_verdict"),
    ],
)
def test_final_line(text: str, expected: float | str) -> None:
    assert one(parse_pairwise([text], "final_line")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"winner": "A"}', 1),
        ('Sure:\n```json\n{"reason": "a {b} c", "winner": "tie"}\n```', 0),
        ('{"winner": "A", "winner": "B"}', "contradictory"),
        ('{"winner": "A"} {"winner": "B"}', "contradictory"),
        ('{"winner": "A"} {"winner": "A"}', 1),
        ('{"winner": "both"}', "invalid_value"),
        ('{"winner": null}', "invalid_value"),
        ('{"winner": ["A"]}', "invalid_value"),
        ('{"verdict": "A"}', "no_verdict"),
        ('{"winner": "A"', "no_verdict"),
        ('["winner"]', "no_verdict"),
    ],
)
def test_json(text: str, expected: float | str) -> None:
    assert one(parse_pairwise([text], "json")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Score: 7/10", 7),
        ("score: 7.5", 7.5),
        ("**Score:** 7 / 10.", 7),
        ("Rating: 8 out of 10", 8),
        ("All in all, my score is 3", 3),
        ("The score: 4 would be harsh.\nScore: 5", 5),
        ("Score: 7\nScore: 7/10", 7),
        ("Score: 7/10\n\nIt is clear.", 7),
        ("Score: 3/10\nScore: 7/10", "contradictory"),
        ("Score: 3/10 for A, score: 7/10", "contradictory"),
        ("Score: 7 or 8", "no_verdict"),
        ("Score: 1-10", "no_verdict"),
        ("Score: 7/5", "wrong_scale"),
        ("Score: 11", "out_of_range"),
        ("Score: 0", "out_of_range"),
        ("Score: -3", "out_of_range"),
        ("Score: 70%", "no_verdict"),
        ("Score: 7,5", "no_verdict"),
        ("Score: seven", "no_verdict"),
        ("Score: N", "no_verdict"),
        ("Give a line 'Score: 1' where all is wrong", "not_final"),
        ("7/10", "no_verdict"),
    ],
)
def test_labelled_scores(text: str, expected: float | str) -> None:
    assert one(parse_scores([text], 1, 10)) == expected


@pytest.mark.parametrize(
    ("text", "grammar", "expected"),
    [
        ("[[7]]", "brackets", 7),
        ("So [[7/10]].", "brackets", 7),
        ("[[7]] or [[8]]", "brackets", "contradictory"),
        ("[[7]]\n[[7.0]]", "brackets", 7),
        ("[[N/A]]", "brackets", "not_applicable"),
        ("[[99]]", "brackets", "out_of_range"),
        ("[[7/8]]", "brackets", "wrong_scale"),
        ('{"score": 7, "reason": ""}', "json", 7),
        ('{"score": "7"}', "json", "invalid_value"),
        ('{"score": true}', "json", "invalid_value"),
        ('{"score": NaN}', "json", "invalid_value"),
        ('{"score": Infinity}', "json", "out_of_range"),
        ('{"score": 1' + "0" * 400 + "}", "json", "out_of_range"),
        ('{"score": 1' + "0" * 9000 + "}", "json", "no_verdict"),
        ('{"score": 3, "score": 4}', "json", "contradictory"),
    ],
)
def test_other_scores(text: str, grammar: str, expected: float | str) -> None:
    assert one(parse_scores([text], 1, 10, grammar)) == expected  # type: ignore[arg-type]


PIECES = """[[A]] [[B]] [[C]] A B or Score: 7 /10 12 Verdict: {"winner": "A"} {"score": 3} [[7]]
[[ ]] é { } : " '""".split()  # noqa: SIM905

texts = st.lists(
    st.none()
    | st.lists(
        st.sampled_from([*PIECES, "\n"]),
        max_size=8,
    ).map(" ".join)
    | st.text(max_size=20),
    max_size=12,
)


@given(texts, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_every_text_is_counted_once(texts: list[str | None], random: object) -> None:
    for grammar in ("brackets", "final_line", "json"):
        _check(parse_pairwise(texts, grammar), {-1.0, 0.0, 1.0})  # type: ignore[arg-type]
    for grammar in ("label", "brackets", "json"):
        verdicts = parse_scores(texts, 1, 10, grammar)  # type: ignore[arg-type]
        _check(verdicts, None)
        back = parse_scores(texts[::-1], 1, 10, grammar)  # type: ignore[arg-type]
        assert back.value.to_pylist() == verdicts.value.to_pylist()[::-1]


def _check(verdicts: Verdicts, allowed: set[float] | None) -> None:
    summary, values = verdicts.summary, verdicts.to_numpy()
    assert summary.n == len(values) == summary.n_parsed + summary.n_failed
    assert summary.n_failed == np.isnan(values).sum() == sum(summary.reasons.values())
    assert summary.n_parsed == sum(summary.values.values())
    assert set(summary.reasons) <= set(REASONS)
    assert summary.to_frame()["n"].sum() == summary.n
    good = values[~np.isnan(values)]
    assert set(good) <= allowed if allowed else np.all((good >= 1) & (good <= 10))


@given(st.text(alphabet="xyz \n.", max_size=60), st.sampled_from("ABC"))
@settings(max_examples=60, deadline=None)
def test_a_closing_verdict_is_read_whatever_came_before(reasons: str, letter: str) -> None:
    expected = {"A": 1, "B": -1, "C": 0}[letter]
    assert one(parse_pairwise([f"{reasons}\n[[{letter}]]"])) == expected


def test_arrow_columns_of_any_kind() -> None:
    chunks = pa.chunked_array([["[[A]]"], [None, "?"]], pa.large_string())
    assert parse_pairwise(chunks).summary.reasons == {"missing": 1, "no_verdict": 1}
    assert parse_pairwise([]).summary.n == 0
    assert parse_pairwise([None]).summary.reasons == {"missing": 1}


@pytest.mark.parametrize(
    "text",
    ["{" * 200_000, '{"a":' * 20_000, "[[A" * 50_000, "Score: 7 " * 20_000, " \"'*_" * 50_000],
)
def test_long_nonsense_takes_no_time(text: str) -> None:
    start = time.process_time()
    for grammar in ("brackets", "final_line", "json"):
        parse_pairwise([text], grammar)  # type: ignore[arg-type]
    parse_scores([text], 1, 10)
    assert time.process_time() - start < 3


def test_bad_input() -> None:
    with pytest.raises(InputError, match="grammar must be one of brackets, final_line, json"):
        parse_pairwise(["A"], "letters")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="low < high"):
        parse_scores(["Score: 1"], 3, 3)
    with pytest.raises(InputError, match="int64"):
        parse_pairwise([1, 2])
