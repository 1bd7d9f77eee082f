"""Who says whether a step is right: a verifier, a judge, or the answers that it leads to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from statllm.errors import InputError
from statllm.journey.policy import Partial, StepPolicy, has_answer
from statllm.scoring.answers import AnswerRule, extract, extract_reference
from statllm.scoring.equivalence import Equivalence, equivalent

if TYPE_CHECKING:
    from statllm.scoring.judges import JudgeModel


@dataclass(frozen=True)
class Candidate:
    """A step to be rated: the problem, the steps before, the step."""

    prompt_id: str
    prompt: Any
    reference: str | None
    before: tuple[str, ...]
    step: str

    @property
    def text(self) -> str:
        """The solution up to and with this step."""
        return "".join(self.before) + self.step


@dataclass(frozen=True)
class Verdict:
    """What a process reward says of a step.

    Attributes
    ----------
    score : float
        In [0, 1]: how likely the step is right.
    right : bool
    rationale : str
        Why it's wrong, in words that a reflection can hold; may be empty.
    """

    score: float
    right: bool
    rationale: str = ""


class ProcessReward(Protocol):
    """Rates steps of solutions.

    `identity` names whatever decides the verdicts, so that a search isn't continued with another
    reward. `statllm.lab.steps.LabStepVerifier` is the exact one of the lab.
    """

    identity: str

    def rate(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Return the verdict on each candidate, in order."""
        ...


class RolloutReward:
    """The share of completions from a step that reach the right answer (Wang et al. 2024).

    Math-Shepherd (arXiv 2312.08935) calls this share the soft estimation of a step's quality; its
    hard estimation is whether any completion is right. A step that holds the final answer is
    completed as it stands.

    Parameters
    ----------
    policy : StepPolicy
        Who completes.
    n : int
        Completions per step.
    threshold : float
        A step with at least this share is right; 0 can't be a threshold. With ``1 / n`` the verdict
        is the hard estimation.
    rule, equivalence
        How answers are found and compared with the reference.

    Raises
    ------
    InputError
        If `n` or `threshold` is out of range; from `rate`, if a reference is unknown.
    """

    def __init__(
        self,
        policy: StepPolicy,
        n: int = 8,
        threshold: float = 0.5,
        rule: AnswerRule = "auto",
        equivalence: Equivalence = "canonical",
    ) -> None:
        if n < 1:
            raise InputError(f"a rollout reward needs at least 1 completion, not {n}")
        if not 0 < threshold <= 1:
            raise InputError(f"threshold must lie above 0 and at most at 1, not {threshold}")
        self.policy, self.n, self.threshold = policy, n, threshold
        self.rule, self.equivalence = rule, equivalence
        about = ["rollouts", policy.identity, n, threshold, rule, equivalence]
        self.identity = json.dumps(about)

    def rate(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Return the share of right answers among the completions of each candidate."""
        for one in candidates:
            if one.reference is None:
                raise InputError(
                    f"prompt_id '{one.prompt_id}' has no reference to compare completions with"
                )
        open_ones = [place for place, one in enumerate(candidates) if not has_answer(one.text)]
        partials = [
            Partial(candidates[p].prompt_id, candidates[p].prompt, candidates[p].text)
            for p in open_ones
        ]
        ends = {place: [""] for place in range(len(candidates))}
        ends |= dict(zip(open_ones, self.policy.complete(partials, self.n), strict=True))
        verdicts = []
        for place, one in enumerate(candidates):
            known = extract_reference(one.reference or "")
            right = [
                equivalent(extract(one.text + end, self.rule), known, self.equivalence)
                for end in ends[place]
            ]
            # No room for a completion: the step leads nowhere.
            share = sum(right) / len(right) if right else 0.0
            verdicts.append(Verdict(share, share >= self.threshold))
        return verdicts


class JudgeReward:
    """A language model that is asked about each step; several votes give a score.

    Parameters
    ----------
    judge : JudgeModel
        From `statllm.sampling.judge_model.open_judge`.
    n_votes : int
        Samples per step; the score is the share of readable votes for "correct".
    cache : str or Path, optional
        Folder of what judges have said; what was asked once isn't asked again.

    Notes
    -----
    A verdict that can't be read doesn't vote. Without any readable vote, the score is 1/2 and the
    step counts as wrong: nothing is built on a step that nobody vouches for. `n_unread` counts
    such votes.
    """

    def __init__(
        self, judge: JudgeModel, n_votes: int = 1, cache: str | Path | None = None
    ) -> None:
        self.judge, self.n_votes, self.cache = judge, n_votes, cache
        self.n_unread = 0
        self.identity = json.dumps(["judge", judge.identity, n_votes, JUDGE_PROMPT])

    def rate(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Ask about each candidate."""
        from statllm.scoring.judges import ask

        questions = [judge_question(one) for one in candidates]
        verdicts = []
        for texts in ask(self.judge, questions, self.n_votes, self.cache):
            read = [found for text in texts if (found := read_verdict(text)) is not None]
            self.n_unread += len(texts) - len(read)
            if not read:
                verdicts.append(Verdict(0.5, False))
                continue
            share = sum(right for right, _ in read) / len(read)
            reasons = [reason for right, reason in read if not right and reason]
            right = share > 0.5
            verdicts.append(Verdict(share, right, "" if right else (reasons or [""])[0]))
        return verdicts


#: What a judge is asked; the solution so far is numbered.
JUDGE_PROMPT = """Here are a problem, the steps of a solution so far, and one more step.

Problem:
{problem}

Steps so far:
{before}

Next step:
{step}

Is the next step correct, given the problem and the steps so far? Write one sentence that says \
what is wrong with it, or that nothing is. Then write [[correct]] or [[incorrect]] on a line of \
its own."""

_VERDICT = re.compile(r"\[\[(correct|incorrect)\]\]", re.IGNORECASE)


def judge_question(one: Candidate) -> list[dict[str, str]]:
    """Return the messages that ask a judge about a step."""
    problem = one.prompt
    if not isinstance(problem, str):
        problem = "\n".join(str(message["content"]) for message in problem)
    steps = [f"{number}. {text.strip()}" for number, text in enumerate(one.before, 1)]
    text = JUDGE_PROMPT.format(
        problem=problem.strip(), before="\n".join(steps) or "(none)", step=one.step.strip()
    )
    return [{"role": "user", "content": text}]


def read_verdict(text: str | None) -> tuple[bool, str] | None:
    """Read a judge's text: the last verdict, and the sentence before it; None if there's none.

    Examples
    --------
    >>> read_verdict("7 + 5 is not 11.\\n[[incorrect]]")
    (False, '7 + 5 is not 11.')
    >>> read_verdict("Looks fine to me.") is None
    True
    """
    found = list(_VERDICT.finditer(text or ""))
    if not found:
        return None
    # Earlier verdicts aren't part of the reason, which a reflection may hold.
    reason = " ".join(_VERDICT.sub("", (text or "")[: found[-1].start()]).split())
    return found[-1][1].lower() == "correct", reason


class NoisyReward:
    """A process reward whose verdicts are turned around at a known rate, for studies.

    Which ones, is a function of the seed, the problem and the solution up to the step: the same
    step is always judged alike.

    Parameters
    ----------
    reward : ProcessReward
    flip : float
        Probability that a verdict is turned around: its score s becomes 1 - s.
    seed : int
    complain : callable, optional
        Gives the rationale of a right step that is called wrong; without it there is none.

    Raises
    ------
    InputError
        If `flip` isn't between 0 and 1.
    """

    def __init__(
        self,
        reward: ProcessReward,
        flip: float,
        seed: int = 0,
        complain: Callable[[Candidate], str] | None = None,
    ) -> None:
        if not 0 <= flip <= 1:
            raise InputError(f"flip must lie between 0 and 1, not {flip}")
        self.reward, self.flip, self.seed, self.complain = reward, flip, seed, complain
        said = "" if complain is None else f"{complain.__module__}.{complain.__qualname__}"
        self.identity = json.dumps(["noisy", reward.identity, flip, seed, said])

    def rate(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Return the verdicts, some of them turned around."""
        return [
            self._turned(one, verdict) if self._flipped(one) else verdict
            for one, verdict in zip(candidates, self.reward.rate(candidates), strict=True)
        ]

    def _turned(self, one: Candidate, verdict: Verdict) -> Verdict:
        said = self.complain(one) if verdict.right and self.complain is not None else ""
        return Verdict(1 - verdict.score, not verdict.right, said)

    def _flipped(self, one: Candidate) -> bool:
        name = json.dumps([self.seed, one.prompt_id, one.before, one.step])
        word = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
        return word < self.flip * 2**64
