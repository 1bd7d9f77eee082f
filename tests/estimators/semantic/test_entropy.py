"""Semantic entropies against the values that published code gives, and against enumeration."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from statllm.estimators.entropies.estimate import entropy
from statllm.estimators.semantic.entropy import KINDS, semantic_entropy
from statllm.ragged import Ragged

# Ten samples: eight times "Paris" (mean token log-probability -0.2), "Lyon" (-1.5), "Nice" (-2.0),
# two tokens each. The values are what the packages themselves returned for it: jlko a8d9aa8,
# lorenzkuhn 20e0ee1, UQ-NLG ecaea91, TruthTorchLM b433074, lm-polygraph 0.7.0, uqlm 0.6.7.
TEXTS = [["Paris"] * 8 + ["Lyon", "Nice"]]
LABELS = [[0] * 8 + [1, 2]]
LOGPROBS = [[-0.4] * 8 + [-3.0, -4.0]]
N_TOKENS = [[2] * 10]
PUBLISHED: list[tuple[str, bool | None, float]] = [
    ("discrete", None, 0.639032),
    ("jlko", None, 0.238435),
    ("uqlm", None, 0.238435),
    ("uqlm", False, 0.074674),
    ("predictive", None, 0.510000),
    ("lorenzkuhn", None, 5.540186),
    ("uq_nlg", True, -0.834113),
    ("uq_nlg", None, -0.593449),
    ("truthtorchlm", None, -0.152961),
    ("lm_polygraph", None, -0.643553),
    ("lm_polygraph_unique", None, 1.020000),
    ("lm_polygraph_direct", None, -71.826229),
    ("lm_polygraph_direct_unique", None, 2.367648),
    ("lm_polygraph_frequency_direct", None, 1.888636),
]


def one_input(labels: Any, kind: str, normalize: bool | None = None) -> float:
    found = semantic_entropy(
        labels, LOGPROBS, kind, n_tokens=N_TOKENS, texts=TEXTS, length_normalize=normalize
    )
    return float(found.value[0])


@pytest.mark.parametrize(("kind", "normalize", "value"), PUBLISHED)
@pytest.mark.parametrize("labels", [LABELS, TEXTS])
def test_one_input_published_values(
    kind: str, normalize: bool | None, value: float, labels: Any
) -> None:
    assert one_input(labels, kind, normalize) == pytest.approx(value, abs=6e-7)


def test_every_kind_but_ours_has_a_published_value() -> None:
    assert {kind for kind, _, _ in PUBLISHED} | {"likelihood"} == {*KINDS, "discrete"}


def test_more_published_values() -> None:
    # uqlm tests/data/scorers/semanticentropy_results_file.json; jlko docstring of
    # cluster_assignment_entropy; lm-polygraph (frequency, direct) for an even split: 5 ln 2.
    labels = [
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 1, 1, 2, 3],
        [0, 0, 0, 0, 1, 2],
        [0, 1, 2, 1],
    ]
    discrete = semantic_entropy(labels, kind="discrete")
    assert discrete.value == pytest.approx(
        [
            0.6365141682948128,
            0.45056120886630463,
            1.3296613488547582,
            0.8675632284814612,
            1.0397207708,
        ]
    )
    halves = semantic_entropy([[0] * 5 + [1] * 5], kind="lm_polygraph_frequency_direct")
    assert halves.value[0] == pytest.approx(5 * np.log(2))


def test_default_is_the_corrected_entropy_of_the_counts() -> None:
    labels = [[0, 1, 0, 2, 0], [0, 0], [0], []]
    ours = semantic_entropy(labels)
    counts = entropy([[3, 1, 1], [2], [1], []])
    np.testing.assert_array_equal(ours.value, counts.value)
    np.testing.assert_array_equal(ours.se, counts.se)
    assert ours.method == "corrected, jackknife"
    shen = semantic_entropy(labels, estimator="chao_shen")
    np.testing.assert_array_equal(shen.value, entropy([[3, 1, 1], [2], [1], []], "chao_shen").value)
    # 8/1/1: jackknife and Chao-Shen, as R's entropy and entropart give them.
    assert one_input(LABELS, "corrected") == pytest.approx(0.8395007019)
    both = semantic_entropy(LABELS, estimator="chao_shen").value[0]
    assert both == pytest.approx(1.0001114412)


def test_likelihood_is_exact_once_everything_was_said() -> None:
    # Six texts, three meanings, probabilities that add up to one; repeats change nothing.
    p = np.array([0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    meaning = np.array([0, 1, 0, 2, 1, 2])
    true = np.bincount(meaning, p)
    seen = np.array([0, 1, 2, 3, 4, 5, 0, 0, 1, 2])
    found = semantic_entropy(
        [meaning[seen].tolist()], [np.log(p[seen]).tolist()], "likelihood", texts=[seen.tolist()]
    )
    assert found.value[0] == pytest.approx(-(true * np.log(true)).sum())


# ---- plain definitions, prompt by prompt ------------------------------------------------------


def plain(kind: str, labels: list[int], lp: list[float], texts: list[int]) -> float:
    """The formula of a kind in ordinary Python; log-probabilities as the kind takes them."""
    n = len(labels)
    members: dict[int, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        members[label].append(i)
    repeats = [texts.count(text) for text in texts]

    def distinct(c: int) -> list[float]:
        by_text: dict[int, list[float]] = defaultdict(list)
        for i in members[c]:
            by_text[texts[i]].append(lp[i])
        return [float(np.mean(values)) for values in by_text.values()]

    def squared(c: int) -> float:
        own = members[c]
        return float(logsumexp([lp[i] for i in own], b=[repeats[i] for i in own]))

    mass = {c: float(np.exp([lp[i] for i in members[c]]).sum()) for c in members}
    once = {c: float(np.exp(distinct(c)).sum()) for c in members}

    def shannon(m: dict[int, float]) -> float:
        q = np.array(list(m.values())) / sum(m.values())
        return float(-(q * np.log(q)).sum())

    share = {c: len(members[c]) / n for c in members}
    return {
        "likelihood": lambda: shannon(once),
        "jlko": lambda: shannon(mass),
        "uqlm": lambda: shannon(mass),
        "predictive": lambda: -float(np.mean(lp)),
        "lorenzkuhn": lambda: -float(np.mean([np.log(m) - 5.0 for m in mass.values()])),
        "uq_nlg": lambda: -float(np.log(np.mean(list(mass.values())))),
        "truthtorchlm": lambda: (
            -float(
                np.mean(
                    [
                        logsumexp([lp[i] for i in members[c]], b=[repeats[i] for i in members[c]])
                        for c in members
                    ]
                )
            )
        ),
        "lm_polygraph": lambda: -float(np.mean([np.log(mass[c]) for c in labels])),
        "lm_polygraph_unique": lambda: -float(np.mean([np.log(once[c]) for c in labels])),
        "lm_polygraph_direct": lambda: -sum(mass[c] * np.log(mass[c]) for c in labels),
        "lm_polygraph_direct_unique": lambda: -sum(once[c] * np.log(once[c]) for c in labels),
        "lm_polygraph_frequency_direct": lambda: -sum(share[c] * np.log(share[c]) for c in labels),
    }[kind]()


SAMPLE = st.tuples(st.integers(0, 4), st.integers(0, 2), st.floats(-60, 0))
PROMPTS = st.lists(st.lists(SAMPLE, max_size=7), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(PROMPTS, st.integers(0, 2**32 - 1))
def test_every_kind_equals_its_plain_formula(prompts: list[list[Any]], seed: int) -> None:
    # A text is a label and a variant, so that equal texts lie in one cluster.
    labels = [[c for c, _, _ in row] for row in prompts]
    texts = [[3 * c + variant for c, variant, _ in row] for row in prompts]
    lps = [[lp for _, _, lp in row] for row in prompts]
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(row)) for row in prompts]

    def shuffled(rows: list[list[Any]]) -> list[list[Any]]:
        return [[row[i] for i in order] for row, order in zip(rows, orders, strict=True)]

    def value(c: list[list[int]], p: list[list[float]], t: list[list[int]]) -> Any:
        codes, names = Ragged.from_lists(c, np.int64), Ragged.from_lists(t, np.int64)
        return semantic_entropy(codes, p, kind, texts=names, length_normalize=False).value

    renamed = [[9_000_000 - 1_000_000 * c for c in row] for row in shuffled(labels)]
    for kind in KINDS:
        found = value(labels, lps, texts)
        expected = [
            plain(kind, *row) if row[0] else np.nan for row in zip(labels, lps, texts, strict=True)
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=kind)
        # Neither the order of samples nor the names of clusters matter.
        again = value(renamed, shuffled(lps), shuffled(texts))
        np.testing.assert_allclose(again, found, rtol=1e-9, atol=1e-9, err_msg=kind)


def test_length_normalisation_divides_by_tokens() -> None:
    labels, lp, tokens = [[0, 1, 1]], [[-6.0, -4.0, -9.0]], [[2, 4, 3]]
    found = semantic_entropy(labels, lp, "jlko", n_tokens=tokens)
    same = semantic_entropy(labels, [[-3.0, -1.0, -3.0]], "jlko", length_normalize=False)
    assert found.value == pytest.approx(same.value)


def test_long_responses_do_not_underflow() -> None:
    # e^-2000 is 0 in double precision; differences of log-probabilities are what counts.
    far = semantic_entropy([[0, 1]], [[-2000.0, -2001.0]], "jlko", length_normalize=False).value
    near = semantic_entropy([[0, 1]], [[0.0, -1.0]], "jlko", length_normalize=False).value
    assert far == pytest.approx(near)
    shifted = semantic_entropy([[0, 1]], [[-2000.0, -1000.0]], "lorenzkuhn", length_normalize=False)
    assert shifted.value[0] == pytest.approx(1505.0)


def test_missing_log_probabilities_are_refused_or_dropped() -> None:
    labels, lp = [[0, 0, 1], [0, 1, 1]], [[-1.0, -2.0, np.nan], [-1.0, -1.0, -1.0]]
    with pytest.raises(ValueError, match="1 of 6 log-probabilities are NaN"):
        semantic_entropy(labels, lp, "uq_nlg")
    dropped = semantic_entropy(labels, lp, "uq_nlg", missing="drop")
    alone = semantic_entropy([[0, 0]], [[-1.0, -2.0]], "uq_nlg")
    assert dropped.value[0] == pytest.approx(alone.value[0])
    assert dropped.n.tolist() == [2, 3]
    assert dropped.n_distinct.tolist() == [1, 2]
    assert np.isnan(dropped.se).all()


def test_samples_without_an_answer_are_left_out() -> None:
    labels = [["a", None, "b"], [None, None, None]]
    lp = [[-1.0, np.nan, -2.0], [np.nan, -1.0, -1.0]]
    found = semantic_entropy(labels, lp, "uq_nlg")
    assert found.value[0] == pytest.approx(-np.log((np.exp(-1) + np.exp(-2)) / 2))
    assert np.isnan(found.value[1])
    assert found.n.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "farquhar"}, "kind is 'farquhar'"),
        ({"kind": "jlko", "logprobs": None}, "jlko needs logprobs"),
        ({"kind": "jlko"}, "jlko needs n_tokens"),
        ({"kind": "likelihood"}, "likelihood needs texts"),
        ({"kind": "uq_nlg", "logprobs": [[-1.0]]}, "as many values per prompt"),
        ({"kind": "uq_nlg", "logprobs": [[0.5, -1.0]]}, "above 0"),
        ({"kind": "uq_nlg", "logprobs": [[-np.inf, -1.0]]}, "finite"),
        ({"kind": "jlko", "n_tokens": [[0, 3]]}, "n_tokens must be at least 1"),
        ({"kind": "likelihood", "texts": [["x", "x"]]}, "in one cluster"),
        ({"kind": "likelihood", "texts": [["x", None]]}, "texts must not be missing"),
        ({"kind": "uq_nlg", "estimator": "nsb"}, "takes no estimator"),
        ({"kind": "uq_nlg", "missing": "zero"}, "missing must be"),
    ],
)
def test_wrong_input_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        semantic_entropy(**{"labels": [[0, 1]], "logprobs": [[-1.0, -1.0]]} | arguments)


def test_corrected_entropy_is_less_biased_than_discrete() -> None:
    # Truth (.6, .2, .1, .05, .05): H = 1.1579. Ten votes; published bias of the plug-in -0.210
    # and of the jackknife -0.016, each from 1500 repetitions.
    p = np.array([0.6, 0.2, 0.1, 0.05, 0.05])
    true = -(p * np.log(p)).sum()
    votes = np.random.default_rng(3).choice(5, p=p, size=(6000, 10))
    labels = Ragged.from_lengths(votes.ravel(), np.full(6000, 10))
    ours = semantic_entropy(labels).mean()
    discrete = semantic_entropy(labels, kind="discrete").mean()
    assert discrete.value - true == pytest.approx(-0.210, abs=4 * discrete.se + 0.01)
    assert ours.value - true == pytest.approx(-0.016, abs=4 * ours.se + 0.01)
