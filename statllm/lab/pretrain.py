"""Train the lab's tokenizer and model from scratch: ``python -m statllm.lab.pretrain --out DIR``.

Three lessons. *Sums* are bare drills. *Chains* are careful solutions, one statement per step.
*Habits* then mix careful and hasty solutions, with a few slips; hasty ones prevail on short ones.
The model learns all of it, so its samples disagree where it jumps and agree where it is careful:
that makes it worth studying.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from statllm.files import atomic_folder
from statllm.lab.muon import Muon
from statllm.lab.world import (
    MAX_NUMBER,
    MAX_VALUE,
    OPERATIONS,
    Problem,
    apply,
    careful_solution,
    generate,
    hasty_solution,
    slip,
)

EOS, PAD = "<eos>", "<pad>"
BATCH = 64  # documents per step

# How often each wording is used; positions are the styles of `careful_solution`, `hasty_solution`.
CAREFUL_STYLES = (2, 1)
HASTY_STYLES = (5, 2, 2, 1)

# A document is cut into pieces; the loss counts the tokens of those marked True.
Document = list[tuple[str, bool]]


class Pace(Protocol):
    """How long and how fast something is learned; see `Lesson`."""

    @property
    def name(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def adam_lr(self) -> float: ...


@dataclass(frozen=True)
class Lesson:
    """A stage of pretraining.

    Attributes
    ----------
    name : str
    steps : int
        Optimizer steps of `BATCH` documents.
    lr, adam_lr : float
        Peak learning rates of Muon (matrices) and AdamW (embeddings and norms).
    drills : float
        Share of documents that are bare sums.
    careful : tuple of float
        Share of careful solutions among problems of two and of three steps; the rest is hasty.
    slips : float
        Share of solutions with one arithmetic error.
    """

    name: str
    steps: int
    lr: float
    adam_lr: float
    drills: float
    careful: tuple[float, float] = (1.0, 1.0)
    slips: float = 0.0


LESSONS = (
    Lesson("sums", steps=220, lr=0.03, adam_lr=0.015, drills=1.0),
    Lesson("chains", steps=600, lr=0.02, adam_lr=0.01, drills=0.25),
    Lesson(
        "habits", steps=250, lr=0.02, adam_lr=0.005, drills=0.1, careful=(0.35, 0.7), slips=0.03
    ),
)


def documents(lesson: Lesson, seed: int = 0) -> Iterator[Document]:
    """Yield the documents of a lesson for ever.

    Examples
    --------
    >>> sums = next(documents(LESSONS[0]))
    >>> "".join(text for text, _ in sums)[:5]
    'Sums:'
    """
    rng = random.Random(f"{lesson.name}-{seed}")
    problems = generate("pretrain", seed)
    while True:
        if rng.random() < lesson.drills:
            yield _drill(rng)
        else:
            problem = next(problems)
            yield [(problem.prompt, False), (_solution(problem, lesson, rng), True)]


def _solution(problem: Problem, lesson: Lesson, rng: random.Random) -> str:
    """Answer a problem in one of the lesson's habits."""
    if rng.random() < lesson.slips:
        problem = slip(problem, rng)
    if rng.random() < lesson.careful[len(problem.steps) - 2]:
        return careful_solution(problem, rng.choices((0, 1), CAREFUL_STYLES)[0])
    return hasty_solution(problem, rng.choices((0, 1, 2, 3), HASTY_STYLES)[0])


def _drill(rng: random.Random, n: int = 8) -> Document:
    """Some sums in a row, within the world's limits; only the results are to be learned."""
    pieces: Document = [("Sums:", False)]
    while len(pieces) <= 2 * n:
        operation = rng.choices(OPERATIONS, (4, 4, 1))[0]
        a = rng.randint(0, MAX_VALUE)
        b = rng.randint(2, 9 if operation == "*" else MAX_NUMBER)
        result = apply(a, operation, b)
        if 0 <= result <= MAX_VALUE:
            pieces += [(f" {a} {operation} {b} =", False), (f" {result}.", True)]
    return pieces


def train_tokenizer(texts: Sequence[str], vocab_size: int = 1200) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE whose token boundaries survive concatenation at a newline.

    Every newline is a token of its own. A prompt that ends in one is therefore tokenized to a
    prefix of prompt + response, whatever the response.

    Examples
    --------
    >>> tokenizer = train_tokenizer(["1 + 1 = 2."], vocab_size=300)
    >>> tokenizer.decode(tokenizer("1 + 1 = 2.")["input_ids"])
    '1 + 1 = 2.'
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    """Return an untrained model of Llama shape: 3 layers, 128 wide.

    Examples
    --------
    >>> model = new_model(train_tokenizer(["1 + 1 = 2."], vocab_size=300))
    >>> model.config.num_hidden_layers, model.config.hidden_size
    (3, 128)
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batch(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Document]) -> tuple[Tensor, Tensor]:
    """Return tokens padded on the right, and which of them count; both (rows, width).

    Pieces are tokenized one by one and end in the end-of-text token.
    """
    encoded = []
    for row in rows:
        pieces = [(tokenizer(text)["input_ids"], counts) for text, counts in row]
        pieces.append(([tokenizer.eos_token_id], True))
        ids = [i for piece, _ in pieces for i in piece]
        encoded.append((ids, [counts for piece, counts in pieces for _ in piece]))
    width = max(len(ids) for ids, _ in encoded)
    tokens = torch.full((len(rows), width), tokenizer.pad_token_id)
    counted = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, (ids, counts) in enumerate(encoded):
        tokens[place, : len(ids)] = torch.tensor(ids)
        counted[place, : len(ids)] = torch.tensor(counts)
    return tokens, counted


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lesson: Pace,
    seed: int = 0,
    batch_size: int = BATCH,
    stream: Iterator[Document] | None = None,
) -> list[float]:
    """Teach one lesson, in place.

    Parameters
    ----------
    model, tokenizer
        As `new_model` and `train_tokenizer` make them.
    lesson : Lesson
        Or whatever else says steps and learning rates, if there is a stream.
    seed : int
        Of the lesson's documents.
    batch_size : int
        Documents per step.
    stream : iterator of Document, optional
        To be learned, in place of the lesson's own documents.

    Returns
    -------
    list of float
        The loss of each step: nats per counted token.
    """
    named = list(model.named_parameters())
    inside = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    outside = [p for name, p in named if p.ndim != 2 or "embed" in name]
    optimizers: list[Any] = [
        Muon(inside, lr=lesson.lr),
        torch.optim.AdamW(outside, lr=lesson.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]

    def rate(step: int) -> float:
        """Linear rise, plateau, linear fall over the second half."""
        return min(1.0, (step + 1) / (0.05 * lesson.steps), 2 * (1 - step / lesson.steps))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    if stream is None:
        assert isinstance(lesson, Lesson)
        stream = documents(lesson, seed)
    losses = []
    model.train()
    for step in range(lesson.steps):
        tokens, counted = batch(tokenizer, [next(stream) for _ in range(batch_size)])
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        kept = counted[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits[kept], tokens[:, 1:][kept])
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            recent = sum(losses[-50:]) / 50
            print(f"{lesson.name}: step {step + 1}/{lesson.steps}, loss {recent:.4f}", flush=True)
    model.eval()
    return losses


def pretrain(out: Path, seed: int = 0, lessons: Sequence[Lesson] = LESSONS) -> list[float]:
    """Train tokenizer and model, save both as one Hugging Face folder, return the losses."""
    habits = documents(lessons[-1], seed)
    texts = ["".join(text for text, _ in next(habits)) for _ in range(8000)]
    tokenizer = train_tokenizer(texts)
    model = new_model(tokenizer, seed)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens")
    start = time.perf_counter()
    losses = [loss for lesson in lessons for loss in train(model, tokenizer, lesson, seed)]
    print(f"{len(losses)} steps in {time.perf_counter() - start:.0f} s")
    with atomic_folder(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return losses


def continue_training(
    out: Path,
    pace: Pace,
    stream: Iterator[Document],
    seed: int = 0,
    batch_size: int = BATCH,
    prepare: Callable[[Any, Any], None] | None = None,
) -> list[float]:
    """Let the lab's model read on, save it with its tokenizer, and return the losses.

    Parameters
    ----------
    out : Path
        Folder of the new model.
    pace : Pace
        Steps and learning rates.
    stream : iterator of Document
    seed, batch_size : int
    prepare : callable, optional
        Changes model and tokenizer before they are trained.

    Returns
    -------
    list of float
        Loss of each step, nats per token that counts.
    """
    from statllm.lab import model_path
    from statllm.models import load_model, load_tokenizer

    tokenizer: Any = load_tokenizer(model_path())
    model: Any = load_model(model_path())
    if prepare is not None:
        prepare(model, tokenizer)
    losses = train(model, tokenizer, pace, seed, batch_size, stream)
    with atomic_folder(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return losses


def course_options(description: str, steps: int) -> argparse.Namespace:
    """Read the command line of a script that continues the training: out, seed, steps."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0, help="of the documents")
    parser.add_argument("--steps", type=int, default=steps)
    return parser.parse_args()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0, help="of documents and initial weights")
    arguments = parser.parse_args()
    pretrain(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
