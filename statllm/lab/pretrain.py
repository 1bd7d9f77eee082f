"""Train the lab's tokenizer and its model from scratch: ``python -m statllm.lab.pretrain --out DIR``.

The documents mix habits: careful chains of thought, hasty answers, a few slips, and drills of bare
sums. The model learns all of them, so its samples disagree where it jumps and agree where it
is careful; that is what makes it worth studying.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from statllm.lab.muon import Muon
from statllm.lab.world import (
    MAX_NUMBER,
    MAX_VALUE,
    N_CAREFUL_STYLES,
    N_HASTY_STYLES,
    Operation,
    Problem,
    apply,
    careful_solution,
    generate,
    hasty_solution,
    slip,
)

EOS, PAD = "<eos>", "<pad>"
OPERATIONS: tuple[Operation, ...] = ("+", "-", "*")
PROMPT_WEIGHT = 0.1  # of a prompt token in the loss; a response token counts 1


@dataclass(frozen=True)
class Habits:
    """The mixture that the documents are drawn from.

    Attributes
    ----------
    careful_two, careful_three : float
        Share of careful solutions among problems of two and of three steps; the rest is hasty.
    slips : float
        Share of solutions with one arithmetic error.
    drills : float
        Share of documents that are bare sums.
    """

    careful_two: float = 0.35
    careful_three: float = 0.70
    slips: float = 0.03
    drills: float = 0.25


def documents(habits: Habits, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yield pretraining documents for ever, as prompt and response.

    Examples
    --------
    >>> next(documents(Habits(drills=1.0)))
    """
    rng = random.Random(f"documents-{seed}")
    problems = generate("pretrain", seed)
    while True:
        if rng.random() < habits.drills:
            yield _drill(rng)
        else:
            problem = next(problems)
            yield problem.prompt, _solution(problem, habits, rng)


def _solution(problem: Problem, habits: Habits, rng: random.Random) -> str:
    """Answer a problem in one of the habits."""
    if rng.random() < habits.slips:
        problem = slip(problem, rng)
    careful = habits.careful_two if len(problem.steps) == 2 else habits.careful_three
    if rng.random() < careful:
        return careful_solution(problem, rng.randrange(N_CAREFUL_STYLES))
    return hasty_solution(problem, rng.randrange(N_HASTY_STYLES))


def _drill(rng: random.Random, n: int = 5) -> tuple[str, str]:
    """Bare sums, asked and answered in a row, each within the world's limits."""
    asked, answered = [], []
    while len(asked) < n:
        operation: Operation = rng.choices(OPERATIONS, (4, 4, 1))[0]
        a = rng.randint(0, MAX_VALUE)
        b = rng.randint(2, 9 if operation == "*" else MAX_NUMBER)
        result = apply(a, operation, b)
        if 0 <= result <= MAX_VALUE:
            asked.append(f"{a} {operation} {b}")
            answered.append(f"{a} {operation} {b} = {result}.")
    return f"Q: {', '.join(asked)}\nA:\n", " ".join(answered)


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


def encode(
    tokenizer: PreTrainedTokenizerFast, texts: Iterator[tuple[str, str]]
) -> Iterator[tuple[list[int], int]]:
    """Yield the tokens of prompt + response + end, and the number of prompt tokens."""
    for prompt, response in texts:
        ids = tokenizer(prompt)["input_ids"]
        yield ids + tokenizer(response)["input_ids"] + [tokenizer.eos_token_id], len(ids)


def batches(
    rows: Iterator[tuple[list[int], int]], n: int, size: int, pad: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `n` batches of tokens, shape (size, width), padded right, and their loss weights.

    Rows of like length share a batch; the order of the batches is random.
    """
    group = 32  # batches that are sorted together
    while n > 0:
        pool = sorted((next(rows) for _ in range(group * size)), key=lambda row: len(row[0]))
        blocks = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(blocks)
        for block in blocks[:n]:
            width = max(len(ids) for ids, _ in block)
            tokens = torch.full((size, width), pad)
            weights = torch.zeros(size, width)
            for row, (ids, n_prompt) in enumerate(block):
                tokens[row, : len(ids)] = torch.tensor(ids)
                weights[row, :n_prompt] = PROMPT_WEIGHT
                weights[row, n_prompt : len(ids)] = 1.0
            yield tokens, weights
        n -= group


def train(
    model: LlamaForCausalLM,
    rows: Iterator[tuple[list[int], int]],
    n_steps: int,
    *,
    batch_size: int = 64,
    lr: float = 0.03,
    adam_lr: float = 0.006,
    seed: int = 0,
) -> list[float]:
    """Train in place with Muon inside and AdamW outside; return the loss of each step in nats."""
    inside, outside = [], []
    for name, parameter in model.named_parameters():
        (inside if parameter.ndim == 2 and "embed" not in name else outside).append(parameter)
    muon = Muon(inside, lr=lr)
    adam = torch.optim.AdamW(outside, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    warmup, cooldown = 0.05 * n_steps, 0.5 * n_steps

    def rate(step: int) -> float:
        """Linear rise, plateau, linear fall."""
        return min(1.0, (step + 1) / warmup, (n_steps - step) / cooldown)

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, rate) for o in (muon, adam)]
    pad = model.config.pad_token_id
    losses = []
    model.train()
    for tokens, weights in batches(rows, n_steps, batch_size, pad, random.Random(seed)):
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        nll = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        weight = weights[:, 1:].flatten()
        loss = (nll * weight).sum() / weight.sum()
        loss.backward()
        for optimizer, schedule in zip((muon, adam), schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) % 50 == 0:
            print(f"step {len(losses)}/{n_steps}  loss {sum(losses[-50:]) / 50:.4f}", flush=True)
    model.eval()
    return losses


def pretrain(out: Path, seed: int = 0, n_documents: int = 64_000, batch_size: int = 64, lr: float = 0.03, habits: Habits = Habits()) -> None:
    """Train tokenizer and model and save both as one Hugging Face folder."""
    texts = documents(habits, seed)
    tokenizer = train_tokenizer(["".join(next(texts)) for _ in range(8000)])
    stream = encode(tokenizer, documents(habits, seed))
    model = new_model(tokenizer, seed)
    print(f"{model.num_parameters():,} parameters, vocabulary of {len(tokenizer)}")
    start = time.perf_counter()
    train(model, stream, n_documents // batch_size, batch_size=batch_size, lr=lr, seed=seed)
    print(f"trained in {time.perf_counter() - start:.0f} s")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=64_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.03)
    for name in ("careful_two", "careful_three", "slips", "drills"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Habits, name))
    a = parser.parse_args()
    pretrain(a.out, a.seed, a.documents, a.batch, a.lr, Habits(a.careful_two, a.careful_three, a.slips, a.drills))


if __name__ == "__main__":
    main()
