"""Solutions rewritten step by step by a model, kept where the answer survived."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from statllm._validate import as_text
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ledger import KEPT, count_reasons
from statllm.sampling.prompts._sampled import sampled
from statllm.sampling.prompts.examples import MESSAGES
from statllm.sampling.prompts.templates import PromptTemplate, load_template
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.answers import extract, extract_reference
from statllm.scoring.equivalence import Equivalence, equivalent
from statllm.scoring.judges.responses import prompt_text

if TYPE_CHECKING:
    from statllm.sampling.prompts._sampled import Model

#: Why there is no example of a problem, or of a text.
REFORMAT_FAILURES = {
    "no_solution": "there is no solution to rewrite",
    "no_answer": "neither a reference nor a marked answer in the solution says what is right",
    "solution_disagrees": "the solution marks another answer than the reference",
    "missing": "the text is null",
    "truncated": "the longest allowed response ended before the text did",
    "no_box": "it has no answer in \\boxed{}",
    "other_answer": "its answer isn't the solution's",
    "copied": "it is the given solution again",
    "too_short": "it is shorter than asked for, compared with the given solution",
    "too_few_steps": "it has fewer lines than asked for",
    "not_chosen": "an earlier text of the problem is kept",
}


class ReformatSettings(BaseModel):
    """What a rewritten solution has to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    equivalence: Equivalence = Field(
        "canonical", description="When two answers are equal; math-verify also reads algebra."
    )
    min_growth: float = Field(
        1.0, ge=0, description="Least length as a multiple of the given solution's (characters)."
    )
    min_steps: int = Field(2, ge=1, description="Least number of lines that aren't blank.")


@dataclass(frozen=True, eq=False)
class Reformatted:
    """Examples for SFT, and what became of every solution and text.

    Attributes
    ----------
    examples : pyarrow.Table
        ``prompt_id, prompt, response, weight, rule, model``: the problem and the new solution.
    ledger : pyarrow.Table
        A row per solution that wasn't asked for, and per sample of every other: ``prompt_id,
        sample, kept, reason, answer, characters_before, characters_after, steps, template``.
    n_problems : int
    """

    examples: pa.Table
    ledger: pa.Table
    n_problems: int

    def counts(self) -> dict[str, int]:
        """Return rows of the ledger by reason, "kept" first, then by falling count; they add up."""
        return count_reasons(self.ledger["reason"])


def reformat(
    model: Model,
    solutions: pa.Table,
    settings: SamplingSettings | None = None,
    checks: ReformatSettings | None = None,
    *,
    template: PromptTemplate | None = None,
    chat: bool = True,
    out: str | Path | None = None,
    progress: bool = True,
) -> Reformatted:
    """Let a model rewrite solutions step by step, for the first stage of SFT.

    O1 Journey, part 2 (Huang et al. 2024, arXiv 2411.16489) lets GPT-4o mini rewrite solutions to
    be longer and stepwise, with the answer in a box, so that the student learns the form before
    it learns long thoughts. A text is kept only if its boxed answer is that of the solution.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
    solutions : pyarrow.Table
        ``prompt_id``, ``prompt``, ``solution``, and ``reference`` where known. Without a reference,
        the answer that the solution marks (``\\boxed{}`` or ``####``) is taken for right.
    settings : SamplingSettings, optional
        `n` texts per problem (by default one, greedy), of which the first good one is kept.
    checks : ReformatSettings, optional
    template : PromptTemplate, optional
        For reformat; reformat_solution by default.
    chat : bool
        Send messages; False sends one text, for models that complete text.
    out : path, optional
        Parquet file of the generated texts. A killed run goes on from there.
    progress : bool

    Raises
    ------
    InputError
        If a column is missing, a prompt is null, or the template is for another task.

    Examples
    --------
    The lab's model follows no instructions, so nothing is kept; the ledger says why.

    >>> from statllm.lab import model_path
    >>> given = pa.table({"prompt_id": ["a"], "prompt": ["2 + 2?"], "solution": ["#### 4"]})
    >>> short = PromptTemplate("short", 1, "reformat", "", "{prompt} {response}")
    >>> made = reformat(
    ...     model_path(), given, SamplingSettings(n=2, max_new_tokens=4), template=short, chat=False
    ... )
    >>> sum(made.counts().values())
    2
    """
    template = load_template("reformat_solution") if template is None else template
    settings = SamplingSettings(n=1, temperature=0.0) if settings is None else settings
    checks = checks or ReformatSettings()
    if template.task != "reformat":
        raise InputError(f"template '{template.name}' is for {template.task}, not reformat")
    given = Generations(solutions)
    texts = as_text("solution", given.column("solution")).to_pylist()
    prompts = given.column("prompt").to_pylist()
    references = [None] * len(texts)
    if "reference" in given:
        references = given.column("reference").to_pylist()
    rights, faults = [], []
    for text, reference in zip(texts, references, strict=True):
        right, fault = known_answer(text, reference, checks.equivalence)
        rights.append(right)
        faults.append(fault)
    asked = _asked(given.prompt_ids, prompts, texts, faults, template, chat)
    path = None if out is None else Path(out)
    said: dict[str, Any] = {}
    if asked.num_rows:
        answered = sampled(model, asked, settings, path, progress).to_pylist()
        said = {row["prompt_id"]: row for row in answered}
    rows: list[dict[str, Any]] = []
    for name, prompt, text, right, fault in zip(
        given.prompt_ids, prompts, texts, rights, faults, strict=True
    ):
        if fault is not None:
            rows.append({"prompt_id": name, "kept": False, "reason": fault})
            continue
        row = said[name]
        ends = row.get("finish_reason") or [None] * len(row["response"])
        chosen = False
        for sample, (new, end) in enumerate(zip(row["response"], ends, strict=True)):
            solution, failure = read_reformatted(new, right, text, checks, end == "length")
            reason = failure or ("not_chosen" if chosen else KEPT)
            chosen = chosen or failure is None
            rows.append(
                {
                    "prompt_id": name, "prompt": prompt, "sample": sample, "kept": reason == KEPT,
                    "reason": reason, "answer": extract(new, "boxed"), "response": solution,
                    "characters_before": len(text), "characters_after": len(new or ""),
                    "steps": len(_lines(new or "")), "template": template.stamp,
                    "model": row.get("model"),
                }
            )  # fmt: skip
    shown = [{name: row.get(name) for name in _LEDGER.names} for row in rows]
    kept = [row for row in rows if row["kept"]]
    examples = _examples(kept, given.column("prompt").type)
    return Reformatted(examples, pa.Table.from_pylist(shown, _LEDGER), len(texts))


def known_answer(
    solution: str | None, reference: str | None, method: Equivalence = "canonical"
) -> tuple[str | None, str | None]:
    """Return the answer that a rewritten solution must keep, and why there is none.

    Examples
    --------
    >>> known_answer("So 2 + 2 = 4. #### 4", None), known_answer("#### 5", "4")
    (('4', None), (None, 'solution_disagrees'))
    >>> known_answer("It is four.", None), known_answer("It is four.", "4")
    ((None, 'no_answer'), ('4', None))
    """
    if solution is None or not solution.strip():
        return None, "no_solution"
    marked = extract_reference(solution)
    if marked is not None and marked.strip() == solution.strip() and len(marked.split()) > 1:
        marked = None  # nothing is marked: that is the whole text
    right = extract_reference(reference)
    if right is None or not right.strip():
        return (marked, None) if marked else (None, "no_answer")
    if marked is not None and not equivalent(marked, right, method):
        return None, "solution_disagrees"
    return right, None


def read_reformatted(
    text: str | None,
    answer: str | None,
    before: str,
    checks: ReformatSettings | None = None,
    cut: bool = False,
) -> tuple[str | None, str | None]:
    r"""Return a rewritten solution, and why it is none.

    Parameters
    ----------
    text : str or None
        What the model wrote.
    answer : str or None
        What its box must hold.
    before : str
        The given solution.
    checks : ReformatSettings, optional
    cut : bool
        Whether the text ran into the length limit.

    Examples
    --------
    >>> read_reformatted("Add 2 and 2.\nThat gives \\boxed{4}.", "4", "#### 4")
    ('Add 2 and 2.\nThat gives \\boxed{4}.', None)
    >>> read_reformatted("Add 2 and 2.\nThat gives \\boxed{5}.", "4", "#### 4")
    (None, 'other_answer')
    """
    checks = checks or ReformatSettings()
    if text is None or not text.strip():
        return None, "missing"
    if cut:
        return None, "truncated"
    found = extract(text, "boxed")
    if found is None:
        return None, "no_box"
    if not equivalent(found, answer, checks.equivalence):
        return None, "other_answer"
    new = text.strip()
    if " ".join(new.split()) == " ".join(before.split()):
        return None, "copied"
    if len(new) < checks.min_growth * len(before.strip()):
        return None, "too_short"
    if len(_lines(new)) < checks.min_steps:
        return None, "too_few_steps"
    return new, None


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _asked(
    names: list[str],
    prompts: list[Any],
    texts: list[Any],
    faults: list[Any],
    template: PromptTemplate,
    chat: bool,
) -> pa.Table:
    ids, filled = [], []
    for name, prompt, text, fault in zip(names, prompts, texts, faults, strict=True):
        if prompt is None:
            raise InputError(f"the prompt of prompt_id '{name}' is null")
        if fault is None:
            fields = {"prompt": prompt_text(prompt).strip(), "response": text.strip()}
            ids.append(name)
            filled.append(template.messages(fields) if chat else template.text(fields))
    kind = MESSAGES if chat else pa.string()
    return pa.table({"prompt_id": pa.array(ids, pa.string()), "prompt": pa.array(filled, kind)})


def _examples(rows: list[dict[str, Any]], prompt: pa.DataType) -> pa.Table:
    text = pa.string()
    return pa.table(
        {
            "prompt_id": pa.array([row["prompt_id"] for row in rows], text),
            "prompt": pa.array([row["prompt"] for row in rows], prompt),
            "response": pa.array([row["response"] for row in rows], text),
            "weight": pa.array([1.0] * len(rows), pa.float64()),
            "rule": pa.array(["reformat"] * len(rows), text),
            "model": pa.array([row["model"] for row in rows], text),
        }
    )


_LEDGER = pa.schema(
    {
        "prompt_id": pa.string(),
        "sample": pa.int32(),
        "kept": pa.bool_(),
        "reason": pa.string(),
        "answer": pa.string(),
        "characters_before": pa.int64(),
        "characters_after": pa.int64(),
        "steps": pa.int32(),
        "template": pa.string(),
    }
)
