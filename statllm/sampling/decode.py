"""The decode loop: one forward pass per token for all sequences that still run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from statllm.sampling.draw import Draw, draw
from statllm.sampling.random import uniforms

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

    from statllm.sampling.settings import SamplingSettings

#: Finished sequences are cut out of the cache once they are this share of its rows: cutting
#: copies the cache, keeping them wastes computation.
_CUT_AT = 1 / 8


@dataclass(frozen=True)
class Decoded:
    """What was sampled for one sequence."""

    token_ids: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    logprobs_model: npt.NDArray[np.float32]
    stopped: bool
    near_ties: int


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    owner: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    stop: Sequence[int],
    settings: SamplingSettings,
    on_token: Callable[[int, int], None] = lambda tokens, finished: None,
) -> list[Decoded]:
    """Sample one response per sequence.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model in evaluation mode.
    prompts : sequence of token-id lists
        Each is run once, however many sequences start from it.
    owner : array of int, shape (sequences,)
        Index of each sequence's prompt; every prompt has at least one.
    keys : array of uint64, shape (sequences,)
        From `stream_keys`; the only source of randomness.
    stop : sequence of int
        Tokens that end a response (and belong to it).
    settings : SamplingSettings
        `temperature`, `top_p`, `max_new_tokens` and `near_tie` are used.
    on_token : callable
        Called after every step with the numbers of new tokens and of newly finished sequences.

    Returns
    -------
    list of Decoded, one per sequence
    """
    last = settings.max_new_tokens - 1
    records = _Records(len(owner), settings.max_new_tokens, stop)
    batch = _Batch(model, prompts, owner, settings.max_new_tokens)
    for position in range(settings.max_new_tokens):
        rows, logits = batch.next_logits()
        sequences = batch.sequence[rows]
        u = torch.from_numpy(uniforms(keys[sequences], position)).to(model.device)
        drawn = _numpy(draw(logits, u, settings.temperature, settings.top_p, settings.near_tie))
        for i in np.flatnonzero(~drawn.certain):
            sequence = sequences[i]
            context = [*prompts[owner[sequence]], *records.tokens[sequence, :position].tolist()]
            alone = alone_logits(model, context)
            settled = draw(alone, u[i : i + 1], settings.temperature, settings.top_p, 0.0)
            drawn.replace(i, _numpy(settled))
        ended = records.add(sequences, position, drawn)
        finished = len(ended) if position == last else int(ended.sum())
        on_token(len(ended), finished)
        if finished == len(ended):
            break
        batch.advance(rows, drawn.token, ended)
    return records.to_list()


def alone_logits(model: PreTrainedModel, token_ids: Sequence[int]) -> Tensor:
    """Next-token logits of one sequence by itself: no padding, no cache; shape (1, vocabulary).

    This is what every decision refers to: it depends on nothing but the model and the tokens.
    """
    ids = torch.tensor([token_ids], device=model.device)
    out = model(input_ids=ids, use_cache=False, logits_to_keep=1)
    logits: Tensor = out.logits[:, -1]
    return logits


@dataclass(frozen=True)
class _Drawn:
    """A `Draw` in NumPy arrays."""

    token: npt.NDArray[np.int64]
    logprob: npt.NDArray[np.float64]
    logprob_model: npt.NDArray[np.float64]
    certain: npt.NDArray[np.bool_]

    def replace(self, row: int, other: _Drawn) -> None:
        """Take over the only token of `other`; it stays marked as uncertain."""
        self.token[row] = other.token[0]
        self.logprob[row] = other.logprob[0]
        self.logprob_model[row] = other.logprob_model[0]


def _numpy(drawn: Draw) -> _Drawn:
    return _Drawn(*(column.cpu().numpy() for column in drawn))


class _Batch:
    """The cache, the mask and the positions of the sequences that still run."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        owner: npt.NDArray[np.int64],
        max_new_tokens: int,
    ) -> None:
        self.model = model
        self.length = max(map(len, prompts))
        ids = torch.zeros(len(prompts), self.length, dtype=torch.long)
        mask = torch.ones(len(prompts), self.length + max_new_tokens, dtype=torch.long)
        for row, prompt in enumerate(prompts):  # padded on the left, so that all end at one place
            ids[row, self.length - len(prompt) :] = torch.tensor(prompt)
            mask[row, : self.length - len(prompt)] = 0
        positions = (mask[:, : self.length].cumsum(-1) - 1).clamp(min=0)
        self.mask = None if bool(mask.all()) else mask.to(model.device)
        self.position = positions.to(model.device)
        self.cache: Cache | None = None
        self._forward(ids.to(model.device))
        self.position = self.position[:, -1:]
        self._select(torch.from_numpy(owner).to(model.device))
        #: which sequence a row is, and whether it still runs
        self.sequence = np.arange(len(owner))
        self.running = np.ones(len(owner), dtype=np.bool_)

    def next_logits(self) -> tuple[npt.NDArray[np.int64], Tensor]:
        """Return the rows that still run and their next-token logits."""
        rows = np.flatnonzero(self.running)
        if len(rows) == len(self.running):
            return rows, self.logits
        return rows, self.logits[torch.from_numpy(rows).to(self.logits.device)]

    def advance(
        self,
        rows: npt.NDArray[np.int64],
        token: npt.NDArray[np.int64],
        ended: npt.NDArray[np.bool_],
    ) -> None:
        """Append a token to each of `rows`, retire those that ended, and run the model."""
        tokens = np.zeros(len(self.running), dtype=np.int64)
        tokens[rows] = token
        self.running[rows] = ~ended
        if np.count_nonzero(~self.running) >= _CUT_AT * len(self.running):
            left = np.flatnonzero(self.running)
            self._select(torch.from_numpy(left).to(self.model.device))
            tokens, self.sequence, self.running = (
                tokens[left],
                self.sequence[left],
                self.running[left],
            )
        self.length += 1
        self.position = self.position + 1
        inputs = torch.from_numpy(tokens[:, None]).to(self.model.device)
        self._forward(inputs)

    def _forward(self, ids: Tensor) -> None:
        """Run the model on new tokens; without padding there is no mask, which is faster."""
        out = self.model(
            input_ids=ids,
            attention_mask=None if self.mask is None else self.mask[:, : self.length],
            position_ids=self.position,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = out.past_key_values
        self.logits: Tensor = out.logits[:, -1]

    def _select(self, rows: Tensor) -> None:
        """Keep, or repeat, these rows."""
        assert self.cache is not None
        self.cache.reorder_cache(rows)  # type: ignore[arg-type]
        self.logits, self.position = self.logits[rows], self.position[rows]
        if self.mask is not None:
            self.mask = self.mask[rows]


class _Records:
    """What has been sampled so far, by sequence and position."""

    def __init__(self, sequences: int, positions: int, stop: Sequence[int]) -> None:
        self.tokens = np.zeros((sequences, positions), dtype=np.int32)
        self.logprobs = np.zeros((sequences, positions), dtype=np.float32)
        self.logprobs_model = np.zeros((sequences, positions), dtype=np.float32)
        self.lengths = np.zeros(sequences, dtype=np.int64)
        self.stopped = np.zeros(sequences, dtype=np.bool_)
        self.near_ties = np.zeros(sequences, dtype=np.int64)
        self.stop = np.array(stop, dtype=np.int64)

    def add(
        self, sequences: npt.NDArray[np.int64], position: int, drawn: _Drawn
    ) -> npt.NDArray[np.bool_]:
        """Record one token for each of `sequences`; return which of them ended with it."""
        self.tokens[sequences, position] = drawn.token
        self.logprobs[sequences, position] = drawn.logprob
        self.logprobs_model[sequences, position] = drawn.logprob_model
        self.lengths[sequences] += 1
        self.near_ties[sequences] += ~drawn.certain
        ended = np.isin(drawn.token, self.stop)
        self.stopped[sequences] = ended
        return ended

    def to_list(self) -> list[Decoded]:
        return [
            Decoded(
                self.tokens[i, :length].copy(),
                self.logprobs[i, :length].copy(),
                self.logprobs_model[i, :length].copy(),
                bool(self.stopped[i]),
                int(self.near_ties[i]),
            )
            for i, length in enumerate(self.lengths)
        ]
