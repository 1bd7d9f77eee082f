"""What a model would say at every place of a text, against the model row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from statllm.errors import InputError
from statllm.ragged import Ragged


def lab() -> Any:
    from statllm.lab import model_path
    from statllm.models import load_model

    return load_model(model_path(), device="cpu")


def test_predictions_are_those_of_each_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from statllm.scoring.watermarks import predictions

    model = lab()
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, 600, n).tolist() for n in (40, 1, 0, 7, 256, 12, 40)]
    texts = Ragged.from_lists(rows, np.int64)
    found = predictions.predicted_tokens(model, texts)
    for row, place in zip(rows, texts.offsets, strict=False):
        if row:
            with torch.no_grad():
                expected = model(torch.tensor([row])).logits[0, :-1].argmax(-1).tolist()
            assert found[place : place + len(row)].tolist() == [-1, *expected]
    drawn = predictions.predicted_tokens(model, texts, temperature=1.0, seed=3)
    monkeypatch.setattr(predictions, "_LOGITS", 1)  # one text at a time
    alone = predictions.predicted_tokens(model, texts, temperature=1.0, seed=3)
    assert drawn.tolist() == alone.tolist() != found.tolist()
    other = predictions.predicted_tokens(model, texts, temperature=1.0, seed=4)
    assert other.tolist() != drawn.tolist()
    for wrong, message in (([[1] * 257], "a text has 257 tokens"), ([[1, 615]], "token 615")):
        with pytest.raises(InputError, match=message):
            predictions.predicted_tokens(model, Ragged.from_lists(wrong, np.int64))
    with pytest.raises(InputError, match="temperature must not be negative"):
        predictions.predicted_tokens(model, texts, temperature=-1.0)
    with pytest.raises(ValueError, match="longest must be at least 2"):
        predictions.windows_of(texts, 1)
    assert len(predictions.windows_of(Ragged.from_lists([[]], np.int64), 2)) == 0


def test_draws_have_the_law_of_the_model() -> None:
    """4,000 draws after one text: chi-squared against softmax(logits / 1.3)."""
    import torch

    from statllm.scoring.watermarks.predictions import predicted_tokens

    model = lab()
    text = [5, 60, 61]
    many = Ragged.from_lists([text] * 4000, np.int64)
    drawn = predicted_tokens(model, many, temperature=1.3, seed=1).reshape(4000, 3)[:, 2]
    with torch.no_grad():
        logits = model(torch.tensor([text])).logits[0, 1].double()
    law = torch.softmax(logits / 1.3, -1).numpy()
    common = law * 4000 >= 5
    counts = np.bincount(drawn, minlength=len(law))
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(law[common], law[~common].sum()) * 4000
    assert common.sum() > 3
    assert stats.chisquare(observed, expected).pvalue > 0.001
