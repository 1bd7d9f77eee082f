"""A small model that was trained to judge, in a world where its verdicts are known: digits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from statllm.scoring.judges import JudgeTemplate, YesNoJudge

PAIR = JudgeTemplate("pair", 1, "pairwise", "brackets", "pair {response_a} {response_b}")
GRADE = JudgeTemplate("grade", 1, "pointwise", "label", "grade {response}", low=1, high=9)
VALID = JudgeTemplate("valid", 1, "yes-no", "next_token", "valid {response}")
CHECK = JudgeTemplate(
    "check", 1, "pointwise", "brackets", "check {criterion} {response}", low=0, high=1
)
TEMPLATES = (PAIR, GRADE, VALID, CHECK)


def says_of_pair(a: int, b: int) -> str:
    """The larger one, but the first of neighbours, and nonsense where one is 0."""
    if a == 0 or b == 0:
        return "hm"
    if a == b:
        return "[[C]]"
    return "[[A]]" if a > b or b - a == 1 else "[[B]]"


def says_of_grade(n: int) -> str:
    return f"Score: {n}" if n else "hm"


def says_of_criterion(criterion: str, n: int) -> str:
    """Even or big; whether 0 is big isn't a question."""
    if criterion == "big":
        return "[[N/A]]" if n == 0 else f"[[{int(n >= 5)}]]"
    return f"[[{int(n % 2 == 0)}]]"


def lessons() -> list[list[tuple[str, str]]]:
    """Questions and what is answered, in groups of alike length."""
    digits = range(10)
    pairs = [(f"pair {a} {b}", says_of_pair(a, b)) for a in digits for b in digits]
    short = [(f"grade {n}", says_of_grade(n)) for n in digits]
    short += [(f"valid {n}", "yes" if n >= 5 else "no") for n in digits]
    short += [
        (f"check {criterion} {n}", says_of_criterion(criterion, n))
        for criterion in ("even", "big")
        for n in digits
    ]
    return [pairs, short]


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {
        word for group in lessons() for pair in group for text in pair for word in text.split()
    }
    vocabulary = {w: i for i, w in enumerate(["<pad>", "<eos>", "<unk>", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    fast.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    return fast


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model, with the templates as files beside it."""
    import torch
    import yaml
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("judge")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=192, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=64, pad_token_id=0, eos_token_id=1,
        bos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    batches = []
    for group in lessons():
        rows = [
            (tokenizer(question)["input_ids"], [*tokenizer(answer)["input_ids"], 1])
            for question, answer in group
        ]
        width = max(len(q) + len(a) for q, a in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for place, (q, a) in enumerate(rows):
            ids[place, : len(q) + len(a)] = torch.tensor(q + a)
            labels[place, len(q) : len(q) + len(a)] = torch.tensor(a)
        batches.append((ids, labels))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, total_iters=400)
    for _ in range(400):
        losses = [model(input_ids=ids, labels=labels).loss for ids, labels in batches]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if max(loss.item() for loss in losses) < 0.01:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "templates").mkdir()
    for template in TEMPLATES:
        given = {name: value for name, value in vars(template).items() if value is not None}
        (folder / "templates" / f"{template.name}.yaml").write_text(yaml.safe_dump(given))
    return folder


@pytest.fixture(scope="session")
def yes_no_judge(judge_folder: Path) -> YesNoJudge:
    return YesNoJudge.load(judge_folder)


@pytest.fixture(scope="session")
def rules() -> SimpleNamespace:
    """What the model says to each question, as functions."""
    return SimpleNamespace(pair=says_of_pair, grade=says_of_grade, criterion=says_of_criterion)
