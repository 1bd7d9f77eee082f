"""Text of the lab model under a watermark, and what the model knew as it wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statllm.estimators.watermark.deduplicate import deduplicated
from statllm.estimators.watermark.marks import Marks, Scheme

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PROMPT = 16  # tokens of a problem that each text goes on from
LENGTH = 200  # tokens of a text
TOP = 12  # largest probabilities that are kept, as an engine's logprobs would be


@dataclass(frozen=True)
class Written:
    """Texts of one temperature.

    Attributes
    ----------
    tokens : ndarray of int64, shape (n_texts, LENGTH)
    log_p : ndarray, shape (n_texts, LENGTH)
        Of the written tokens under the model's own law, nats.
    top : ndarray, shape (n_texts, LENGTH, TOP)
        The law's largest probabilities.
    entropy : float
        Mean over positions, nats.
    """

    tokens: IntArray
    log_p: FloatArray
    top: FloatArray
    entropy: float


class Lab:
    """The lab model, and prompts of its world."""

    def __init__(self) -> None:
        import torch

        from statllm.lab import model_path, problems
        from statllm.models import load_model, load_tokenizer

        torch.set_num_threads(1)
        self.model = load_model(model_path(), device="cpu")
        self.tokenizer = load_tokenizer(model_path())
        self.vocabulary = int(self.model.config.vocab_size)
        texts = problems("pretrain", 3_000, seed=1)["prompt"].to_pylist()
        encoded = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        self.prompts = np.array([ids[:PROMPT] for ids in encoded if len(ids) >= PROMPT])
        self.human = np.concatenate([np.array(ids, np.int64) for ids in encoded])

    def write(
        self, schemes: Sequence[Scheme | None], temperature: float, seed: int, length: int = LENGTH
    ) -> Written:
        """Let every scheme write one text, all at a time; None writes without a watermark."""
        import torch

        from statllm.sampling.watermark import WatermarkProcessor

        rng = torch.Generator().manual_seed(seed)
        chosen = np.random.default_rng(seed).integers(len(self.prompts), size=len(schemes))
        ids = torch.tensor(self.prompts[chosen])
        processors = [
            None if each is None else WatermarkProcessor(each, PROMPT, temperature=temperature)
            for each in schemes
        ]
        last, past = ids, None
        log_p, top, entropies = [], [], []
        call: Any = self.model
        for _ in range(length):
            with torch.inference_mode():
                out = call(input_ids=last, past_key_values=past, use_cache=True)
            past, logits = out.past_key_values, out.logits[:, -1].double()
            logits[:, :2] = -torch.inf  # end and padding: the text goes on
            law = torch.log_softmax(logits / temperature, -1)
            marked = law.clone()
            for row, processor in enumerate(processors):
                if processor is not None:
                    marked[row] = processor(ids[row : row + 1], logits[row : row + 1])[0]
            last = torch.multinomial(torch.softmax(marked, -1), 1, generator=rng)
            log_p.append(law.gather(1, last)[:, 0].numpy())
            p = law.exp()
            top.append(p.topk(TOP).values.numpy())
            entropies.append(float(-torch.xlogy(p, p).sum(-1).mean()))
            ids = torch.cat([ids, last], 1)
        return Written(
            ids[:, PROMPT:].numpy(),
            np.stack(log_p, 1),
            np.stack(top, 1),
            float(np.mean(entropies)),
        )


def joined(parts: Sequence[Marks], pool: int) -> Marks:
    """Marks of texts that were read apart as those of documents of `pool` texts, each pair once."""
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)])[::pool]
    one = replace(
        parts[0],
        values=np.concatenate([part.values for part in parts]),
        seeds=np.concatenate([part.seeds for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        offsets=offsets,
    )
    return deduplicated(one)


def first(marks: Marks, n: int) -> tuple[Marks, int]:
    """The first `n` marks of the documents that have as many, and how many documents do."""
    enough = marks.lengths >= n
    place = np.arange(len(marks.seeds)) - np.repeat(marks.offsets[:-1], marks.lengths)
    kept = marks.kept((place < n) & enough[marks.documents])
    keep = np.append(True, enough)
    return replace(kept, offsets=kept.offsets[keep]), int(enough.sum())
