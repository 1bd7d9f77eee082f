"""Solutions as they were given, as examples of the first stage."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from statllm._validate import as_text
from statllm.distill.reformat import Reformatted, known_answer
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.ledger import KEPT
from statllm.scoring.equivalence import Equivalence


def given_solutions(solutions: pa.Table, equivalence: Equivalence = "canonical") -> Reformatted:
    """Take solutions as examples for SFT where they don't disagree with the reference.

    The first stage without a writer: short solutions teach the form as well, if they have one.

    Parameters
    ----------
    solutions : pyarrow.Table
        ``prompt_id``, ``prompt``, ``solution``, and ``reference`` where known.
    equivalence : str
        When two answers are equal.

    Returns
    -------
    Reformatted
        The ledger's reasons are "kept", "no_solution", "no_answer" and "solution_disagrees".

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> made = given_solutions(pa.table({
    ...     "prompt_id": ["a", "b"], "prompt": ["2 + 2?", "3 + 3?"],
    ...     "solution": ["2 + 2 = 4. #### 4", "#### 7"], "reference": ["4", "6"],
    ... }))
    >>> made.examples["response"].to_pylist(), made.counts()
    (['2 + 2 = 4. #### 4'], {'kept': 1, 'solution_disagrees': 1})
    """
    given = Generations(solutions)
    for name in ("prompt", "solution"):
        if name not in given:
            raise InputError(f"there is no column '{name}': the first stage reads solutions")
    solution = as_text("solution", given.column("solution"))
    texts: list[Any] = solution.to_pylist()
    references: list[Any] = [None] * len(texts)
    if "reference" in given:
        references = given.column("reference").to_pylist()
    found = [known_answer(*both, equivalence) for both in zip(texts, references, strict=True)]
    reasons = [fault or KEPT for _, fault in found]
    kept = pa.array([reason == KEPT for reason in reasons])
    ledger = pa.table(
        {
            "prompt_id": pa.array(given.prompt_ids, pa.string()),
            "kept": kept,
            "reason": pa.array(reasons, pa.string()),
            "answer": pa.array([answer for answer, _ in found], pa.string()),
        }
    )
    examples = given.with_columns({"solution": solution}).table.filter(kept)
    examples = examples.select(["prompt_id", "prompt", "solution"])
    examples = examples.rename_columns(["prompt_id", "prompt", "response"])
    rule = pa.array(["given"] * examples.num_rows, pa.string())
    return Reformatted(examples.append_column("rule", rule), ledger, len(texts))
