"""Whether an answer is right, given the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring._columns import as_lists, flat_values, lengths_of
from statllm.scoring.answers import extract_reference
from statllm.scoring.canonical import canonical, canonical_column
from statllm.scoring.equivalence import Equivalence, check_method, equivalent

if TYPE_CHECKING:
    import pyarrow as pa


def canonical_references(generations: Generations, *, units: bool = False) -> pa.Array:
    r"""Return the canonical gold answer of each prompt; null where it is unknown or empty.

    A reference that is a solution with a marked answer (``#### 72``, ``\boxed{72}``) counts as
    that answer.
    """
    import pyarrow as pa

    texts = generations.column("reference").to_pylist()
    known: dict[str | None, str | None] = {
        text: canonical(extract_reference(text), units=units) for text in set(texts)
    }
    return pa.array([known[text] for text in texts], pa.string())


def verify(
    generations: Generations, method: Equivalence = "canonical", *, units: bool = False
) -> pa.Array:
    """Compare every answer with its prompt's reference.

    Parameters
    ----------
    generations : Generations
        With ``answer`` and ``reference``.
    method : {"exact", "canonical", "math-verify"}
        What "equal" means, see `statllm.scoring.equivalent`.
    units : bool
        Keep words after a number, see `statllm.scoring.canonical`.

    Returns
    -------
    pyarrow.ListArray of bool
        A sample without an answer is wrong: leaving it out would reward a model for answers
        that can't be read. Where the reference is unknown the verdict is null.

    Raises
    ------
    InputError
        If a column is missing, or math-verify is asked for and not installed.

    Examples
    --------
    >>> import pyarrow as pa
    >>> g = Generations(pa.table({
    ...     "prompt_id": ["a", "b"], "reference": ["#### 1,000", None],
    ...     "answer": [["1000.0", None, "10"], ["3"]],
    ... }))
    >>> verify(g).to_pylist()
    [[True, False, False], [None]]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    check_method(method)
    for name in ("answer", "reference"):
        if name not in generations:
            raise InputError(
                f"answers are verified against a reference; column '{name}' is missing"
            )
    lengths = lengths_of(generations.column("answer"))
    rows = pa.array(np.repeat(np.arange(generations.n_prompts), lengths))
    if method == "exact":
        answers = flat_values(generations.column("answer"))
        references = generations.column("reference").combine_chunks()
    else:
        answers = flat_values(canonical_column(generations.column("answer"), units=units))
        references = canonical_references(generations, units=units)
    references = references.take(rows)
    equal = pc.fill_null(pc.equal(answers, references), False)
    if method == "math-verify":
        equal = pc.or_(equal, _equivalent(answers, references, equal, method))
    return as_lists(pc.if_else(pc.is_valid(references), equal, None), lengths)


def _equivalent(
    answers: pa.Array, references: pa.Array, equal: pa.Array, method: Equivalence
) -> pa.Array:
    """Ask about each distinct pair that isn't equal as text."""
    import pyarrow as pa

    known: dict[tuple[str | None, str | None, bool], bool] = {}
    pairs = list(zip(answers.to_pylist(), references.to_pylist(), equal.to_pylist(), strict=True))
    for answer, reference, same in pairs:
        key = answer, reference, same
        if key not in known:
            known[key] = same or equivalent(answer, reference, method)
    return pa.array([known[pair] for pair in pairs], pa.bool_())
