"""Vectors of words against scikit-learn's TF-IDF, and the rows that are near seeds."""

from __future__ import annotations

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.selection.similar import similar
from statllm.selection.word_vectors import word_vectors

TEXTS = [
    "the cat sat on the mat", "the dog sat on the log", "prove that the sum is even",
    "prove that every sum of two odd numbers is even", "cats and dogs",
]  # fmt: skip


def test_cosines_are_those_of_tf_idf_up_to_the_projection() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    exact = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(TEXTS)
    expected = (exact @ exact.T).toarray()
    x = word_vectors(TEXTS, dimensions=20_000)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(x @ x.T, expected, atol=0.03)


def test_a_text_s_vector_doesn_t_depend_on_the_order_of_the_others() -> None:
    order = [3, 1, 4, 0, 2]
    np.testing.assert_allclose(word_vectors([TEXTS[i] for i in order]), word_vectors(TEXTS)[order])
    assert np.isnan(word_vectors(["", "a"])[0]).all()
    with pytest.raises(InputError, match="dimensions"):
        word_vectors(TEXTS, dimensions=0)


def test_the_nearest_to_the_seeds_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    x, seeds = rng.normal(size=(50, 6)), rng.normal(size=(4, 6))
    x[7] = np.nan
    found = similar(x, seeds, 10)
    cosine = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in seeds] for a in x])
    best = np.where(np.isnan(cosine).all(axis=1), -9, np.nan_to_num(cosine, nan=-9).max(axis=1))
    assert set(np.flatnonzero(found.kept)) == set(np.argsort(-best)[:10])
    assert not found.kept[7]
    assert found.seed[7] == -1
    np.testing.assert_allclose(found.similarity[~np.isnan(x[:, 0])], best[~np.isnan(x[:, 0])])
    assert similar(x, seeds, 99).kept.sum() == 49
    with pytest.raises(InputError, match="k must be at least 1"):
        similar(x, seeds, 0)
    with pytest.raises(InputError, match="dimensions"):
        similar(x, seeds[:, :3], 1)
