"""Samples that a server didn't give: which, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from statllm.errors import InputError
from statllm.files import write_text


@dataclass(frozen=True)
class Failure:
    """One sample that is missing.

    Parameters
    ----------
    prompt_id : str
    sample : int
        Its number within the prompt.
    kind : str
        "timeout", "connection", "rate-limited" (429), "server-error" (5xx), "malformed" (an answer
        that isn't one), "refused" (another 4xx), or "not-sent" (the job had ended before).
    attempts : int
        How often it was sent.
    message : str
        What the server or the connection said.
    """

    prompt_id: str
    sample: int
    kind: str
    attempts: int
    message: str


class SamplesMissing(InputError):
    """Some prompts lack samples; all others have theirs."""

    def __init__(self, message: str, failures: Sequence[Failure]) -> None:
        super().__init__(message)
        self.failures = list(failures)


def failures_file(out: Path) -> Path:
    """Where the missing samples of an output are listed.

    Examples
    --------
    >>> failures_file(Path("samples.parquet")).name
    'samples.parquet.failures.jsonl'
    """
    return out.with_name(f"{out.name}.failures.jsonl")


def write_failures(failures: Sequence[Failure], out: Path) -> None:
    """List the failures beside the output; without any, remove an older list."""
    path = failures_file(out)
    if failures:
        write_text("".join(json.dumps(asdict(one)) + "\n" for one in failures), path)
    else:
        path.unlink(missing_ok=True)


def missing_samples(failures: Sequence[Failure], prompts: int, out: Path | None) -> SamplesMissing:
    """Say how many prompts lack samples, why, and what to do about it.

    Examples
    --------
    >>> one = Failure("p7", 2, "timeout", 3, "no answer within 5 s")
    >>> print(missing_samples([one], 100, None))
    1 of 100 prompts lack samples (prompt_id 'p7', sample 2: timeout, no answer within 5 s)
    """
    lost = len({one.prompt_id for one in failures})
    # those that were never sent say nothing about the reason
    first = next((one for one in failures if one.attempts), failures[0])
    reason = f"prompt_id '{first.prompt_id}', sample {first.sample}: {first.kind}, {first.message}"
    message = f"{lost} of {prompts} prompts lack samples ({reason})"
    if out is not None:
        message += (
            f"; {failures_file(out)} lists all, and the same command asks for these samples only"
        )
    return SamplesMissing(message, failures)
