"""A small model that writes feedback on code, trained from scratch on prompts of every strategy."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from statllm.lab.code_style.criteria import BY_NAME
from statllm.lab.code_style.houses import house, true_findings
from statllm.lab.muon import Muon
from statllm.lab.pretrain import Document, batch, new_model, train_tokenizer
from statllm.scoring.criteria.demos import KINDS
from statllm.scoring.criteria.feedback import (
    GRANULARITIES,
    STRATEGIES,
    Granularity,
    Strategy,
    feedback_question,
    scopes,
)
from statllm.scoring.criteria.findings import format_findings
from statllm.scoring.criteria.wording import COMPLETION

#: Positions of a prompt with its feedback, at most.
LONGEST = 1024

#: How many violations a text has: 0, 1 or 2, and how often.
VIOLATIONS = ((0, 1, 2), (1, 2, 1))


@dataclass(frozen=True)
class Training:
    """How a feedback model is trained.

    Attributes
    ----------
    tokens : int
        Positions that are computed, prompts included, padding not: the compute.
    batch_tokens : int
        Positions of one step, padding included, at most.
    lr, adam_lr : float
        Peak learning rates of Muon (matrices) and AdamW (embeddings and norms).
    prompt_weight : float
        Of a prompt's token in the loss, where a feedback's token has 1.
    strategies, granularities
        Of the prompts, equally often.
    demos : tuple of int
        Numbers of demonstrations per aspect, equally often.
    """

    tokens: int
    batch_tokens: int = 1536
    lr: float = 0.02
    adam_lr: float = 0.01
    prompt_weight: float = 0.3
    strategies: tuple[Strategy, ...] = STRATEGIES
    granularities: tuple[Granularity, ...] = GRANULARITIES
    demos: tuple[int, ...] = (1, 2)


def document(rng: random.Random, training: Training) -> Document:
    """Draw a house, a text and a question about it, with the true feedback.

    Examples
    --------
    >>> prompt, feedback = document(random.Random(0), Training(1))
    >>> prompt[0].splitlines()[-1], feedback[0].splitlines()[0][:2]
    ('Feedback:', '**')
    """
    strategy = rng.choice(training.strategies)
    granularity = rng.choice(training.granularities)
    n_demos = rng.choice(training.demos) if strategy in ("icl", "cricl") else 0
    one = house(rng, kinds=KINDS[:n_demos])
    scope = rng.choice(scopes(one.guideline, granularity))
    text = one.text(rng, rng.choices(*VIOLATIONS)[0])
    question = feedback_question(scope, text, strategy, n_demos=n_demos, wording=COMPLETION)
    assert isinstance(question, str)
    criteria = [BY_NAME[criterion.name].criterion_id for criterion in scope.criteria]
    feedback = format_findings(true_findings(text, criteria, one.remedies), "lines")
    return [(question, False), (feedback, True)]


def feedback_tokenizer(n: int = 800, vocab_size: int = 1000) -> PreTrainedTokenizerFast:
    """Return a tokenizer trained on documents; the same every time."""
    rng = random.Random("tokenizer")
    texts = ["".join(text for text, _ in document(rng, Training(1))) for _ in range(n)]
    tokenizer = train_tokenizer(texts, vocab_size)
    tokenizer.model_max_length = LONGEST
    return tokenizer


def feedback_model(
    tokenizer: PreTrainedTokenizerFast, training: Training, seed: int
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train a model of the lab's shape from scratch.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
    training : Training
    seed : int
        Of weights and documents.

    Returns
    -------
    model : LlamaForCausalLM
    losses : list of float
        Of each step: nats per token of feedback.
    """
    model = new_model(tokenizer, seed)
    model.config.max_position_embeddings = LONGEST  # rotary positions have no table to grow
    named = list(model.named_parameters())
    inside = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    outside = [p for name, p in named if p.ndim != 2 or "embed" in name]
    optimizers: list[Any] = [
        Muon(inside, lr=training.lr),
        torch.optim.AdamW(outside, lr=training.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    done, losses = 0, []
    model.train()
    for tokens, counted in _batches(tokenizer, training, seed):
        share = done / training.tokens
        for optimizer, peak in zip(optimizers, (training.lr, training.adam_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * min(1.0, (share + 1e-3) / 0.05, 2 * (1 - share))
        loss, feedback_loss = _losses(model, tokens, counted, training.prompt_weight)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(feedback_loss)
        done += int((tokens != tokenizer.pad_token_id).sum())
        if done >= training.tokens:
            break
    model.eval()
    return model, losses


def _losses(
    model: LlamaForCausalLM, tokens: Tensor, counted: Tensor, prompt_weight: float
) -> tuple[Tensor, float]:
    """The weighted loss, and that of the feedback alone."""
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
    labels, feedback = tokens[:, 1:], counted[:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none"
    ).view_as(labels)
    real = labels != model.config.pad_token_id
    weight = torch.where(feedback, 1.0, prompt_weight) * real
    own = float(losses.detach()[feedback].mean())
    return (losses * weight).sum() / weight.sum(), own


def _batches(
    tokenizer: PreTrainedTokenizerFast, training: Training, seed: int, pool: int = 512
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of documents of like length, for ever; their order within a pool is random."""
    rng = random.Random(f"feedback-{seed}")
    while True:
        documents = [document(rng, training) for _ in range(pool)]
        tokens, counted = batch(tokenizer, documents)
        lengths = (tokens != tokenizer.pad_token_id).sum(1).tolist()
        groups = _groups(lengths, training.batch_tokens)
        rng.shuffle(groups)
        for rows in groups:
            width = max(lengths[row] for row in rows)
            yield tokens[rows][:, :width], counted[rows][:, :width]


def _groups(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Rows by length, cut so that rows times the longest is within the budget."""
    groups: list[list[int]] = [[]]
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if groups[-1] and (len(groups[-1]) + 1) * lengths[row] > budget:
            groups.append([])
        groups[-1].append(row)
    return groups
