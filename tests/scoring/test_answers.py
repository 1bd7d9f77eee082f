"""Extraction of final answers."""

from __future__ import annotations

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.errors import InputError
from statllm.scoring import canonical, extract, extract_column

CASES = [
    # rule, text, answer
    ("hash", "Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72", "72"),
    ("hash", "#### 5\nno, wait\n#### 6", "6"),
    ("hash", "### 5", None),
    ("hash", "####", None),
    ("hash", "####   \n####\n#### $1,000.\n", "$1,000"),
    ("boxed", r"so $x = \boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
    ("boxed", r"\boxed{3} or rather \boxed{4}", "4"),
    ("boxed", r"\boxed{\boxed{5}}", "5"),
    ("boxed", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    ("boxed", r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
    ("boxed", r"\fbox{7}", "7"),
    ("boxed", r"\boxed 7$", "7"),
    ("boxed", r"\boxed{8} and \boxed{9", "8"),
    ("boxed", r"\boxed{} and \boxed{ }", None),
    ("boxed", "boxed{3}", None),
    ("final", "Final answer: 12", "12"),
    ("final", "The final answer is 12 apples. I hope it is correct.", "12 apples"),
    ("final", "**Final Answer**\n\n42", "42"),
    ("final", "The answer to this question is: **5**.", "5"),
    ("final", "The answer is J. Smith.", "J. Smith"),
    ("final", "the answer is 3.5. Then they left.", "3.5"),
    ("final", "The answer is 18, because 9 + 9 = 18", "18"),
    ("final", '{"reasoning": "r", "answer": "18"}', "18"),
    ("final", '{"answer": 18}', "18"),
    ("final", '{"answer": "\\"360 hours\\""}', "360 hours"),
    ("final", "answer is 4. No, the answer is 5", "5"),
    ("final", "The answer is (B) 42 apples, not (C).", "B"),
    ("final", "the correct option is C.", "C"),
    ("final", "there is an option", None),
    ("final", "The answer is", None),
    ("final", "the answer is " + "very " * 200 + "long", None),
    ("option", "The answer is (B).", "B"),
    ("option", "**Answer: C**", "C"),
    ("option", r"the answer is $\boxed{\text{D}}$", "D"),
    ("option", "So the answer is A because it fits", "A"),
    ("option", "So the answer is A rabbit", None),
    ("option", "So the answer is a rabbit", None),
    ("option", "(A) is wrong, so (E)", "E"),
    ("option", "option G is the correct one", "G"),
    ("option", "B", "B"),
    ("option", "b. whatever", None),
    ("option", "C) the Nile", "C"),
    ("option", "Answer: (J)", "J"),
    ("option", "Answer: (K)", None),
    ("number", "there were 10, then 5 - 3 = 2.", "2"),
    ("number", "It costs -$1,234.50", "-$1,234.50"),
    ("number", "the temperature is −5 °C", "−5"),
    ("number", "one of 3/4", "3/4"),
    ("number", "on 12/13/2001", "2001"),
    ("number", "a share of 45%", "45%"),
    ("number", "about 2.5e-3 of it", "2.5e-3"),
    ("number", "(4)-3", "3"),
    ("number", "x2 and H2O", None),
    ("number", "none", None),
    ("text", "  Paris \n", "Paris"),
    ("text", " ", None),
    ("none", "#### 5", None),
]


@pytest.mark.parametrize(("rule", "text", "answer"), CASES)
def test_rule(rule, text, answer):
    assert extract(text, rule) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 4 eggs.\n#### 4", "4"),  # the last anchor wins
        (r"The final answer is $\boxed{5}$. Check: 2 + 3.", "5"),
        (r"\boxed{6} is not it. The answer is 7.", "7"),
        ("#### Step 2: add\n5 + 6 = 11", "11"),  # a heading is no answer
        ("#### 2. Add them\n5 + 6 is 11", "11"),
        ("They have 4 cats and 12 dogs", "12"),
        (" (B) ", "B"),
        ("I don't know", None),
        ("", None),
    ],
)
def test_auto(text, answer):
    assert extract(text) == answer


def test_none_and_unknown_rule():
    assert extract(None) is None
    with pytest.raises(InputError, match="answer rule 'regex' is unknown; rules: auto, hash"):
        extract("5", "regex")  # type: ignore[arg-type]


def test_text_is_never_executed(tmp_path):
    victim = tmp_path / "victim"
    code = f"__import__('pathlib').Path({str(victim)!r}).touch()"
    for rule in ("auto", "hash", "boxed", "final", "option", "number", "text"):
        for text in (code, f"#### {code}", f"\\boxed{{{code}}}", f"The answer is {code}"):
            canonical(extract(text, rule))
    assert not victim.exists()


ADVERSARIAL = {
    "digits": "1" * 10**6,
    "thousands": "1" + ",111" * 250_000,
    "fractions": "1/1," * 250_000,
    "slashes": "1/" * 500_000,
    "open boxes": "\\boxed{" * 140_000,
    "open braces": "{" * 10**6,
    "backslashes": "\\" * 10**6,
    "answers": "answer " * 140_000,
    "answers to": "answer to " * 100_000,
    "answers with a colon": "answer:\n" * 120_000,
    "quotes": 'answer:"' * 120_000,
    "escapes": 'answer:"' + "\\" * 10**6,
    "hashes": "#" * 10**6,
    "empty hashes": "#### \n" * 160_000,
    "spaces": "answer" + " " * 10**6,
    "brackets": "(A" * 500_000,
    "signs": "-$" * 500_000,
    "exponents": "1e1" * 300_000,
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_megabyte_takes_no_time(name):
    """Quadratic searches would take hours on these; the bound leaves room for a busy machine."""
    start = time.process_time()
    for rule in ("hash", "boxed", "final", "option", "number"):
        extract(ADVERSARIAL[name], rule)
    assert time.process_time() - start < 5


def test_column_keeps_rows_and_nulls():
    texts = [["#### 1", None, "nothing"], [], ["#### 2"]]
    for column in (
        pa.array(texts, pa.list_(pa.string())),
        pa.chunked_array([pa.array(texts[:1]), pa.array(texts[1:], pa.list_(pa.string()))]),
    ):
        assert extract_column(column, "hash").to_pylist() == [["1", None, None], [], ["2"]]


def test_gsm8k_solutions_end_in_their_gold_answer(shared_data):
    for split in ("train", "test"):
        table = pq.read_table(shared_data / "gsm8k_openai" / f"{split}.parquet")
        for solution, gold in zip(
            table["solution"].to_pylist(), table["gold"].to_pylist(), strict=True
        ):
            assert canonical(extract(solution)) == canonical(gold)


def test_gsm8k_released_answers(shared_data):
    """The released answer is the first number after "A: ".

    Eleven generations were cut off before it and have none; ours takes the last number. In two
    the answer is a fraction, of which the released one is the numerator.
    """
    table = pq.read_table(shared_data / "gsm8k_openai" / "model_solutions.parquet")
    solutions, released = table["solution"].to_pylist(), table["answer"].to_pylist()
    differ = [
        (released_answer, canonical(extract(solution)))
        for solution, released_answer in zip(solutions, released, strict=True)
        if canonical(extract(solution)) != canonical(released_answer)
    ]
    assert len(solutions) == 5276
    assert len(differ) == 13
    assert [pair for pair in differ if pair[0] is not None] == [("1", "0.2"), ("7", "0.5")]


def test_math_solutions_have_one_box(shared_data):
    """MATH marks every answer; braces are counted here by hand."""
    table = pq.read_table(shared_data / "prompts" / "math_test.parquet")
    for solution in table["solution"].to_pylist():
        start = solution.rfind("\\boxed")
        expected = None
        if solution[start + 6 : start + 7] == "{":
            depth = 0
            for end in range(start + 6, len(solution)):
                depth += (solution[end] == "{") - (solution[end] == "}")
                if depth == 0:
                    expected = solution[start + 7 : end].strip()
                    break
            assert extract(solution, "boxed") == expected
        else:
            assert extract(solution, "boxed")
