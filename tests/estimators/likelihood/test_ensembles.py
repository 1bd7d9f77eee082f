"""Ensembles against definitions written out, and the bias of few models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from statllm.estimators.likelihood.ensembles import sequence_ensemble, token_ensemble


def random_models(m: int, t: int, v: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(v, 0.7), (m, t))


@pytest.mark.parametrize("weighted", [False, True])
def test_published_measures_equal_their_definitions(weighted: bool) -> None:
    p = random_models(4, 10, 6)
    prefix = np.log(np.random.default_rng(1).uniform(0.01, 1, (4, 10))) if weighted else None
    found = token_ensemble(np.log(p), prefix, correction="none")
    for t in range(10):
        w = np.full(4, 0.25) if prefix is None else np.exp(prefix[:, t])
        w = w / w.sum()
        mean = w @ p[:, t]
        kl = [[stats.entropy(p[i, t], p[j, t]) for j in range(4)] for i in range(4)]
        assert found.total[t] == pytest.approx(stats.entropy(mean))
        assert found.data[t] == pytest.approx(w @ stats.entropy(p[:, t], axis=1))
        mutual = sum(w[i] * stats.entropy(p[i, t], mean) for i in range(4))
        assert found.mutual_information[t] == pytest.approx(mutual)
        assert found.pairwise_kl[t] == pytest.approx(w @ np.array(kl) @ w)
        reverse = sum(w[i] * stats.entropy(mean, p[i, t]) for i in range(4))
        assert found.reverse_mutual_information[t] == pytest.approx(reverse)
        top = np.sort(mean)[-3:]
        assert found.top_entropy(3)[t] == pytest.approx(stats.entropy(top))  # scipy rescales


def test_jackknife_leaves_one_model_out() -> None:
    table = np.log(random_models(5, 3, 4, 2))
    plain = token_ensemble(table, correction="none").mutual_information
    without = [
        token_ensemble(np.delete(table, m, axis=0), correction="none").mutual_information
        for m in range(5)
    ]
    found = token_ensemble(table)
    np.testing.assert_allclose(found.mutual_information, 5 * plain - 4 * np.mean(without, axis=0))
    np.testing.assert_allclose(
        found.mutual_information_se, np.sqrt(4 / 5 * np.var(without, axis=0) * 5)
    )
    np.testing.assert_allclose(found.total - found.data, found.mutual_information)


def test_correction_removes_most_of_the_bias_of_few_models() -> None:
    # Models are Dirichlet draws around one distribution: a great ensemble is the truth.
    rng = np.random.default_rng(0)
    base = 3 * np.array([0.4, 0.3, 0.2, 0.1])
    many = rng.dirichlet(base, 200_000)
    truth = stats.entropy(many.mean(axis=0)) - stats.entropy(many, axis=1).mean()
    half = np.log(many[:100_000]), np.log(many[100_000:])
    kl = (many[:100_000] * (half[0] - half[1])).sum(axis=1).mean()
    table = np.log(rng.dirichlet(base, (3, 20_000)))
    published, ours = token_ensemble(table, correction="none"), token_ensemble(table)
    assert published.mutual_information.mean() == pytest.approx(truth * 2 / 3, rel=0.05)
    assert ours.mutual_information.mean() == pytest.approx(truth, rel=0.04)
    assert published.pairwise_kl.mean() == pytest.approx(kl * 2 / 3, rel=0.05)
    assert ours.pairwise_kl.mean() == pytest.approx(kl, rel=0.05)


def test_models_alike_know_nothing_of_each_other() -> None:
    same = np.log(np.broadcast_to(random_models(1, 4, 3), (5, 4, 3)))
    for correction in ("none", "jackknife"):
        found = token_ensemble(same, correction=correction)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.mutual_information, 0, atol=1e-12)
        np.testing.assert_allclose(found.pairwise_kl, 0, atol=1e-12)
    one = token_ensemble(same[:1])
    assert np.isnan(one.mutual_information).all()
    np.testing.assert_allclose(one.total, one.data)


def test_order_of_models_is_nothing_and_zeros_are_allowed() -> None:
    table = np.log(random_models(3, 5, 4, 7))
    a, b = token_ensemble(table), token_ensemble(table[::-1])
    np.testing.assert_allclose(a.mutual_information, b.mutual_information)
    np.testing.assert_allclose(a.pairwise_kl, b.pairwise_kl)
    apart = np.array([[[0.0, -np.inf]], [[-np.inf, 0.0]]])
    found = token_ensemble(apart, correction="none")
    assert found.mutual_information[0] == pytest.approx(np.log(2))
    assert np.isinf(found.pairwise_kl[0])


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="n_models, n_tokens"):
        token_ensemble([[-1.0]])
    with pytest.raises(ValueError, match="sum to 1"):
        token_ensemble([[[-1.0, -3.0]]])
    with pytest.raises(ValueError, match="prefix_logprobs must have shape"):
        token_ensemble(np.log([[[0.5, 0.5]]]), [[-1.0, -1.0]])
    with pytest.raises(ValueError, match="drawn_by must hold"):
        sequence_ensemble([[-1.0, -2.0]], [1], drawn_by=[2])
    with pytest.raises(ValueError, match="finite"):
        sequence_ensemble([[-np.inf, -2.0]], [1])
    with pytest.raises(ValueError, match="n_models"):
        sequence_ensemble([[-1.0, -2.0]], [2])


def test_sequences_are_unbiased_when_models_take_turns() -> None:
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(6), 3)
    mean = p.mean(axis=0)
    k = 30
    drawer = np.tile(np.repeat(np.arange(3), k // 3), 2000)
    below = rng.uniform(size=(len(drawer), 1)) > np.cumsum(p, axis=1)[drawer]
    said = below.sum(axis=1)
    found = sequence_ensemble(np.log(p[:, said].T), np.full(2000, k), drawn_by=drawer)
    assert found.total.mean() == pytest.approx(stats.entropy(mean), rel=0.01)
    mutual = np.mean([stats.entropy(row, mean) for row in p])
    assert found.mutual_information.mean() == pytest.approx(mutual, rel=0.03)
    reverse = np.mean([stats.entropy(mean, row) for row in p])
    assert found.reverse_mutual_information.mean() == pytest.approx(reverse, rel=0.03)
    kl = np.mean([stats.entropy(p[i], p[j]) for i in range(3) for j in range(3) if i != j])
    assert found.pairwise_kl.mean() == pytest.approx(kl, rel=0.03)


def test_beam_weights_equal_the_formula() -> None:
    rng = np.random.default_rng(6)
    table = np.log(rng.uniform(0.01, 0.2, (7, 3)))
    found = sequence_ensemble(table, [4, 0, 3], "beam")
    for prompt, part in ((0, table[:4]), (2, table[4:])):
        ensemble = np.log(np.exp(part).mean(axis=1))
        w = np.exp(ensemble) / np.exp(ensemble).sum()
        gap = ensemble[:, None] - part
        assert found.total[prompt] == pytest.approx(-(w * ensemble).sum())
        assert found.probability[prompt] == pytest.approx((w * np.exp(ensemble)).sum())
        assert found.reverse_mutual_information[prompt] == pytest.approx(
            (w[:, None] * gap).sum(axis=0).mean()
        )
        assert found.absolute[prompt] == pytest.approx(np.abs(w[:, None] * gap).sum(axis=0).mean())
    assert np.isnan(found.total[1])
