"""Pairs whose worse response is known: a good response to another request than the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ledger import KEPT, count_reasons, with_dropped
from statllm.pairs import PAIR_COLUMNS
from statllm.sampling.prompts._sampled import sampled
from statllm.sampling.prompts.examples import MESSAGES
from statllm.sampling.prompts.templates import PromptTemplate, load_template
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.judges.responses import prompt_text

if TYPE_CHECKING:
    from statllm.sampling.prompts._sampled import Model

#: Why there is no pair.
CONTRAST_FAILURES = {
    "no_response": "no response to the prompt is there that ended by itself and isn't blank",
    "missing": "the text is null",
    "truncated": "the longest allowed response ended before the text did",
    "no_marker": "a marker is missing, or they come in another order",
    "repeated_marker": "a marker occurs twice",
    "empty_request": "the other request is empty",
    "empty_response": "the response to it is empty",
    "same_request": "the other request is the prompt again",
    "same_response": "the response to it is the good one again",
}


@dataclass(frozen=True, eq=False)
class Contrasts:
    """Pairs, and what became of every prompt and text.

    Attributes
    ----------
    pairs : pyarrow.Table
        A preference table: chosen is the response to the prompt, rejected the one to the other
        request.
    ledger : pyarrow.Table
        A row per prompt without a good response, and per sample of every other: prompt_id, sample,
        pair_id, kept, reason ("kept" or a key of `CONTRAST_FAILURES`), other_request, template.
    n_prompts : int
    """

    pairs: pa.Table
    ledger: pa.Table
    n_prompts: int

    def counts(self) -> dict[str, int]:
        """Return rows of the ledger by reason, "kept" first, then by falling count; they add up."""
        return count_reasons(self.ledger["reason"])

    def summary(self) -> str:
        """Return one line."""
        counts = self.counts()
        return with_dropped(
            f"{self.n_prompts} prompts, {self.ledger.num_rows} rows, {counts[KEPT]} pairs", counts
        )


def contrast(
    model: Model,
    generations: pa.Table,
    settings: SamplingSettings | None = None,
    *,
    template: PromptTemplate | None = None,
    chat: bool = True,
    out: str | Path | None = None,
    progress: bool = True,
) -> Contrasts:
    """Make a worse response to each prompt: a good one to a noisy version of it.

    So the Self-Taught Evaluator gets pairs without labels (Wang et al. 2024, arXiv 2408.02666):
    the model writes another request that is much like the prompt, and responds to that. Which
    response is better is known by construction; `statllm.scoring.judges.self_taught` makes
    training data for a judge of such pairs.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
    generations : pyarrow.Table
        prompt_id, prompt, and response, of which the first that isn't blank, and didn't run into
        the length limit (finish_reason), is the good one.
    settings : SamplingSettings, optional
        `n` other requests are asked for per prompt (by default 1).
    template : PromptTemplate, optional
        For contrast; self_taught_contrast by default.
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
    >>> from statllm.lab import model_path
    >>> given = pa.table({"prompt_id": ["a"], "prompt": ["What is 2 + 2?"], "response": [["4"]]})
    >>> short = PromptTemplate(
    ...     "short", 1, "contrast", "", "{prompt} {response} Q:",
    ...     delimiters={"request": "Q:", "response": "A:"},
    ... )
    >>> made = contrast(
    ...     model_path(), given, SamplingSettings(n=2, max_new_tokens=8), template=short, chat=False
    ... )
    >>> sum(made.counts().values()) == made.ledger.num_rows == 2
    True
    """
    template = load_template("self_taught_contrast") if template is None else template
    settings = SamplingSettings(n=1) if settings is None else settings
    if template.task != "contrast":
        raise InputError(f"template '{template.name}' is for {template.task}, not contrast")
    given = Generations(generations)
    good = _good_responses(given)
    asked = _asked(given, good, template, chat)
    path = None if out is None else Path(out)
    samples = sampled(model, asked, settings, path, progress).to_pylist()
    said = {row["prompt_id"]: row for row in samples}
    rows: list[dict[str, Any]] = []
    prompts = given.column("prompt").to_pylist()
    for name, prompt, response in zip(given.prompt_ids, prompts, good, strict=True):
        if response is None:
            rows.append({"prompt_id": name, "kept": False, "reason": "no_response"})
            continue
        ends = said[name].get("finish_reason") or [None] * len(said[name]["response"])
        for sample, (text, end) in enumerate(zip(said[name]["response"], ends, strict=True)):
            request, other, failure = read_contrast(template, text, end == "length")
            if failure is None and request == prompt_text(prompt).strip():
                failure = "same_request"
            if failure is None and other == response.strip():
                failure = "same_response"
            row = {"prompt_id": name, "prompt": prompt, "chosen": response, "rejected": other}
            row |= {"sample": sample, "pair_id": f"{name}#{sample}", "other_request": request}
            row |= {"kept": failure is None, "reason": failure or KEPT, "template": template.stamp}
            rows.append(row)
    by = samples[0].get("model") if samples else None
    shown = [{name: row.get(name) for name in _LEDGER.names} for row in rows]
    ledger = pa.Table.from_pylist(shown, _LEDGER)
    return Contrasts(_pairs(given, [row for row in rows if row["kept"]], by), ledger, len(good))


def read_contrast(
    template: PromptTemplate, text: str | None, cut: bool = False
) -> tuple[str | None, str | None, str | None]:
    r"""Return the other request, the response to it, and why there are none.

    Parameters
    ----------
    template : PromptTemplate
        The one that asked.
    text : str or None
    cut : bool
        Whether the text ran into the length limit.

    Examples
    --------
    >>> form = load_template("self_taught_contrast")
    >>> read_contrast(form, "Other request:\nWho?\nResponse to the other request:\nAda.")
    ('Who?', 'Ada.', None)
    >>> read_contrast(form, "Other request: Who?")
    (None, None, 'no_marker')
    """
    if text is None:
        return None, None, "missing"
    first, second = (template.delimiters[name] for name in ("request", "response"))
    if text.count(first) > 1 or text.count(second) > 1:
        return None, None, "repeated_marker"
    _, begun, rest = text.partition(first)
    request, then, response = (part.strip() for part in rest.partition(second))
    if cut:
        return None, None, "truncated"
    if not (begun and then):
        return None, None, "no_marker"
    if not request:
        return None, None, "empty_request"
    return (request, response, None) if response else (None, None, "empty_response")


def _good_responses(given: Generations) -> list[str | None]:
    """Of each prompt the first response that is whole and isn't blank."""
    responses = given.column("response").to_pylist()
    ends: list[Any] = [None] * len(responses)
    if "finish_reason" in given:
        ends = given.column("finish_reason").to_pylist()
    return [
        next(
            (
                text
                for text, end in zip(texts, reasons or [None] * len(texts), strict=True)
                if text and text.strip() and end != "length"
            ),
            None,
        )
        for texts, reasons in zip(responses, ends, strict=True)
    ]


def _asked(
    given: Generations, good: list[str | None], template: PromptTemplate, chat: bool
) -> pa.Table:
    names, prompts = [], []
    listed = given.column("prompt").to_pylist()
    for name, prompt, response in zip(given.prompt_ids, listed, good, strict=True):
        if prompt is None:
            raise InputError(f"the prompt of prompt_id '{name}' is null")
        if response is not None:
            fields = {"prompt": prompt_text(prompt).strip(), "response": response.strip()}
            names.append(name)
            prompts.append(template.messages(fields) if chat else template.text(fields))
    return pa.table(
        {
            "prompt_id": pa.array(names, pa.string()),
            "prompt": pa.array(prompts, MESSAGES if chat else pa.string()),
        }
    )


def _pairs(given: Generations, rows: list[dict[str, Any]], model: str | None) -> pa.Table:
    n = len(rows)
    columns = {
        name: pa.array([row[name] for row in rows], kind)
        for name, kind in (
            ("prompt_id", pa.string()),
            ("prompt", given.column("prompt").type),
            ("chosen", pa.string()),
            ("rejected", pa.string()),
            ("pair_id", pa.string()),
        )
    }
    columns["weight"] = pa.array([1.0] * n)
    columns["rule"] = pa.array(["contrast"] * n, pa.string())
    columns["model"] = pa.array([model] * n, pa.string())
    return pa.table({name: columns[name] for name in PAIR_COLUMNS if name in columns})


_LEDGER = pa.schema(
    {
        "prompt_id": pa.string(),
        "sample": pa.int32(),
        "pair_id": pa.string(),
        "kept": pa.bool_(),
        "reason": pa.string(),
        "other_request": pa.string(),
        "template": pa.string(),
    }
)
