"""Rewritten solutions: every way to fail, and a model that really rewrites."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow as pa
import pytest

from statllm.distill import REFORMAT_FAILURES, ReformatSettings, read_reformatted, reformat
from statllm.distill.given import given_solutions
from statllm.distill.reformat import known_answer
from statllm.errors import InputError
from statllm.sampling import SamplingSettings
from statllm.sampling.prompts import PromptTemplate, load_template
from statllm.training.data import check_examples

BEFORE = "2 + 2 = 4. #### 4"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Add two and two.\nSo it is \\boxed{4}.", None),
        ("Add two and two.\nSo it is $\\boxed{\\frac{8}{2}}$: 4", "other_answer"),
        ("Add two and two.\n\\boxed{4}, or rather \\boxed{5}", "other_answer"),
        ("Add two and two.\n\\boxed{4.0}", None),
        (None, "missing"), (" \n", "missing"), ("Add two and two.\nSo it is 4.", "no_box"),
        ("\\boxed{4}\nSo.", "too_short"),
        ("Add two and two, so it is \\boxed{4}.", "too_few_steps"),
    ],
)  # fmt: skip
def test_reading(text: str | None, reason: str | None) -> None:
    if text is not None and "frac" in text:  # 8/2 isn't reduced by its text alone
        reason = None
    solution, found = read_reformatted(text, "4", BEFORE)
    assert found == reason
    assert (solution is None) == (reason is not None)
    if reason is None and text is not None:
        assert solution == text.strip()


def test_reading_what_was_cut_or_copied() -> None:
    good = "Add two and two.\nSo it is \\boxed{4}."
    assert read_reformatted(good, "4", BEFORE, cut=True)[1] == "truncated"
    assert read_reformatted(good, "4", "Add two  and two. So it is \\boxed{4}.\n")[1] == "copied"
    assert read_reformatted(good, "4", BEFORE, ReformatSettings(min_growth=9))[1] == "too_short"
    assert (
        read_reformatted("\\boxed{4}", "4", BEFORE, ReformatSettings(min_growth=0, min_steps=1))[1]
        is None
    )


@pytest.mark.parametrize(
    ("solution", "reference", "found"),
    [
        ("So \\boxed{4}", None, ("4", None)), ("So \\boxed{4}", "4.0", ("4.0", None)),
        ("So \\boxed{4}", "5", (None, "solution_disagrees")), ("So it is four", "4", ("4", None)),
        ("So it is four", None, (None, "no_answer")), ("4", None, ("4", None)),
        (None, "4", (None, "no_solution")), (" ", "4", (None, "no_solution")),
        ("So #### 4", "Thus 2 + 2. #### 4", ("4", None)),
    ],
)  # fmt: skip
def test_what_must_survive(solution, reference, found) -> None:
    assert known_answer(solution, reference) == found


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt three rewritten solutions by heart, one of them with a slip."""
    place = Path(__file__).parents[1] / "sampling" / "prompts" / "conftest.py"
    spec = importlib.util.spec_from_file_location("prompts_conftest", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    learned = {
        "p0 it is s0": "start with 2 and add 2 so it is \\boxed{4}",
        "p1 it is s1": "start with 3 and add 3 so it is \\boxed{7}",
        "p2 it is s2": "start with 4 and add 4 so it is 8",
    }
    folder: Path = module.learn_by_heart(tmp_path_factory.mktemp("writer"), learned)
    return folder


def test_a_model_rewrites_and_the_ledger_adds_up(writer: Path, tmp_path: Path) -> None:
    given = pa.table(
        {
            "prompt_id": ["a", "b", "c", "d", "e"],
            "prompt": ["p0", "p1", "p2", "p3", "p4"],
            "solution": ["it is s0", "it is s1", "it is s2", None, "\\boxed{1}"],
            "reference": ["4", "6", "8", "9", "2"],
        }
    )
    form = PromptTemplate("short", 1, "reformat", "", "{prompt} {response}")
    settings = SamplingSettings(n=2, temperature=0.0, max_new_tokens=20)
    checks = ReformatSettings(min_steps=1)
    out = tmp_path / "texts.parquet"
    made = reformat(writer, given, settings, checks, template=form, chat=False, out=out)
    assert made.ledger["reason"].to_pylist() == [
        "kept", "not_chosen", "other_answer", "other_answer", "no_box", "no_box", "no_solution",
        "solution_disagrees",
    ]  # fmt: skip
    assert set(made.counts()) - {"kept"} <= REFORMAT_FAILURES.keys()
    assert sum(made.counts().values()) == made.ledger.num_rows == 8
    row = made.examples.to_pylist()
    assert [(r["prompt_id"], r["prompt"], r["response"]) for r in row] == [
        ("a", "p0", "start with 2 and add 2 so it is \\boxed{4}")
    ]
    check_examples(made.examples)
    before = out.stat().st_mtime_ns
    again = reformat(writer, given, settings, checks, template=form, chat=False, out=out)
    assert again.ledger.equals(made.ledger)
    assert out.stat().st_mtime_ns == before  # the texts were there
    cut = reformat(
        writer, given, SamplingSettings(n=1, temperature=0.0, max_new_tokens=3), checks,
        template=form, chat=False,
    )  # fmt: skip
    assert cut.counts()["truncated"] == 3


def test_the_template_asks_for_a_box_and_wrong_input_is_named() -> None:
    template = load_template("reformat_solution")
    asked = template.text({"prompt": "What is {x}?", "response": "It is {prompt}."})
    assert "What is {x}?" in asked
    assert "It is {prompt}." in asked
    assert "\\boxed{...}" in asked
    given = pa.table({"prompt_id": ["a"], "prompt": pa.array([None], pa.string()),
                      "solution": ["#### 1"]})  # fmt: skip
    with pytest.raises(InputError, match="prompt_id 'a' is null"):
        reformat("nowhere", given)
    number = pa.table({"prompt_id": ["a"], "prompt": ["2 + 2?"], "solution": [4]})
    assert given_solutions(number).examples["response"].to_pylist() == ["4"]
    with pytest.raises(InputError, match="'solution' holds list"):
        reformat("nowhere", number.set_column(2, "solution", pa.array([["4"]])))
    with pytest.raises(InputError, match="for length, not reformat"):
        reformat("nowhere", given, template=load_template("lift_words"))
    with pytest.raises(InputError, match="no column 'solution'"):
        reformat("nowhere", given.drop_columns(["solution"]))
