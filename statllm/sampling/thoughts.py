"""Thought prompts in a run: asked with, cut at the marker, scored and rewarded without (TPO)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from statllm.generations import Generations
from statllm.sampling.prompts.templates import PromptTemplate, load_template
from statllm.sampling.prompts.thoughts import thought_prompts, with_thoughts
from statllm.scoring._columns import as_lists, flat_values, lengths_of
from statllm.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from statllm.sampling.settings import SamplingSettings

_CUT = ("response", "thought", "final_response", "thought_failure")


class ThoughtSettings(BaseModel):
    """How a model is asked to think before it responds; a template's name alone will do.

    Examples
    --------
    >>> ThoughtSettings.model_validate("tpo_specific").retries
    4
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field(
        description="Name of a template for thoughts that comes with statllm, or a YAML file."
    )
    strict: bool = Field(
        True, description="A text with a marker after that of the response can't be cut."
    )
    retries: int = Field(
        4,
        ge=0,
        description="In the evaluation, how often a text that can't be cut is sampled again, as "
        "in the paper; one that still can't is wrong.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"template": given} if isinstance(given, str) else given

    def load(self) -> PromptTemplate:
        """Return the template.

        Raises
        ------
        InputError
            If there's none, or it isn't for thoughts.
        """
        return load_template(self.template, "thoughts")

    def decides(self) -> dict[str, Any]:
        """Return what decides an outcome: the template's text, not where it is."""
        return {"digest": self.load().digest, "strict": self.strict, "retries": self.retries}


def score_shown(
    samples: Generations, thoughts: ThoughtSettings, scoring: ScoringSettings
) -> Generations:
    """Cut each text at the marker, and score the original prompt and the response part.

    Parameters
    ----------
    samples : Generations
        Of prompts that `thought_prompts` has made.

    Returns
    -------
    Generations
        ``prompt`` and ``response`` as they were (that is what is trained on), ``thought``,
        ``final_response``, ``thought_failure``, and what `statllm.scoring.score` adds. A text that
        can't be cut has no answer.

    Examples
    --------
    >>> said = Generations(pa.table({
    ...     "prompt_id": ["a"], "prompt": ["Think. 2 + 2?"], "original_prompt": ["2 + 2?"],
    ...     "reference": ["4"], "response": [["5? No. <R> 4", "4"]],
    ... }))
    >>> scored = score_shown(said, ThoughtSettings(template="tpo_specific"), ScoringSettings())
    >>> scored.column("answer").to_pylist(), scored.column("correct").to_pylist()
    ([['4', None]], [[True, False]])
    """
    cut = samples
    if "final_response" not in samples:
        cut = Generations(with_thoughts(samples.table, thoughts.load(), thoughts.strict))
    return _score_cut(cut, scoring)


def _score_cut(cut: Generations, scoring: ScoringSettings) -> Generations:
    from statllm.scoring import score

    whole = {name: cut.column(name) for name in ("prompt", "response")}
    return score(shown(cut), scoring).with_columns(whole)


def shown(cut: Generations) -> Generations:
    """Return the table as a judge sees it: the original prompt, and the response part or null."""
    return cut.with_columns(
        {"prompt": cut.column("original_prompt"), "response": cut.column("final_response")}
    )


def rate_shown(cut: Generations, rate: Callable[[Generations], Generations]) -> Generations:
    """Let `rate` see original prompts and response parts; what can't be cut isn't shown to it.

    Parameters
    ----------
    cut : Generations
        As `score_shown` returns it.
    rate : callable
        Adds list columns to a table of ``prompt_id``, ``prompt``, ``response`` and, where they are
        there, ``reference`` and ``correct``.

    Returns
    -------
    Generations
        `cut` with these columns; null for the texts that weren't shown.
    """
    table = shown(cut)
    texts = flat_values(table.column("response"))
    present = texts.is_valid().to_numpy(zero_copy_only=False)
    lengths = lengths_of(table.column("response"))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    fewer = np.bincount(rows[present], minlength=len(lengths))
    seen: dict[str, Any] = {
        name: table.column(name) for name in ("prompt_id", "prompt", "reference") if name in table
    }
    for name in ("response", "correct"):
        if name in table:
            seen[name] = as_lists(flat_values(table.column(name)).filter(pa.array(present)), fewer)
    rated = rate(Generations(pa.table(seen)))
    places = pa.array(np.cumsum(present) - 1, mask=~present)
    added = {
        name: as_lists(flat_values(rated.column(name)).take(places), lengths)
        for name in rated.column_names
        if name not in seen
    }
    return cut.with_columns(added)


def sample_shown(
    model: str | Path,
    problems: pa.Table,
    settings: SamplingSettings,
    again: SamplingSettings,
    thoughts: ThoughtSettings,
    out: Path,
) -> Generations:
    """Sample with the thought prompt; what can't be cut is sampled again.

    Parameters
    ----------
    model : str or Path
    problems : pyarrow.Table
        ``prompt_id`` and ``prompt``, without thought prompts.
    settings, again : SamplingSettings
        At first, and of further tries, whose number and seeds are replaced: greedy decoding would
        say the same again.
    thoughts : ThoughtSettings
    out : Path
        Parquet file, beside which those of further tries are written.

    Returns
    -------
    Generations
        The problems as asked, with ``response``, ``thought``, ``final_response``,
        ``thought_failure``, and ``first_failures``, per prompt how many texts of the first try
        couldn't be cut.
    """
    from statllm.sampling.sampler import sample

    template = thoughts.load()
    asked = thought_prompts(problems, template)
    drawn = sample(model, asked, settings, out=out)
    cut = Generations(with_thoughts(drawn, template, thoughts.strict))
    texts = {name: cut.column(name).to_pylist() for name in _CUT}
    first = _failures(texts)
    for number in range(1, thoughts.retries + 1):
        missing = _failures(texts)
        if not missing.any():
            break
        changes = {"n": int(missing.max()), "seed": _seed(settings.seed, number)}
        more = sample(
            model,
            asked.take(pa.array(np.flatnonzero(missing))),
            again.model_copy(update=changes),
            out=out.with_name(f"{out.stem}_{number}.parquet"),
        )
        _replace(texts, np.flatnonzero(missing), with_thoughts(more, template, thoughts.strict))
    lists = {name: pa.array(rows, pa.list_(pa.string())) for name, rows in texts.items()}
    return Generations(asked).with_columns({**lists, "first_failures": pa.array(first, pa.int32())})


def thought_tokens(model: str | Path, cut: Generations) -> pa.Array:
    """Mean number of tokens of each prompt's thoughts; null where no text could be cut.

    Special tokens and the marker aren't counted.
    """
    from statllm.models import load_tokenizer

    tokenizer = load_tokenizer(model)
    means = []
    for row in cut.column("thought").to_pylist():
        counts = [
            len(tokenizer(text, add_special_tokens=False)["input_ids"])
            for text in row
            if text is not None
        ]
        means.append(sum(counts) / len(counts) if counts else None)
    return pa.array(means, pa.float64())


def _failures(texts: dict[str, list[list[str | None]]]) -> np.ndarray:
    """Texts of each prompt that couldn't be cut."""
    return np.array(
        [sum(reason is not None for reason in row) for row in texts["thought_failure"]], np.int64
    )


def _replace(texts: dict[str, list[list[str | None]]], rows: np.ndarray, more: pa.Table) -> None:
    """Put texts that could be cut, in their order, where those are that couldn't; in place."""
    fresh = {name: more[name].to_pylist() for name in _CUT}
    for at, row in enumerate(rows):
        good = [j for j, reason in enumerate(fresh["thought_failure"][at]) if reason is None]
        bad = [j for j, why in enumerate(texts["thought_failure"][row]) if why is not None]
        for old, new in zip(bad, good, strict=False):
            for name in _CUT:
                texts[name][row][old] = fresh[name][at][new]


def _seed(seed: int, number: int) -> int:
    digest = hashlib.blake2b(f"{seed}/again/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
