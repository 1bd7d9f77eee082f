"""Pairs by construction: what is read of a text, and a model that writes every kind of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.pairs import check_pairs
from statllm.sampling import SamplingSettings
from statllm.sampling.prompts import (
    CONTRAST_FAILURES,
    PromptTemplate,
    contrast,
    load_template,
    read_contrast,
)

FORM = load_template("self_taught_contrast")
REQUEST, RESPONSE = FORM.delimiters["request"], FORM.delimiters["response"]


@pytest.mark.parametrize(
    ("text", "cut", "read"),
    [
        (f"{REQUEST}\nWho?\n{RESPONSE}\nAda.\nOr Al.", False, ("Who?", "Ada.\nOr Al.", None)),
        (f"Well.\n{REQUEST} Who?\n\n{RESPONSE} Ada.", False, ("Who?", "Ada.", None)),
        (f"{REQUEST} Who?\n{RESPONSE} Ada", True, (None, None, "truncated")),
        (None, False, (None, None, "missing")),
        ("Ada.", False, (None, None, "no_marker")),
        (f"{RESPONSE} Ada. {REQUEST} Who?", False, (None, None, "no_marker")),
        (f"{REQUEST} Who? {REQUEST} Why? {RESPONSE} Ada.", False, (None, None, "repeated_marker")),
        (f"{REQUEST} \n{RESPONSE} Ada.", False, (None, None, "empty_request")),
        (f"{REQUEST} Who?\n{RESPONSE} \n", False, (None, None, "empty_response")),
    ],
)
def test_reading(text: str | None, cut: bool, read: tuple[str | None, ...]) -> None:
    assert read_contrast(FORM, text, cut) == read


def test_the_package_asks_with_prompt_response_and_both_markers() -> None:
    asked = FORM.text({"prompt": "Why {response}?", "response": "So."})
    assert "Why {response}?" in asked  # what is filled in isn't filled again
    assert "So." in asked
    assert asked.count(REQUEST) == asked.count(RESPONSE) == 1


def test_from_prompts_to_pairs(
    by_heart: Callable[[Mapping[str, str]], Path], tmp_path: Path
) -> None:
    """Seven prompts, one of each fate."""
    form = PromptTemplate(
        "ask", 1, "contrast", "", "{prompt} {response} ?",
        delimiters={"request": "Q:", "response": "A:"},
    )  # fmt: skip
    says = {
        "one good ?": "Q: two A: bad",
        "same good ?": "Q: same A: bad",
        "again good ?": "Q: two A: good",
        "mute good ?": "hm",
        "long good ?": "Q: two A: bad bad bad bad bad bad bad",
        "skip good ?": "Q: two A: bad",
    }
    table = pa.table(
        {
            "prompt_id": ["a", "b", "c", "d", "e", "f", "g"],
            "prompt": ["one", "same", "again", "mute", "long", "skip", "lost"],
            "response": [["good"]] * 5 + [["cut", " ", None, "good"], [None, " "]],
            "finish_reason": [["stop"]] * 5 + [["length", "stop", None, "stop"], [None, "stop"]],
        }
    )
    settings = SamplingSettings(n=2, temperature=0, max_new_tokens=7)
    out = tmp_path / "texts.parquet"
    model = by_heart(says)
    made = contrast(model, table, settings, template=form, chat=False, out=out)
    assert made.counts() == {
        "kept": 4, "no_marker": 2, "same_request": 2, "same_response": 2, "truncated": 2,
        "no_response": 1,
    }  # fmt: skip
    assert set(made.counts()) - {"kept"} <= set(CONTRAST_FAILURES)
    assert sum(made.counts().values()) == made.ledger.num_rows == 13
    pairs = check_pairs(made.pairs).to_pylist()
    assert [(row["pair_id"], row["prompt"], row["chosen"], row["rejected"]) for row in pairs] == [
        ("a#0", "one", "good", "bad"),
        ("a#1", "one", "good", "bad"),
        ("f#0", "skip", "good", "bad"),
        ("f#1", "skip", "good", "bad"),
    ]
    kept = made.ledger.filter(made.ledger["kept"])
    assert kept["other_request"].to_pylist() == ["two"] * 4
    assert made.summary().startswith("7 prompts, 13 rows, 4 pairs; dropped: no_marker 2")
    before = out.stat().st_ino
    again = contrast(model, table, settings, template=form, chat=False, out=out)
    assert again.pairs.equals(made.pairs)
    assert out.stat().st_ino == before  # nothing was asked again


def test_messages_stay_messages(by_heart: Callable[[Mapping[str, str]], Path]) -> None:
    form = PromptTemplate(
        "ask", 1, "contrast", "", "{prompt} {response}",
        delimiters={"request": "Q:", "response": "A:"},
    )  # fmt: skip
    messages = [[{"role": "user", "content": "one"}]]
    table = pa.table({"prompt_id": ["a"], "prompt": messages, "response": [["good"]]})
    model = by_heart({"one good": "Q: two A: bad"})
    settings = SamplingSettings(n=1, temperature=0, max_new_tokens=8)
    made = contrast(model, table, settings, template=form, chat=False)
    assert made.pairs["prompt"].to_pylist() == messages
    assert check_pairs(made.pairs).num_rows == 1


def test_what_is_refused() -> None:
    table = pa.table({"prompt_id": ["a"], "prompt": [None], "response": [["x"]]})
    with pytest.raises(InputError, match="is for length, not contrast"):
        contrast("nowhere", table, template=load_template("lift_words"))
    with pytest.raises(InputError, match="the prompt of prompt_id 'a' is null"):
        contrast("nowhere", table)
    with pytest.raises(InputError, match="'response'"):
        contrast("nowhere", table.drop_columns(["response"]))
