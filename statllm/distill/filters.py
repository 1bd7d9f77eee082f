"""Which problems to distil on: with an answer that is a number, without pictures, no proofs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from statllm._validate import as_text
from statllm.distill._patterns import DRAWING, IMAGE, MARKUP, NO_ANSWER, PROOF
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ledger import KEPT, count_reasons
from statllm.scoring.answers import extract_reference
from statllm.scoring.canonical import canonical

#: Why a problem is dropped; the first that holds, in this order.
FILTER_REASONS = {
    "no_text": "the problem is null or blank",
    "image": "it needs a picture: one is attached, or the text speaks of one",
    "proof": "it asks for a proof",
    "no_answer": "there is no explicit answer",
    "not_numerical": "the answer isn't a single number",
}

#: Columns that hold pictures in public data sets.
IMAGE_COLUMNS = ("image", "images", "image_path", "image_url", "decoded_image")

Answers = Literal["number", "closed", "any"]

_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?(?:/\d+)?")
_NAMED = re.compile(r"[A-Za-z](?:_\{?\w\}?)?=")
_CLOSED = re.compile(
    r"""(?: \d+(?:\.\d+)? | [-+*/^(){}!√π] | \\(?:sqrt|frac|pi|cdot|times|log|ln|sin|cos|tan|binom)
          (?![A-Za-z]) | (?<![A-Za-z\\])(?:sqrt|pi|log|ln|e)(?![A-Za-z]) | \[\d\] )++""",
    re.VERBOSE,
)
_CONTENT = re.compile(r"\d|π|pi")


class ProblemFilters(BaseModel):
    """The filters of O1 Journey, part 2 (Huang et al. 2024, arXiv 2411.16489, section 3)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: bool = Field(True, description="Drop problems that need a picture.")
    drawings: bool = Field(
        True, description="A drawing as code (Asymptote, TikZ) counts as a picture."
    )
    proofs: bool = Field(True, description="Drop problems that ask for a proof.")
    answers: Answers = Field(
        "closed",
        description="number: an integer, decimal, fraction or percentage; closed: also roots, "
        "powers, pi and functions of numbers; any: every explicit answer.",
    )
    longest_answer: int = Field(
        200, ge=1, description="Characters; a longer reference without a marked answer has none."
    )


@dataclass(frozen=True, eq=False)
class FilteredProblems:
    """Problems that are kept, and what became of all.

    Attributes
    ----------
    problems : pyarrow.Table
        The kept rows, as they were given, and ``answer_read``.
    ledger : pyarrow.Table
        A row per problem in the order given: ``prompt_id, kept, reason, rule, matched,
        answer_read``; `matched` is the text that decided, `reason` "kept" or a key of
        `FILTER_REASONS`.
    """

    problems: pa.Table
    ledger: pa.Table

    def counts(self) -> dict[str, int]:
        """Return problems by reason, "kept" first, then by falling count; they add up."""
        return count_reasons(self.ledger["reason"])

    def write(self, problems: str | Path, ledger: str | Path | None = None) -> None:
        """Write the tables by suffix; the ledger first."""
        from statllm._formats import write_table

        if ledger is not None:
            write_table(self.ledger, ledger)
        write_table(self.problems, problems)


def filter_problems(problems: pa.Table, filters: ProblemFilters | None = None) -> FilteredProblems:
    """Keep problems that are text, ask for a result and have an answer that can be checked.

    Parameters
    ----------
    problems : pyarrow.Table
        ``prompt_id``; ``prompt``, text or messages; ``reference``, the answer or a solution that
        marks it (``\\boxed{}``, ``####``), or, where that is missing, ``solution``, which then has
        to mark it. A column of `IMAGE_COLUMNS` that isn't empty is a picture.
    filters : ProblemFilters, optional

    Returns
    -------
    FilteredProblems

    Raises
    ------
    InputError
        If ``prompt_id`` or ``prompt`` is missing, or ids repeat; if neither ``reference`` nor
        ``solution`` is there; if prompts are neither texts nor messages.

    Notes
    -----
    The rules read words, not meanings. What they are for and against, language by language, is in
    ``statllm/distill/_patterns.py``. A problem that asks for a result and its proof is one of
    proof; "Justify your answer" isn't.

    Examples
    --------
    >>> table = pa.table({
    ...     "prompt_id": ["a", "b", "c", "d"],
    ...     "prompt": ["What is 3 + 4?", "Prove that 7 is odd.", "如图,求面积。", "What is x?"],
    ...     "reference": ["7", "7", "12", "x + 1"],
    ... })
    >>> filter_problems(table).ledger["reason"].to_pylist()
    ['kept', 'proof', 'image', 'not_numerical']
    """
    filters = filters or ProblemFilters()
    given = Generations(problems)
    if "reference" not in given and "solution" not in given:
        raise InputError("neither column 'reference' nor 'solution' is there: no answers are known")
    attached = [name for name in IMAGE_COLUMNS if name in given]
    prompts = given.column("prompt").to_pylist()
    for name, prompt in zip(given.prompt_ids, prompts, strict=True):
        if not _is_prompt(prompt):
            raise InputError(
                f"column 'prompt' of prompt_id '{name}' is {prompt!r}, text or messages with role "
                "and content were expected"
            )
    nothing: list[Any] = [None] * len(prompts)
    references = given.column("reference").to_pylist() if "reference" in given else nothing
    solutions = nothing
    if "solution" in given:
        solutions = as_text("solution", given.column("solution")).to_pylist()
    pictures = [given.column(name).to_pylist() for name in attached]
    rows = []
    for i, (name, prompt, reference, solution) in enumerate(
        zip(given.prompt_ids, prompts, references, solutions, strict=True)
    ):
        answer = _answer(reference, solution, filters.longest_answer)
        shown = next((n for n, c in zip(attached, pictures, strict=True) if _there(c[i])), None)
        reason, matched = _verdict(prompt, answer, shown, filters)
        rows.append(
            {
                "prompt_id": name, "kept": reason == KEPT, "reason": reason,
                "rule": "distill-filter", "matched": matched, "answer_read": answer,
            }
        )  # fmt: skip
    ledger = pa.Table.from_pylist(rows, _LEDGER)
    named = given.with_columns({"answer_read": ledger["answer_read"]}).table
    return FilteredProblems(named.filter(ledger["kept"].combine_chunks()), ledger)


def numerical_answer(text: str | None, closed: bool = True) -> str | None:
    r"""Return an answer in one form if it is a single number, else None.

    Parameters
    ----------
    text : str or None
    closed : bool
        Also roots, powers, pi and functions of numbers, as they are written.

    Examples
    --------
    >>> [numerical_answer(a) for a in ("$1,200", r"\dfrac{3}{4}", "x = 5 cm", "12\\%", "(3, 4)")]
    ['1200', '0.75', '5', '12', None]
    >>> numerical_answer(r"2\sqrt{3}"), numerical_answer(r"2\sqrt{3}", closed=False)
    ('2\\sqrt{3}', None)
    >>> numerical_answer("n + 1"), numerical_answer("no"), numerical_answer("1, 2")
    (None, None, None)
    """
    form = canonical(text)
    if form is None:
        return None
    if _DECIMAL.fullmatch(form):
        return form
    if not closed:
        return None
    bare = _NAMED.sub("", form, count=1) if _NAMED.match(form) else form
    bare = bare.replace(" ", "")
    return bare if _CLOSED.fullmatch(bare) and _CONTENT.search(bare) else None


def _verdict(
    prompt: Any, answer: str | None, shown: str | None, filters: ProblemFilters
) -> tuple[str, str | None]:
    """Reason, and the text that decided."""
    text, picture = problem_text(prompt)
    if not text.strip():
        return "no_text", None
    if filters.images:
        if shown is not None or picture:
            return "image", shown or "attached to the message"
        patterns = (MARKUP, DRAWING, IMAGE) if filters.drawings else (MARKUP, IMAGE)
        for pattern in patterns:
            if found := pattern.search(text):
                return "image", found[0].strip()
    if filters.proofs and (found := PROOF.search(text)):
        return "proof", found[0].strip(" \n.;:?!,()")
    if answer is None:
        return "no_answer", None
    if filters.answers != "any" and numerical_answer(answer, filters.answers == "closed") is None:
        return "not_numerical", answer
    return KEPT, None


def _is_prompt(prompt: Any) -> bool:
    """Whether it is null, text or messages."""
    if isinstance(prompt, list):
        return all(isinstance(one, Mapping) and {"role", "content"} <= set(one) for one in prompt)
    return prompt is None or isinstance(prompt, str)


def problem_text(prompt: Any) -> tuple[str, bool]:
    """Return the text of a prompt, of messages the user's, and whether a picture is attached."""
    if prompt is None or isinstance(prompt, str):
        return prompt or "", False
    texts, picture = [], False
    for message in prompt:
        content = message["content"] if message["role"] == "user" else None
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, Mapping):
                picture = picture or "image" in str(part.get("type"))
                part = part.get("text")
            if isinstance(part, str):
                texts.append(part)
    return "\n".join(texts), picture


def _answer(reference: str | None, solution: str | None, longest: int) -> str | None:
    """The explicit answer: the reference, or what it or the solution marks."""
    found = extract_reference(reference)
    whole = found is not None and reference is not None and found.strip() == reference.strip()
    if found is None or not found.strip():
        marked = extract_reference(solution)
        unmarked = marked is None or solution is None or marked.strip() == solution.strip()
        found, whole = (None if unmarked else marked), False
    if found is None or NO_ANSWER.fullmatch(found) or (whole and len(found) > longest):
        return None
    return found.strip() or None


def _there(value: Any) -> bool:
    """Whether a value is a picture: null, false, NaN, and what holds nothing else are none."""
    if isinstance(value, Mapping):
        return any(map(_there, value.values()))
    if isinstance(value, list):
        return any(map(_there, value))
    return bool(value) and value == value


_LEDGER = pa.schema(
    {
        "prompt_id": pa.string(),
        "kept": pa.bool_(),
        "reason": pa.string(),
        "rule": pa.string(),
        "matched": pa.string(),
        "answer_read": pa.string(),
    }
)
