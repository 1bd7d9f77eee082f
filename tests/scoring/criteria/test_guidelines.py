"""Guidelines in files: the shape of LLMCrit's data, round trips, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.scoring.criteria import (
    Aspect,
    Criterion,
    Demonstration,
    Guideline,
    format_criteria,
    missing_headings,
    parse_criteria,
    read_guideline,
    write_guideline,
)

#: Criteria of each aspect in the three tasks of LLMCrit's data (arXiv 2403.01069, its repository).
PUBLISHED = {
    "code": ((4, 4, 3, 4, 2, 3, 4, 3, 3, 5, 2, 2, 3, 5), 14, 47),
    "paper": ((3, 2, 3, 2, 1), 5, 11),
    "reddit": ((7, 3, 5, 4, 3, 3), 6, 25),
}

word = st.text(st.characters(categories=("L", "Nd")), min_size=1, max_size=8)
phrase = st.lists(word, min_size=1, max_size=5).map(" ".join)


def like_the_papers(counts: tuple[int, ...]) -> str:
    """Lines of the shape of the paper's files, made here."""
    lines = []
    for place, n in enumerate(counts):
        names = [f"Point {place}.{i}" for i in range(n)]
        output = "\n\n".join(f"{i}. **{name}**:\n- fine." for i, name in enumerate(names, 1))
        lines.append(
            json.dumps(
                {
                    "aspect_id": place,
                    "aspect_guideline": f"Section {place}.",
                    "criteria": "\n".join(
                        f"{i}. **{name}**: check\n   it well." for i, name in enumerate(names, 1)
                    ),
                    "demonstrations": [{"input": "x = 1", "output": output}] * 4,
                }
            )
        )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("task", PUBLISHED)
def test_published_counts(task: str, tmp_path: Path) -> None:
    counts, n_aspects, n_criteria = PUBLISHED[task]
    path = tmp_path / "guide.jsonl"
    path.write_text(like_the_papers(counts))
    guideline = read_guideline(path)
    assert len(guideline.aspects) == n_aspects
    assert len(guideline.keys) == n_criteria
    assert [n for n, _ in guideline.counts().values()] == list(counts)
    assert {demos for _, demos in guideline.counts().values()} == {4}
    assert guideline.aspects[0].criteria[0].check == "check it well."
    # every output repeats every heading
    assert all(missing_headings(aspect) == [] for aspect in guideline.aspects)


@given(
    st.lists(st.tuples(phrase, phrase), min_size=1, max_size=6, unique_by=lambda p: p[0].casefold())
)
def test_criteria_survive_being_written(pairs: list[tuple[str, str]]) -> None:
    criteria = tuple(Criterion(name, check) for name, check in pairs)
    if len({" ".join(c.name.split()).casefold() for c in criteria}) == len(criteria):
        assert parse_criteria(format_criteria(criteria)) == criteria


def test_a_guideline_survives_being_written(tmp_path: Path) -> None:
    demo = Demonstration("x == None\n", "1. **None test**\n- violated: `x == None`. Fix: use is")
    first = Aspect("tests", "Ünïcode.", (Criterion("None test", "by is."),), (demo,))
    guideline = Guideline((first, Aspect("empty", "Nothing yet.")))
    write_guideline(guideline, tmp_path / "g.jsonl")
    assert read_guideline(tmp_path / "g.jsonl") == guideline


@pytest.mark.parametrize(
    "line",
    [
        "1. **A name**: what",
        "1) **A name:** what",
        "- **A name** – what",
        "* **A name**\n  what",
        "   1. **A name** - what",
    ],
)
def test_spellings_of_an_item(line: str) -> None:
    assert parse_criteria(line) == (Criterion("A name", "what"),)


def test_an_answer_has_text_around_its_list() -> None:
    answer = (
        "Here are the criteria:\n\n1. **One**: first thing\n   - with a part\n\n"
        "2. Two: second thing\n\nLet me know if you want more!"
    )
    found = parse_criteria(answer, strict=False)
    assert found == (
        Criterion("One", "first thing - with a part"),
        Criterion("Two", "second thing"),
    )
    with pytest.raises(InputError, match="'Here are the criteria:' stands before"):
        parse_criteria(answer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no list at all", "'no list at all' stands before the first criterion"),
        ("", "no criterion of the form"),
        ("1. **A**: x\n3. **B**: y", "'B' has number 3 in place 2"),
        ("1. **A**: x\n2. **a**: y", "'a' occurs twice"),
        ("1. **A**:\n2. **B**: y", "'A' has no check"),
    ],
)
def test_wrong_lists_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_criteria(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2: an object was expected"),
        ('{"aspect_id": "b"}', "line 2: key 'aspect_guideline' is missing"),
        ('{"aspect_id": "a", "aspect_guideline": ""}', "aspect_id 'a' occurs twice"),
        ('{"aspect_id": true, "aspect_guideline": ""}', "key 'aspect_id' must be"),
        ('{"aspect_id": "b", "aspect_guideline": 1}', "key 'aspect_guideline' must be text"),
        ('{"aspect_id": "b", "aspect_guideline": "", "criteria": ["x"]}', "key 'criteria'"),
        ('{"aspect_id": "b", "aspect_guideline": "", "criteria": "2. **A**: x"}', "number 2"),
        (
            '{"aspect_id": "b", "aspect_guideline": "", "demonstrations": [{"input": "x"}]}',
            "demonstration 0 needs the text 'output'",
        ),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"aspect_id": "\\ud800", "aspect_guideline": ""}', "line 2 has half of a surrogate pair"),
        (
            '{"aspect_id": "b", "aspect_guideline": "", "criteria": "1. **c/d**: x"}\n'
            '{"aspect_id": "b/c", "aspect_guideline": "", "criteria": "1. **d**: x"}',
            "two criteria are called 'b/c/d'",
        ),
    ],
)
def test_wrong_files_are_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text('{"aspect_id": "a", "aspect_guideline": "A."}\n' + line + "\n")
    with pytest.raises(InputError, match=message):
        read_guideline(path)


def test_a_file_of_blank_lines_holds_no_aspect(tmp_path: Path) -> None:
    (tmp_path / "g.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="holds no aspect"):
        read_guideline(tmp_path / "g.jsonl")


def test_a_mark_of_the_byte_order_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text('{"aspect_id": "é", "aspect_guideline": ""}\n', "utf-8-sig")
    assert read_guideline(path).aspects[0].aspect_id == "é"
