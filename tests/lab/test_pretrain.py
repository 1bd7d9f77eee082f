"""Pretraining: Muon against the singular value decomposition, documents, and a tiny run."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from statllm.files import sha256  # noqa: E402
from statllm.lab.muon import Muon, orthogonalize  # noqa: E402
from statllm.lab.pretrain import (  # noqa: E402
    LESSONS,
    Lesson,
    batch,
    documents,
    new_model,
    pretrain,
    train,
    train_tokenizer,
)

SUMS, CHAINS, HABITS = LESSONS
TINY = tuple(replace(lesson, steps=2) for lesson in LESSONS)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    rows = itertools.islice(documents(HABITS, seed=5), 1500)
    return train_tokenizer(["".join(text for text, _ in row) for row in rows])


@pytest.mark.parametrize("shape", [(16, 16), (40, 12), (12, 40)])
def test_orthogonalize_keeps_singular_vectors(shape: tuple[int, int]) -> None:
    """In the basis of the SVD the result is diagonal, with entries near 1."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalize(matrix) @ right.T
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-8)
    # the band that the quintic's author gives; a random square matrix can have a tiny value below
    assert inner.diagonal().max() < 1.3
    assert inner.diagonal()[:-1].min() > 0.5


def test_newton_schulz_by_scalars() -> None:
    """On a diagonal matrix the iteration is the quintic of each entry."""
    entries = np.array([0.8, 0.5, 0.1])
    values = entries / np.linalg.norm(entries)
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    result = orthogonalize(torch.diag(torch.tensor(entries)))
    np.testing.assert_allclose(result.diagonal(), values, rtol=1e-6)


def test_muon_step_by_hand() -> None:
    """Two steps: momentum as an exponential mean, Nesterov's look-ahead, scale of tall ones."""
    generator = torch.Generator().manual_seed(1)
    start, first, second = (torch.randn(8, 2, generator=generator) for _ in range(3))
    weight = torch.nn.Parameter(start.clone())
    optimizer = Muon([weight], lr=0.1, momentum=0.9)
    expected, mean = start.clone(), torch.zeros(8, 2)
    for gradient in (first, second):
        weight.grad = gradient.clone()
        optimizer.step()
        mean = 0.9 * mean + 0.1 * gradient
        expected -= 0.1 * 2.0 * orthogonalize(0.1 * gradient + 0.9 * mean)
    assert torch.allclose(weight.detach(), expected, atol=1e-6)


def test_drills_are_right_and_only_results_count() -> None:
    for row in itertools.islice(documents(SUMS), 50):
        text = "".join(piece for piece, _ in row)
        sums = re.findall(r"(\d+ [+*-] \d+) = (\d+)\.", text)
        assert len(sums) == 8
        assert all(eval(left) == int(right) for left, right in sums)
        assert [piece for piece, counts in row if counts] == [f" {right}." for _, right in sums]


@pytest.mark.parametrize(("n_steps", "share"), [(2, 0.35), (3, 0.70)])
def test_habits_are_mixed_as_stated(n_steps: int, share: float) -> None:
    lesson = replace(HABITS, drills=0.0, slips=0.0)
    responses = [row[1][0] for row in itertools.islice(documents(lesson), 4000)]
    prompts = [row[0][0] for row in itertools.islice(documents(lesson), 4000)]
    careful = [
        len(re.findall(r"=", response)) == n_steps
        for prompt, response in zip(prompts, responses, strict=True)
        if len(re.findall(r"First|Then|Finally|each", prompt)) == n_steps
    ]
    assert len(careful) > 1500
    assert abs(np.mean(careful) - share) < 4 * np.sqrt(share * (1 - share) / len(careful))


def test_batch_counts_response_and_end(tokenizer: Any) -> None:
    rows = list(itertools.islice(documents(replace(CHAINS, drills=0.0)), 5))
    tokens, counted = batch(tokenizer, rows)
    for row, ids, counts in zip(rows, tokens, counted, strict=True):
        (prompt, _), (response, _) = row
        assert tokenizer.decode(ids[counts]) == response + tokenizer.eos_token
        whole = tokenizer(prompt + response)["input_ids"] + [tokenizer.eos_token_id]
        assert ids[: len(whole)].tolist() == whole
        assert (ids[len(whole) :] == tokenizer.pad_token_id).all()


def test_training_lowers_the_loss_and_repeats_exactly(tokenizer: Any) -> None:
    lesson = Lesson("chains", steps=30, lr=0.02, adam_lr=0.01, drills=0.0)
    runs = [train(new_model(tokenizer), tokenizer, lesson, batch_size=8) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0][0] == pytest.approx(np.log(len(tokenizer)), rel=0.05)  # starts uniform
    assert np.mean(runs[0][-5:]) < 0.5 * runs[0][0]


def test_pretrain_writes_a_model_folder(tmp_path: Path) -> None:
    losses = pretrain(tmp_path / "a", lessons=TINY)
    assert len(losses) == 6
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    assert model.config.vocab_size == len(tokenizer)
    pretrain(tmp_path / "b", lessons=TINY)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
