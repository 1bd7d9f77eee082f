"""Trees to test with: random ones, and a world of digits in which every step is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statllm.journey import Candidate, Node, Tree, Verdict
from statllm.journey.policy import Partial, Step


def random_tree(rng: np.random.Generator, most: int = 9) -> Tree:
    """A tree of any shape in which anything may be right or wrong."""
    n = int(rng.integers(2, most))
    parents = [-1] + [int(rng.integers(0, number)) for number in range(1, n)]
    nodes = [Node(-1)]
    for number in range(1, n):
        inner = number in parents
        end = "open" if inner else str(rng.choice(["open", "answer", "cut"], p=[0.2, 0.65, 0.15]))
        nodes.append(
            Node(
                parents[number],
                f"step {number}.",
                right=bool(rng.random() < (0.8 if inner else 0.6)),
                rationale=f"{number} is wrong." if rng.random() < 0.7 else "",
                end=end,  # type: ignore[arg-type]
                correct=bool(rng.random() < 0.5) if end == "answer" else None,
            )
        )
    return Tree("random", "P", "1", tuple(nodes))


@pytest.fixture
def random_trees() -> list[Tree]:
    rng = np.random.default_rng(5)
    return [random_tree(rng) for _ in range(300)]


class DigitPolicy:
    """Each step is a digit; a solution of `length` digits is an answer. Steps are all different."""

    identity = "digits"

    def __init__(self, length: int = 100, fail_after: int | None = None) -> None:
        self.length, self.fail_after = length, fail_after
        self.asked: list[str] = []

    def next_steps(self, partials: Sequence[Partial], n: int) -> list[list[Step]]:
        found = []
        for one in partials:
            if self.fail_after is not None and len(self.asked) >= self.fail_after:
                raise KeyboardInterrupt
            self.asked.append(one.key)
            last = len(one.so_far) + 1 >= self.length
            found.append([Step(str(d), "answer" if last else "open") for d in range(n)])
        return found

    def begin(self, journal: Path | None) -> None:
        """There is no server."""


class DigitReward:
    """A score for every solution so far; even digits are right."""

    identity = "digits"

    def rate(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        return [
            Verdict(digit_score(one.text), int(one.step) % 2 == 0, f"{one.step} is odd.")
            for one in candidates
        ]


def digit_score(text: str) -> float:
    return (int(text[::-1]) * 7919 % 1000) / 1000


@pytest.fixture
def digits() -> dict[str, Any]:
    return {"policy": DigitPolicy, "reward": DigitReward, "score": digit_score}
