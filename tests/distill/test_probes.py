"""Prompts of probes, and their comparison, counted by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.distill import PROBES, ProbeSettings, compare_probe, probe_prompts, wrong_answer
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab import problems
from statllm.scoring.canonical import canonical


@given(st.integers(-(10**6), 10**6), st.integers(0, 99))
def test_a_wrong_answer_is_wrong_and_alike(right: int, seed: int) -> None:
    found = wrong_answer(str(right), (), np.random.default_rng(seed))
    assert found is not None
    assert abs(int(found) - right) in (1, 2, 10)
    assert right * int(found) >= 0  # no change of sign


@pytest.mark.parametrize(
    ("right", "others", "wrong"),
    [("2.5", (), {"3.5"}), ("-2.5", (), {"-3.5"}), ("-0.5", (), {"-1.5"}), ("0.5", (), {"1.5"}),
     ("1" * 5000, ("7",), {"7"}), ("(C)", (), set("ABDE")),
     ("yes", ("yes", "no"), {"no"}), ("yes", ("yes", "Yes."), {None}), ("7/9", ("1",), {"1"})],
)  # fmt: skip
def test_wrong_answers_by_kind(right: str, others: tuple[str, ...], wrong: set[str]) -> None:
    found = {wrong_answer(right, others, np.random.default_rng(i)) for i in range(60)}
    assert found == wrong


def test_the_number_hangs_on_the_problem_alone() -> None:
    given = problems("test", 40)
    asked = {k: probe_prompts(given, ProbeSettings(kind=k, before="\nA:")) for k in PROBES}
    wrong = asked["misled"]["suggested"].to_pylist()
    assert asked["irrelevant"]["suggested"].to_pylist() == wrong
    assert asked["hinted"]["suggested"].to_pylist() == given["reference"].to_pylist()
    assert asked["shorter"]["suggested"].null_count == 40
    right = given["reference"].to_pylist()
    assert all(canonical(w) != canonical(r) for w, r in zip(wrong, right, strict=True))
    turned = probe_prompts(given.take(list(range(39, -1, -1))), ProbeSettings(before="\nA:"))
    assert turned["suggested"].to_pylist()[::-1] == wrong
    other = probe_prompts(given, ProbeSettings(seed=1, before="\nA:"))["suggested"].to_pylist()
    assert other != wrong
    for before, after, number in zip(
        given["prompt"].to_pylist(), asked["misled"]["prompt"].to_pylist(), wrong, strict=True
    ):
        sentence = PROBES["misled"].replace("{answer}", number)
        assert after == before.replace("\nA:", f" {sentence}\nA:")


def test_messages_and_the_end_of_texts() -> None:
    plain = pa.table({"prompt_id": ["a"], "prompt": ["Why?\n"]})
    assert probe_prompts(plain, ProbeSettings(kind="shorter"))["prompt"].to_pylist() == [
        "Why?\nAnswer as briefly as you can."
    ]
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "2 + 2?"}]  # fmt: skip
    given = pa.table({"prompt_id": ["a"], "prompt": [talk], "suggested": ["5"]})
    made = probe_prompts(given, ProbeSettings(sentence="Ist es {answer}?"))
    asked = made["prompt"].to_pylist()[0]
    assert asked[:2] == talk[:2]
    assert asked[2]["content"] == "2 + 2?\nIst es 5?"


def test_wrong_input_is_named() -> None:
    given = problems("test", 2)
    with pytest.raises(InputError, match=r"doesn't hold '\\nB:'"):
        probe_prompts(given, ProbeSettings(before="\nB:"))
    with pytest.raises(InputError, match="needs the column 'reference'"):
        probe_prompts(given.drop_columns(["reference"]))
    same = pa.table({"prompt_id": ["a"], "prompt": ["?"], "reference": ["yes"]})
    with pytest.raises(InputError, match="no wrong answer to prompt_id 'a'"):
        probe_prompts(same)
    blank = pa.table({"prompt_id": ["a"], "prompt": ["?"], "reference": [" "]})
    with pytest.raises(InputError, match="blank for prompt_id 'a'"):
        probe_prompts(blank)
    with pytest.raises(InputError, match="already there"):
        probe_prompts(probe_prompts(given, ProbeSettings(kind="longer")))
    ends = pa.table({"prompt_id": ["a"], "prompt": [[{"role": "assistant", "content": "Hi"}]]})
    with pytest.raises(InputError, match="end with the user's message"):
        probe_prompts(ends, ProbeSettings(kind="longer"))


def scored(answers: list[list[str]], right: list[list[bool]], **more) -> Generations:
    ids = [str(i) for i in range(len(answers))]
    return Generations(pa.table({"prompt_id": ids, "answer": answers, "correct": right, **more}))


def test_a_comparison_counted_by_hand() -> None:
    before = scored([["1"], ["2"], ["3"], ["9"]], [[True], [True], [True], [False]])
    after = scored(
        [["5"], ["2"], ["8"], ["9"]], [[False], [True], [False], [False]],
        suggested=["5", "6", "7", "9.0"], probe=["misled"] * 4,
    )  # fmt: skip
    found = compare_probe(before, after)
    assert (found.kind, found.n_items, found.n_dropped) == ("misled", 4, 0)
    assert found.right.difference.value == -0.5
    assert (found.right.n_lost, found.right.n_gained) == (2, 0)
    assert found.right.test.p_value == 0.5
    assert found.suggested is not None
    # The last problem gave the suggested answer unasked, in another form: nothing was moved there.
    assert (found.suggested.neutral.value, found.suggested.probed.value) == (0.25, 0.5)
    assert (found.suggested.n_lost, found.suggested.n_gained) == (0, 1)


def test_problems_are_matched_by_name_and_samples_are_clusters() -> None:
    before = scored([["1", "1"], ["2", "3"]], [[True, True], [True, False]])
    after = scored([["2", "3"], ["1", "9"]], [[True, False], [True, False]])
    turned = after.with_columns({"prompt_id": ["1", "0"]})
    found = compare_probe(before, turned)
    assert found.right.n_pairs == 4
    assert found.right.n_lost == 1
    assert found.right.difference.n == 2  # clusters
    assert "clustered" in found.right.test.method
    assert found.suggested is None
    assert found.kind == "other wording"
    fewer = compare_probe(before.take([0]), turned.take([1, 0]))
    assert (fewer.n_items, fewer.n_dropped) == (1, 1)
    sources = before.with_columns({"source": ["x", "x"]})
    assert compare_probe(sources, turned, "source").right.difference.n == 1


def test_tables_that_dont_fit() -> None:
    one = scored([["1"]], [[True]])
    with pytest.raises(InputError, match="no prompt_id in common"):
        compare_probe(one, one.with_columns({"prompt_id": ["z"]}))
    with pytest.raises(InputError, match="probed table has no column 'correct'"):
        compare_probe(one, Generations(one.table.drop_columns(["correct"])))
    with pytest.raises(InputError, match="an error needs two"):
        compare_probe(one, one)
    with pytest.raises(InputError, match="prompt_id '0' has 1 neutral samples and 2 probed ones"):
        compare_probe(one, scored([["1", "2"]], [[True, False]]))
    several = scored([["1"], ["2"]], [[True], [True]], probe=["misled", "hinted"])
    with pytest.raises(InputError, match="holds misled and hinted"):
        compare_probe(several, several)
    null = scored([["1"], ["2"]], [[True], [None]])  # type: ignore[list-item]
    with pytest.raises(InputError, match="verdict of prompt_id '1' is null"):
        compare_probe(null, null)


def test_suggested_answers_may_be_numbers() -> None:
    plain = pa.table({"prompt_id": ["a"], "prompt": ["2 + 2?"], "suggested": [5.0]})
    asked = probe_prompts(plain)
    assert asked["suggested"].to_pylist() == ["5"]
    before = scored([["4"], ["6"]], [[True], [True]])
    after = scored([["5"], ["6"]], [[False], [True]], suggested=[5, 7])
    found = compare_probe(before, after)
    assert found.suggested is not None
    assert (found.suggested.n_lost, found.suggested.n_gained) == (0, 1)
    with pytest.raises(ValueError, match="at least 1 character"):
        ProbeSettings(before="")
