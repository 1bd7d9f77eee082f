"""Trees in, examples for SFT out, with a ledger of what became of every tree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from statllm.errors import InputError
from statllm.journey.draft import Draft, Phrases, Rewriter, TemplateRewriter, make_draft
from statllm.journey.traverse import journey, n_trials, right_leaves, shortcut, wrong_ways
from statllm.journey.tree import Tree

if TYPE_CHECKING:
    import pyarrow as pa


class ExtractSettings(BaseModel):
    """What is taken from a tree.

    Examples
    --------
    >>> ExtractSettings(kind="shortcut").leaves
    'one'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["journey", "shortcut"] = Field(
        "journey", description="With wrong trials and reflections, or the right path alone."
    )
    leaves: Literal["one", "all"] = Field(
        "one",
        description="One right end of each tree, drawn by the seed (the same for both kinds), or "
        "an example of each; equal paths count once.",
    )
    trial_share: float = Field(
        1.0, ge=0, le=1, description="Probability of a wrong trial where there could be one."
    )
    require_trial: bool = Field(
        False,
        description="Drop trees in which nothing went wrong beside the chosen path: their journey "
        "is a shortcut. The same trees are dropped for both kinds.",
    )
    seed: int = Field(0, ge=0)
    phrases: Phrases = Field(Phrases(), description="How reflections and returns are worded.")


@dataclass(frozen=True, eq=False)
class Extraction:
    """Examples, and what became of every tree.

    Attributes
    ----------
    examples : pa.Table
        ``prompt_id, prompt, response, weight, rule``, as `statllm.training.train_sft` reads them.
    ledger : pa.Table
        One row per tree: ``prompt_id, kept, reason, n_nodes, n_right_leaves, n_examples, n_steps,
        n_trials, rule``; steps and trials are those of its examples together.
    drafts : tuple of Draft
        One per example.
    """

    examples: pa.Table
    ledger: pa.Table
    drafts: tuple[Draft, ...]

    def counts(self) -> dict[str, int]:
        """Return the number of trees by reason, "kept" first; they add up to all trees."""
        found: dict[str, int] = {"kept": 0}
        for reason in self.ledger["reason"].to_pylist():
            found[reason] = found.get(reason, 0) + 1
        return found

    def write(self, examples: str | Path, ledger: str | Path | None = None) -> None:
        """Write both tables by suffix; the ledger first."""
        from statllm._formats import write_table

        if ledger is not None:
            write_table(self.ledger, ledger)
        write_table(self.examples, examples)


def extract(
    trees: Sequence[Tree],
    settings: ExtractSettings | None = None,
    rewriter: Rewriter | None = None,
) -> Extraction:
    """Take shortcuts or journeys from trees.

    Parameters
    ----------
    trees : sequence of Tree
    settings : ExtractSettings, optional
    rewriter : Rewriter, optional
        Of journeys; default: texts stay as the template makes them.

    Returns
    -------
    Extraction
        Reasons for dropping a tree: ``no_right_leaf``, ``no_wrong_trial`` (with `require_trial`),
        and those of the rewriter (``unanswered``, ``lost_step``), where no example of it is left.

    Raises
    ------
    InputError
        If some prompts are text and others messages.

    Examples
    --------
    >>> from statllm.journey.tree import Node
    >>> nodes = (Node(-1), Node(0, "So 5.", right=False, rationale="2 + 2 is not 5."),
    ...          Node(0, "So 4.", right=True, end="answer", correct=True))
    >>> found = extract([Tree("a", "2 + 2?", "4", nodes), Tree("b", "3?", "3", (Node(-1),))])
    >>> found.counts()
    {'kept': 1, 'no_right_leaf': 1}
    """
    import pyarrow as pa

    settings = settings or ExtractSettings()
    rewriter = rewriter or TemplateRewriter()
    plans = [_plan(tree, settings) for tree in trees]
    drafts = [draft for _, found in plans for draft in found]
    if settings.kind == "journey":
        written = rewriter.rewrite(drafts) if drafts else []
    else:
        written = TemplateRewriter().rewrite(drafts)
    rows: list[dict[str, Any]] = []
    ledger: list[dict[str, Any]] = []
    kept_drafts: list[Draft] = []
    place = 0
    for tree, (reason, found) in zip(trees, plans, strict=True):
        results = written[place : place + len(found)]
        place += len(found)
        used = [(d, r.text) for d, r in zip(found, results, strict=True) if r.text is not None]
        if found and not used:
            reason = results[0].reason
        for draft, text in used:
            kept_drafts.append(draft)
            rows.append(
                {"prompt_id": tree.prompt_id, "prompt": tree.prompt, "response": text,
                 "weight": 1.0, "rule": settings.kind}
            )  # fmt: skip
        ledger.append(
            {
                "prompt_id": tree.prompt_id,
                "kept": bool(used),
                "reason": reason,
                "n_nodes": len(tree.nodes) - 1,
                "n_right_leaves": len(right_leaves(tree)),
                "n_examples": len(used),
                "n_steps": sum(len(draft.steps) for draft, _ in used),
                "n_trials": sum(n_trials(draft.events) for draft, _ in used),
                "rule": settings.kind,
            }
        )
    return Extraction(
        pa.Table.from_pylist(rows, schema=_schema(rows, _EXAMPLE)),
        pa.Table.from_pylist(ledger, schema=_schema(ledger, _LEDGER)),
        tuple(kept_drafts),
    )


_EXAMPLE = {
    "prompt_id": "string", "prompt": "string", "response": "string", "weight": "float64",
    "rule": "string",
}  # fmt: skip
_LEDGER = {
    "prompt_id": "string", "kept": "bool", "reason": "string", "n_nodes": "int64",
    "n_right_leaves": "int64", "n_examples": "int64", "n_steps": "int64", "n_trials": "int64",
    "rule": "string",
}  # fmt: skip


def _schema(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> pa.Schema:
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    kinds = {isinstance(row.get("prompt", ""), str): row["prompt_id"] for row in rows}
    if len(kinds) > 1:
        raise InputError(
            f"the prompt of prompt_id '{kinds[True]}' is text, that of '{kinds[False]}' a list of "
            "messages: examples of both can't be in one table"
        )
    conversation = False in kinds
    return pa.schema(
        [
            (name, messages if name == "prompt" and conversation else getattr(pa, _TYPES[kind])())
            for name, kind in columns.items()
        ]
    )


_TYPES = {"string": "string", "float64": "float64", "bool": "bool_", "int64": "int64"}


def _plan(tree: Tree, settings: ExtractSettings) -> tuple[str, list[Draft]]:
    """Why a tree is dropped, or "kept" and its drafts."""
    leaves = _distinct(tree, right_leaves(tree))
    if not leaves:
        return "no_right_leaf", []
    if settings.require_trial:
        wrong = wrong_ways(tree)
        leaves = [leaf for leaf in leaves if _could_fail(tree, leaf, wrong)]
        if not leaves:
            return "no_wrong_trial", []
    if settings.leaves == "one":
        draw = _rng(settings.seed, tree.prompt_id, "leaf")
        leaves = [leaves[int(draw.integers(len(leaves)))]]
    drafts = []
    for leaf in leaves:
        rng = _rng(settings.seed, tree.prompt_id, f"walk {leaf}")
        events = (
            shortcut(tree, leaf)
            if settings.kind == "shortcut"
            else journey(tree, leaf, rng, trial_share=settings.trial_share)
        )
        drafts.append(make_draft(tree, events, settings.phrases, rng))
    return "kept", drafts


def _could_fail(tree: Tree, leaf: int, wrong: Sequence[bool]) -> bool:
    """Whether a wrong trial is possible on the way to a leaf."""
    path = set(tree.path(leaf))
    return any(
        wrong[child]
        for number in path
        for child in tree.children(number)
        if child not in path and number != leaf
    )


def _distinct(tree: Tree, leaves: Sequence[int]) -> list[int]:
    """Ends whose solutions differ as texts."""
    return list({tree.text(leaf): leaf for leaf in reversed(leaves)}.values())[::-1]


def _rng(seed: int, prompt_id: str, purpose: str) -> np.random.Generator:
    """Random numbers that the seed and the problem decide, not its place among the trees."""
    name = json.dumps([seed, purpose, prompt_id]).encode()
    return np.random.default_rng(int.from_bytes(blake2b(name, digest_size=8).digest(), "big"))
