"""Rows of token ids, and the log-probabilities of their responses under a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from statllm.errors import InputError
from statllm.training.attention import can_share, use_packed_attention
from statllm.training.logprobs import disable_dropout, padded_logps
from statllm.training.packed_logprobs import sequence_logps
from statllm.training.packing import Row, assign, pack, row_length
from statllm.training.settings import Layout


class Sequences:
    """A prompt with its responses in each row, and how many rows go through a model together.

    Parameters
    ----------
    table : pa.Table
        ``prompt_ids`` and the `responses`, lists of token ids.
    responses : sequence of str
        Columns of the responses.
    layout : {"shared", "packed", "padded"}
        "shared" computes a prompt once for all of its responses, "packed" once for each, both
        without padding; "padded" is transformers' usual way.
    token_budget : int
        Positions, padding included, that go through the model together; a row that is longer
        goes alone.
    """

    def __init__(
        self, table: pa.Table, responses: Sequence[str], layout: Layout, token_budget: int
    ) -> None:
        prompts = table["prompt_ids"].to_pylist()
        columns = [table[name].to_pylist() for name in responses]
        self.rows = [
            Row(np.asarray(prompt, np.int32), tuple(np.asarray(ids, np.int32) for ids in each))
            for prompt, *each in zip(prompts, *columns, strict=True)
        ]
        self.layout, self.budget = layout, token_budget
        self.response_tokens = torch.tensor(
            [[len(ids) for ids in row.responses] for row in self.rows]
        )
        self._lengths = np.array([self._length(row) for row in self.rows], dtype=np.int64)

    def _length(self, row: Row) -> int:
        return row_length(len(row.prompt), [len(ids) for ids in row.responses], self.layout)

    def bins(self, rows: Sequence[int]) -> list[list[int]]:
        """Divide rows into parts within the budget; in a part they keep their order."""
        lengths = self._lengths[list(rows)]
        if self.layout == "padded":
            return padded_bins(rows, lengths.tolist(), self.budget)
        parts = assign(lengths, self.budget)
        return [[rows[place] for place in sorted(part)] for part in parts]

    def tokens(self, rows: Sequence[int]) -> int:
        """Return the positions that the model computes, without padding."""
        return int(self._lengths[list(rows)].sum())


def padded_bins(rows: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Divide rows of these padded lengths into parts whose padding fits into the budget.

    Examples
    --------
    >>> padded_bins([7, 8, 9], [10, 40, 30], 80)
    [[8, 9], [7]]
    """
    found: list[list[int]] = []
    longest = 0
    for place in sorted(range(len(rows)), key=lambda place: -lengths[place]):
        if not found or longest * (len(found[-1]) + 1) > budget:
            found.append([])
            longest = lengths[place]
        found[-1].append(rows[place])
    return found


class SequenceLogps(torch.nn.Module):
    """Log-probabilities of all responses of some rows, (n_rows, n_responses), in nats.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    sequences : Sequences
    """

    def __init__(self, model: Any, sequences: Sequences) -> None:
        super().__init__()
        self.model = model.get_base_model() if hasattr(model, "peft_config") else model
        self.sequences = sequences
        disable_dropout(self.model)
        if sequences.layout != "padded":
            use_packed_attention(self.model)

    def forward(self, rows: Sequence[int]) -> Tensor:
        """Compute them, in float32."""
        chosen = [self.sequences.rows[row] for row in rows]
        device = next(self.model.parameters()).device
        if self.sequences.layout == "padded":
            return padded_logps(self.model, chosen, device)
        packed = pack(chosen, share=self.sequences.layout == "shared").to(device)
        return sequence_logps(self.model, packed).view(len(rows), -1)


def choose_layout(wanted: Layout | Literal["auto"], config: Any) -> Layout:
    """Return the layout for a model; "auto" is "shared" where the model's attention can be.

    Raises
    ------
    InputError
        If a model can't be computed in the layout that is asked for.
    """
    reason = can_share(config)
    if wanted == "auto":
        return "shared" if reason is None else "padded"
    if wanted != "padded" and reason is not None:
        raise InputError(f"layout {wanted}: {reason}; use padded")
    return wanted
