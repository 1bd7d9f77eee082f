"""Each step of a solution of a lab problem, checked exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from statllm.errors import InputError
from statllm.journey.process_reward import Candidate, Verdict
from statllm.lab.reading import FAULTS, read_problem
from statllm.lab.world import Problem

#: What ends a step of a lab solution.
STEP_END = "."

_STATEMENT = re.compile(
    r"(?:Step by step: ?)?(?:(?:First|Then|Finally) )?(\d+) ([+*-]) (\d+) = (\d+)\.?"
)
_IN_ONE_GO = re.compile(r"In one go: (.+) = (\d+)\.?")
_JUMP = re.compile(r"That makes (\d+)\.?")
_ANSWER = re.compile(r"#### (\d+)\.?")


def problem_of(prompt: str) -> Problem:
    """Return the problem that a prompt of the lab asks.

    Raises
    ------
    InputError
        If it is none, and why.

    Examples
    --------
    >>> from statllm.lab import generate
    >>> problem = next(generate("test", seed=0))
    >>> problem_of(problem.prompt).values == problem.values
    True
    """
    reading = read_problem(prompt.strip().removeprefix("Q: ").removesuffix("A:"))
    if reading.problem is None:
        raise InputError(f"{prompt!r} is no problem of the lab: {FAULTS[reading.fault or '']}")
    return reading.problem


def check_step(problem: Problem, before: Sequence[str], step: str) -> Verdict:
    """Say whether a step of a solution is right, and what is wrong with it.

    A statement ``a + b = c.`` is right if it carries out the operation whose turn it is on its true
    value, and correctly. Whose turn it is depends on the true statements before: a false one
    changes nothing, so the same step can be done again. A solution that jumps is right if its
    value is. A text that states nothing ("Easy.") is right; one that can't be read is wrong.

    Parameters
    ----------
    problem : Problem
    before : sequence of str
        The steps so far, right ones and others.
    step : str

    Returns
    -------
    Verdict
        Score 1 or 0; the rationale of a wrong step doesn't tell the right value.

    Examples
    --------
    >>> from statllm.lab import generate
    >>> problem = next(generate("test", seed=0))  # 27 - 11, then * 3
    >>> check_step(problem, [], "First 27 - 11 = 15.").rationale
    '27 - 11 is not 15.'
    >>> check_step(problem, ["First 27 - 11 = 15."], " Then 15 * 3 = 45.").rationale
    '15 * 3 is not next.'
    >>> check_step(problem, ["First 27 - 11 = 15.", "27 - 11 = 16."], "Then 16 * 3 = 48.").right
    True
    """
    complaint = _complaint(problem, _done(problem, before), step.strip())
    return Verdict(float(not complaint), not complaint, complaint)


def check_solution(prompt: str, response: str) -> list[Verdict]:
    """Check every statement and answer of a response; sentences without one are left out.

    Examples
    --------
    >>> from statllm.lab import generate
    >>> prompt = next(generate("test", seed=0)).prompt
    >>> text = "First 27 - 11 = 15. Wait, 27 - 11 is not 15. First 27 - 11 = 16. #### 48"
    >>> [verdict.right for verdict in check_solution(prompt, text)]
    [False, True, True]
    """
    problem = problem_of(prompt)
    before: list[str] = []
    found = []
    for sentence in split_steps(response):
        if any(kind.fullmatch(sentence) for kind in (_STATEMENT, _IN_ONE_GO, _JUMP, _ANSWER)):
            found.append(check_step(problem, before, sentence))
            before.append(sentence)
    return found


def split_steps(response: str) -> list[str]:
    """Split a response into its sentences.

    Examples
    --------
    >>> split_steps("First 2 + 3 = 5. Then 5 * 2 = 10. #### 10")
    ['First 2 + 3 = 5.', 'Then 5 * 2 = 10.', '#### 10']
    """
    return [part.strip() for part in re.findall(r"[^.]+\.?", response) if part.strip()]


class LabStepVerifier:
    """The exact process reward of the lab; a `statllm.journey.process_reward.ProcessReward`.

    Examples
    --------
    >>> from statllm.lab import generate
    >>> prompt = next(generate("test", seed=0)).prompt
    >>> verifier = LabStepVerifier()
    >>> verifier.rate([Candidate("p", prompt, "48", (), "First 27 - 11 = 16.")])[0].right
    True
    """

    identity = "lab-steps-1"

    def rate(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Return the verdict on each candidate."""
        known: dict[str, Problem] = {}
        verdicts = []
        for one in candidates:
            if not isinstance(one.prompt, str):
                raise InputError(f"prompt_id '{one.prompt_id}' is no problem of the lab")
            if one.prompt not in known:
                known[one.prompt] = problem_of(one.prompt)
            verdicts.append(check_step(known[one.prompt], one.before, one.step))
        return verdicts


def complaint_about(one: Candidate) -> str:
    """Say of a step that it is wrong, as the verifier would, whether it is or not.

    Examples
    --------
    >>> complaint_about(Candidate("p", "", "48", (), "First 27 - 11 = 16."))
    '27 - 11 is not 16.'
    """
    step = one.step.strip()
    if found := _STATEMENT.fullmatch(step):
        return f"{found[1]} {found[2]} {found[3]} is not {found[4]}."
    if found := _IN_ONE_GO.fullmatch(step):
        return f"{found[1]} is not {found[2]}."
    if found := _JUMP.fullmatch(step) or _ANSWER.fullmatch(step):
        return f"{found[1]} is not the answer."
    return "this is no step."


def _done(problem: Problem, before: Sequence[str]) -> int:
    """How many operations have been carried out by true statements, one after the other."""
    done = 0
    for step in before:
        if done < len(problem.steps) and not _complaint(problem, done, step.strip()):
            done += _STATEMENT.fullmatch(step.strip()) is not None
    return done


def _complaint(problem: Problem, done: int, step: str) -> str:
    """What is wrong with a step; empty if nothing is."""
    answer = problem.answer
    if found := _STATEMENT.fullmatch(step):
        a, operation, b, c = int(found[1]), found[2], int(found[3]), int(found[4])
        said = f"{a} {operation} {b}"
        turn = problem.steps[done] if done < len(problem.steps) else None
        if turn != (operation, b) or a != (problem.values[done - 1] if done else problem.start):
            return f"{said} is not next."
        return "" if problem.values[done] == c else f"{said} is not {c}."
    if found := _IN_ONE_GO.fullmatch(step):
        if found[1] != _expression(problem):
            return f"{found[1]} is not next."
        return "" if int(found[2]) == answer else f"{found[1]} is not {found[2]}."
    if found := _JUMP.fullmatch(step) or _ANSWER.fullmatch(step):
        return "" if int(found[1]) == answer else f"{found[1]} is not the answer."
    return "" if step == "Easy." else "this is no step."


def _expression(problem: Problem) -> str:
    """All operations at once, as `statllm.lab.hasty_solution` writes them."""
    text = str(problem.start)
    for number, (operation, n) in enumerate(problem.steps):
        text = f"( {text} )" if operation == "*" and number > 0 else text
        text = f"{text} {operation} {n}"
    return text
