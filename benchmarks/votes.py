"""How fast votes are counted: ratios measured in one run.

    python benchmarks/votes.py [--prompts 1000000] [--samples 16] [--answers 1000]

1. The vote table (votes, distinct answers, majority answer, share, margin, plug-in entropy) of a
   column of string answers, against the time that pyarrow takes to read that column from Parquet.
2. Vote entropy of 100,000 prompts x 10 samples against lm-polygraph's `SemanticEntropy`
   (frequency) on the same votes, where lm-polygraph can be imported.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from peers import peer
from timing import fastest

from statllm.estimators import vote_counts
from statllm.estimators.entropies.estimate import entropy, vote_entropy

PEER_PROMPTS = 100_000
PEER_SAMPLES = 10


def draw_answers(prompts: int, samples: int, answers: int, seed: int = 0) -> pa.ChunkedArray:
    """Draw answers as models give them: prompts from nearly unanimous to diffuse, 2 % unparsed."""
    rng = np.random.default_rng(seed)
    vocabulary = rng.choice(100_000, size=answers, replace=False).astype(str)
    right = rng.integers(answers, size=(prompts, 1))
    agreement = rng.uniform(0.3, 0.95, size=(prompts, 1))
    step = rng.geometric(agreement, size=(prompts, samples)) - 1  # 0 for the prompt's own answer
    codes = ((right + 7 * step) % answers).astype(np.int32).ravel()
    unparsed = rng.random(codes.size) < 0.02
    texts = pa.DictionaryArray.from_arrays(pa.array(codes, mask=unparsed), pa.array(vocabulary))
    offsets = np.arange(prompts + 1, dtype=np.int32) * samples
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, texts.cast(pa.string()))])


def vote_table(column: pa.ChunkedArray) -> None:
    """Compute everything that the first comparison counts."""
    votes = vote_counts(column)
    _ = votes.n_votes, votes.n_distinct, votes.majority(), votes.share, votes.margin
    entropy(votes.counts, "plugin", se="none")


def against_reading(prompts: int, samples: int, answers: int, rounds: int) -> None:
    """Compare the vote table with reading its column."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.parquet"
        pq.write_table(pa.table({"answer": draw_answers(prompts, samples, answers)}), path)
        column = pq.read_table(path, columns=["answer"])["answer"]
        seconds = fastest(
            {
                "pyarrow reads the column": lambda: pq.read_table(path, columns=["answer"]),
                "statllm vote table": lambda: vote_table(column),
            },
            rounds,
        )
        size = path.stat().st_size
    print(f"{prompts:,} prompts x {samples} answers, {answers:,} distinct, {size / 1e6:.1f} MB")
    report(seconds)
    read, table = seconds.values()
    print(f"  vote table / read = {table / read:.2f}\n")


def against_lm_polygraph(rounds: int) -> None:
    """Compare vote entropy with lm-polygraph's on the same votes.

    Its classes are made by its own calculator from an entailment matrix (here: equal strings),
    which is given and not timed. It knows no missing answers, so a null is an answer here.
    """
    found = peer("lm_polygraph.estimators.semantic_entropy", "SemanticEntropy")
    classes = peer("lm_polygraph.stat_calculators.semantic_classes", "SemanticClassesCalculator")
    if not found or not classes:
        return
    chunks = draw_answers(PEER_PROMPTS, PEER_SAMPLES, 1000).chunks
    column = pa.chunked_array([_without_nulls(chunk) for chunk in chunks])
    votes = vote_counts(column)
    codes = votes.samples.values.reshape(PEER_PROMPTS, PEER_SAMPLES)
    statistics = {
        "sample_texts": column.to_pylist(),
        "semantic_matrix_classes": (codes[:, :, None] == codes[:, None, :]).astype(np.int8),
        "entailment_id": 1,
    }
    grouping = classes[0]()
    theirs = found[0](class_probability_estimation="frequency")
    grouped = statistics | grouping(statistics, texts=[], model=None)
    ours = entropy(votes.counts, "plugin", se="none").value
    np.testing.assert_allclose(theirs(grouped), ours, atol=1e-12)
    seconds = fastest(
        {
            "lm-polygraph SemanticEntropy(frequency), classes given": lambda: theirs(grouped),
            "lm-polygraph grouping + SemanticEntropy(frequency)": lambda: theirs(
                statistics | grouping(statistics, texts=[], model=None)
            ),
            "statllm entropy(plugin), counts given": lambda: entropy(
                votes.counts, "plugin", se="none"
            ),
            "statllm vote_entropy(plugin), from strings": lambda: vote_entropy(
                column, "plugin", se="none"
            ),
            "statllm vote_entropy(), its default and its error": lambda: vote_entropy(column),
        },
        rounds,
    )
    print(f"{PEER_PROMPTS:,} prompts x {PEER_SAMPLES} answers, equal to 1e-12")
    report(seconds)
    given, with_grouping, counted, whole, default = seconds.values()
    print(f"  classes given on both sides: {given / counted:.0f} times as fast")
    print(f"  with grouping on both sides: {with_grouping / whole:.0f} times")
    print(f"  grouping timed for statllm only: {given / whole:.0f} times")
    print(f"  ... and with a bias-corrected value and its error: {given / default:.0f} times")


def _without_nulls(chunk: pa.ListArray) -> pa.ListArray:
    """Make unparsed answers an answer of their own."""
    return pa.ListArray.from_arrays(chunk.offsets, chunk.values.fill_null("unparsed"))


def report(seconds: dict[str, float]) -> None:
    """Print each contender's time."""
    for name, taken in seconds.items():
        print(f"  {name:<58}{taken:8.3f} s")


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    against_reading(options.prompts, options.samples, options.answers, options.rounds)
    against_lm_polygraph(options.rounds)


if __name__ == "__main__":
    main()
