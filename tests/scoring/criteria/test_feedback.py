"""Prompts of every strategy and granularity, and feedback read back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.scoring.criteria import (
    CHAT,
    COMPLETION,
    GRANULARITIES,
    STRATEGIES,
    Aspect,
    Criterion,
    Demonstration,
    Finding,
    Guideline,
    feedback_prompts,
    feedback_question,
    format_findings,
    quote_sources,
    read_feedback,
    scopes,
)

TESTS = Aspect(
    "tests",
    "Test what is meant.",
    (Criterion("None test", "CHECK-NONE"), Criterion("Truth test", "CHECK-TRUTH")),
    (
        Demonstration(
            "DEMO-ONE {text}", "1. **None test**\n- met\n2. **Truth test**\n- TRUTH-SAID"
        ),
        Demonstration("DEMO-TWO", "**None test**: met\n**Truth test**: TRUTH-SAID"),
    ),
)
NAMES = Aspect(
    "names", "Name well.", (Criterion("Snake", "CHECK-SNAKE"),),
    (Demonstration("DEMO-THREE", "**Snake**: met"),),
)  # fmt: skip
GUIDE = Guideline((TESTS, NAMES))


def whole(prompt: object) -> str:
    if isinstance(prompt, str):
        return prompt
    assert isinstance(prompt, list)
    return "\n".join(message["content"] for message in prompt)


@pytest.mark.parametrize("wording", [CHAT, COMPLETION], ids=lambda w: w.name)
@pytest.mark.parametrize(
    ("strategy", "granularity"), [*itertools.product(STRATEGIES, GRANULARITIES)]
)
def test_each_of_the_twelve_holds_what_it_should(strategy, granularity, wording) -> None:  # type: ignore[no-untyped-def]
    table = feedback_prompts(
        GUIDE, [("t", 0, "THE {criteria} TEXT")], strategy, granularity, wording=wording
    )
    assert table.num_rows == {"all": 1, "aspect": 2, "criterion": 3}[granularity]
    assert [key for row in table["asked"].to_pylist() for key in row] == list(GUIDE.keys)
    for prompt, asked, shown in zip(*(table[n].to_pylist() for n in ("prompt", "asked", "shown")),
                                    strict=True):  # fmt: skip
        text = whole(prompt)
        assert text.count("THE {criteria} TEXT") == 1  # braces of a text aren't placeholders
        for aspect in GUIDE.aspects:
            for one in aspect.criteria:
                mine = f"{aspect.aspect_id}/{one.name}" in asked
                assert (one.check in text) == (mine and strategy in ("crit", "cricl"))
        demos = strategy in ("icl", "cricl")
        about_tests = any(key.startswith("tests/") for key in asked)
        assert ("DEMO-ONE {text}" in text) == (demos and about_tests)
        assert ("DEMO-ONE {text}" in shown) == (demos and about_tests)
        # a demonstration speaks of what is asked about, and of nothing else
        assert ("TRUTH-SAID" in text) == (demos and "tests/Truth test" in asked)
    assert len(set(table["prompt_id"].to_pylist())) == table.num_rows


def test_demonstrations_can_be_fewer() -> None:
    two, one = (
        whole(feedback_question(scopes(GUIDE, "all")[0], "T", "icl", n_demos=n)) for n in (2, 1)
    )
    assert "DEMO-TWO" in two
    assert "DEMO-TWO" not in one
    assert "DEMO-THREE" in one  # per aspect


def test_what_cannot_be_asked() -> None:
    bare = Guideline((Aspect("tests", "...", TESTS.criteria),))
    with pytest.raises(InputError, match="strategy icl needs demonstrations; 'tests' has none"):
        feedback_prompts(bare, [("t", 0, "x")], "icl", "aspect")
    with pytest.raises(InputError, match="no criteria; derive them first"):
        scopes(Guideline((Aspect("tests", "..."),)), "all")
    with pytest.raises(InputError, match="strategy must be one of base"):
        feedback_question(scopes(GUIDE, "all")[0], "x", "few")  # type: ignore[arg-type]


code = st.text(st.characters(codec="ascii", exclude_characters="`\n\r\x0b\x0c\x1c\x1d\x1e"),
               min_size=1, max_size=20).filter(lambda s: s.strip())  # fmt: skip
fix = st.lists(st.sampled_from(["use", "is", "None", "a tuple"]), min_size=1, max_size=3).map(
    " ".join
)
finding = st.one_of(
    st.just((True, "", (), "")),
    st.just((None, "not_applicable", (), "")),
    st.tuples(st.just(False), st.just(""), st.lists(code, max_size=2, unique=True).map(tuple), fix),
)


@given(st.lists(finding, min_size=1, max_size=4), st.sampled_from(["list", "lines"]))
def test_findings_survive_being_written(parts, layout) -> None:  # type: ignore[no-untyped-def]
    found = [Finding(f"Criterion {i}", *part) for i, part in enumerate(parts)]
    read, further = read_feedback(format_findings(found, layout), [one.criterion for one in found])
    assert read == found
    assert further == []


@pytest.mark.parametrize(
    ("said", "met", "reason"),
    [
        ("**None test**: met", True, ""),
        ("1. **NONE TEST**\n- Satisfied, all is well", True, ""),
        ("**None test** – Verdict: not met, see `x`", False, ""),
        ("### **None test:**\n\n* **Violated**: `x == None`", False, ""),
        ("**None test**: N/A", None, "not_applicable"),
        ("**None test**: doesn't apply here", None, "not_applicable"),
        ("**None test**: metaphors are used", None, "no_verdict"),
        ("**None test**: I think it is violated", None, "no_verdict"),
        ("None test: met", None, "missing"),
        ("", None, "missing"),
        (None, None, "no_answer"),
        ("**None test**: met\n**None test**: violated", None, "contradiction"),
        ("**None test**: met\n**None test**: met", True, ""),
        ("```\n**None test**: met\n```", None, "missing"),
    ],
)
def test_verdicts(said: str | None, met: bool | None, reason: str) -> None:
    if said is not None and said.startswith("```"):
        said = "**Other**: met\n" + said
    (one,), _ = read_feedback(said, ["None test"])
    assert (one.met, one.reason) == (met, reason)


def test_quotes_stand_before_the_fix() -> None:
    said = '**A**: violated `x == 1`, "y == 2"\n```python\nz\n  == 3\n```\nFix: write `x is 1`.'
    (one,), _ = read_feedback(said, ["A"])
    assert one.quotes == ("x == 1", "z\n  == 3")
    assert one.fix == "write `x is 1`"
    (plain,), _ = read_feedback('**A**: violated, "y == 2" and “z” or “zz”', ["A"])
    assert plain.quotes == ("y == 2", "zz")
    (within,), _ = read_feedback("**A**: violated `x = 1  # Fix: later`. Fix: do it now.", ["A"])
    assert (within.quotes, within.fix) == (("x = 1  # Fix: later",), "do it now")
    (open_ended,), _ = read_feedback("**A**: violated `x. Fix: write `y`.", ["A"])
    assert open_ended.fix == "write `y`"


def test_sources_of_quotes_by_brute_force() -> None:
    text, demo = "if a == None:\n    return b", "if c == None:\n    return b"
    pieces = {t[i:j] for t in (text, demo) for i in range(len(t)) for j in range(i + 1, i + 8)}
    for piece in {p for p in pieces if p == " ".join(p.split())}:
        flat, other = (" ".join(t.split()) for t in (text, demo))
        expected = (piece in flat, piece in other and piece not in flat)
        assert quote_sources([piece], text, [demo]) == [expected]
