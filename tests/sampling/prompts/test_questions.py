"""Questions in generated texts, the filters, and the ledger."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.sampling.prompts import (
    FILTERS,
    Question,
    QuestionFilters,
    filter_questions,
    load_template,
    read_questions,
)

Found = list[tuple[str | None, str | None]]


def read(name: str, text: str | None, finish: str | None = None) -> Found:
    said = {"prompt_id": ["p"], "response": pa.array([[text]], pa.list_(pa.string()))}
    if finish:
        said["finish_reason"] = [[finish]]
    found = read_questions(load_template(name), pa.table(said))
    return [(question.text, question.failure) for question in found]


@pytest.mark.parametrize(
    ("text", "finish", "found"),
    [
        (" <begin>Why?</end>\n10. <begin> Who? </end>", "stop", [("Why?", None), ("Who?", None)]),
        ("<begin>Why?</end> <begin>Who", "length", [("Why?", None), (None, "truncated")]),
        ("<begin>Why?</end> <begin>Who", "stop", [("Why?", None), (None, "unclosed")]),
        ("<begin>Why? <begin>Who?</end>", "length", [(None, "unclosed"), ("Who?", None)]),
        ("<begin> </end>", "stop", [(None, "no_question")]),
        ("Sure, here are some:", "stop", [(None, "no_question")]),
        ("", "stop", [(None, "no_question")]),
        (None, "stop", [(None, "missing")]),
    ],
)
def test_marked_questions(text: str | None, finish: str, found: Found) -> None:
    assert read("self_rip", text, finish) == found


@pytest.mark.parametrize(
    ("name", "text", "finish", "found"),
    [
        ("completion", " Why?\nAnswer: 3", None, [("Why?", None)]),
        ("completion", "Why?\n", "length", [("Why?", None)]),
        ("completion", "Why is", "length", [(None, "truncated")]),
        ("completion", "Why is", "stop", [("Why is", None)]),
        ("completion", "\n\n", "length", [(None, "no_question")]),
        ("scpo_problem", " Ann has 3\napples. ", "stop", [("Ann has 3\napples.", None)]),
        ("scpo_problem", "Ann has", "length", [(None, "truncated")]),
    ],
)
def test_unmarked_questions(name: str, text: str, finish: str | None, found: Found) -> None:
    assert read(name, text, finish) == found


@pytest.mark.parametrize(
    ("text", "objection"),
    [
        ("Name two rivers", ("too_short", None)),
        ("Name two long rivers", None),
        (" ".join(["word"] * 150), None),
        (" ".join(["word"] * 151), ("too_long", None)),
        ("What does this Picture show us?", ("banned_word", "Picture")),
        ("What is a picturesque village like?", None),
        ("When should I go to Rome?", ("banned_word", "go to")),
        ("Write a program that adds numbers.", ("banned_start", "Write a program")),
        ("write a program that adds numbers.", None),
        ("- Name two long rivers", ("punctuation_start", "-")),
        ("Été is a word, or not?", ("non_ascii_start", "É")),
    ],
)
def test_heuristics_of_self_instruct(text: str, objection: tuple[str, str | None] | None) -> None:
    assert FILTERS["self-instruct"].objection(text) == objection


def test_other_papers_have_fewer() -> None:
    assert FILTERS["self-rip"].objection("Why?") is None
    assert FILTERS["self-rip"].objection("Draw it") == ("banned_word", "Draw")
    assert FILTERS["scpo"].objection("Draw it") is None
    pattern = QuestionFilters(banned_patterns=(r"\bA:",))
    assert pattern.objection("Why? A: because") == ("banned_pattern", "A:")
    with pytest.raises(InputError, match="can't be read"):
        QuestionFilters(banned_patterns=("(",))
    with pytest.raises(InputError, match="rouge_l must be"):
        QuestionFilters(rouge_l=1.2)


def ask(*texts: str) -> list[Question]:
    return [Question(f"new-{i}", 0, 0, text) for i, text in enumerate(texts)]


TEN = "a b c d e f g h i j"


def test_similar_to_the_pool_and_to_what_was_kept() -> None:
    seven, six = "a b c d e f g x y z", "a b c d e f u v w x"  # 7 and 6 of 10 words
    ledger = filter_questions(ask(seven, six, f"{six} !"), QuestionFilters(), [("s", TEN)])
    assert ledger["reason"].to_pylist() == ["similar", "kept", "similar"]
    assert ledger["rouge_l"].to_pylist() == pytest.approx([0.7, 0.6, 1.0])
    assert ledger["nearest"].to_pylist() == ["s", "s", "new-1/0/0"]
    assert ledger["in_pool"].to_pylist() == [True, True, False]
    # a question that was dropped is nobody's neighbour
    only = filter_questions(ask(seven, "k l m n o p q x y z"), QuestionFilters(), [("s", TEN)])
    assert only["reason"].to_pylist() == ["similar", "kept"]
    assert only["nearest"].to_pylist() == ["s", None]


def test_order_decides_between_near_duplicates() -> None:
    texts = ("a b c d e f g h i x", TEN)
    for order in (texts, texts[::-1]):
        ledger = filter_questions(ask(*order), QuestionFilters())
        assert ledger.filter(ledger["kept"])["question"].to_pylist() == [order[0]]


def test_duplicates() -> None:
    texts = ("Why  is it?", "Why is\nit?", "猫?", "猫?")
    loose = QuestionFilters(rouge_l=None)
    ledger = filter_questions(ask(*texts), loose)
    assert ledger["reason"].to_pylist() == ["kept", "duplicate", "kept", "duplicate"]
    assert ledger["nearest"].to_pylist()[1::2] == ["new-0/0/0", "new-2/0/0"]
    every = filter_questions(ask(*texts), FILTERS["scpo"])
    assert every["kept"].to_pylist() == [True] * 4
    against_pool = filter_questions(ask("Why?"), replace(loose), [("s", "Why?")])
    assert against_pool["reason"].to_pylist() == ["duplicate"]


def test_failures_stay_in_the_ledger() -> None:
    questions = [
        Question("new-0", 0, None, None, "no_question"),
        Question("new-0", 1, 0, None, "truncated"),
        *ask("Name two long rivers in Peru."),
    ]
    ledger = filter_questions(questions, FILTERS["self-instruct"])
    assert ledger["question_id"].to_pylist() == ["new-0/0", "new-0/1/0", "new-0/0/0"]
    assert ledger["reason"].to_pylist() == ["no_question", "truncated", "kept"]
    assert ledger["rouge_l"].to_pylist() == [None, None, 0.0]
    assert filter_questions([], QuestionFilters()).num_rows == 0
