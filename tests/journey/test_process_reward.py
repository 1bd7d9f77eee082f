"""Process rewards: rollouts of the real model, judges that can't be read, verdicts that flip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.journey import Candidate, JudgeReward, NoisyReward, RolloutReward, Verdict
from statllm.journey.policy import Partial, StepPolicy, open_policy
from statllm.journey.quality import reward_quality
from statllm.lab import generate, model_path
from statllm.lab.steps import LabStepVerifier, complaint_about
from statllm.sampling import SamplingSettings


@pytest.fixture(scope="module")
def policy() -> StepPolicy:
    return open_policy(model_path(), SamplingSettings(max_new_tokens=80), ".", 24)


def first_steps(n: int, off: int) -> list[Candidate]:
    """First statements of careful solutions, off by a number."""
    found = []
    for problem, _ in zip(generate("train", 4), range(n), strict=False):
        (operation, b), value = problem.steps[0], problem.values[0] + off
        text = f"First {problem.start} {operation} {b} = {value}."
        found.append(Candidate(problem.problem_id, problem.prompt, str(problem.answer), (), text))
    return found


def test_rollouts_prefer_right_steps(policy: StepPolicy) -> None:
    reward = RolloutReward(policy, n=4)
    right = reward.rate(first_steps(8, 0))
    wrong = reward.rate(first_steps(8, 10))
    assert all((4 * one.score) % 1 == 0 for one in right + wrong)
    assert all(one.right == (one.score >= 0.5) for one in right + wrong)
    assert np.mean([one.score for one in right]) > np.mean([one.score for one in wrong]) + 0.1
    hard = RolloutReward(policy, n=4, threshold=1 / 4).rate(first_steps(8, 0))
    assert [one.right for one in hard] == [one.score > 0 for one in right]


def test_a_final_answer_needs_no_rollout(policy: StepPolicy) -> None:
    (one,) = first_steps(1, 0)
    answers = [
        Candidate(one.prompt_id, one.prompt, one.reference, (), f"#### {value}")
        for value in (one.reference, int(one.reference or 0) + 1)
    ]
    assert [verdict.score for verdict in RolloutReward(policy, 3).rate(answers)] == [1.0, 0.0]
    unknown = Candidate("q", one.prompt, None, (), "x")
    with pytest.raises(InputError, match="prompt_id 'q' has no reference"):
        RolloutReward(policy, 3).rate([unknown])
    for wrong in ({"n": 0}, {"threshold": 0.0}):
        with pytest.raises(InputError):
            RolloutReward(policy, **wrong)  # type: ignore[arg-type]


def test_steps_are_continuations_of_the_prompt(policy: StepPolicy) -> None:
    """The same beginning goes on alike, alone or among others; a limit is no end of a step."""
    (one,) = first_steps(1, 0)
    begun = Partial(one.prompt_id, one.prompt, one.step)
    others = [Partial(two.prompt_id, two.prompt, two.step) for two in first_steps(5, 1)]
    alone = policy.next_steps([begun], 4)[0]
    assert policy.next_steps([*others, begun], 4)[-1] == alone
    assert all(step.text.endswith(".") for step in alone if step.end == "open")
    short = open_policy(model_path(), SamplingSettings(max_new_tokens=80), ".", 2)
    assert {step.end for step in short.next_steps([begun], 4)[0]} <= {"cut", "answer"}
    # A solution that fills the model's positions has no next step; a prompt that does is refused.
    long = Partial(one.prompt_id, one.prompt, one.step + " 1" * 300)
    assert policy.next_steps([long, begun], 4) == [[], alone]
    with pytest.raises(InputError, match="exceeds the model's 256 positions"):
        policy.next_steps([Partial("p", "word " * 300)], 2)


def test_what_a_server_without_tokens_says_is_a_step(policy: StepPolicy) -> None:
    assert policy._step(" 2 + 2 = 4", stopped=True, known=False).text == " 2 + 2 = 4."
    assert policy._step("#### 4", stopped=True, known=False).end == "answer"
    assert policy._step("Easy", stopped=True, known=True).end == "answer"
    assert policy._step("2 + 2", stopped=False, known=True).end == "cut"


def test_a_blank_line_belongs_to_the_step_after_it() -> None:
    """Models that leave a line free between steps would spend every second step on nothing."""
    policy = open_policy(model_path(), SamplingSettings(max_new_tokens=80), "\n", 24)
    whole = policy._step("\n\n2 + 2 = 4\nThen", stopped=True, known=True)
    assert (whole.text, whole.end) == ("\n\n2 + 2 = 4\n", "open")
    assert policy._step("\n2 + 2", stopped=False, known=True).end == "cut"
    assert policy._step("\nEasy", stopped=True, known=True).end == "answer"
    # An engine that stops at the first line's end has no more to tell.
    assert policy._step("\n", stopped=True, known=True) == policy._step("", True, known=False)


def test_a_conversation_is_gone_on_with_inside_the_reply() -> None:
    from statllm.models import load_model, load_tokenizer

    model, tokenizer = load_model(model_path()), load_tokenizer(model_path())
    tokenizer.chat_template = (
        "{% for m in messages %}Q: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}A:\n{% endif %}"
    )
    problem = next(generate("test", 0))
    text = problem.prompt.removeprefix("Q: ").removesuffix("\nA:\n")
    talk = [{"role": "user", "content": text}]
    greedy = SamplingSettings(max_new_tokens=60, temperature=0.0)
    policy = open_policy((model, tokenizer), greedy, ".", 24)
    so_far = "First 27 - 11 = 16."
    as_messages = policy.next_steps([Partial("a", talk, so_far)], 1)
    assert as_messages == policy.next_steps([Partial("a", problem.prompt, so_far)], 1)


class RuleJudge:
    """Votes by a rule, unreadably now and then."""

    name, samples = "rules", True

    def __init__(self, votes: list[str | None]) -> None:
        self.votes, self.identity = votes, f"rules-{votes}"

    def write(
        self, keys: Sequence[str], questions: Sequence[Any], votes: range
    ) -> Iterator[tuple[int, list[str | None]]]:
        for place, _ in enumerate(questions):
            yield place, [self.votes[vote] for vote in votes]


@pytest.mark.parametrize(
    ("votes", "score", "right", "rationale", "unread"),
    [
        (["Fine. [[correct]]"], 1.0, True, "", 0),
        (["7 is odd.\n[[incorrect]]"], 0.0, False, "7 is odd.", 0),
        (["No idea"], 0.5, False, "", 1),
        (["[[correct]]", "Bad. [[INCORRECT]]", "?"], 0.5, False, "Bad.", 1),
        (["[[incorrect]] no, [[correct]]", "x [[correct]]", None], 1.0, True, "", 1),
        (["[[correct]]\nNo: 7 is odd.\n[[incorrect]]"], 0.0, False, "No: 7 is odd.", 0),
    ],
)
def test_votes_of_a_judge(
    votes: list[str | None], score: float, right: bool, rationale: str, unread: int, tmp_path: Path
) -> None:
    reward = JudgeReward(RuleJudge(votes), len(votes), tmp_path)
    (verdict,) = reward.rate([Candidate("p", "P", None, ("one.",), "two.")])
    assert verdict == Verdict(score, right, rationale)
    assert reward.n_unread == unread


def test_flips_have_their_rate_and_are_nested() -> None:
    exact = LabStepVerifier()
    steps = first_steps(400, 0) + first_steps(400, 1)
    truth = exact.rate(steps)
    flipped: dict[float, set[int]] = {}
    for rate in (0.0, 0.1, 0.3, 1.0):
        said = NoisyReward(exact, rate, 7, complaint_about).rate(steps)
        assert said == NoisyReward(exact, rate, 7, complaint_about).rate(steps)
        flipped[rate] = {
            i for i, (a, b) in enumerate(zip(said, truth, strict=True)) if a.right != b.right
        }
        assert abs(len(flipped[rate]) / 800 - rate) <= 4 * (rate * (1 - rate) / 800) ** 0.5
        for i in flipped[rate]:
            assert said[i].score == 1 - truth[i].score
            assert bool(said[i].rationale) == truth[i].right  # blame needs words
    assert flipped[0.1] <= flipped[0.3] <= flipped[1.0]
    other = NoisyReward(exact, 0.3, 8).rate(steps)
    assert [one.right for one in other] != [
        one.right for one in NoisyReward(exact, 0.3, 7).rate(steps)
    ]
    with pytest.raises(InputError, match="flip"):
        NoisyReward(exact, 1.2)


def test_quality_is_that_of_the_known_noise() -> None:
    """Half the steps are wrong, f flips: F1, precision and recall of both classes are 1 - f."""
    exact = LabStepVerifier()
    steps = first_steps(1500, 0) + first_steps(1500, 1)
    truth = exact.rate(steps)
    said = NoisyReward(exact, 0.2, 3).rate(steps)
    quality = reward_quality(said, truth, [one.prompt_id for one in steps])
    for found in (quality.wrong_steps, quality.right_steps):
        for figure in (found.precision, found.recall, found.f1):
            assert abs(figure.value - 0.8) < 4 * figure.se
            assert 0.005 < figure.se < 0.02
    assert quality.n_steps == 3000
    assert quality.calibration.value == pytest.approx(quality.brier.value)  # scores of 0 and 1
    with pytest.raises(InputError, match="equally many"):
        reward_quality(said[:2], truth, ["a"])
