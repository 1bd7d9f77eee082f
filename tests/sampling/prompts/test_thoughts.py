"""Thought prompts, and texts cut in two."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.sampling.prompts import (
    load_template,
    split_thoughts,
    thought_counts,
    thought_prompts,
    with_thoughts,
)

GENERIC, SPECIFIC = load_template("tpo_generic"), load_template("tpo_specific")
T, R = "Here is my thought process:", "Here is my response:"


def wrapped(prompt: Any, name: str = "tpo_generic") -> Any:
    table = pa.table({"prompt_id": ["p"], "prompt": [prompt], "kind": ["x"]})
    asked = thought_prompts(table, load_template(name))
    assert asked.column_names == ["prompt_id", "prompt", "kind", "original_prompt", "template"]
    assert asked["original_prompt"].to_pylist() == [prompt]
    assert asked["template"].to_pylist() == [f"{name}@1"]
    return asked["prompt"][0].as_py()


def test_texts_and_messages() -> None:
    text = wrapped("Why {prompt}?\n")
    assert text.endswith("\n\nWhy {prompt}?\n")
    user = {"role": "user", "content": "Why {prompt}?\n"}
    assert wrapped([user]) == [{"role": "user", "content": text}]
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi."}]
    assert wrapped([*earlier, user]) == [*earlier, {"role": "user", "content": text}]


def test_in_the_system_role() -> None:
    user = {"role": "user", "content": "Why?"}
    system, same = wrapped([user], "tpo_generic_system")
    assert same == user
    assert system["role"] == "system"
    said = wrapped([{"role": "system", "content": "Be kind."}, user], "tpo_generic_system")
    assert said == [{**system, "content": f"Be kind.\n\n{system['content']}"}, user]
    assert wrapped("Why?", "tpo_generic_system") == f"{system['content']}\n\nWhy?"


def test_prompts_that_cannot_be_wrapped() -> None:
    null = pa.table({"prompt_id": ["p"], "prompt": pa.array([None], pa.string())})
    with pytest.raises(InputError, match="prompt_id 'p' is null"):
        thought_prompts(null, GENERIC)
    with pytest.raises(InputError, match="'p' doesn't end with the user's message"):
        wrapped([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi."}])
    with pytest.raises(InputError, match="is for length, not thoughts"):
        thought_prompts(null, load_template("lift_words"))
    once = thought_prompts(pa.table({"prompt_id": ["p"], "prompt": ["Why?"]}), GENERIC)
    with pytest.raises(InputError, match="filled in before"):
        thought_prompts(once, GENERIC)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"{T}\n2 + 2.\n{R}\n 4 ", ("2 + 2.", "4", None)),
        (f"{R} 4", ("", "4", None)),  # the generic prompt only allows thoughts
        (f"Sure. {T} hm {R} 4", ("Sure.  hm", "4", None)),
        ("4", (None, None, "no_marker")),
        (f"{T} 2 + 2 is 4", (None, None, "no_marker")),
        (f"{T} hm {R}\n ", (None, None, "empty_response")),
        (f"{T} hm {R} 4 {R} 5", (None, None, "marker_in_response")),
        (f"{R} 4 {T} hm", (None, None, "marker_in_response")),
        ("", (None, None, "no_marker")),
        (None, (None, None, "missing")),
    ],
)
def test_generic_texts(text: str | None, parts: tuple[str | None, ...]) -> None:
    cut = split_thoughts(GENERIC, [text])
    assert (*cut.thought.to_pylist(), *cut.response.to_pylist(), *cut.failure.to_pylist()) == parts


def test_string_match_as_published() -> None:
    cut = split_thoughts(SPECIFIC, ["Draft <R> one <R> two"], strict=False)
    assert (cut.thought.to_pylist(), cut.response.to_pylist()) == (["Draft"], ["one <R> two"])


def test_generation_tables() -> None:
    responses = [["a <R> b", "c"], [], ["<R> d"]]
    kind = pa.list_(pa.string())
    table = pa.table({"prompt_id": ["p", "q", "r"], "response": pa.array(responses, kind)})
    cut = with_thoughts(table, SPECIFIC)
    assert cut["response"].to_pylist() == responses
    assert cut["thought"].to_pylist() == [["a", None], [], [""]]
    assert cut["final_response"].to_pylist() == [["b", None], [], ["d"]]
    assert cut["thought_failure"].to_pylist() == [[None, "no_marker"], [], [None]]
    assert thought_counts(cut) == {"split": 2, "no_marker": 1}
    assert with_thoughts(table.slice(2, 1), SPECIFIC)["final_response"].to_pylist() == [["d"]]
    with pytest.raises(InputError, match="'thought' is already there"):
        with_thoughts(cut, SPECIFIC)
