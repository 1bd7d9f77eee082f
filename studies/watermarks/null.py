"""How often human text is called watermarked, by our tests and by the rules of others.

Text is tokenised by a byte-pair encoding that is trained on it, cut into documents, and read under
many keys. What others do is computed by their formulas on the same marks.

    python studies/watermarks/null.py --texts train.parquet:answer test.parquet:question
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

from statllm._formats import read_rows
from statllm.estimators.watermark.deduplicate import deduplicated
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.marks import Marks
from statllm.estimators.watermark.schemes import make_scheme
from statllm.estimators.watermark.sequential import e_process
from statllm.ragged import Ragged

ALPHAS = (1e-2, 1e-3, 1e-4)
VOCABULARY = 16_000


def tokenised(texts: list[str], length: int, seed: int) -> Ragged:
    """Documents of `length` tokens, cut from the shuffled texts laid end to end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY))
    order = np.random.default_rng(seed).permutation(len(texts))
    encoded = tokenizer.encode_batch([texts[i] for i in order])
    flat = np.concatenate([np.array(one.ids, np.int64) for one in encoded])
    n = len(flat) // length
    return Ragged.from_lengths(flat[: n * length], [length] * n)


def z_of(marks: Marks) -> np.ndarray:
    """The normal approximation that green-list detectors use, on the marks given."""
    n, share = marks.lengths, marks.null.share
    green = Ragged(marks.values.astype(np.int64), marks.offsets).sum()
    return np.asarray((green - share * n) / np.sqrt(n * share * (1 - share)))


def transformers_p(z: np.ndarray) -> np.ndarray:
    """The p-value of transformers' WatermarkDetector."""
    return np.asarray(1 - 0.5 * (1 + np.sign(z) * (1 - np.exp(-2 * z**2 / np.pi))))


def by_ngram(marks: Marks, tokens: Ragged, width: int) -> Marks:
    """Marks of distinct n-grams, the unit that others count once."""
    starts = np.repeat(tokens.offsets[:-1], marks.lengths) + marks.positions
    seeds = np.zeros(len(starts), np.uint64)
    for back in range(width, 0, -1):
        word = tokens.values[np.maximum(starts - back, 0)].astype(np.uint64)
        seeds = seeds * np.uint64(VOCABULARY) + word
    renamed = Marks(marks.values, seeds, marks.targets, marks.positions, marks.offsets, marks.null)
    return deduplicated(renamed)


def ever(running: Ragged) -> np.ndarray:
    """The smallest p-value that a document had on its way."""
    return np.exp(running.min())


def peeked_gamma(marks: Marks) -> np.ndarray:
    """A fixed-length p-value, looked at after every token."""
    kept = deduplicated(marks)
    scores = -np.log1p(-kept.values)
    total = np.cumsum(scores)
    before = np.concatenate([[0.0], total])[kept.offsets[:-1]]
    place = np.arange(len(scores)) - np.repeat(kept.offsets[:-1], kept.lengths) + 1
    p = special.gammaincc(place, total - np.repeat(before, kept.lengths))
    return np.asarray(Ragged(p, kept.offsets).min())


def vllm_dual_p(marks: Marks) -> np.ndarray:
    """vLLM's Gamma with the first two moments of the dual-key sum."""
    kept = deduplicated(marks)
    alpha = marks.null.mixing or 0.0
    score = Ragged(-np.log1p(-kept.values) @ np.array([1 - alpha, alpha]), kept.offsets).sum()
    variance = (1 - alpha) ** 2 + alpha**2
    return np.asarray(special.gammaincc(kept.lengths / variance, score / variance))


def synthid_half(marks: Marks) -> np.ndarray:
    """Bits as fair coins, whatever the table's share is."""
    depth = marks.null.depth
    ones = Ragged(marks.values.sum(axis=1, dtype=np.int64), marks.offsets).sum()
    return np.asarray(stats.binom.sf(ones - 1, marks.lengths * depth, 0.5))


def synthid_threshold(marks: Marks) -> np.ndarray:
    """MarkLLM's rule, mean above .52, as a p-value of 0 or 1."""
    ones = Ragged(marks.values.mean(axis=1), marks.offsets).mean()
    return np.where(ones > 0.52, 0.0, 1.0)


Rule = Callable[[Marks, Ragged], np.ndarray]

_EXACT: Rule = lambda marks, tokens: np.exp(detect(marks).log_p)  # noqa: E731
_EVER: Rule = lambda marks, tokens: ever(e_process(marks).running_log_p)  # noqa: E731


def contenders() -> list[tuple[str, Callable[[int], Any], list[tuple[str, Rule]]]]:
    """Scheme, how it is made with a key, and the rules that read its marks."""

    def left(key: int) -> Any:
        return make_scheme("kgw", vocabulary=VOCABULARY, key=key)

    def selfhash(key: int) -> Any:
        return make_scheme(
            "kgw", vocabulary=VOCABULARY, key=key, seeding="selfhash", context_width=4
        )

    def synthid(key: int) -> Any:
        keys = np.random.default_rng(key).integers(1, 2**31, 30).tolist()
        return make_scheme("synthid", key=tuple(keys))

    def deepmind(key: int) -> Any:
        keys = np.random.default_rng(key).integers(1, 2**31, 30).tolist()
        return make_scheme("synthid", key=tuple(keys), flavour="deepmind")

    normal: Rule = lambda marks, tokens: stats.norm.sf(z_of(marks))  # noqa: E731
    return [
        (
            "KGW left-hash",
            left,
            [
                ("ours", _EXACT),
                ("e-process, looked at always", _EVER),
                ("transformers, default", lambda m, t: transformers_p(z_of(m))),
                ("lm-watermarking", lambda m, t: stats.norm.sf(z_of(by_ngram(m, t, 1)))),
            ],
        ),
        (
            "KGW self-hash",
            selfhash,
            [
                ("ours", _EXACT),
                ("transformers, default", lambda m, t: transformers_p(z_of(m))),
                ("lm-watermarking", lambda m, t: stats.norm.sf(z_of(by_ngram(m, t, 3)))),
            ],
        ),
        (
            "Unigram",
            lambda key: make_scheme("unigram", vocabulary=VOCABULARY, key=key, share=0.25),
            [("ours", _EXACT), ("z of all tokens", normal)],
        ),
        (
            "vLLM Gumbel",
            lambda key: make_scheme("vllm-gumbel", key=key),
            [
                ("ours, and vLLM's", _EXACT),
                ("the same, looked at always", lambda m, t: peeked_gamma(m)),
                ("e-process, looked at always", _EVER),
            ],
        ),
        (
            "vLLM dual-key",
            lambda key: make_scheme("vllm-dual-gumbel", key=key),
            [("ours", _EXACT), ("vLLM's Gamma", lambda m, t: vllm_dual_p(m))],
        ),
        (
            "SGLang Gumbel",
            lambda key: make_scheme("sglang-gumbel", key=key),
            [("ours, and SGLang's", _EXACT)],
        ),
        (
            "SynthID, transformers",
            synthid,
            [
                ("ours", _EXACT),
                ("weighted, ours", lambda m, t: np.exp(detect(m, "weighted").log_p)),
                ("bits as fair coins", lambda m, t: synthid_half(m)),
                ("MarkLLM, mean > .52", lambda m, t: synthid_threshold(m)),
            ],
        ),
        ("SynthID, DeepMind", deepmind, [("ours", _EXACT)]),
        *[
            (title, made(name, key_name, **options), [("ours", _EXACT)])
            for title, name, key_name, options in OTHERS
        ],
    ]


def made(name: str, key_name: str, **options: Any) -> Callable[[int], Any]:
    """What makes a scheme with a key."""
    return lambda key: make_scheme(name, **{key_name: key}, **options)


#: Schemes without a rule of others beside ours; what decides their random numbers. Three Bricks'
#: code multiplies its key by `start`, so that under its default of 0 all keys are one.
OTHERS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("vLLM red-green (development version)", "vllm-red-green", "key", {}),
    ("SBW", "sbw", "key", {}),
    ("DiPmark", "dipmark", "key", {"vocabulary": VOCABULARY}),
    ("Three Bricks Gumbel", "three-bricks-gumbel", "start", {"vocabulary": VOCABULARY}),
    ("Permute-and-flip", "permute-flip", "start", {"vocabulary": VOCABULARY}),
    ("TextSeal Gumbel", "textseal-gumbel", "key", {}),
    ("Inverse transform", "inverse-transform", "key", {"vocabulary": VOCABULARY}),
]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", nargs="+", required=True, help="FILE:COLUMN of human texts")
    parser.add_argument("--length", type=int, default=200, help="tokens of a document")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--schemes", nargs="*", help="only those whose name holds one of these")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tokens = tokenised(list(texts_of(given.texts)), given.length, given.seed)
    n = min(given.documents, tokens.n_rows)
    tokens = Ragged.from_lengths(tokens.values[: n * given.length], [given.length] * n)
    print(f"{n} documents of {given.length} tokens, {given.keys} keys\n")
    print("| scheme | rule | " + " | ".join(f"at {a:g}" for a in ALPHAS) + " |")
    print("|---|---|" + "---|" * len(ALPHAS))
    keys = np.random.default_rng(given.seed).integers(1, 2**31, given.keys).tolist()
    for scheme, make, rules in contenders():
        if given.schemes and not any(part.lower() in scheme.lower() for part in given.schemes):
            continue
        hits = {rule: np.zeros((given.keys, len(ALPHAS))) for rule, _ in rules}
        for row, key in enumerate(keys):
            marks = make(key).marks(tokens)
            for rule, p_of in rules:
                p = p_of(marks, tokens)
                hits[rule][row] = [np.mean(p <= alpha) for alpha in ALPHAS]
        for rule, _ in rules:
            mean = hits[rule].mean(axis=0)
            error = hits[rule].std(axis=0, ddof=1) / np.sqrt(given.keys)
            cells = [f"{m:.2g} ± {e:.1g}" for m, e in zip(mean, error, strict=True)]
            print(f"| {scheme} | {rule} | " + " | ".join(cells) + " |", flush=True)


def texts_of(given: list[str]) -> Iterable[str]:
    """The texts of FILE:COLUMN."""
    for one in given:
        path, _, column = one.rpartition(":")
        for value in read_rows(Path(path))[column].to_pylist():
            for text in value if isinstance(value, list) else [value]:
                if text:
                    yield text


if __name__ == "__main__":
    main()
