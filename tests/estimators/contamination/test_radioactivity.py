"""Radioactivity: marks read in the text's contexts, and sizes under the null."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.estimators.contamination.contexts import Contexts, check_poolable
from statllm.estimators.contamination.radioactivity import (
    _last_marks,
    radioactivity,
    read_marks,
)
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.schemes import SCHEMES, make_scheme
from statllm.ragged import Ragged

V = 60
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "kgw": [
        {"vocabulary": V, "key": 7},
        {"vocabulary": V, "key": 7, "seeding": "selfhash", "context_width": 3},
        {"vocabulary": V, "key": 7, "seeding": "minhash", "context_width": 3,
         "flavour": "lm-watermarking"},
        {"vocabulary": V, "key": 7, "seeding": "noncomm", "context_width": 3, "self_salt": True,
         "flavour": "lm-watermarking"},
        {"vocabulary": V, "key": 7, "context_width": 4},
    ],
    "sbw": [{"key": 7}, {"key": 7, "seeding": "lefthash", "context_width": 2}],
    "vllm-red-green": [{"key": 7}],
    "dipmark": [{"vocabulary": V, "key": 7, "context_width": 2}],
    "vllm-gumbel": [{"key": 7}],
    "vllm-dual-gumbel": [{"key": 7}],
    "sglang-gumbel": [{"key": 7}],
    "synthid": [{"key": tuple(range(1, 11)), "flavour": "deepmind"}],
    "three-bricks-gumbel": [{"vocabulary": V, "key": 7, "start": 3, "ngram": 2}],
    "permute-flip": [{"vocabulary": V, "key": 7, "start": 3, "ngram": 2}],
    "inverse-transform": [{"vocabulary": V, "key": 7, "context_width": 2}],
}  # fmt: skip
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("unigram", {"vocabulary": V}),
    ("textseal-gumbel", {}),
    ("synthid", {"key": (1, 2)}),
    ("sbw", {"key": 7, "context_width": 1}),
    ("kgw", {"vocabulary": V, "seeding": "selfhash", "context_width": 1}),
]
SCHEMES_TRIED = [(name, options) for name, each in OPTIONS.items() for options in each]


def test_every_scheme_is_tried_or_refused() -> None:
    assert set(SCHEMES) == set(OPTIONS) | {name for name, _ in REFUSED}


@pytest.mark.parametrize(("name", "options"), REFUSED)
def test_schemes_with_too_few_numbers_are_refused_by_name(name: str, options: Any) -> None:
    scheme = make_scheme(name, **options)
    with pytest.raises(ValueError, match=f"^{name} can't be tested for radioactivity"):
        read_marks(scheme, Ragged.from_lists([[1, 2, 3]], np.int64))


@pytest.mark.parametrize(("name", "options"), SCHEMES_TRIED)
def test_a_text_that_says_itself_has_its_own_marks(name: str, options: Any) -> None:
    """In windows of the length that `check_poolable` says; a shorter one would not do."""
    rng = np.random.default_rng(0)
    texts = Ragged.from_lists([rng.integers(0, V, n).tolist() for n in (30, 0, 1, 12)], np.int64)
    scheme = make_scheme(name, **options)
    whole = scheme.marks(texts)
    at, reach = np.arange(len(texts.values)), check_poolable(scheme)
    marks, where = _last_marks(scheme, texts, at, texts.values, reach)
    place = texts.offsets[whole.documents] + whole.positions
    same = np.isin(where, place)  # synthid leaves out contexts that a text had before
    np.testing.assert_array_equal(where[same], place)
    np.testing.assert_array_equal(marks.values[same], whole.values)
    np.testing.assert_array_equal(marks.seeds[same], whole.seeds)
    assert same.all() or name == "synthid"
    if reach > 1 and options.get("seeding") != "selfhash" and options.get("context_width") != 4:
        short, where = _last_marks(scheme, texts, at, texts.values, reach - 1)
        wrong = np.mean(short.seeds[np.isin(where, place)] != whole.seeds) if len(where) else 1
        assert wrong > 0.5


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=4),
    st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=4),
    st.integers(1, 3),
    st.data(),
)
def test_what_counts_against_a_search(
    texts: list[list[int]], trained: list[list[int]], width: int, data: st.DataObject
) -> None:
    scheme = make_scheme("vllm-gumbel", key=42, context_width=width)
    predicted = [[data.draw(st.integers(-1, 3)) for _ in text] for text in texts]

    def context(text: list[int], t: int) -> tuple[int, ...]:
        return tuple(([-1] * width + text[:t])[-width:])

    known = {context(text, t) for text in trained for t in range(len(text))}
    for seen in ("seed", "pair"):
        n = outside = old = 0
        expected: list[float] = []
        counted: set[Any] = set()
        for text, said in zip(texts, predicted, strict=True):
            for t, token in enumerate(said):
                if token < 0:
                    continue
                n += 1
                if context(text, t) not in known:
                    outside += 1
                elif any(
                    context(text, s) == context(text, t) and (seen == "seed" or text[s] == token)
                    for s in range(t)
                ):
                    old += 1
                elif (context(text, t), token) not in counted:
                    counted.add((context(text, t), token))
                    one = Ragged.from_lists([[*text[:t], token]], np.int64)
                    expected.append(float(scheme.marks(one).values[-1]))
        reading = read_marks(
            scheme,
            Ragged.from_lists(texts, np.int64),
            np.array([token for said in predicted for token in said], np.int64),
            contexts=Contexts.of(Ragged.from_lists(trained, np.int64), width),
            seen=seen,  # type: ignore[arg-type]
        )
        found = radioactivity(reading)
        assert (found.n_tokens, found.n_outside, found.n_seen) == (n, outside, old)
        assert found.test.n_effective == len(expected)
        if expected:
            p = stats.gamma.sf(-np.sum(np.log1p(-np.array(expected))), len(expected))
            assert found.test.p_value == pytest.approx(p, rel=1e-9)
        else:
            assert math.isnan(found.test.p_value)


def test_closed_models_answer_for_their_own_words_alone() -> None:
    scheme = make_scheme("vllm-gumbel", key=42, context_width=1)
    texts = Ragged.from_lists([[1, 2, 3, 1, 5], [1, 5]], np.int64)
    reading = read_marks(scheme, texts, prompt_lengths=[3, 0])
    # the prompt had a token after 1; the second row's first two tokens have new seeds
    assert (reading.n_tokens, reading.n_seen) == (4, 1)
    found = radioactivity([reading, reading])
    assert (found.test.n_effective, found.n_repeated) == (3, 3)
    everything = read_marks(scheme, texts)
    assert everything.n_tokens == 7
    assert everything.n_seen == 0  # its own words before are no help


def test_wrong_input() -> None:
    scheme = make_scheme("vllm-gumbel", key=42)
    texts = Ragged.from_lists([[1, 2]], np.int64)
    for arguments, message in (
        ({"predicted": [1]}, r"predicted must have shape \(2,\)"),
        ({"predicted": [1, 2], "prompt_lengths": [1]}, "prompt_lengths belong to"),
        ({"prompt_lengths": [1, 2]}, r"prompt_lengths must have shape \(1,\)"),
        ({"contexts": Contexts.of(texts, 2)}, "reads 4 tokens, contexts have 2"),
        ({"seen": "never"}, "seen must be"),
    ):
        with pytest.raises(ValueError, match=message):
            read_marks(scheme, texts, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no reading"):
        radioactivity([])
    other = make_scheme("vllm-red-green", key=42)
    with pytest.raises(ValueError, match="of one scheme"):
        radioactivity([read_marks(scheme, texts), read_marks(other, texts)])
    with pytest.raises(ValueError, match="contexts of 1 and of 2"):
        Contexts.of(texts, 1).joined(Contexts.of(texts, 2))
    small = make_scheme("kgw", vocabulary=10)
    with pytest.raises(ValueError, match="the model says token 11, kgw has a vocabulary of 10"):
        read_marks(small, texts, [-1, 11])


@pytest.mark.parametrize("rows", [[], [[]], [[], [5]]])
@pytest.mark.parametrize(("name", "options"), SCHEMES_TRIED)
def test_nothing_to_score(name: str, options: Any, rows: list[list[int]]) -> None:
    scheme = make_scheme(name, **options)
    texts = Ragged.from_lists(rows, np.int64)
    found = radioactivity(read_marks(scheme, texts, np.full(len(texts.values), -1)))
    assert math.isnan(found.test.log_p_value)
    assert "undefined" in found.summary()
    radioactivity(read_marks(scheme, texts))


def world(
    scheme: Any, rng: np.random.Generator, rows: int, length: int
) -> tuple[Ragged, np.ndarray]:
    """Watermarked texts of a source of 12 tokens, and what a model that copies says next.

    It repeats what followed the same two tokens before, as attention does; else the likeliest.
    """
    law = rng.dirichlet(np.full(12, 0.7), (12, 12))
    texts, said = [], []
    for _ in range(rows):
        text: list[int] = rng.integers(0, 12, 2).tolist()
        guess = [-1, -1]
        before: dict[tuple[int, ...], int] = {}
        for _ in range(length - 2):
            here = law[text[-2], text[-1]]
            guess.append(before.get(tuple(text[-2:]), int(here.argmax())))
            shifted = scheme.reweighted(here, np.array(text, np.int64))
            token = int(rng.choice(12, p=shifted / shifted.sum()))
            before[tuple(text[-2:])] = token
            text.append(token)
        texts.append(text)
        said.append(guess)
    return Ragged.from_lists(texts, np.int64), np.array([g for row in said for g in row], np.int64)


@pytest.mark.parametrize("seen", ["seed", "pair"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vllm-gumbel", {"context_width": 2}),
        ("kgw", {"vocabulary": 12, "seeding": "additive", "context_width": 2, "share": 0.5,
                 "flavour": "lm-watermarking", "bias": 4.0}),
    ],
)  # fmt: skip
def test_copying_from_the_given_text_is_no_radioactivity(
    name: str, options: Any, seen: Any
) -> None:
    """150 keys, watermarked text: sizes are at most nominal + 3 Monte Carlo errors.

    Counted like any other, the copies would make half of the p-values small.
    """
    rng = np.random.default_rng(5)
    log_p, naive = [], []
    for _ in range(150):
        scheme = make_scheme(name, key=int(rng.integers(1, 2**31)), **options)
        texts, said = world(scheme, rng, rows=4, length=60)
        log_p.append(radioactivity(read_marks(scheme, texts, said, seen=seen)).test.log_p_value)
        at = np.flatnonzero(said >= 0)
        marks, _ = _last_marks(scheme, texts, at, said[at], 2)
        import dataclasses

        whole = dataclasses.replace(marks, offsets=np.array([0, len(marks.seeds)]), once_per="pair")
        naive.append(float(detect(whole).log_p[0]))
    p = np.exp(log_p)
    for level in (0.05, 0.2, 0.5):
        error = math.sqrt(level * (1 - level) / 150)
        assert np.mean(p <= level) <= level + 3 * error
    if name == "vllm-gumbel" and seen == "seed":  # continuous: uniform, not merely small enough
        assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.exp(naive) <= 0.05) > 0.5


@pytest.mark.parametrize(("name", "options"), SCHEMES_TRIED)
def test_p_values_of_text_without_the_key(name: str, options: Any) -> None:
    """200 keys on one text and its predictions: at most nominal + 4 Monte Carlo errors.

    Four, for these are 42 comparisons.
    """
    rng = np.random.default_rng(1)
    texts = Ragged.from_lists(
        [np.minimum(rng.zipf(1.3, 80), V - 1).tolist() for _ in range(10)], np.int64
    )
    said = np.minimum(rng.zipf(1.3, 800), V - 1)
    p = []
    for _ in range(200):
        key = int(rng.integers(1, 2**31))
        if name == "synthid":
            given: Any = tuple(rng.integers(1, 2**40, 10).tolist())
        else:
            given = key
        scheme = make_scheme(name, **{**options, "key": given})
        p.append(radioactivity(read_marks(scheme, texts, said)).test.p_value)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) <= level + 4 * math.sqrt(level * (1 - level) / 200)
    assert np.mean(np.array(p) <= 0.5) > 0.2  # nor do they shy away


def test_a_real_text_read_by_a_real_model(shared_data: Path) -> None:
    """Word problems of people: 100 keys, p-values uniform."""
    from statllm.lab import model_path
    from statllm.models import load_model, load_tokenizer
    from statllm.scoring.watermarks.predictions import predicted_tokens, windows_of

    file = next((shared_data / "gsm8k_openai").glob("*.parquet"), None) or next(
        (shared_data / "gsm8k_openai").glob("*.jsonl*")
    )
    from statllm._formats import read_rows

    table = read_rows(file)
    column = "question" if "question" in table.column_names else table.column_names[0]
    texts = [str(text) for text in table[column].to_pylist()[:60]]
    ids = load_tokenizer(model_path())(texts, add_special_tokens=False)["input_ids"]
    words = windows_of(Ragged.from_lists(ids, np.int64), 256)
    model = load_model(model_path(), device="cpu")
    said = predicted_tokens(model, words)
    p = [
        radioactivity(
            read_marks(make_scheme("vllm-gumbel", key=key, context_width=2), words, said)
        ).test.p_value
        for key in range(100)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01
