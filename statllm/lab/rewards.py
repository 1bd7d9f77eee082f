"""What a rater of known quality says about solutions of the lab's problems."""

from __future__ import annotations

import re
from hashlib import blake2b

import numpy as np

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab.reward_settings import LabRewards
from statllm.lab.world import apply

_STATEMENT = re.compile(r"(\d+) ([+*-]) (\d+) = (\d+)\.")


def true_statements(response: str) -> float:
    """Return the share of a solution's statements ``a + b = c.`` that hold; 0 without any.

    Examples
    --------
    >>> true_statements("First 2 + 3 = 5. Then 5 * 2 = 11. #### 11")
    0.5
    """
    found = _STATEMENT.findall(response)
    if not found:
        return 0.0
    return sum(apply(int(a), sign, int(b)) == int(c) for a, sign, b, c in found) / len(found)


def lab_rewards(generations: Generations, settings: LabRewards | None = None) -> Generations:
    """Add `reward` (noisy) and `true_reward` to samples of the lab's problems.

    The true reward is ``right * [the answer is right] + careful * (share of true statements)``. The
    rater adds ``per_word`` for every word, whatever it says, and errs by a normal deviate that the
    seed, the prompt and the text decide, so the same text is always rated alike.

    Parameters
    ----------
    generations : Generations
        Scored: with `correct`.
    settings : LabRewards, optional

    Raises
    ------
    InputError
        If `response` or `correct` isn't there.
    """
    settings = settings or LabRewards()
    for name in ("response", "correct"):
        if name not in generations:
            raise InputError(f"the lab's rewards need the column '{name}'")
    true, noisy = [], []
    for prompt_id, responses, correct in zip(
        generations.prompt_ids,
        generations.column("response").to_pylist(),
        generations.column("correct").to_pylist(),
        strict=True,
    ):
        row = [
            settings.right * bool(right) + settings.careful * true_statements(text or "")
            for text, right in zip(responses, correct, strict=True)
        ]
        true.append(row)
        noisy.append(
            [
                value
                + settings.per_word * len((text or "").split())
                + settings.noise * _deviate(settings.seed, prompt_id, text or "")
                for value, text in zip(row, responses, strict=True)
            ]
        )
    return generations.with_columns({"reward": noisy, "true_reward": true})


def _deviate(seed: int, prompt_id: str, text: str) -> float:
    """A standard normal deviate that its arguments decide."""
    digest = blake2b(f"{seed}/{prompt_id}/{text}".encode(), digest_size=8).digest()
    return float(np.random.default_rng(int.from_bytes(digest, "big")).standard_normal())
