"""The world: answers recomputed from the English by other code, splits compared by brute force."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import re
import subprocess
import sys

import pytest

from statllm.errors import InputError
from statllm.lab import Problem, careful_solution, generate, hasty_solution, problems
from statllm.lab.world import MAX_NUMBER, MAX_VALUE, N_CAREFUL_STYLES, N_HASTY_STYLES, slip

SPLITS = ("pretrain", "train", "test")
ADDS = ("finds", "buys", "brings", "wins", "gets")
TAKES = ("gives", "loses", "sells", "takes", "drops")


def read(text: str) -> list[tuple[str, int]]:
    """Understand a problem from its words alone: the start as ("=", n), then the operations."""
    *sentences, question = re.findall(r"[^.?]+[.?]", text)
    assert question.strip().startswith("How many")
    chain: list[tuple[str, int]] = []
    for sentence in sentences:
        numbers = [int(n) for n in re.findall(r"\d+", sentence)]
        if not chain:
            chain.append(("=", numbers[0]))
            if re.search(r"bags|boxes|jars", sentence):
                chain.append(("*", numbers[1]))
                numbers.pop()
            assert len(numbers) == 1
        elif "doubles" in sentence or "triples" in sentence:
            assert not numbers
            chain.append(("*", 2 if "doubles" in sentence else 3))
        else:
            (n,) = numbers
            up, down = (any(cue in sentence for cue in cues) for cues in (ADDS, TAKES))
            assert up != down
            chain.append(("+" if up else "-", n))
    return chain


def follow(chain: list[tuple[str, int]]) -> list[int]:
    """All values of a chain, the start included."""
    values = [chain[0][1]]
    for operation, n in chain[1:]:
        values.append({"+": values[-1] + n, "-": values[-1] - n, "*": values[-1] * n}[operation])
    return values


def draw(split: str, n: int, seed: int = 0) -> list[Problem]:
    return list(itertools.islice(generate(split, seed), n))  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS)
def test_answers_follow_from_the_text(split: str) -> None:
    for problem in draw(split, 2000):
        chain = read(problem.text)
        values = follow(chain)
        assert chain == [("=", problem.start), *problem.steps]
        assert values == [problem.start, *problem.values]
        assert values[-1] == problem.answer
        assert len(chain) in (3, 4)
        assert all(0 <= value <= MAX_VALUE for value in values)
        assert all(2 <= n <= MAX_NUMBER for _, n in chain)


def test_no_chain_is_in_two_splits() -> None:
    chains = {
        split: {tuple(read(p.text)) for seed in (0, 1) for p in draw(split, 5000, seed)}
        for split in SPLITS
    }
    for a, b in itertools.combinations(SPLITS, 2):
        assert not chains[a] & chains[b]


def test_split_shares_are_six_two_two() -> None:
    """The documented rule, written again: SHA-256 of the chain modulo 10."""
    shares = {"pretrain": range(6), "train": range(6, 8), "test": range(8, 10)}
    for split in SPLITS:
        for problem in draw(split, 500):
            chain = f"{problem.start}" + "".join(f"{o}{n}" for o, n in problem.steps)
            first_bytes = hashlib.sha256(chain.encode()).hexdigest()[:16]
            assert int(first_bytes, 16) % 10 in shares[split]
            assert problem.split == split


def test_chains_and_ids_are_not_repeated() -> None:
    drawn = draw("test", 5000)
    assert len({(p.start, p.steps) for p in drawn}) == 5000
    assert len({p.problem_id for p in drawn}) == 5000
    assert len({p.text for p in drawn}) == 5000


def test_seeds_give_other_problems() -> None:
    first, second = ({p.text for p in draw("train", 500, seed)} for seed in (0, 1))
    assert len(first & second) < 5


def test_same_problems_in_another_process() -> None:
    """Neither string hashing nor the version of a library may leak in."""
    code = "from statllm.lab import problems; print(problems('test', 200, seed=3).to_pylist())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert outputs == {str(problems("test", 200, seed=3).to_pylist())}


def test_table() -> None:
    table = problems("train", 300)
    assert table.schema.names == ["prompt_id", "prompt", "reference"]
    assert {str(kind) for kind in table.schema.types} == {"string"}
    assert table.num_rows == 300
    assert len(set(table["prompt"].to_pylist())) == 300
    assert problems("train", 40).equals(table.slice(0, 40))
    assert problems("train", 0).num_rows == 0


def test_unknown_split() -> None:
    with pytest.raises(InputError, match="'validation'.*pretrain, train or test"):
        problems("validation", 3)  # type: ignore[arg-type]


def statements(solution: str) -> list[tuple[str, int]]:
    """Every 'expression = value.' of a solution."""
    found = re.findall(r"([\d+\-*() ]+) = (\d+)\.", solution)
    return [(left.strip(), int(right)) for left, right in found]


def test_careful_solutions_state_every_step() -> None:
    for problem in draw("test", 300):
        for style in range(N_CAREFUL_STYLES):
            solution = careful_solution(problem, style)
            lines = statements(solution)
            assert [right for _, right in lines] == list(problem.values)
            assert all(eval(left) == right for left, right in lines)
            assert all(len(re.findall(r"[+*-]", left)) == 1 for left, _ in lines)
            assert solution.endswith(f" #### {problem.answer}")


def test_hasty_solutions_jump() -> None:
    for problem in draw("test", 300):
        seen = set()
        for style in range(N_HASTY_STYLES):
            solution = hasty_solution(problem, style)
            seen.add(solution)
            assert solution.endswith(f"#### {problem.answer}")
            assert len(statements(solution)) <= 1
            assert all(eval(left) == right for left, right in statements(solution))
        assert len(seen) == N_HASTY_STYLES


def test_slips_have_one_false_statement() -> None:
    rng = random.Random(0)
    for problem in draw("test", 300):
        slipped = slip(problem, rng)
        lines = statements(careful_solution(slipped))
        assert sum(eval(left) != right for left, right in lines) == 1
        assert slipped.answer == lines[-1][1]


def test_import_is_light() -> None:
    code = (
        "import sys, statllm.lab; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
