"""The step verifier against the world's own solutions, and against a checker of another kind."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest

from statllm.errors import InputError
from statllm.journey import Candidate
from statllm.lab import Problem, careful_solution, generate, hasty_solution
from statllm.lab.corrections import Course, course_documents, drill
from statllm.lab.steps import (
    LabStepVerifier,
    check_solution,
    check_step,
    complaint_about,
    problem_of,
    split_steps,
)
from statllm.lab.world import N_CAREFUL_STYLES, N_HASTY_STYLES, slip


def drawn(n: int, seed: int = 2) -> list[Problem]:
    return list(islice(generate("train", seed), n))


def test_the_worlds_solutions_are_right_step_by_step() -> None:
    for problem in drawn(300):
        for style in range(N_CAREFUL_STYLES):
            verdicts = check_solution(problem.prompt, careful_solution(problem, style))
            assert len(verdicts) == len(problem.steps) + 1
            assert all(verdict.right for verdict in verdicts)
        for style in range(N_HASTY_STYLES):
            text = hasty_solution(problem, style)
            verdicts = check_solution(problem.prompt, text)
            assert verdicts
            assert all(verdict.right for verdict in verdicts), text


def test_the_first_slip_is_found_where_it_is() -> None:
    rng = random.Random(1)
    for problem in drawn(300):
        slipped = slip(problem, rng)
        where = next(
            i for i, (a, b) in enumerate(zip(problem.values, slipped.values, strict=True)) if a != b
        )
        verdicts = check_solution(problem.prompt, careful_solution(slipped))
        assert [v.right for v in verdicts[: where + 1]] == [True] * where + [False]
        # What follows rests on the wrong value, and isn't right either, the answer included.
        assert not any(v.right for v in verdicts[where:-1])
        assert verdicts[-1].right == (slipped.answer == problem.answer)
        assert "is not" in verdicts[where].rationale
        assert str(problem.values[where]) + "." not in verdicts[where].rationale.split()


def test_a_step_done_again_is_right() -> None:
    problem = next(generate("test", seed=0))  # 27 - 11, then * 3
    text = (
        "First 27 - 11 = 15. Wait, 27 - 11 is not 15. Back. First 27 - 11 = 16. Then 16 * 3 = 47. "
        "Wait, 16 * 3 is not 47. Back. Then 16 * 3 = 48. #### 48"
    )
    assert [v.right for v in check_solution(problem.prompt, text)] == [
        False, True, False, True, True,
    ]  # fmt: skip
    repeated = check_step(problem, ["First 27 - 11 = 16."], "First 27 - 11 = 16.")
    assert (repeated.right, repeated.rationale) == (False, "27 - 11 is not next.")


@pytest.mark.parametrize(
    ("step", "right"),
    [
        ("First 27 - 11 = 16.", True),
        (" First 27 - 11 = 16.", True),
        ("Step by step: First 27 - 11 = 16.", True),
        ("27 - 11 = 16.", True),
        ("First 11 - 27 = 16.", False),
        ("First 27 + 11 = 38.", False),
        ("First 16 * 3 = 48.", False),
        ("First 27 - 11 - 0 = 16.", False),
        ("In one go: ( 27 - 11 ) * 3 = 48.", True),
        ("In one go: 27 - 11 * 3 = 48.", False),
        ("That makes 48.", True),
        ("#### 48", True),
        ("#### 4", False),
        ("#### 480", False),
        ("Easy.", True),
        ("", False),
        ("banana", False),
    ],
)
def test_single_steps(step: str, right: bool) -> None:
    verdict = check_step(next(generate("test", seed=0)), [], step)
    assert verdict.right == right == (verdict.score == 1.0) == (not verdict.rationale)


def test_another_checker_agrees() -> None:
    """Random statements, judged by a table of all prefixes of the chain."""
    rng = random.Random(4)
    seen = {True: 0, False: 0}
    for problem in drawn(200):
        chain = [problem.start, *problem.values]
        true = [
            f"{chain[i]} {operation} {n} = {chain[i + 1]}."
            for i, (operation, n) in enumerate(problem.steps)
        ]
        for _ in range(10):
            before = [rng.choice([*true, "9 + 9 = 19.", "Easy."]) for _ in range(rng.randrange(4))]
            done = 0
            for one in before:
                done += done < len(true) and one == true[done]
            step = rng.choice([*true, true[0].replace("= ", "= 1")])
            right = done < len(true) and step == true[done]
            seen[right] += 1
            assert check_step(problem, before, step).right == right, (true, before, step)
    assert min(seen.values()) > 200


def test_only_problems_of_the_lab_are_checked() -> None:
    with pytest.raises(InputError, match="is no problem of the lab"):
        problem_of("Q: What is love?\nA:\n")
    with pytest.raises(InputError, match="prompt_id 'm' is no problem"):
        LabStepVerifier().rate([Candidate("m", [{"role": "user", "content": "x"}], None, (), "x")])


def test_complaints_are_the_verifiers() -> None:
    """Whether a step is wrong or only said to be, the words are the same."""
    for problem in drawn(50):
        (operation, b), value = problem.steps[0], problem.values[0]
        wrong = f"First {problem.start} {operation} {b} = {value + 1}."
        candidate = Candidate("p", problem.prompt, None, (), wrong)
        assert complaint_about(candidate) == LabStepVerifier().rate([candidate])[0].rationale


def test_splitting_loses_nothing() -> None:
    for problem in drawn(50):
        text = careful_solution(problem, 1)
        assert " ".join(split_steps(text)) == text


def test_drills_correct_what_is_false_and_nothing_else() -> None:
    rng = random.Random(0)
    corrected = kept = 0
    for _ in range(200):
        document = drill(rng, slips=0.4)
        text = "".join(piece for piece, _ in document)
        said = re.findall(
            r"(\d+) ([+*-]) (\d+) = (\d+)\.( Wait, (\S+ . \S+) is not (\d+)\. Back\.)?", text
        )
        assert len(said) >= 6
        for a, operation, b, c, wait, what, value in said:
            true = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[operation]
            assert bool(wait) == (true != int(c))
            if wait:
                assert (what, value) == (f"{a} {operation} {b}", c)
                # The false result itself is never learned.
                assert (f" {c}.", False) in document
            corrected += bool(wait)
            kept += not wait
    assert 0.2 < corrected / (corrected + kept) < 0.4
    assert next(course_documents(Course(drills=1.0)))[0] == ("Sums:", False)
