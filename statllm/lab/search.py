"""A teacher for the lab: a model whose steps are tried, checked, and tried again.

The model proposes one step at a time; arithmetic decides whether it stands. The tries that failed
stay in the text, each with its check, as the long thoughts of a search do. The search doesn't know
the answer: it finds wrong calculations, and not numbers that were misread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from statllm.lab.checking import ORDER, checked_step, inverse
from statllm.lab.world import Operation, Problem
from statllm.models import load_tokenizer
from statllm.sampling import SamplingSettings, sample

_STATEMENT = re.compile(r"\s*(?:First|Then|Finally)? ?(\d+) ([+*-]) (\d+) = (\d+)\.")
_ANSWER = re.compile(r"\s*#### (\d+)\s*$")
_MOST_STEPS = 4  # the answer is one, too
_TOKENS_OF_A_STEP = 24


@dataclass
class _Chain:
    """What has been said so far."""

    name: str
    problem: Problem
    steps: list[str] = field(default_factory=list)  # those that stand, without checks
    text: list[str] = field(default_factory=list)  # everything
    value: int | None = None
    answer: int | None = None
    tries: int = 0
    redone: int = 0
    stuck: bool = False

    @property
    def open(self) -> bool:
        return self.answer is None and not self.stuck

    @property
    def prompt(self) -> str:
        """What the model goes on from: the first word makes it take a step."""
        return self.problem.prompt + (" ".join(self.steps) or ORDER[0])

    def advance(self, proposals: Sequence[str]) -> None:
        """Take the first proposal that stands; keep what failed on the way to the same step."""
        failed: dict[tuple[int, Operation, int], list[int]] = {}
        for proposal in proposals:
            self.tries += 1
            said = _ANSWER.match(proposal)
            if said and self.steps:
                if int(said[1]) == self.value:
                    self.answer = int(said[1])
                    return
                continue
            step = _STATEMENT.match(proposal)
            if step is None or len(self.steps) == len(ORDER):
                continue
            operation: Operation = step[2]  # type: ignore[assignment]
            a, b, result = int(step[1]), int(step[3]), int(step[4])
            if self.value is not None and a != self.value:
                continue
            wrong = failed.setdefault((a, operation, b), [])
            if not inverse(a, operation, b, result)[1]:
                if result not in wrong:
                    wrong.append(result)
                continue
            opening = ORDER[len(self.steps)]
            self.text.append(checked_step(opening, a, operation, b, (*wrong[:2], result)))
            self.steps.append(f"{opening} {a} {operation} {b} = {result}.")
            self.value = result
            self.redone += len(wrong[:2])
            return
        self.stuck = True

    def response(self) -> str:
        """The whole text."""
        end = "" if self.answer is None else f" #### {self.answer}"
        return " ".join(self.text) + end


def search_chains(
    model: Path, problems: Sequence[Problem], n: int = 2, tries: int = 3, seed: int = 0
) -> pa.Table:
    """Search `n` long chains for every problem.

    Parameters
    ----------
    model : Path
        Proposes the steps, at temperature 1.
    problems : sequence of Problem
    n : int
        Chains per problem.
    tries : int
        Proposals for each step; where none stands, the chain ends there ("length").
    seed : int

    Returns
    -------
    pyarrow.Table
        A generation table: ``prompt_id, prompt, reference, response, n_tokens, finish_reason``, and
        per problem ``proposals`` (drawn) and ``redone`` (tries that failed their check and stand in
        the texts), summed over its chains.
    """
    chains = [
        [_Chain(f"{problem.problem_id}/{k}", problem) for k in range(n)] for problem in problems
    ]
    for step in range(_MOST_STEPS):
        unfinished = [chain for row in chains for chain in row if chain.open]
        if not unfinished:
            break
        asked = pa.table(
            {
                "prompt_id": [chain.name for chain in unfinished],
                "prompt": [chain.prompt for chain in unfinished],
            }
        )
        settings = SamplingSettings(
            n=tries, max_new_tokens=_TOKENS_OF_A_STEP, batch_size=512, seed=10 * seed + step
        )
        drawn = sample(model, asked, settings, progress=False)
        for chain, proposals in zip(unfinished, drawn["response"].to_pylist(), strict=True):
            chain.advance(proposals)
    tokenizer = load_tokenizer(model)
    texts = [[chain.response() for chain in row] for row in chains]
    return pa.table(
        {
            "prompt_id": [problem.problem_id for problem in problems],
            "prompt": [problem.prompt for problem in problems],
            "reference": [str(problem.answer) for problem in problems],
            "response": texts,
            "n_tokens": pa.array(
                [[len(tokenizer(text)["input_ids"]) + 1 for text in row] for row in texts],
                pa.list_(pa.int32()),
            ),
            "finish_reason": [
                ["length" if chain.answer is None else "stop" for chain in row] for row in chains
            ],
            "proposals": [sum(chain.tries for chain in row) for row in chains],
            "redone": [sum(chain.redone for chain in row) for row in chains],
        }
    )
