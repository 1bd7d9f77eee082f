"""New questions from seeds: few-shot prompts, a model, and filters that account for each text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.ledger import KEPT, count_reasons, with_dropped
from statllm.sampling.prompts._sampled import sampled
from statllm.sampling.prompts.examples import few_shot_prompts, seed_texts
from statllm.sampling.prompts.filters import FILTERS, QuestionFilters, filter_questions
from statllm.sampling.prompts.questions import read_questions
from statllm.sampling.prompts.templates import PromptTemplate, load_template
from statllm.sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from statllm.sampling.prompts._sampled import Model


@dataclass(frozen=True)
class Variant:
    """A published way to generate questions.

    Attributes
    ----------
    template : str
        Its number of examples is the paper's.
    filters : QuestionFilters
    temperature, top_p : float
    """

    template: str
    filters: QuestionFilters
    temperature: float
    top_p: float

    def settings(self, **others: Any) -> SamplingSettings:
        """Return the paper's sampling settings, one sample per prompt, with `others` instead."""
        own = {"n": 1, "temperature": self.temperature, "top_p": self.top_p}
        return SamplingSettings(**{**own, **others})


#: "self-rip": seeds are the prompts that RIP kept. "self-instruct": the baseline of the same
#: paper, whose seeds aren't filtered, with all heuristics of Self-Instruct. "scpo": seeds are
#: training problems without their answers. "scpo-zebra": the same for ZebraLogic, where each prompt
#: shows one puzzle, to be asked anew in other words.
VARIANTS = {
    "self-rip": Variant("self_rip", FILTERS["self-rip"], 0.8, 0.95),
    "self-instruct": Variant("self_rip", FILTERS["self-instruct"], 0.8, 0.95),
    "scpo": Variant("scpo_problem", FILTERS["scpo"], 0.7, 0.9),
    "scpo-zebra": Variant("scpo_zebra_puzzle", FILTERS["scpo"], 0.7, 0.9),
}


@dataclass(frozen=True, eq=False)
class GeneratedQuestions:
    """Generated questions and what became of each text.

    Attributes
    ----------
    questions : pyarrow.Table
        prompt_id (the question_id of the ledger), prompt, example_ids, template, model.
    ledger : pyarrow.Table
        As of `filter_questions`: every generation is in it at least once.
    n_generations : int
        Texts that the model wrote.
    """

    questions: pa.Table
    ledger: pa.Table
    n_generations: int

    def counts(self) -> dict[str, int]:
        """Return rows of the ledger by reason, "kept" first, then by falling count; they add up."""
        return count_reasons(self.ledger["reason"])

    def summary(self) -> str:
        """Return one line."""
        counts = self.counts()
        return with_dropped(
            f"{self.n_generations} generations, {self.ledger.num_rows} rows, {counts[KEPT]} kept",
            counts,
        )


def generate_questions(
    model: Model,
    seeds: pa.Table,
    count: int,
    variant: str = "self-rip",
    settings: SamplingSettings | None = None,
    *,
    template: PromptTemplate | None = None,
    examples: int | None = None,
    filters: QuestionFilters | None = None,
    against: Iterable[tuple[str, str]] = (),
    chat: bool = True,
    out: str | Path | None = None,
    progress: bool = True,
) -> GeneratedQuestions:
    """Ask a model for questions like the seeds, and keep those that pass the filters.

    The result is the same whatever the batches and shards were, and for any order of the seeds.

    Parameters
    ----------
    model : path, hub name, or (model, tokenizer)
    seeds : pyarrow.Table
        prompt_id and prompt.
    count : int
        Number of few-shot prompts; each is sampled `settings.n` times.
    variant : {"self-rip", "self-instruct", "scpo", "scpo-zebra"}
        Template, filters and sampling by default.
    settings : SamplingSettings, optional
        Its seed draws the examples, too.
    template, examples, filters
        In place of the variant's.
    against : iterable of (str, str)
        Identifiers and texts that a question must differ from, besides the seeds and the questions
        that were kept before it.
    chat : bool
        Send messages; False sends one text, for models that complete text.
    out : path, optional
        Parquet file of the generations. A killed run goes on from there.
    progress : bool

    Raises
    ------
    InputError
        If there is no such variant, or as `few_shot_prompts` and `statllm.sampling.sample` do.

    Examples
    --------
    >>> from statllm.lab import model_path, problems
    >>> made = generate_questions(
    ...     model_path(), problems("train", 4), 3, "scpo",
    ...     SamplingSettings(n=2, max_new_tokens=40), template=load_template("completion"),
    ...     examples=1, chat=False,
    ... )
    >>> made.n_generations, sum(made.counts().values()) == made.ledger.num_rows
    (6, True)
    """
    if variant not in VARIANTS:
        raise InputError(f"variant must be one of {', '.join(VARIANTS)}, not '{variant}'")
    chosen = VARIANTS[variant]
    template = load_template(chosen.template) if template is None else template
    settings = chosen.settings() if settings is None else settings
    prompts = few_shot_prompts(seeds, count, template, examples, settings.seed, chat)
    samples = sampled(model, prompts, settings, None if out is None else Path(out), progress)
    pool = [*zip(*seed_texts(seeds), strict=True), *against]
    ledger = filter_questions(
        read_questions(template, samples), chosen.filters if filters is None else filters, pool
    )
    n_generations = int(pc.sum(pc.list_value_length(samples["response"])).as_py())
    return GeneratedQuestions(_kept(ledger, samples), ledger, n_generations)


def _kept(ledger: pa.Table, samples: pa.Table) -> pa.Table:
    """The kept questions as a prompt table."""
    kept = ledger.filter(ledger["kept"])
    at = pc.index_in(kept["prompt_id"], samples["prompt_id"].combine_chunks())
    return pa.table(
        {
            "prompt_id": kept["question_id"],
            "prompt": kept["question"],
            "example_ids": samples["example_ids"].take(at),
            "template": samples["template"].take(at),
            "model": samples["model"].take(at),
        }
    )
