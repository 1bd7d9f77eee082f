"""How fast the scores of samples and tokens are: ratios to lm-polygraph and uqlm in one run.

    python benchmarks/semantic.py [--prompts 100000] [--rounds 3]

Clusters, similarities and log-probabilities are given to both sides; the values are compared
before anything is timed. How the peers are imported: `peers.py`.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from peers import peer
from timing import Contenders, compare

from statllm.estimators import (
    Pairwise,
    degree_uncertainty,
    eigenvalue_uncertainty,
    kernel_language_entropy,
    semantic_entropy,
    uqlm_negentropy,
)
from statllm.ragged import Ragged

K = 10


def entropies(rng: np.random.Generator, prompts: int, rounds: int) -> None:
    """Semantic entropy from counts and from likelihoods."""
    # A right answer and some others, as likely as models make them.
    right = rng.uniform(0.3, 0.95, size=(prompts, 1))
    labels = np.minimum(rng.geometric(right, size=(prompts, K)) - 1, 5)
    logprobs = np.log(right) * (labels + 1) + rng.normal(-2, 0.3, size=labels.shape)
    logprobs = np.minimum(logprobs, -1e-3)
    lengths = np.full(prompts, K)
    rows = Ragged.from_lengths(labels.ravel(), lengths)
    weights = Ragged.from_lengths(logprobs.ravel(), lengths)
    contenders: Contenders = {
        'statllm semantic_entropy(kind="discrete")': lambda: semantic_entropy(
            rows, kind="discrete", se="none"
        ),
        "statllm semantic_entropy(), corrected, with its error": lambda: semantic_entropy(rows),
    }
    sums: Contenders = {
        'statllm semantic_entropy(kind="lm_polygraph")': lambda: semantic_entropy(
            rows, weights, "lm_polygraph"
        ),
    }
    found = peer("lm_polygraph.estimators.semantic_entropy", "SemanticEntropy")
    if found:
        given = _classes(labels) | {"sample_log_probs": list(logprobs)}
        frequency = found[0](class_probability_estimation="frequency")
        likelihood = found[0]()
        np.testing.assert_allclose(
            frequency(given), semantic_entropy(rows, kind="discrete").value, atol=1e-12
        )
        np.testing.assert_allclose(
            likelihood(given), semantic_entropy(rows, weights, "lm_polygraph").value, atol=1e-9
        )
        contenders["lm-polygraph SemanticEntropy(frequency)"] = lambda: frequency(given)
        sums["lm-polygraph SemanticEntropy()"] = lambda: likelihood(given)
    compare(f"semantic entropy from counts, {prompts:,} prompts x {K}", contenders, rounds)
    compare(f"semantic entropy from likelihoods, {prompts:,} prompts x {K}", sums, rounds)


def _classes(labels: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Lm-polygraph's lists of classes, made from the labels."""
    members: list[list[list[int]]] = []
    places: list[dict[int, int]] = []
    for row in labels:
        names, inverse = np.unique(row, return_inverse=True)
        members.append([list(np.flatnonzero(inverse == c)) for c in range(len(names))])
        places.append({i: int(c) for i, c in enumerate(inverse)})
    return {
        "sample_texts": labels.astype(str).tolist(),
        "semantic_classes_entail": {"class_to_sample": members, "sample_to_class": places},
    }


def graphs(rng: np.random.Generator, prompts: int, rounds: int) -> None:
    """Kernel language entropy and its kin on the same similarities."""
    blocks = rng.random((prompts, K, K))
    blocks[:, np.arange(K), np.arange(K)] = 1.0
    pairs = Pairwise.from_stack(blocks)
    kernel: Contenders = {
        "statllm kernel_language_entropy": lambda: kernel_language_entropy(pairs, scale="log_k"),
    }
    found = peer("lm_polygraph.estimators.kernel_language_entropy", "KernelLanguageEntropy")
    if found:
        estimator = found[0]()
        # W = (E + Eᵀ) + ½(2 - (E + Eᵀ) - (C + Cᵀ)) is B + Bᵀ for E = B, C = 1 - B.
        given = {
            "semantic_matrix_entail": blocks,
            "semantic_matrix_contra": 1 - blocks,
        }
        np.testing.assert_allclose(
            estimator(given), kernel_language_entropy(pairs, scale="log_k"), atol=1e-6
        )
        kernel["lm-polygraph KernelLanguageEntropy"] = lambda: estimator(given)
    compare(f"kernel language entropy, {prompts:,} prompts x {K}", kernel, rounds)
    given = {"semantic_matrix_entail": blocks, "sample_texts": [["a"] * K] * prompts}
    for ours, module, peer_name in (
        (lambda: eigenvalue_uncertainty(pairs), "eig_val_laplacian", "EigValLaplacian"),
        (lambda: degree_uncertainty(pairs, "lm_polygraph").value, "deg_mat", "DegMat"),
    ):
        contenders: Contenders = {"statllm": ours}
        found = peer(f"lm_polygraph.estimators.{module}", peer_name)
        if found:
            theirs = partial(found[0]("NLI_score", "entail"), given)
            np.testing.assert_allclose(theirs(), ours(), atol=1e-6)
            contenders[f"lm-polygraph {peer_name}"] = theirs
        compare(f"{peer_name}, {prompts:,} prompts x {K}", contenders, rounds)


def tokens(rng: np.random.Generator, responses: int, rounds: int) -> None:
    """Entropy of each token's 15 best, 100 tokens to a response."""
    top = np.log(rng.dirichlet(np.ones(20), size=responses * 100)[:, :15])
    shape = (responses, 100)
    contenders: Contenders = {
        "statllm uqlm_negentropy, mean over tokens": lambda: (
            uqlm_negentropy(top).reshape(shape).mean(axis=1)
        ),
    }
    found = peer("uqlm.white_box.top_logprobs", "TopLogprobsScorer")
    if found:
        scorer = found[0](scorers=["mean_token_negentropy"])
        given = [
            [{"top_logprobs": [{"logprob": float(v)} for v in token]} for token in response]
            for response in top.reshape(*shape, 15)
        ]

        def theirs() -> Any:
            # `evaluate` computes its three scores whichever are asked for; this is the one.
            return scorer._compute_single_generation_scores(given, scorer._mean_token_negentropy)

        np.testing.assert_allclose(
            theirs(), uqlm_negentropy(top).reshape(shape).mean(axis=1), atol=1e-12
        )
        contenders["uqlm TopLogprobsScorer, that score alone"] = theirs
        contenders["uqlm TopLogprobsScorer.evaluate"] = lambda: scorer.evaluate(given)
    compare(f"top-15 entropy, {responses:,} responses of 100 tokens", contenders, rounds)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    entropies(rng, options.prompts, options.rounds)
    graphs(rng, max(options.prompts // 50, 10), options.rounds)
    tokens(rng, max(options.prompts // 500, 10), options.rounds)


if __name__ == "__main__":
    main()
