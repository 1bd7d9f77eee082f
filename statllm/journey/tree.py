"""Trees of solution steps, one per problem, and the JSON lines that hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from statllm.errors import InputError
from statllm.files import atomic, existing_file
from statllm.generations import is_prompt

#: open: goes on; answer: has a final answer; cut: ran into a limit before its end.
End = Literal["open", "answer", "cut"]


@dataclass(frozen=True)
class Node:
    """One step of a solution; the root, number 0, is the problem and has no text.

    Attributes
    ----------
    parent : int
        Number of the step before; -1 for the root.
    text : str
        As the policy wrote it, what ends the step included.
    score : float or None
        Process reward in [0, 1].
    right : bool or None
        The process reward's verdict.
    rationale : str
        Its reason, for a reflection.
    end : {"open", "answer", "cut"}
    answer : str or None
        Final answer, as written.
    correct : bool or None
        Whether this is the reference; None where there's no answer or no reference.
    expanded : bool
        Whether the policy was asked to go on from here.
    n_drawn : int
        How many of the candidates were this very step.
    """

    parent: int
    text: str = ""
    score: float | None = None
    right: bool | None = None
    rationale: str = ""
    end: End = "open"
    answer: str | None = None
    correct: bool | None = None
    expanded: bool = False
    n_drawn: int = 1

    @property
    def wrong_end(self) -> bool:
        """Whether a solution that stops here is wrong: rejected, cut, or with a wrong answer."""
        return self.right is False or self.end == "cut" or self.correct is False


@dataclass(frozen=True)
class Tree:
    """The steps that were tried for one problem.

    Attributes
    ----------
    prompt_id : str
    prompt : str or list of messages
    reference : str or None
    nodes : tuple of Node
        A node comes after its parent.
    made_by : mapping
        Width, depth and so on of the search, for people.

    Examples
    --------
    >>> tree = Tree("a", "1 + 1 + 1?", "3", (Node(-1), Node(0, "1 + 1 = 2."), Node(1, " So 3.")))
    >>> tree.children(0), tree.path(2), tree.text(2)
    ((1,), (0, 1, 2), '1 + 1 = 2. So 3.')
    """

    prompt_id: str
    prompt: Any
    reference: str | None
    nodes: tuple[Node, ...]
    made_by: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.nodes or self.nodes[0].parent != -1:
            raise InputError(f"the tree of prompt_id '{self.prompt_id}' has no root")
        for number, node in enumerate(self.nodes[1:], 1):
            if not 0 <= node.parent < number:
                raise InputError(
                    f"the tree of prompt_id '{self.prompt_id}': node {number} has parent "
                    f"{node.parent}, which isn't before it"
                )
            if self.nodes[node.parent].end != "open":
                raise InputError(
                    f"the tree of prompt_id '{self.prompt_id}': node {number} follows node "
                    f"{node.parent}, which is an end ({self.nodes[node.parent].end})"
                )

    @cached_property
    def _children(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in self.nodes]
        for number, node in enumerate(self.nodes[1:], 1):
            found[node.parent].append(number)
        return found

    @property
    def n_generated(self) -> int:
        """Candidates that the policy wrote, equal ones counted as often as they were drawn."""
        return sum(node.n_drawn for node in self.nodes[1:])

    def children(self, number: int) -> tuple[int, ...]:
        """Return the steps that were tried next, in the order in which they were drawn."""
        return tuple(self._children[number])

    def path(self, number: int) -> tuple[int, ...]:
        """Return the nodes from the root to this one."""
        found = [number]
        while found[-1]:
            found.append(self.nodes[found[-1]].parent)
        return tuple(reversed(found))

    def depth(self, number: int) -> int:
        """Return the number of steps from the root to this node."""
        return len(self.path(number)) - 1

    def steps(self, number: int) -> tuple[str, ...]:
        """Return the texts from the first step to this one."""
        return tuple(self.nodes[place].text for place in self.path(number)[1:])

    def text(self, number: int) -> str:
        """Return the solution up to this node."""
        return "".join(self.steps(number))

    def to_json(self) -> str:
        """Return one line of JSON."""
        row = {
            "prompt_id": self.prompt_id, "prompt": self.prompt, "reference": self.reference,
            "made_by": dict(self.made_by or {}), "nodes": [asdict(node) for node in self.nodes],
        }  # fmt: skip
        return json.dumps(row, ensure_ascii=False)


def write_trees(trees: Iterable[Tree], path: str | Path) -> None:
    """Write trees as JSON lines, under a temporary name that is then renamed."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for tree in trees:
            out.write(tree.to_json() + "\n")


def read_trees(path: str | Path) -> list[Tree]:
    """Read trees from JSON lines.

    Raises
    ------
    InputError
        Names the line, the tree and the node that can't be read, or a prompt_id that occurs twice;
        a file without a tree is refused, too.
    """
    path = existing_file(path)
    trees: list[Tree] = []
    seen: set[str] = set()
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\ud" in line.lower():  # half of a surrogate pair could be read, but never written
                json.dumps(row, ensure_ascii=False).encode()
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error}") from error
        try:
            tree = _tree(row)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        if tree.prompt_id in seen:
            raise InputError(f"{path}, line {number}: prompt_id '{tree.prompt_id}' occurs twice")
        seen.add(tree.prompt_id)
        trees.append(tree)
    if not trees:
        raise InputError(f"{path} has no tree")
    return trees


_KNOWN = {field.name for field in fields(Node)}


def _tree(row: Any) -> Tree:
    if not isinstance(row, dict):
        raise InputError("a tree must be an object")
    for name in ("prompt_id", "prompt", "nodes"):
        if row.get(name) is None:
            raise InputError(f"key '{name}' is missing")
    if not isinstance(row["nodes"], Sequence) or isinstance(row["nodes"], str):
        raise InputError("key 'nodes' must be a list")
    if not isinstance(row.get("made_by"), dict | None):
        raise InputError("key 'made_by' must be an object")
    prompt_id = str(row["prompt_id"])
    if not is_prompt(row["prompt"]):
        raise InputError(
            f"prompt_id '{prompt_id}': key 'prompt' must be text, or a list of messages with role "
            "and content"
        )
    nodes = []
    for number, given in enumerate(row["nodes"]):
        if not isinstance(given, dict) or "parent" not in given or set(given) - _KNOWN:
            raise InputError(f"prompt_id '{prompt_id}', node {number}: keys are {sorted(_KNOWN)}")
        node = Node(**given)
        kinds = (
            (node.parent, int), (node.text, str), (node.rationale, str), (node.n_drawn, int),
            (node.right, bool | None), (node.correct, bool | None), (node.answer, str | None),
            (node.score, float | int | None), (node.expanded, bool),
        )  # fmt: skip
        if not all(isinstance(value, kind) for value, kind in kinds):
            raise InputError(f"prompt_id '{prompt_id}', node {number}: a value has a wrong type")
        if node.score is not None and not 0 <= node.score <= 1:
            raise InputError(
                f"prompt_id '{prompt_id}', node {number}: score is {node.score}, not in [0, 1]"
            )
        if node.end not in get_args(End):
            raise InputError(f"prompt_id '{prompt_id}', node {number}: end is {node.end!r}")
        nodes.append(node)
    reference = row.get("reference")
    reference = None if reference is None else str(reference)
    return Tree(prompt_id, row["prompt"], reference, tuple(nodes), row.get("made_by"))
