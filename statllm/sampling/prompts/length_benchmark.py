"""Benchmarks with limits on words: AlpacaEval-LI and MT-Bench-LI of any prompts (LIFT)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.prompts.length import length_prompts, shortest_texts
from statllm.sampling.prompts.templates import PromptTemplate
from statllm.scoring.words import count_words

#: What the benchmark adds to the columns of `length_prompts`.
BENCHMARK_COLUMNS = ("question_id", "baseline", "baseline_words")


def length_benchmark(
    prompts: pa.Table,
    answers: Any,
    template: PromptTemplate,
    scales: Sequence[float] = (1.0,),
    *,
    seed: int = 0,
) -> pa.Table:
    """Ask prompts within the words of the shortest of several answers to them.

    ``limit = min_m words(answer_m)`` over the answers m of other models to the plain prompt, and
    that answer is the baseline to win against: it keeps the limit (Yuan et al. 2024, arXiv
    2406.17744, section 3). AlpacaEval-LI has one limit per prompt, of three models' answers;
    MT-Bench-LI has three, as the models answered three times, and first turns alone.

    Parameters
    ----------
    prompts : pyarrow.Table
        prompt_id and prompt. The paper left out prompts that ask for a length themselves.
    answers : pyarrow column or nested sequences
        Per prompt, a list of answers; or a list of such lists, each of which gives a limit.
    template : PromptTemplate
        For length.
    scales : sequence of float
        As in `length_prompts`. A baseline may break the limit of a scale below 1.
    seed : int
        Draws, with the prompt's id, among answers that are equally short.

    Returns
    -------
    pyarrow.Table
        That of `length_prompts`, with question_id (the prompt's id as given: limits of one question
        are a cluster), baseline and baseline_words. Of several limits, prompt_id ends with
        ``#number``.

    Raises
    ------
    InputError
        If there isn't one row of answers per prompt, a row has no answers, or the shortest one has
        no words; the row is named.

    Examples
    --------
    >>> from statllm.sampling.prompts import load_template
    >>> plain = pa.table({"prompt_id": ["a"], "prompt": ["Why?"]})
    >>> answers = [[["It just is.", "Because."], ["Who knows?", "Nobody can say."]]]
    >>> asked = length_benchmark(plain, answers, load_template("lift_words"))
    >>> asked.select(["prompt_id", "max_words", "baseline"]).to_pylist()
    [{'prompt_id': 'a#1', 'max_words': 1, 'baseline': 'Because.'},
     {'prompt_id': 'a#2', 'max_words': 2, 'baseline': 'Who knows?'}]
    """
    given = Generations(prompts)
    for name in BENCHMARK_COLUMNS:
        if name in given:
            raise InputError(f"column '{name}' is already there: the limits were set before")
    rows = answers.to_pylist() if hasattr(answers, "to_pylist") else list(answers)
    if len(rows) != given.n_prompts:
        raise InputError(f"answers are {len(rows)} rows, for {given.n_prompts} prompts")
    places: list[int] = []
    names: list[str] = []
    baselines: list[str] = []
    for row, (name, texts) in enumerate(zip(given.prompt_ids, rows, strict=True)):
        draws = texts if _is_nested(texts) else [texts]
        several = len(draws) > 1
        for number, draw in enumerate(draws, start=1):
            places.append(row)
            names.append(f"{name}#{number}" if several else name)
            # One of the shortest; never by its place, which would favour a model.
            fewest = shortest_texts(draw, row)
            baselines.append(random.Random(f"{seed}/{names[-1]}").choice(fewest))
    words = [count_words(text) for text in baselines]
    table = given.table.take(pa.array(places, pa.int64()))
    table = Generations(
        table.set_column(table.column_names.index("prompt_id"), "prompt_id", pa.array(names))
    ).with_columns(
        {
            "question_id": pa.array([given.prompt_ids[place] for place in places], pa.string()),
            "baseline": pa.array(baselines, pa.string()),
            "baseline_words": pa.array(words, pa.int64()),
        }
    )
    return length_prompts(table.table, words, template, scales)


def _is_nested(texts: Any) -> bool:
    return isinstance(texts, list) and bool(texts) and all(isinstance(d, list) for d in texts)
