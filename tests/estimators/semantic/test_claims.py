"""Support of claims against plain loops, and centralities against networkx."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from statllm.estimators.semantic.claim_graph import claim_centrality
from statllm.estimators.semantic.claims import claim_support, consistency
from statllm.estimators.semantic.pairwise import Pairwise


def nli(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), n)


FORMS = {
    "entailment": lambda c, n, e: e,
    "noncontradiction": lambda c, n, e: 1 - c,
    "contrasted_entailment": lambda c, n, e: e / (e + c),
    "frequency": lambda c, n, e: float(e > max(c, n)) - float(c > max(e, n)),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_support_equals_its_definition(form: Any) -> None:
    table = nli(7)
    e, c = (
        [table[:3, 2], table[3:5, 2], [], table[5:, 2]],
        [table[:3, 0], table[3:5, 0], [], table[5:, 0]],
    )
    found = claim_support(e, c, form)
    single = [FORMS[form](*row) for row in table]
    for claim, values in ((0, single[:3]), (1, single[3:5]), (3, single[5:])):
        assert found.value[claim] == pytest.approx(np.mean(values))
        assert found.se[claim] == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)))
    assert np.isnan(found.value[2])
    assert found.n.tolist() == [3, 2, 0, 2]


def test_matched_claims_take_the_best_of_each_sample() -> None:
    table = nli(8)
    rows = [table[:5, 2].tolist(), table[5:, 2].tolist()]
    found = claim_support(rows, form="entailment", n_units=[[2, 0, 3], [1, 2, 0]])
    e = table[:, 2]
    assert found.rows.to_lists()[0] == pytest.approx([e[:2].max(), 0, e[2:5].max()])
    assert found.rows.to_lists()[1] == pytest.approx([e[5], e[6:].max(), 0])
    with pytest.raises(ValueError, match="add up"):
        claim_support(rows, form="entailment", n_units=[[2, 2], [3]])


def test_a_response_is_the_mean_of_its_claims_and_its_error_that_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.uniform(size=(3, 4)), rng.uniform(size=(2, 6))
    support = claim_support([*first.tolist(), *second.tolist()], form="entailment")
    found = support.per_response([3, 0, 2])
    np.testing.assert_allclose(found.value, [first.mean(), np.nan, second.mean()])
    by_sample = first.mean(axis=0)
    assert found.se[0] == pytest.approx(by_sample.std(ddof=1) / 2)
    with pytest.raises(ValueError, match="equally many samples"):
        support.per_response([4, 1])
    with pytest.raises(ValueError, match="add up"):
        support.per_response([3])


def test_error_of_a_response_takes_shared_samples_into_account() -> None:
    # Claims of a response stand or fall with the sample: pairs aren't independent.
    rng = np.random.default_rng(2)
    n, k, claims = 1500, 8, 5
    mood = rng.uniform(size=(n, 1, k))
    table = np.clip(mood + 0.05 * rng.normal(size=(n, claims, k)), 0, 1)
    support = claim_support(table.reshape(-1, k).tolist(), form="entailment")
    found = support.per_response(np.full(n, claims))
    assert np.sqrt((found.se**2).mean()) == pytest.approx(found.value.std(), rel=0.06)


def test_wrong_probabilities_are_refused() -> None:
    for e, c, form, match in [
        ([[1.5]], None, "entailment", "in \\[0, 1\\]"),
        ([[float("nan")]], None, "entailment", "in \\[0, 1\\]"),
        ([[0.5]], None, "frequency", "needs contradiction"),
        ([[0.5]], [[0.5, 0.1]], "frequency", "equally many"),
        ([[0.0]], [[0.0]], "contrasted_entailment", "both be 0"),
        ([[0.5]], None, "luq", "form must be"),
    ]:
        with pytest.raises(ValueError, match=match):
            claim_support(e, c, form)  # type: ignore[arg-type]


def networkx_scores(support: np.ndarray, threshold: float) -> dict[str, list[float]]:
    nx = pytest.importorskip("networkx")
    n, m = support.shape
    graph = nx.Graph()
    graph.add_nodes_from(range(n + m))
    graph.add_weighted_edges_from(
        (i, n + j, support[i, j]) for i in range(n) for j in range(m) if support[i, j] >= threshold
    )
    claims = list(range(n))
    harmonic = nx.harmonic_centrality(graph)
    scores = {
        "degree": {i: graph.degree(i, weight="weight") / m for i in claims},
        "betweenness": nx.bipartite.betweenness_centrality(graph, claims),
        "closeness": nx.bipartite.closeness_centrality(graph, claims),
        "harmonic": {i: harmonic[i] / (m + (n - 1) / 2) for i in claims},
        "page_rank": nx.pagerank(graph, weight="weight", tol=1e-12, max_iter=5000),
        "laplacian": nx.laplacian_centrality(graph, weight="weight"),
    }
    return {name: [min(each[i], 1.0) for i in claims] for name, each in scores.items()}


@pytest.mark.parametrize(("n", "m"), [(4, 3), (2, 6), (7, 2), (5, 5)])
def test_centralities_equal_networkx(n: int, m: int) -> None:
    rng = np.random.default_rng(n * 10 + m)
    blocks = [rng.uniform(size=(n, m)) for _ in range(3)]
    blocks[1][0] = 0.1  # a claim that nobody supports
    found = claim_centrality([*blocks, np.zeros((2, 0))])
    for number, block in enumerate(blocks):
        for name, expected in networkx_scores(block, 0.5).items():
            own = getattr(found, name)[number * n : (number + 1) * n]
            np.testing.assert_allclose(own, expected, atol=1e-8, err_msg=name)
    assert np.isnan(found.degree[-2:]).all()


def test_order_of_samples_is_nothing_and_more_support_is_never_worse() -> None:
    rng = np.random.default_rng(3)
    block = rng.uniform(size=(5, 6))
    base = claim_centrality([block]).to_frame()
    turned = claim_centrality([block[:, ::-1]]).to_frame()
    np.testing.assert_allclose(base, turned)
    order = rng.permutation(5)
    np.testing.assert_allclose(claim_centrality([block[order]]).to_frame(), base.iloc[order])


def test_wrong_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        claim_centrality([[[1.2]]])
    with pytest.raises(ValueError, match="shape"):
        claim_centrality([[0.5]])
    with pytest.raises(ValueError, match="threshold"):
        claim_centrality([[[0.5]]], threshold=0.0)
    assert claim_centrality([]).degree.shape == (0,)
    lone = claim_centrality([[[0.9]]])
    assert lone.closeness[0] == pytest.approx(1.0)


def test_consistency_is_the_mean_of_a_response_with_the_others() -> None:
    rng = np.random.default_rng(4)
    blocks = [rng.uniform(size=(k, k)) for k in (4, 1, 0, 3)]
    for place in (0, 2):
        found = consistency(Pairwise.from_blocks(blocks), place)
        for number in (0, 3):
            both = (blocks[number] + blocks[number].T) / 2
            others = np.delete(both[place], place)
            assert found.value[number] == pytest.approx(others.mean())
            se = others.std(ddof=1) / np.sqrt(len(others))
            assert found.se[number] == pytest.approx(se)
        assert np.isnan(found.value[1:3]).all()
    with pytest.raises(ValueError, match="NaN"):
        consistency(Pairwise.from_stack([np.full((2, 2), np.nan)]))
    with pytest.raises(ValueError, match="place"):
        consistency(Pairwise.from_stack([np.eye(2)]), -1)
