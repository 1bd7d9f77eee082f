"""The search: counts in closed form, pruning against brute force, and going on after a kill."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.journey import SearchSettings, Tree, read_trees, search
from statllm.journey.policy import open_policy
from statllm.journey.search import full_tree_size, pruned_generations
from statllm.lab import model_path, problems
from statllm.lab.steps import LabStepVerifier, check_solution
from statllm.sampling import SamplingSettings


def asked(n: int = 1) -> pa.Table:
    ids = [f"p{number}" for number in range(n)]
    return pa.table({"prompt_id": ids, "prompt": ids, "reference": ["000"] * n})


def grown(digits: dict[str, Any], length: int = 100, n: int = 1, **settings: Any) -> list[Tree]:
    return search(
        asked(n), digits["policy"](length), digits["reward"](), SearchSettings(**settings)
    )


def test_the_papers_counts() -> None:
    """Width 3, depth 10, 3 kept: 29,524 against 90, and 3^10 nodes in the last level."""
    assert (full_tree_size(3, 10), 3**10, pruned_generations(3, 3, 10)) == (29524, 59049, 90)
    assert full_tree_size(1, 7) == 7


@pytest.mark.parametrize(("width", "depth"), [(1, 4), (2, 5), (3, 4), (4, 3)])
def test_a_full_tree_has_as_many_nodes_as_the_formula(
    digits: dict[str, Any], width: int, depth: int
) -> None:
    (tree,) = grown(digits, width=width, depth=depth, keep=None, prune="scores")
    levels = [sum(tree.depth(n) == d for n in range(len(tree.nodes))) for d in range(depth + 1)]
    assert levels == [width**d for d in range(depth + 1)]
    assert sum(node.expanded for node in tree.nodes) == full_tree_size(width, depth)


@pytest.mark.parametrize("prune", ["scores", "verdicts"])
def test_pruning_bounds_what_is_generated(digits: dict[str, Any], prune: str) -> None:
    for width, keep, depth in itertools.product((1, 2, 4), (1, 2, 5), (1, 3, 6)):
        (tree,) = grown(digits, width=width, keep=keep, depth=depth, prune=prune)
        assert tree.n_generated <= width + width * keep * (depth - 1)
        assert tree.n_generated <= pruned_generations(width, keep, depth)
        at = [n for n in range(1, len(tree.nodes)) if tree.nodes[n].expanded]
        assert all(sum(tree.depth(n) == d for n in at) <= keep for d in range(1, depth + 1))


def test_scores_keep_the_best_of_each_level(digits: dict[str, Any]) -> None:
    """By brute force over all strings of digits."""
    width, keep, depth = 3, 4, 4
    (tree,) = grown(digits, width=width, keep=keep, depth=depth, prune="scores")
    frontier, score = [""], digits["score"]
    for level in range(1, depth + 1):
        below = [text + str(d) for text in frontier for d in range(width)]
        found = {tree.text(n) for n in range(len(tree.nodes)) if tree.depth(n) == level}
        assert found == set(below)
        frontier = sorted(below, key=score, reverse=True)[:keep]
        expanded = {
            tree.text(n)
            for n in range(1, len(tree.nodes))
            if tree.depth(n) == level and tree.nodes[n].expanded
        }
        assert expanded == (set(frontier) if level < depth else set())


def test_wrong_steps_stay_and_are_not_gone_on_with(digits: dict[str, Any]) -> None:
    (tree,) = grown(digits, length=3, width=4, keep=2, depth=5)
    wrong = [number for number, node in enumerate(tree.nodes) if node.right is False]
    assert wrong
    assert all(not tree.children(number) for number in wrong)
    assert all(tree.nodes[number].rationale.endswith("is odd.") for number in wrong)
    ends = [node for node in tree.nodes if node.end == "answer"]
    assert {node.answer for node in ends} <= {
        f"{a}{b}{c}" for a in "02" for b in "02" for c in "0123"
    }
    assert all(node.correct == (node.answer == "000" or node.answer == "0") for node in ends)
    assert all(tree.depth(number) <= 3 for number in range(len(tree.nodes)))


def test_equal_candidates_are_one_node() -> None:
    class Same:
        identity = "same"

        def next_steps(self, partials: Any, n: int) -> Any:
            from statllm.journey.policy import Step

            return [[Step("x", "open")] * n for _ in partials]

        def begin(self, journal: Any) -> None: ...

    class Fine:
        identity = "fine"

        def rate(self, candidates: Any) -> Any:
            from statllm.journey import Verdict

            return [Verdict(1.0, True) for _ in candidates]

    (tree,) = search(asked(), Same(), Fine(), SearchSettings(width=3, depth=2))  # type: ignore[arg-type]
    assert [node.n_drawn for node in tree.nodes] == [1, 3, 3]
    assert tree.n_generated == 6


def test_a_stopped_search_goes_on(digits: dict[str, Any], tmp_path: Path) -> None:
    settings = SearchSettings(width=2, keep=2, depth=3, shard_size=2)
    whole = search(asked(5), digits["policy"](), digits["reward"](), settings)
    first = digits["policy"](fail_after=len({t.prompt_id for t in whole}) * 2)
    out = tmp_path / "trees.jsonl"
    with pytest.raises(KeyboardInterrupt):
        search(asked(5), first, digits["reward"](), settings, out)
    assert not out.exists()
    again = digits["policy"]()
    done = search(asked(5), again, digits["reward"](), settings, out)
    assert [tree.to_json() for tree in done] == [tree.to_json() for tree in whole]
    assert [tree.to_json() for tree in read_trees(out)] == [tree.to_json() for tree in whole]
    assert not any(key.startswith(("p0", "p1")) for key in again.asked)
    assert not (tmp_path / "trees.jsonl.parts").exists()


def test_another_search_is_not_gone_on_with(digits: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "trees.jsonl"
    settings = SearchSettings(width=2, keep=2, depth=3, shard_size=1)
    with pytest.raises(KeyboardInterrupt):
        search(asked(3), digits["policy"](fail_after=6), digits["reward"](), settings, out)
    with pytest.raises(InputError, match="belongs to another search"):
        search(asked(3), digits["policy"](), digits["reward"](), SearchSettings(width=3), out)


def test_a_search_that_had_nothing_yet_bars_no_other(
    digits: dict[str, Any], tmp_path: Path
) -> None:
    """A mistake in the first call (a wrong reward, say) isn't kept for ever."""
    out, one = tmp_path / "trees.jsonl", SearchSettings(width=2, depth=2)
    with pytest.raises(KeyboardInterrupt):
        search(asked(2), digits["policy"](fail_after=0), digits["reward"](), one, out)
    other = SearchSettings(width=3, depth=2)
    assert len(search(asked(2), digits["policy"](), digits["reward"](), other, out)) == 2


def test_problems_must_be_prompts(digits: dict[str, Any]) -> None:
    twice = pa.table({"prompt_id": ["a", "a"], "prompt": ["P", "Q"]})
    with pytest.raises(InputError, match="'a'"):
        search(twice, digits["policy"](), digits["reward"]())
    with pytest.raises(InputError, match="column 'prompt' is missing"):
        search(pa.table({"prompt_id": ["a"]}), digits["policy"](), digits["reward"]())


def test_the_lab_in_trees() -> None:
    """Real steps of the real model: verdicts are those of the whole text."""
    table = problems("train", 12, seed=3)
    policy = open_policy(model_path(), SamplingSettings(max_new_tokens=80), ".", 24)
    settings = SearchSettings(width=3, keep=2, depth=5)
    trees = search(table, policy, LabStepVerifier(), settings)
    apart = search(table.slice(4, 3), policy, LabStepVerifier(), settings)
    assert [tree.to_json() for tree in apart] == [tree.to_json() for tree in trees[4:7]]
    seen = set()
    for tree in trees:
        assert tree.n_generated <= settings.most_generated  # type: ignore[operator]
        for number, node in enumerate(tree.nodes[1:], 1):
            seen.add((node.end, node.right))
            if node.end == "open":
                assert node.text.endswith(".")
                assert node.text.count(".") == 1
            if node.end == "answer" and node.right and "####" in node.text:
                assert node.correct
                # All steps on the way are right: none was gone on with that wasn't.
                verdicts = check_solution(tree.prompt, tree.text(number))
                assert verdicts
                assert all(verdict.right for verdict in verdicts)
    assert {("open", True), ("open", False), ("answer", True), ("answer", False)} <= seen


@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_same_trees(tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    command = [
        sys.executable, "-m", "statllm", "journey", "search", "lab", "lab:train", "--limit", "24",
        "--reward", "lab", "--step-end", ".", "--max-step-tokens", "24", "--depth", "4",
        "--max-new-tokens", "80", "--shard-size", "2", "-o",
    ]  # fmt: skip
    process = subprocess.Popen([*command, str(out)], env={**os.environ, "COLUMNS": "200"})
    parts = tmp_path / "t.jsonl.parts"
    for _ in range(1200):
        if len(list(parts.glob("part-*.jsonl"))) >= 2 or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    subprocess.run([*command, str(out)], check=True)
    subprocess.run([*command, str(tmp_path / "whole.jsonl")], check=True)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
