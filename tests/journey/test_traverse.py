"""Walks through trees, against all walks that there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.journey import Event, Node, Tree, check_journey, journey, right_leaves, shortcut
from statllm.journey.traverse import n_trials, wrong_ways

Moves = tuple[tuple[str, int], ...]


def walks_down(tree: Tree, number: int) -> Iterator[tuple[int, ...]]:
    """All ways from a node to an end below it."""
    below = tree.children(number)
    if not below:
        yield (number,)
    for child in below:
        for rest in walks_down(tree, child):
            yield (number, *rest)


def all_journeys(tree: Tree, leaf: int) -> set[Moves]:
    """Every walk that the rules allow where a trial is made wherever there can be one."""
    path = tree.path(leaf)
    options: list[list[Moves]] = []
    for here, after in pairwise(path):
        trials: list[Moves] = []
        for child in tree.children(here):
            if child == after:
                continue
            for way in walks_down(tree, child):
                end = tree.nodes[way[-1]]
                if not (end.right is False or end.end == "cut" or end.correct is False):
                    continue
                moves: list[tuple[str, int]] = []
                for number in way:
                    moves.append(("step", number))
                    if tree.nodes[number].right is False or number == way[-1]:
                        moves.append(("reflect", number))
                trials.append((*moves, ("back", here)))
        options.append([(*trial, ("step", after)) for trial in trials or [()]])
    found: set[Moves] = {()}
    for choice in options:
        found = {(*walk, *part) for walk in found for part in choice}
    return found


def plain(events: list[Event]) -> Moves:
    return tuple((event.kind, event.node) for event in events)


def test_journeys_are_all_those_that_brute_force_finds(random_trees: list[Tree]) -> None:
    compared = 0
    for tree in random_trees:
        for leaf in right_leaves(tree):
            every = all_journeys(tree, leaf)
            drawn = {plain(journey(tree, leaf, seed)) for seed in range(12 * len(every))}
            assert drawn <= every
            if len(every) <= 4:
                assert drawn == every
                compared += len(every) > 1
    assert compared > 10


def test_every_journey_is_valid_and_holds_its_shortcut(random_trees: list[Tree]) -> None:
    rng = np.random.default_rng(1)
    trials = 0
    for tree in random_trees:
        for leaf in right_leaves(tree):
            events = journey(tree, leaf, rng, trial_share=float(rng.random()))
            assert check_journey(tree, events) == []
            path = set(tree.path(leaf))
            assert [e for e in events if e.kind == "step" and e.node in path] == shortcut(
                tree, leaf
            )
            assert events[-1] == Event("step", leaf)
            assert n_trials(events) <= len(path) - 1
            trials += n_trials(events)
            assert check_journey(tree, shortcut(tree, leaf)) == []
    assert trials > 50


def test_a_spoilt_journey_is_found_out(random_trees: list[Tree]) -> None:
    """Without one of its steps or returns, with a trial twice, or with another end."""
    spoilt = 0
    for tree in random_trees:
        for leaf in right_leaves(tree):
            events = journey(tree, leaf, 0)
            for place, event in enumerate(events):
                without = events[:place] + events[place + 1 :]
                if event.kind != "reflect":
                    assert check_journey(tree, without), (plain(events), place)
                if event.kind == "back":
                    start = max(p for p in range(place) if tree.nodes[events[p].node].parent
                                == event.node and events[p].kind == "step")  # fmt: skip
                    assert check_journey(tree, events[: place + 1] + events[start:])
                    spoilt += 1
            wrong_end = [n for n in range(1, len(tree.nodes)) if n not in right_leaves(tree)]
            for number in wrong_end:
                assert check_journey(tree, shortcut(tree, number))
    assert spoilt > 30
    assert check_journey(random_trees[0], []) == ["there is no step"]
    assert "no node 99" in check_journey(random_trees[0], [Event("step", 99)])[0]


def test_wrong_ways_are_those_that_end_wrong(random_trees: list[Tree]) -> None:
    for tree in random_trees:
        for number, leads in enumerate(wrong_ways(tree)):
            ends = [way[-1] for way in walks_down(tree, number)]
            assert leads == any(tree.nodes[end].wrong_end for end in ends)


def test_a_pruned_step_is_no_error() -> None:
    """It was right, and others were kept: there is nothing to reflect on."""
    right = Node(0, "a.", right=True)
    end = Node(0, "b", right=True, end="answer", correct=True)
    tree = Tree("x", "P", "b", (Node(-1), right, end))
    assert plain(journey(tree, 2)) == (("step", 2),)
    cut = Tree("x", "P", "b", (Node(-1), replace(right, end="cut"), end))
    assert [e.kind for e in journey(cut, 2)] == ["step", "reflect", "back", "step"]


def test_right_leaves_have_the_reference_or_else_a_verdict() -> None:
    ends = [(True, True), (True, False), (True, None), (False, True), (None, True), (None, None)]
    nodes = [Node(0, str(i), right=r, end="answer", correct=c) for i, (r, c) in enumerate(ends)]
    assert right_leaves(Tree("x", "P", "1", (Node(-1), *nodes))) == [1, 3, 5]


def test_trials_happen_at_their_share() -> None:
    wrong = Node(0, "w", right=False)
    tree = Tree(
        "x", "P", "1", (Node(-1), wrong, Node(0, "r", right=True, end="answer", correct=True))
    )
    rng = np.random.default_rng(0)
    made = sum(n_trials(journey(tree, 2, rng, trial_share=0.3)) for _ in range(2000))
    assert abs(made / 2000 - 0.3) < 4 * (0.21 / 2000) ** 0.5
    assert n_trials(journey(tree, 2, rng, trial_share=0.0)) == 0
    with pytest.raises(InputError, match="trial_share"):
        journey(tree, 2, rng, trial_share=1.5)
    with pytest.raises(InputError, match="no right end"):
        journey(tree, 1, rng)


def test_a_root_that_claims_to_be_right_is_no_leaf() -> None:
    assert right_leaves(Tree("a", "P", "1", (Node(-1, end="answer", correct=True),))) == []
