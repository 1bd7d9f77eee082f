"""Trees: what they say of themselves, and their file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from statllm.errors import InputError
from statllm.journey import Node, Tree, read_trees, write_trees


def test_reading_gives_back_what_was_written(random_trees: list[Tree], tmp_path: Path) -> None:
    named = [
        Tree(
            f"t{number}", [{"role": "user", "content": "é"}] if number % 2 else "P", None, one.nodes
        )
        for number, one in enumerate(random_trees[:20])
    ]
    write_trees(named, tmp_path / "t.jsonl")
    back = read_trees(tmp_path / "t.jsonl")
    assert [(t.prompt_id, t.prompt, t.reference, t.nodes) for t in back] == [
        (t.prompt_id, t.prompt, t.reference, t.nodes) for t in named
    ]


def test_paths_and_children_agree_with_parents(random_trees: list[Tree]) -> None:
    for tree in random_trees:
        for number, node in enumerate(tree.nodes[1:], 1):
            assert number in tree.children(node.parent)
            path = tree.path(number)
            assert path[0] == 0
            assert path[-2] == node.parent
            assert tree.depth(number) == len(path) - 1 == tree.depth(node.parent) + 1
            assert tree.text(number) == tree.text(node.parent) + node.text
        assert sum(len(tree.children(n)) for n in range(len(tree.nodes))) == len(tree.nodes) - 1


def row(**changes: object) -> dict[str, object]:
    good = {"prompt_id": "a", "prompt": "P", "nodes": [{"parent": -1}, {"parent": 0}]}
    return {**good, **changes}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1 is not JSON"),
        ("[]", "line 1: a tree must be an object"),
        (json.dumps(row(prompt=None)), "key 'prompt' is missing"),
        (json.dumps(row(nodes=[])), "prompt_id 'a' has no root"),
        (json.dumps(row(nodes="xx")), "key 'nodes' must be a list"),
        (json.dumps(row(nodes=[{"parent": -1}, {"parent": 5}])), "node 1 has parent 5"),
        (json.dumps(row(nodes=[{"parent": -1}, {"paren": 0}])), "prompt_id 'a', node 1: keys are"),
        (json.dumps(row(nodes=[{"parent": -1}, {"parent": 0, "end": "x"}])), "node 1: end is 'x'"),
        (json.dumps(row(nodes=[{"parent": -1}, {"parent": 0, "right": 3}])), "node 1: a value has"),
        (json.dumps(row()) + "\n" + json.dumps(row()), "line 2: prompt_id 'a' occurs twice"),
        (json.dumps(row(nodes=[{"parent": -1}, {"parent": 0, "score": 7}])), "score is 7, not in"),
        (json.dumps(row(nodes=[{"parent": -1}, {"parent": 0, "score": float("nan")}])), "is nan"),
        (json.dumps(row(nodes=[{"parent": -1}, {"parent": 0, "end": "answer"}, {"parent": 1}])),
         "node 2 follows node 1, which is an end (answer)"),
        (json.dumps(row(made_by=[1])), "key 'made_by' must be an object"),
        (json.dumps(row(prompt="half a pair: \ud83d")), "line 1 is not JSON"),
        *((json.dumps(row(prompt=wrong)), "key 'prompt' must be text, or a list of messages")
          for wrong in (3, {"a": 1}, [], ["x"], [{"role": "user"}])),
        ("\n", "has no tree"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_by_line_and_node(
    line: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=re.escape(complaint)):
        read_trees(tmp_path / "t.jsonl")


def test_a_node_may_not_come_before_its_parent() -> None:
    with pytest.raises(InputError, match="node 1 has parent 2"):
        Tree("a", "P", None, (Node(-1), Node(2), Node(0)))
