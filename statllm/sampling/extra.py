"""Extra samples, hotter than those that vote: they widen what can be rejected (ScPO)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from statllm.errors import InputError
from statllm.generations import SAMPLE_COLUMNS, Generations
from statllm.sampling.settings import SamplingSettings

#: What holds for the draw of all samples of a prompt; that of the extra ones gets a prefix.
_OF_A_DRAW = ("seed", "temperature", "top_p")


class ExtraSampling(BaseModel):
    """A second draw that differs from the first in these settings.

    Examples
    --------
    >>> hot = ExtraSampling(n=8, temperature=1.2)
    >>> hot.applied(SamplingSettings(n=8, temperature=0.7, top_p=0.9), seed=1).top_p
    0.9
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(8, ge=1, description="Samples per prompt.")
    temperature: float = Field(1.2, ge=0, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, description="None: as the samples that vote.")

    def applied(self, sampling: SamplingSettings, seed: int) -> SamplingSettings:
        """Return the settings of the draw: as `sampling`, without its stopping rule."""
        own = self.model_dump(exclude_none=True)
        return sampling.model_copy(update={**own, "seed": seed, "stop": None})


def with_extra(votes: pa.Table, extra: pa.Table) -> pa.Table:
    """Put each prompt's extra samples behind those that vote.

    Parameters
    ----------
    votes, extra : pyarrow.Table
        Of `statllm.sampling.sample`, with the same prompts in the same order.

    Returns
    -------
    pyarrow.Table
        `votes` with longer lists, and ``pool``, a list of "vote" and "extra", which
        `statllm.scoring` and the rule `scpo` go by; ``extra_seed``, ``extra_temperature`` and
        ``extra_top_p`` say how the second draw was made.

    Raises
    ------
    InputError
        If the prompts aren't the same, or ``pool`` is there already.

    Examples
    --------
    >>> one = pa.table({"prompt_id": ["a"], "prompt": ["2 + 2?"], "response": [["4", "4"]]})
    >>> two = one.set_column(2, "response", pa.array([["22"]]))
    >>> both = with_extra(one, two)
    >>> both["response"].to_pylist(), both["pool"].to_pylist()
    ([['4', '4', '22']], [['vote', 'vote', 'extra']])
    """
    first, second = Generations(votes), Generations(extra)
    if not votes["prompt_id"].combine_chunks().equals(extra["prompt_id"].combine_chunks()):
        raise InputError("the extra samples are of other prompts than those that vote")
    if "pool" in first or "pool" in second:
        raise InputError("column 'pool' is already there: the samples have extra ones among them")
    counts = first.n_samples, second.n_samples
    columns: dict[str, Any] = {
        name: _joined(first.column(name), second.column(name))
        for name in votes.column_names
        if name in SAMPLE_COLUMNS and name in second
    }
    if "n_near_ties" in first and "n_near_ties" in second:
        ties = (table.column("n_near_ties").to_numpy() for table in (first, second))
        columns["n_near_ties"] = pa.array(sum(ties), first.column("n_near_ties").type)
    words = [["vote"] * n + ["extra"] * m for n, m in zip(*counts, strict=True)]
    columns["pool"] = pa.array(words, pa.list_(pa.string()))
    columns |= {f"extra_{name}": second.column(name) for name in _OF_A_DRAW if name in second}
    return first.with_columns(columns).table


def _joined(one: pa.ChunkedArray, two: pa.ChunkedArray) -> pa.Array:
    """Each row's list, and behind it the other column's."""
    lists = [[*a, *b] for a, b in zip(one.to_pylist(), two.to_pylist(), strict=True)]
    return pa.array(lists, one.type)
