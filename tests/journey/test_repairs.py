"""What is learned of a journey without its errors: every other token, once."""

from __future__ import annotations

from typing import Any

import pytest

from statllm.errors import InputError
from statllm.journey import Node, Tree, journey, right_leaves
from statllm.journey.draft import Phrases, make_draft
from statllm.journey.repairs import repairs
from statllm.lab import model_path
from statllm.models import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(model_path())


def tree(number: int) -> Tree:
    """A step that is tried wrongly first, and an answer."""
    bad = (Node(0, f"First 2 + {number} = 1.", right=False, rationale="it is not 1."),)
    right = Node(0, f"First 2 + {number} = {number + 2}.", right=True)
    end = Node(2, f" #### {number + 2}", right=True, end="answer", correct=True)
    nodes = (Node(-1), *bad, right, end)
    return Tree(f"p{number}", f"Q: {number}?\nA:\n", str(number + 2), nodes)


def test_rejected_steps_are_given_and_all_else_is_learned(tokenizer: Any) -> None:
    words = Phrases(reflect=("Wait, {rationale}",), back=("Back.",), separator=" ")
    made = tree(5)
    draft = make_draft(made, journey(made, 3), words)
    table = repairs([draft], tokenizer)
    (only,) = table.to_pylist()  # nothing is learned before the first step, which is wrong
    assert tokenizer.decode(only["prompt_ids"]) == made.prompt + "First 2 + 5 = 1."
    assert tokenizer.decode(only["response_ids"][:-1]) == (
        " Wait, it is not 1. Back. First 2 + 5 = 7. #### 7"
    )
    assert only["response_ids"][-1] == tokenizer.eos_token_id
    # An error after a right step: what comes before it is learned, too, and doesn't end there.
    late = Tree(
        "q", "P\n", "7",
        (Node(-1), Node(0, "a.", right=True), Node(1, " b.", right=False, rationale="no b."),
         Node(1, " c", right=True, end="answer", correct=True)),
    )  # fmt: skip
    first, second = repairs([make_draft(late, journey(late, 3), words)], tokenizer).to_pylist()
    assert tokenizer.decode(first["prompt_ids"]) == "P\n"
    assert tokenizer.decode(first["response_ids"]) == "a."
    assert tokenizer.decode(second["prompt_ids"]) == "P\na. b."
    assert tokenizer.decode(second["response_ids"]) == " Wait, no b. Back. c<eos>"


def test_parts_join_to_the_whole_text(random_trees: list[Tree], tokenizer: Any) -> None:
    words = Phrases(separator=" ")
    parts = 0
    for tree in random_trees:
        for leaf in right_leaves(tree):
            draft = make_draft(tree, journey(tree, leaf, 1), words, 1)
            rows = repairs([draft], tokenizer).to_pylist()
            last = rows[-1]
            whole = tokenizer.decode(last["prompt_ids"] + last["response_ids"][:-1])
            assert whole == tree.prompt + draft.text
            learned = "".join(tokenizer.decode(row["response_ids"]) for row in rows)
            wrong = sum(
                len(piece)
                for event, piece in zip(draft.events, draft.pieces, strict=True)
                if event.kind == "step" and tree.nodes[event.node].right is False
            )
            n_wrong = len(draft.text) - len(learned.removesuffix("<eos>"))
            # Each rejected step takes the space before it along, where there is one.
            assert wrong <= n_wrong <= wrong + len(draft.steps)
            assert [row["response_ids"][-1] == tokenizer.eos_token_id for row in rows] == [
                row is last for row in rows
            ]
            parts += len(rows)
    assert parts > 100


def test_messages_are_refused(tokenizer: Any) -> None:
    made = tree(1)
    talk = Tree("m", [{"role": "user", "content": "x"}], "3", made.nodes)
    with pytest.raises(InputError, match="prompt_id 'm'"):
        repairs([make_draft(talk, journey(talk, 3), Phrases())], tokenizer)
