"""How fast SynthID is detected: ratios to transformers' processor, measured in one run.

    python benchmarks/watermark_synthid.py [--documents 1000] [--tokens 500] [--rounds 3]

Bits, repeated contexts and p-values of documents, in tokens per second of one thread. transformers
reads bits and contexts alone: it has no p-value. It takes documents of one length as a batch, here
one and all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timing import medians
from transformers import SynthIDTextWatermarkLogitsProcessor

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf.synthid import SynthId
from statllm.ragged import Ragged

KEYS = tuple(range(1, 31))
#: Documents of transformers' single ones and of our weighted test: the rate is the same for more.
FEW = 20


def draw_tokens(documents: int, tokens: int, seed: int = 0) -> np.ndarray:
    """Draw words as frequent as in a language, of a vocabulary of 128,000."""
    rng = np.random.default_rng(seed)
    return rng.zipf(1.2, (documents, tokens)).astype(np.int64) % 128_000


def as_documents(ids: np.ndarray) -> Ragged:
    """Rows as documents."""
    return Ragged.from_lengths(ids.ravel(), [ids.shape[1]] * len(ids))


def main() -> None:
    """Run all contenders in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ids = draw_tokens(options.documents, options.tokens)
    rows = torch.from_numpy(ids)
    processor: Any = SynthIDTextWatermarkLogitsProcessor(
        5, list(KEYS), 2**16, 0, 1024, torch.device("cpu")
    )

    def theirs(batch: torch.Tensor) -> object:
        return processor.compute_g_values(batch), processor.compute_context_repetition_mask(batch)

    def ours(documents: Ragged, scheme: SynthId, test: str = "sum") -> object:
        return detect(scheme.marks(documents), test)  # type: ignore[arg-type]

    corpus, few = as_documents(ids), as_documents(ids[:FEW])
    scheme, deepmind = SynthId(KEYS), SynthId(KEYS, flavour="deepmind")
    singles = [as_documents(ids[i : i + 1]) for i in range(min(FEW, len(ids)))]
    contenders: dict[str, Callable[[], object]] = {
        "statllm, all documents": lambda: ours(corpus, scheme),
        "statllm, one at a time": lambda: [ours(one, scheme) for one in singles],
        "statllm, weighted test": lambda: ours(few, scheme, "weighted"),
        "statllm, DeepMind's hashing": lambda: ours(corpus, deepmind),
        "transformers, all documents": lambda: theirs(rows),
        "transformers, one at a time": lambda: [theirs(rows[i : i + 1]) for i in range(FEW)],
    }
    size = {name: (corpus if "all" in name or "Deep" in name else few) for name in contenders}
    for name, run in contenders.items():  # compilation isn't timed
        if name.startswith("statllm"):
            run()
    seconds = medians(contenders, options.rounds)
    print(f"{options.documents:,} documents x {options.tokens} tokens, tokens per second")
    for name, taken in seconds.items():
        print(f"  {name:<34}{len(size[name].values) / taken:14,.0f}")
    for how in ("all documents", "one at a time"):
        taken = seconds[f"transformers, {how}"] / seconds[f"statllm, {how}"]
        print(f"  ratio, {how:<27}{taken:14,.1f}")


if __name__ == "__main__":
    main()
