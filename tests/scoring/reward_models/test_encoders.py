"""Encoders as reward models, against transformers' own forward on one pair at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring.reward_models import RewardModel, add_rewards

QUESTIONS = ["What is 3 + 4?", "And 10 + 10, dear?", "Hi", "What is it?"]
ANSWERS = ["It is 7.", "I think that it may be 20, but I am not sure of it.", "?", ""]
KINDS = ["bert", "deberta", "roberta"]


def bert_tokenizer(folder: Path, **settings: Any) -> Any:
    """[CLS] question [SEP] answer [SEP], the answer of type 1."""
    from transformers import BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "it", "i", "think"]
    pieces += [f"{mark}{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789" for mark in ("", "##")]
    pieces += list(".,?+")
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = BertTokenizer(vocab=vocabulary, **settings)
    tokenizer.save_pretrained(folder)
    return tokenizer


def deberta_tokenizer(folder: Path, **settings: Any) -> Any:
    """SentencePiece, with [CLS] and [SEP]."""
    from transformers import DebertaV2Tokenizer

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,?+"
    pieces = [*special, "▁", *letters, "▁is", "▁it", "▁I"]
    scores = [0.0] * len(special) + [-5.0 - i % 7 for i in range(len(pieces) - len(special))]
    tokenizer = DebertaV2Tokenizer(vocab=list(zip(pieces, scores, strict=True)), **settings)
    tokenizer.save_pretrained(folder)
    return tokenizer


def roberta_tokenizer(folder: Path, **settings: Any) -> Any:
    """<s> question </s></s> answer </s>, without token types."""
    from tokenizers import pre_tokenizers
    from transformers import RobertaTokenizer

    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters += sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=[], **settings)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_encoder(folder: Path, kind: str, **settings: Any) -> Path:
    """A sequence classifier with random weights."""
    import transformers

    make = {"bert": bert_tokenizer, "deberta": deberta_tokenizer, "roberta": roberta_tokenizer}
    tokenizer = make[kind](folder)
    own: dict[str, Any] = {}
    if kind == "deberta":  # as in the configurations of DeBERTa-v3
        own = {
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
            "pooler_hidden_size": 24,
        }
    name = {"bert": "Bert", "deberta": "DebertaV2", "roberta": "Roberta"}[kind]
    config = getattr(transformers, f"{name}Config")(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
            "initializer_range": 0.3,
            "pad_token_id": tokenizer.pad_token_id,
            "num_labels": 1,
            **own,
            **settings,
        }
    )
    torch.manual_seed(0)
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: write_encoder(folder / kind, kind) for kind in KINDS}


def one_by_one(folder: Path) -> list[float]:
    """What the models' cards do."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [
            float(model(**tokenizer(question, answer, return_tensors="pt")).logits[0])
            for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
        ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [1, 70, 4096])
def test_as_transformers_one_by_one(
    kind: str, budget: int, encoders: dict[str, Path], tmp_path: Path
) -> None:
    model = RewardModel(encoders[kind], cache=tmp_path, token_budget=budget)
    found = model.score(QUESTIONS, ANSWERS)
    np.testing.assert_allclose(found, one_by_one(encoders[kind]), rtol=1e-4, atol=1e-5)
    assert np.ptp(found) > 0.05
    np.testing.assert_array_equal(model.score(QUESTIONS, ANSWERS), found)  # from the cache


@pytest.mark.parametrize("kind", KINDS)
def test_padding_side_and_messages_change_nothing(
    kind: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    plain = RewardModel(encoders[kind], cache=tmp_path / "a").score(QUESTIONS, ANSWERS)
    left = shutil.copytree(encoders[kind], tmp_path / "left")
    about = json.loads((left / "tokenizer_config.json").read_text())
    (left / "tokenizer_config.json").write_text(json.dumps({**about, "padding_side": "left"}))
    other = RewardModel(left, cache=tmp_path / "b").score(QUESTIONS, ANSWERS)
    np.testing.assert_allclose(other, plain, rtol=1e-5)
    messages = [[{"role": "user", "content": question}] for question in QUESTIONS]
    chat = RewardModel(encoders[kind], cache=tmp_path / "c", chat=True)
    np.testing.assert_allclose(chat.score(messages, ANSWERS), plain, rtol=1e-5)


def test_question_and_answer_are_two_texts(encoders: dict[str, Path], tmp_path: Path) -> None:
    """Where one ends and the other begins counts, and so do BERT's token types."""
    for kind in KINDS:
        model = RewardModel(encoders[kind], cache=tmp_path)
        first, second = model.score(["ab", "a"], ["c", "bc"])
        assert abs(first - second) > 1e-3
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(encoders["bert"])
    bert = AutoModelForSequenceClassification.from_pretrained(encoders["bert"]).eval()
    inputs = tokenizer("ab", "c", return_tensors="pt")
    assert inputs["token_type_ids"].max() == 1
    inputs["token_type_ids"].zero_()
    with torch.no_grad():
        untyped = float(bert(**inputs).logits[0])
    typed = RewardModel(encoders["bert"], cache=tmp_path).score(["ab"], ["c"])[0]
    assert abs(typed - untyped) > 1e-3


@pytest.mark.parametrize(("kind", "most"), [("bert", 128), ("deberta", 128), ("roberta", 126)])
def test_too_long(kind: str, most: int, encoders: dict[str, Path], tmp_path: Path) -> None:
    """The longest text that is read fills the model's positions: RoBERTa can't use its first."""
    special = {"bert": 3, "deberta": 3, "roberta": 4}[kind]
    model = RewardModel(encoders[kind], cache=tmp_path, too_long="null")
    n = most - special
    texts = {
        "bert": ["." * (n - 1), "." * n],
        "deberta": ["." * (n - 3), "." * (n - 2)],  # a word's beginning is a piece of its own
        "roberta": ["." * (n - 1), "." * n],
    }[kind]
    assert np.isnan(model.score(["a", "a"], texts)).tolist() == [False, True]
    with pytest.raises(InputError, match=rf"reads {most} tokens, and .* has {most + 1}"):
        RewardModel(encoders[kind], cache=tmp_path).score(["a", "a"], texts)


def test_what_an_encoder_refuses(encoders: dict[str, Path], tmp_path: Path) -> None:
    model = RewardModel(encoders["deberta"], cache=tmp_path)
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "What is it?"},
    ]
    with pytest.raises(InputError, match=r"begins with 'Hi' has 3 messages"):
        model.score([turns], ["?"])
    with pytest.raises(InputError, match="is an encoder"):
        model.outputs(QUESTIONS, ANSWERS, features=True)
    three = write_encoder(tmp_path / "three", "bert", num_labels=3)
    with pytest.raises(InputError, match=r"its classifier has 3 outputs"):
        RewardModel(three, cache=tmp_path).score(QUESTIONS, ANSWERS)


def test_a_column_of_rewards(encoders: dict[str, Path], tmp_path: Path) -> None:
    table = pa.table({"prompt_id": ["a"], "prompt": QUESTIONS[:1], "response": [ANSWERS[:2]]})
    model = RewardModel(encoders["deberta"], cache=tmp_path)
    found = add_rewards(Generations(table), model).column("reward").to_pylist()
    assert found == [model.score([QUESTIONS[0]] * 2, ANSWERS[:2]).tolist()]
