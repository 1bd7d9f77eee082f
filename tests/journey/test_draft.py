"""Texts of walks: nothing is lost, and a rewritten text that loses a step isn't used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from statllm.errors import InputError
from statllm.journey import ExtractSettings, Tree, extract, journey, right_leaves
from statllm.journey.draft import ModelRewriter, Phrases, lost_step, make_draft
from statllm.journey.tree import Node


def test_a_draft_holds_every_step_and_reason_in_order(random_trees: list[Tree]) -> None:
    rng = np.random.default_rng(0)
    for tree in random_trees:
        for leaf in right_leaves(tree):
            events = journey(tree, leaf, rng)
            text = make_draft(tree, events, Phrases(), rng).text
            place = 0
            for event in events:
                node = tree.nodes[event.node]
                part = node.text if event.kind == "step" else node.rationale
                if event.kind != "back":
                    place = text.index(part, place) + len(part)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("First 27 - 11 = 15. Wait. First 27 - 11 = 16. Then 16 * 3 = 48. #### 48", None),
        ("So 27-11=15, no! 27-11=16, and 16*3=48.\n#### 48", None),
        ("27 - 11 = 16. Then 16 * 3 = 48. #### 48", 0),  # the error is gone
        ("27 - 11 = 15. Wait: 27 - 11 = 16. #### 48", 2),
        ("27 - 11 = 15. 27 - 11 = 16. 16 * 3 = 48.", 3),  # without the answer
        ("27 - 11 = 16. 27 - 11 = 15. 16 * 3 = 48. #### 48", 1),  # in another order
        ("27 - 11 = 15. 27 - 11 = 16. 16 * 3 = 480. #### 48", 2),  # another number
        ("127 - 11 = 15. 27 - 11 = 16. 16 * 3 = 48. #### 48", 0),
        ("", 0),
    ],
)
def test_a_lost_step_is_named(text: str, lost: int | None) -> None:
    steps = ["First 27 - 11 = 15.", "First 27 - 11 = 16.", "Then 16 * 3 = 48.", "#### 48"]
    assert lost_step(steps, text) == lost


def test_words_without_numbers_must_survive_as_words() -> None:
    assert lost_step(["Let us begin."], "well, let us  BEGIN with it") is None
    assert lost_step(["Let us begin."], "we begin") == 0


@pytest.mark.parametrize("name", ["reflect", "reflect_bare", "back"])
def test_there_is_a_wording_to_draw(name: str) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        Phrases(**{name: ()})


class Writer:
    """Rewrites well, loses the error, or says nothing."""

    name, identity, samples = "writer", "writer-1", False

    def write(
        self, keys: Sequence[str], questions: Sequence[Any], votes: range
    ) -> Iterator[tuple[int, list[str | None]]]:
        for place, question in enumerate(questions):
            asked = question[0]["content"]
            notes = asked.split("Notes:\n")[1].split("\n\nWrite")[0]
            if "lost" in asked:
                notes = notes.split("\n")[-1]
            yield place, [None if "silent" in asked else f"Hm. {notes}"]


def tree_of(prompt: str) -> Tree:
    nodes = (
        Node(-1),
        Node(0, "2 + 2 = 5.", right=False, rationale="2 + 2 is not 5."),
        Node(0, "#### 4", right=True, end="answer", correct=True),
    )
    return Tree(prompt, prompt, "4", nodes)


def test_rewritten_journeys_are_checked_and_the_ledger_adds_up(tmp_path: Path) -> None:
    trees = [tree_of("good"), tree_of("lost"), tree_of("silent"), Tree("x", "x", "4", (Node(-1),))]
    found = extract(trees, ExtractSettings(), ModelRewriter(Writer(), tmp_path))
    assert found.counts() == {"kept": 1, "lost_step": 1, "unanswered": 1, "no_right_leaf": 1}
    assert found.ledger["prompt_id"].to_pylist() == ["good", "lost", "silent", "x"]
    assert found.examples["response"].to_pylist()[0].startswith("Hm. 2 + 2 = 5.")
    # Shortcuts have nothing to be rewritten.
    plain = extract(trees, ExtractSettings(kind="shortcut"), ModelRewriter(Writer(), tmp_path))
    assert plain.examples["response"].to_pylist() == ["#### 4"] * 3


def test_text_and_messages_do_not_mix() -> None:
    talk = tree_of("good")
    messages = [{"role": "user", "content": "P"}]
    other = Tree("talk", messages, "4", talk.nodes)
    assert extract([other]).examples["prompt"].to_pylist() == [messages]
    with pytest.raises(InputError, match="'good' is text, that of 'talk' a list of messages"):
        extract([talk, other])


def test_both_kinds_take_the_same_trees_and_leaves(random_trees: list[Tree]) -> None:
    named = [Tree(f"t{i}", t.prompt, t.reference, t.nodes) for i, t in enumerate(random_trees)]
    for leaves in ("one", "all"):
        settings = ExtractSettings(leaves=leaves, require_trial=True, seed=3)
        long = extract(named, settings)
        short = extract(named, settings.model_copy(update={"kind": "shortcut"}))
        assert long.examples["prompt_id"].equals(short.examples["prompt_id"])
        assert long.counts() == short.counts()
        assert sum(long.counts().values()) == len(named)
        for a, b in zip(long.drafts, short.drafts, strict=True):
            assert a.events[-1] == b.events[-1]
            assert len(a.events) > len(b.events)
        assert min(n for n in long.ledger["n_trials"].to_pylist() if n) >= 1
        # The order of trees decides nothing.
        back = extract(named[::-1], settings)
        assert sorted(back.examples["response"].to_pylist()) == sorted(
            long.examples["response"].to_pylist()
        )
