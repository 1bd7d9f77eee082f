"""Search for solutions step by step: propose, rate, keep the best, go on from these."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from statllm.journey.parts import Parts
from statllm.journey.policy import Partial, StepPolicy
from statllm.journey.process_reward import Candidate, ProcessReward, Verdict
from statllm.journey.tree import Node, Tree
from statllm.scoring.answers import AnswerRule, extract, extract_reference
from statllm.scoring.equivalence import Equivalence, equivalent

if TYPE_CHECKING:
    import pyarrow as pa


class SearchSettings(BaseModel):
    """How a tree is grown.

    Examples
    --------
    >>> SearchSettings(width=3, keep=3, depth=10).most_generated
    90
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(3, ge=1, description="Candidates for the next step of each solution.")
    keep: int | None = Field(
        3, ge=1, description="Solutions that are gone on with at each depth; null: all of them."
    )
    depth: int = Field(10, ge=1, description="Longest solution, in steps.")
    prune: Literal["verdicts", "scores"] = Field(
        "verdicts",
        description="verdicts: up to `keep` steps that the process reward calls right (as the "
        "paper's final choice); scores: the `keep` steps of highest score, whatever it is.",
    )
    rule: AnswerRule = Field("auto", description="How a final answer is found.")
    equivalence: Equivalence = Field("canonical", description="When it equals the reference.")
    seed: int = Field(0, ge=0, description="Decides between steps of equal standing.")
    shard_size: int = Field(
        64, ge=1, description="Problems that are searched together, and saved together."
    )

    @property
    def most_generated(self) -> int | None:
        """Most candidates of one problem: `pruned_generations`; None if nothing is pruned."""
        if self.keep is None:
            return None
        return pruned_generations(self.width, self.keep, self.depth)


def full_tree_size(width: int, depth: int) -> int:
    """Return (w^D - 1) / (w - 1): the nodes of a full tree above its last level.

    The paper (arXiv 2410.18982, section on trees) gives this as the number of generations without
    pruning. It is the number of times that the policy is asked for w candidates; the candidates
    are w times as many, of which w^D are in the last level.

    Examples
    --------
    >>> full_tree_size(3, 10), 3**10
    (29524, 59049)
    """
    return depth if width == 1 else (width**depth - 1) // (width - 1)


def pruned_generations(width: int, keep: int, depth: int) -> int:
    """Return w K D: a bound on the candidates when K solutions are kept at each depth.

    The root alone is expanded first, so that there are w + w K (D - 1) at most.

    Examples
    --------
    >>> pruned_generations(3, 3, 10)
    90
    """
    return width * keep * depth


def search(
    problems: pa.Table,
    policy: StepPolicy,
    reward: ProcessReward,
    settings: SearchSettings | None = None,
    out: str | Path | None = None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tree]:
    """Grow one tree per problem, breadth first, all problems of a shard level by level.

    At each depth every kept solution gets `width` candidates for its next step; equal ones are one
    node. All are rated. Those that have a final answer, ran into the limit of a step, or are called
    wrong stay in the tree as ends: journeys need them. Of the others up to `keep` are gone on with;
    with `prune` "scores" wrong ones may be among them. Ties are decided by a hash of seed and text.

    Parameters
    ----------
    problems : pa.Table
        ``prompt_id``, ``prompt``, and ``reference`` where it is known.
    policy : StepPolicy
    reward : ProcessReward
    settings : SearchSettings, optional
    out : path, optional
        File of trees (JSON lines). Until it is complete, shards lie in ``<out>.parts``; the same
        call goes on from there after a kill, and gives the same trees.
    on_shard : callable
        Told of problems that are done, and of all.

    Returns
    -------
    list of Tree
        In the order of the problems.

    Raises
    ------
    InputError
        If a prompt can't be used, or ``<out>.parts`` belongs to another search.

    Examples
    --------
    >>> from statllm.journey.policy import open_policy
    >>> from statllm.lab import model_path, problems
    >>> from statllm.lab.steps import LabStepVerifier
    >>> from statllm.sampling import SamplingSettings
    >>> policy = open_policy(model_path(), SamplingSettings(max_new_tokens=80), ".", 24)
    >>> settings = SearchSettings(width=3, keep=2, depth=4)
    >>> trees = search(problems("train", 4), policy, LabStepVerifier(), settings)
    >>> len(trees), all(tree.n_generated <= settings.most_generated for tree in trees)
    (4, True)
    """
    settings = settings or SearchSettings()
    rows = _checked(problems)
    parts = None if out is None else Parts(Path(out), rows, policy, reward, settings)
    trees: list[Tree] = []
    for number, start in enumerate(range(0, len(rows), settings.shard_size)):
        shard = rows[start : start + settings.shard_size]
        done = parts.read(number) if parts else None
        if done is None:
            if parts:
                policy.begin(parts.journal(number))
            done = _grow(shard, policy, reward, settings)
            if parts:
                parts.write(number, done)
        trees += done
        on_shard(len(trees), len(rows))
    if parts:
        parts.finish(trees)
    return trees


@dataclass
class _Growing:
    """A tree that grows, and its solutions that are gone on with."""

    row: dict[str, Any]
    nodes: list[Node] = field(default_factory=lambda: [Node(-1)])
    frontier: list[int] = field(default_factory=lambda: [0])

    def steps(self, number: int) -> tuple[str, ...]:
        found: list[str] = []
        while number:
            found.append(self.nodes[number].text)
            number = self.nodes[number].parent
        return tuple(reversed(found))


def _grow(
    rows: Sequence[dict[str, Any]],
    policy: StepPolicy,
    reward: ProcessReward,
    settings: SearchSettings,
) -> list[Tree]:
    growing = [_Growing(row) for row in rows]
    for depth in range(1, settings.depth + 1):
        asked = [(tree, number) for tree in growing for number in tree.frontier]
        if not asked:
            break
        partials = [
            Partial(tree.row["prompt_id"], tree.row["prompt"], "".join(tree.steps(number)))
            for tree, number in asked
        ]
        drawn = policy.next_steps(partials, settings.width)
        new: list[tuple[_Growing, Node, Candidate]] = []
        for (tree, parent), steps in zip(asked, drawn, strict=True):
            # Without room for another step, the solution so far has run into a limit.
            change: dict[str, Any] = {"expanded": True} if steps else {"end": "cut"}
            tree.nodes[parent] = replace(tree.nodes[parent], **change)
            before = tree.steps(parent)
            counts: dict[tuple[str, Any], int] = {}
            for step in steps:
                counts[step.text, step.end] = counts.get((step.text, step.end), 0) + 1
            for (text, end), count in counts.items():
                candidate = Candidate(
                    tree.row["prompt_id"], tree.row["prompt"], tree.row["reference"], before, text
                )
                node = Node(parent, text, end=end, n_drawn=count)
                new.append((tree, _answered(node, candidate, settings), candidate))
        verdicts = reward.rate([candidate for _, _, candidate in new])
        for tree in growing:
            tree.frontier = []
        open_ones: dict[int, list[tuple[tuple[float, str], int, Verdict]]] = {}
        for (tree, node, candidate), verdict in zip(new, verdicts, strict=True):
            number = len(tree.nodes)
            tree.nodes.append(
                replace(node, score=verdict.score, right=verdict.right, rationale=verdict.rationale)
            )
            if node.end != "open" or depth == settings.depth:
                continue
            if settings.prune == "verdicts" and not verdict.right:
                continue
            rank = (
                -verdict.score if settings.prune == "scores" else 0.0,
                _lot(candidate, settings),
            )
            open_ones.setdefault(id(tree), []).append((rank, number, verdict))
        for tree in growing:
            best = sorted(open_ones.get(id(tree), []), key=lambda one: one[0])[: settings.keep]
            tree.frontier = sorted(number for _, number, _ in best)
    made_by = settings.model_dump(include={"width", "keep", "depth", "prune", "seed"})
    return [
        Tree(
            tree.row["prompt_id"], tree.row["prompt"], tree.row["reference"], tuple(tree.nodes),
            made_by,
        )
        for tree in growing
    ]  # fmt: skip


def _answered(node: Node, candidate: Candidate, settings: SearchSettings) -> Node:
    """The node with its final answer, where it has one, and whether this is the reference."""
    if node.end != "answer":
        return node
    answer = extract(candidate.text, settings.rule)
    known = extract_reference(candidate.reference)
    correct = None if known is None else equivalent(answer, known, settings.equivalence)
    return replace(node, answer=answer, correct=correct)


def _lot(candidate: Candidate, settings: SearchSettings) -> str:
    name = json.dumps([settings.seed, candidate.prompt_id, candidate.text])
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def _checked(problems: pa.Table) -> list[dict[str, Any]]:
    """The problems as rows with prompt_id, prompt and reference."""
    from statllm.sampling.sampler import check_prompts

    table = check_prompts(problems, None)
    rows: list[dict[str, Any]] = []
    has = "reference" in table.column_names
    references = table["reference"].to_pylist() if has else [None] * table.num_rows
    for prompt_id, prompt, reference in zip(
        table["prompt_id"].to_pylist(), table["prompt"].to_pylist(), references, strict=True
    ):
        reference = None if reference is None else str(reference)
        rows.append({"prompt_id": prompt_id, "prompt": prompt, "reference": reference})
    return rows
