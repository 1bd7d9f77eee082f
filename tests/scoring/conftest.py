"""Small real models in a world where entailment is decidable: sentences that name a number."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

WORDS = ["zero", "one", "two", "three", "four"]
TEMPLATES = ["{}", "it is {}"]
UNSURE = ["i do not know", "no idea"]
CLASSES = ("contradiction", "entailment", "neutral")  # not the order of the MNLI models

#: Every sentence, and the number that it names; -1 for none.
MEANING: dict[str, int] = {
    template.format(form): number
    for number, word in enumerate(WORDS)
    for form in (str(number), word)
    for template in TEMPLATES
} | dict.fromkeys(UNSURE, -1)


def relation(premise: str, hypothesis: str) -> str:
    """The truth: the same number, another one, or neutral where one says nothing."""
    a, b = MEANING[premise], MEANING[hypothesis]
    if a == b:
        return "entailment"
    return "neutral" if -1 in (a, b) else "contradiction"


def write_tokenizer(folder: Path, **settings: Any) -> Any:
    """Whole words, [CLS] and [SEP] as BERT has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in MEANING for word in text.split()} | {"what", "is", "x"})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: place for place, word in enumerate(special + words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        **{"model_max_length": 24, **settings},
    )
    fast.save_pretrained(folder)
    return fast


def bert_config(vocabulary: int, **settings: Any) -> Any:
    """A small BERT."""
    from transformers import BertConfig

    given = {
        "vocab_size": vocabulary,
        "hidden_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 24,
        "pad_token_id": 0,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.15,
    }
    return BertConfig(**{**given, **settings})


def write_nli(folder: Path) -> Path:
    """Train a cross-encoder on every pair of sentences until it knows them all."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    tokenizer = write_tokenizer(folder)
    names = dict(enumerate(CLASSES))
    config = bert_config(
        len(tokenizer), num_labels=3, id2label=names, label2id={v: k for k, v in names.items()}
    )
    model = BertForSequenceClassification(config)
    token = tokenizer.convert_tokens_to_ids
    embedding = model.bert.embeddings.word_embeddings.weight
    with torch.no_grad():  # "7" starts out as "seven": nobody has to wait for that
        for number, word in enumerate(WORDS):
            embedding[token(word)] = embedding[token(str(number))]
    pairs = [(a, b) for a in MEANING for b in MEANING]
    inputs = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    labels = torch.tensor([CLASSES.index(relation(a, b)) for a, b in pairs])
    frequency = 1 / torch.bincount(labels).float()[labels]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    model.train()
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 20) * (1 - step / 420)
        batch = torch.multinomial(frequency, 64, replacement=True)
        rows = {name: values[batch] for name, values in inputs.items()}
        loss = torch.nn.functional.cross_entropy(model(**rows).logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 24 and (model(**inputs).logits.argmax(dim=1) == labels).all():
            break
    model.save_pretrained(folder)
    return folder


def write_encoder(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """An untrained encoder whose states are far from alike."""
    import torch
    from transformers import BertModel

    torch.manual_seed(seed)
    tokenizer = write_tokenizer(folder)
    config = bert_config(len(tokenizer), num_hidden_layers=2, **settings)
    BertModel(config).save_pretrained(folder)
    return folder


def write_modules(folder: Path, pooling: dict[str, Any], *further: str) -> Path:
    """Add what sentence-transformers writes beside an encoder."""
    names = ["Transformer", "Pooling", *further]
    modules = [
        {"idx": i, "path": "" if i == 0 else f"{i}_{name}", "type": f"models.{name}"}
        for i, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.fixture(scope="session")
def world() -> SimpleNamespace:
    """The sentences, the truth about them, and how models are made."""
    return SimpleNamespace(
        meaning=MEANING,
        relation=relation,
        classes=CLASSES,
        write_encoder=write_encoder,
        write_modules=write_modules,
    )


@pytest.fixture(scope="session")
def nli_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nli(tmp_path_factory.mktemp("models") / "nli")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")
