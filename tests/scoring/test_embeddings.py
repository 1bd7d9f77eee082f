"""Embeddings against a plain loop over texts, pooling by hand, and sentence-transformers' files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.estimators import cosine_similarity, eigenscore, semantic_clusters
from statllm.scoring import _encoders
from statllm.scoring._encoders import batches
from statllm.scoring.embeddings import embed

TEXTS = [
    ["it is 3", "3", "the number is three", "3"],
    [],
    ["no idea", "3 is what it is , x is 3"],
    ["one"],
]
FLAT = [text for row in TEXTS for text in row]


def by_hand(folder: Path, pooling: str) -> np.ndarray:
    """One text at a time, no padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)
    model.train(False)
    rows = []
    with torch.no_grad():
        for text in FLAT:
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            rows.append({"mean": states.mean(dim=0), "cls": states[0], "last": states[-1]}[pooling])
    return np.stack([row.numpy() for row in rows])


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("budget", [1, 20, 8192])
def test_equal_to_one_text_at_a_time(
    encoder_folder: Path, tmp_path: Path, pooling: Any, budget: int
) -> None:
    found = embed(TEXTS, encoder_folder, pooling=pooling, cache=tmp_path, batch_tokens=budget)
    expected = by_hand(encoder_folder, pooling)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1  # the texts do differ
    unit = embed(TEXTS, encoder_folder, pooling=pooling, normalize=True, cache=tmp_path)
    norm = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected / norm, atol=1e-5)


def test_a_tokenizer_that_pads_on_the_left(encoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "left"
    shutil.copytree(encoder_folder, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "padding_side": "left"}))
    for pooling in ("mean", "cls", "last"):
        found = embed(TEXTS, folder, pooling=pooling, cache=tmp_path)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, by_hand(encoder_folder, pooling), atol=1e-5)


def test_distinct_texts_go_through_once(
    encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = _encoders.forward

    def counted(*arguments: Any):
        for places, output, mask in forward(*arguments):
            seen.append(len(places))
            yield places, output, mask

    monkeypatch.setattr("statllm.scoring.embeddings.forward", counted)
    first = embed(TEXTS, encoder_folder, cache=tmp_path)
    assert sum(seen) == len(set(FLAT)) == 6
    embed([*TEXTS, ["zero", "3"]], encoder_folder, cache=tmp_path)
    assert sum(seen) == 7

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("statllm.scoring.embeddings.load_encoder", load)
    again = embed(pa.array(TEXTS), encoder_folder, cache=tmp_path)
    np.testing.assert_array_equal(first, again)
    assert embed([[], []], encoder_folder, cache=tmp_path).shape[0] == 0


def test_scores_of_the_vectors(encoder_folder: Path, tmp_path: Path) -> None:
    vectors, sizes = embed(TEXTS, encoder_folder, cache=tmp_path), [4, 0, 2, 1]
    cosine = cosine_similarity(vectors, sizes)
    by_loop = by_hand(encoder_folder, "mean")[:4].astype(np.float64)
    by_loop /= np.linalg.norm(by_loop, axis=1, keepdims=True)
    np.testing.assert_allclose(cosine.block(0), by_loop @ by_loop.T, atol=1e-5)
    assert cosine.block(0)[1, 3] == pytest.approx(1.0, abs=1e-12)
    assert semantic_clusters(cosine, threshold=0.9999).to_lists()[0] == [0, 1, 2, 1]
    centred = by_hand(encoder_folder, "mean")[4:6].astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    log_det = np.linalg.slogdet(centred @ centred.T + 0.001 * np.eye(2))[1]
    assert eigenscore(vectors, sizes)[2] == pytest.approx(log_det / 2, rel=1e-4)


def test_a_folder_of_sentence_transformers(
    world: SimpleNamespace, encoder_folder: Path, tmp_path: Path
) -> None:
    def folder(name: str, pooling: dict[str, Any], *further: str) -> Path:
        shutil.copytree(encoder_folder, tmp_path / name)
        made: Path = world.write_modules(tmp_path / name, pooling, *further)
        return made

    cls = by_hand(encoder_folder, "cls")
    plain = folder("plain", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    np.testing.assert_allclose(embed(TEXTS, plain, cache=tmp_path), cls, atol=1e-5)
    mean = embed(TEXTS, plain, pooling="mean", cache=tmp_path)  # what is asked for comes first
    np.testing.assert_allclose(mean, by_hand(encoder_folder, "mean"), atol=1e-5)
    unit = folder("unit", {"pooling_mode": "cls"}, "Normalize")
    expected = cls / np.linalg.norm(cls, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(TEXTS, unit, cache=tmp_path), expected, atol=1e-5)
    np.testing.assert_allclose(embed(TEXTS, unit, normalize=False, cache=tmp_path), cls, atol=1e-5)
    short = folder("short", {"pooling_mode": "mean"})
    (short / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8}))
    with pytest.raises(InputError, match="reads 8 tokens, and a text has 11"):
        embed(TEXTS, short, cache=tmp_path)
    cut = embed(TEXTS, short, long_texts="cut", cache=tmp_path)
    np.testing.assert_allclose(cut[:4], by_hand(encoder_folder, "mean")[:4], atol=1e-5)
    odd = folder("odd", {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True})
    with pytest.raises(InputError, match="pooling max_tokens . mean isn't known here|max_tokens"):
        embed(TEXTS, odd, cache=tmp_path)
    dense = folder("dense", {"pooling_mode": "mean"}, "Dense")
    with pytest.raises(InputError, match="has a layer 'Dense', which isn't known here"):
        embed(TEXTS, dense, cache=tmp_path)


def test_settings_that_change_the_numbers_have_caches_of_their_own(
    world: SimpleNamespace, encoder_folder: Path, tmp_path: Path
) -> None:
    other = world.write_encoder(tmp_path / "other" / encoder_folder.name, seed=1)
    cache = tmp_path / "cache"
    found = [
        embed(TEXTS, encoder_folder, cache=cache),
        embed(TEXTS, encoder_folder, pooling="cls", cache=cache),
        embed(TEXTS, other, cache=cache),
    ]
    assert not np.allclose(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    embed(TEXTS, encoder_folder, normalize=True, batch_tokens=20, cache=cache)
    assert len(list(cache.iterdir())) == 3  # neither length nor batches change what is kept


def test_bad_input(encoder_folder: Path, nli_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pooling must be auto, mean, cls or last"):
        embed(TEXTS, encoder_folder, pooling="max", cache=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 texts are missing"):
        embed([["3", None]], encoder_folder, cache=tmp_path)
    with pytest.raises(InputError, match="nowhere does not exist"):
        embed(TEXTS, tmp_path / "nowhere", cache=tmp_path)
    # The encoder of a classifier is an encoder: its head is left aside.
    assert embed(TEXTS, nli_folder, cache=tmp_path).shape == (7, 48)


def test_batches_hold_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 90, 500)
    seen = []
    for batch in batches(lengths, 256):
        assert len(batch) * lengths[batch].max() <= 256
        seen += batch.tolist()
    assert sorted(seen) == list(range(500))
    assert [len(batch) for batch in batches(np.array([300, 300]), 256)] == [1, 1]


def test_a_real_model(tmp_path: Path) -> None:
    """STATLLM_EMBEDDER may name a folder such as that of all-MiniLM-L6-v2."""
    folder = os.environ.get("STATLLM_EMBEDDER")
    if not folder:
        pytest.skip("STATLLM_EMBEDDER names no model folder")
    texts = [["It's Paris.", "Paris", "I had soup for lunch."]]
    cosine = cosine_similarity(embed(texts, folder, cache=tmp_path), [3]).block(0)
    assert cosine[0, 1] > 0.6 > 0.4 > cosine[0, 2]
