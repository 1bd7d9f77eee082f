"""Ways through a tree: the right path alone, or with wrong trials and the way back from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np

from statllm.errors import InputError
from statllm.journey.tree import Tree

#: step: a node is entered; reflect: what is wrong with it; back: return to a node on the path.
Kind = Literal["step", "reflect", "back"]


@dataclass(frozen=True)
class Event:
    """One move of a journey, and the node that it is about."""

    kind: Kind
    node: int


def right_leaves(tree: Tree) -> list[int]:
    """Return the ends whose final answer is the reference, and which aren't called wrong.

    Where the reference is unknown, the process reward's verdict on the last step decides.

    Examples
    --------
    >>> from statllm.journey.tree import Node
    >>> end = {"end": "answer", "right": True}
    >>> nodes = (Node(-1), Node(0, "4", correct=True, **end), Node(0, "5", correct=False, **end))
    >>> right_leaves(Tree("a", "2 + 2?", "4", nodes))
    [1]
    """
    return [
        number
        for number, node in enumerate(tree.nodes)
        if number  # the root is no step, whatever a file says of it
        and node.end == "answer"
        and node.right is not False
        and (node.correct or (node.correct is None and bool(node.right)))
    ]


def shortcut(tree: Tree, leaf: int) -> list[Event]:
    """Return the steps from the root to a leaf."""
    return [Event("step", number) for number in tree.path(leaf)[1:]]


def wrong_ways(tree: Tree) -> list[bool]:
    """Return for each node whether a walk down from it can end at a wrong end.

    A wrong end is a node without children that was rejected, cut, or has a wrong answer. One that
    was only not gone on with, for others were kept, is no error that could be reflected on.
    """

    @cache
    def leads(number: int) -> bool:
        below = tree.children(number)
        if not below:
            return tree.nodes[number].wrong_end
        return any(leads(child) for child in below)

    # Parents come before children: from the back, no recursion is deeper than one.
    for number in range(len(tree.nodes) - 1, -1, -1):
        leads(number)
    return [leads(number) for number in range(len(tree.nodes))]


def journey(
    tree: Tree,
    leaf: int,
    rng: np.random.Generator | int = 0,
    *,
    trial_share: float = 1.0,
) -> list[Event]:
    """Return a walk to a leaf with at most one wrong trial at each node on the way.

    Depth first (Qin et al. 2024, arXiv 2410.18982, construction of long thoughts): at a node of the
    path an off-path step may be tried first; from there one random next step is taken at a time
    until an end; a rejected step is followed by what is wrong with it; then the walk returns to the
    path. The paper doesn't say whether there is a trial wherever there could be one, nor what
    becomes of an off-path branch that isn't wrong. Here there is one with probability
    `trial_share`, and only branches that end wrong are tried.

    Parameters
    ----------
    tree : Tree
    leaf : int
        From `right_leaves`.
    rng : Generator or int
    trial_share : float
        In [0, 1].

    Returns
    -------
    list of Event

    Raises
    ------
    InputError
        If `leaf` isn't one of `right_leaves`, or `trial_share` is out of range.

    Examples
    --------
    >>> from statllm.journey.tree import Node
    >>> nodes = (Node(-1), Node(0, "5", right=False, end="answer", correct=False),
    ...          Node(0, "4", right=True, end="answer", correct=True))
    >>> [(event.kind, event.node) for event in journey(Tree("a", "2 + 2?", "4", nodes), 2)]
    [('step', 1), ('reflect', 1), ('back', 0), ('step', 2)]
    """
    if leaf not in right_leaves(tree):
        raise InputError(f"node {leaf} of prompt_id '{tree.prompt_id}' is no right end")
    if not 0 <= trial_share <= 1:
        raise InputError(f"trial_share must lie between 0 and 1, not {trial_share}")
    rng = np.random.default_rng(rng)
    wrong = wrong_ways(tree)
    path = tree.path(leaf)
    events: list[Event] = []
    for here, after in pairwise(path):
        trials = [child for child in tree.children(here) if child != after and wrong[child]]
        if trials and rng.random() < trial_share:
            at: int | None = trials[int(rng.integers(len(trials)))]
            while at is not None:
                events.append(Event("step", at))
                below = [child for child in tree.children(at) if wrong[child]]
                # An end that nobody has called wrong yet (a wrong answer, a cut) is told so, too.
                if tree.nodes[at].right is False or not below:
                    events.append(Event("reflect", at))
                at = below[int(rng.integers(len(below)))] if below else None
            events.append(Event("back", here))
        events.append(Event("step", after))
    return events


def n_trials(events: Sequence[Event]) -> int:
    """Return the number of wrong trials: how often a walk returns."""
    return sum(event.kind == "back" for event in events)


def check_journey(tree: Tree, events: Sequence[Event]) -> list[str]:
    """Return what is wrong with a walk through a tree; an empty list if nothing is.

    Each step's parent is the node where the walk is; a return goes to an ancestor of it that is on
    the path; a reflection is about the node where the walk is; the walk ends at a right leaf; no
    node of the path has more than one trial; without trials, the path from the root is left.
    """
    if not events:
        return ["there is no step"]
    faults: list[str] = []
    at, trials = 0, dict.fromkeys(range(len(tree.nodes)), 0)
    left: list[int] = []
    for place, event in enumerate(events):
        if not 0 <= event.node < len(tree.nodes):
            return [*faults, f"event {place}: the tree has no node {event.node}"]
        if event.kind == "step":
            if tree.nodes[event.node].parent != at:
                faults.append(f"event {place}: node {event.node} doesn't follow node {at}")
            at = event.node
            left.append(at)
        elif event.kind == "reflect":
            if event.node != at:
                faults.append(f"event {place}: the walk is at {at}, not at {event.node}")
        else:
            if event.node == at or event.node not in tree.path(at):
                faults.append(f"event {place}: {event.node} is not above {at}")
            trials[event.node] += 1
            while left and event.node not in (0, left[-1]):
                left.pop()
            left = left if event.node else []
            at = event.node
    if at not in right_leaves(tree):
        faults.append(f"the walk ends at node {at}, which is no right end")
    path = tree.path(at)
    faults += [f"{count} trials at node {number}" for number, count in trials.items() if count > 1]
    faults += [
        f"a trial at node {number}, which is off the path"
        for number, count in trials.items()
        if count and number not in path
    ]
    if tuple(left) != path[1:]:
        faults.append("without its trials, the walk isn't the path")
    return faults
