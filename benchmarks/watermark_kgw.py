"""How fast green lists are read: ratios to transformers' detector, measured in one run.

    python benchmarks/watermark_kgw.py [--documents 200] [--tokens 500] [--rounds 3]

Reading the marks, deduplication and p-values, in tokens per second of one thread, at vocabularies
of 32,000 and 128,000, the median of all rounds. Cold: no list was drawn before; warm (left-hash
alone): the same corpus again, its lists in memory as far as they fit into 256 MiB. transformers
takes fewer documents, without anything remembered from an earlier round.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np
import torch
from timing import medians
from transformers import WatermarkDetector, WatermarkingConfig

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.prf import _green_lists, kgw
from statllm.ragged import Ragged

SEEDINGS = {"lefthash": 1, "selfhash": 4}
PEER_DOCUMENTS = 4


def draw_documents(documents: int, tokens: int, vocabulary: int, seed: int = 0) -> Ragged:
    """Draw words as frequent as in a language."""
    rng = np.random.default_rng(seed)
    ids = rng.zipf(1.2, documents * tokens).astype(np.int64) % vocabulary
    return Ragged.from_lengths(ids, [tokens] * documents)


def by_transformers(ids: torch.Tensor, vocabulary: int, seeding: str, width: int) -> object:
    """Detect with a new detector, so that it remembers no list."""
    model = SimpleNamespace(bos_token_id=-5, is_encoder_decoder=False, vocab_size=vocabulary)
    config = WatermarkingConfig(seeding_scheme=seeding, context_width=width)
    detector = WatermarkDetector(model, "cpu", config, ignore_repeated_ngrams=True)
    return detector(ids, return_dict=True)


def measure(vocabulary: int, documents: int, tokens: int, rounds: int) -> None:
    """Print the rates at one vocabulary."""
    corpus = draw_documents(documents, tokens, vocabulary)
    few = torch.from_numpy(corpus.values[: PEER_DOCUMENTS * tokens].reshape(-1, tokens))
    for seeding, width in SEEDINGS.items():
        scheme = kgw.Kgw(vocabulary, seeding=seeding, context_width=width)  # type: ignore[arg-type]

        def transformers(seeding: str = seeding, width: int = width) -> object:
            return by_transformers(few, vocabulary, seeding, width)

        def warm(scheme: kgw.Kgw = scheme) -> object:
            return detect(scheme.marks(corpus))

        def cold(scheme: kgw.Kgw = scheme) -> object:
            _green_lists.lists.cache_clear()
            return detect(scheme.marks(corpus))

        cold()  # compilation isn't timed
        contenders = {"transformers": transformers, "statllm, cold": cold}
        if seeding == "lefthash":  # self-hash has a list per token and keeps none
            contenders["statllm, warm"] = warm  # after the cold one, whose lists it finds
        seconds = medians(contenders, rounds)
        sizes = dict.fromkeys(seconds, documents * tokens) | {"transformers": few.numel()}
        print(f"{seeding}, width {width}, vocabulary {vocabulary:,}, tokens per second")
        rates = {name: sizes[name] / taken for name, taken in seconds.items()}
        for name, rate in rates.items():
            ratio = rate / rates["transformers"]
            print(f"  {name:<16}{rate:14,.0f}{ratio:12,.1f} x transformers")


def main() -> None:
    """Measure both vocabularies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for vocabulary in (32_000, 128_000):
        measure(vocabulary, options.documents, options.tokens, options.rounds)


if __name__ == "__main__":
    main()
