"""What a further key costs: many keys tested one by one and together, in one run.

    python benchmarks/watermark_keys.py [--documents 400] [--tokens 500] [--keys 1 8 32]

Reading the marks, deduplication and p-values, in tokens times keys per second of one thread, the
median of all rounds. Together, contexts and first occurrences are found once for all keys.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from timing import medians

from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Scheme
from statllm.estimators.watermark.prf.sglang_gumbel import SglangGumbel
from statllm.estimators.watermark.prf.textseal import TextSealGumbel
from statllm.estimators.watermark.prf.vllm_gumbel import VllmDualGumbel, VllmGumbel
from statllm.estimators.watermark.screening import Screening
from statllm.ragged import Ragged

SCHEMES: dict[str, Callable[[int], Scheme]] = {
    "vllm-gumbel": VllmGumbel,
    "vllm-dual-gumbel": VllmDualGumbel,
    "sglang-gumbel": SglangGumbel,
    "textseal-gumbel": TextSealGumbel,
}


def draw_documents(documents: int, tokens: int, seed: int = 0) -> Ragged:
    """Draw words as frequent as in a language, of a vocabulary of 128,000."""
    rng = np.random.default_rng(seed)
    ids = rng.zipf(1.2, documents * tokens).astype(np.int64) % 128_000
    return Ragged.from_lengths(ids, [tokens] * documents)


def one_by_one(corpus: Ragged, schemes: list[Scheme]) -> object:
    """Each key for itself."""
    return [detect(scheme.marks(corpus)) for scheme in schemes]


def together(corpus: Ragged, schemes: list[Scheme]) -> object:
    """All keys in one pass."""
    screening = Screening(corpus)
    return [screening.detect(scheme) for scheme in schemes]


def main() -> None:
    """Measure every scheme with every number of keys."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--keys", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    corpus = draw_documents(options.documents, options.tokens)
    ways = {"one by one": one_by_one, "together": together}
    print(f"{options.documents:,} documents x {options.tokens} tokens, tokens x keys per second")
    print(f"  {'scheme':<20}{'keys':>6}{'one by one':>16}{'together':>16}{'ratio':>8}")
    for name, scheme in SCHEMES.items():
        for n in options.keys:
            schemes = [scheme(key) for key in range(1, n + 1)]
            contenders = {
                way: (lambda run=run, schemes=schemes: run(corpus, schemes))
                for way, run in ways.items()
            }
            for run in contenders.values():  # compilation isn't timed
                run()
            seconds = medians(contenders, options.rounds)
            alone, all_ = (len(corpus.values) * n / seconds[way] for way in ways)
            print(f"  {name:<20}{n:>6}{alone:>16,.0f}{all_:>16,.0f}{all_ / alone:>8.2f}")


if __name__ == "__main__":
    main()
