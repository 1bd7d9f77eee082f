"""Model folders: what is missing is named; what is there is loaded safely."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from statllm.errors import InputError
from statllm.models import (
    check_model_folder,
    encode_prompt,
    is_local,
    load_model,
    load_tokenizer,
    model_digest,
    stop_ids,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A one-layer model with a tokenizer of three words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path / "model"
    config = LlamaConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, bos_token_id=None, eos_token_id=3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    raw = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "<eos>": 3}, unk_token="c"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>").save_pretrained(path)
    return path


def test_loads(folder: Path) -> None:
    model, tokenizer = load_model(folder), load_tokenizer(str(folder))
    assert not model.training
    assert model.dtype == torch.float32
    assert load_model(folder, dtype="bfloat16").dtype == torch.bfloat16
    assert load_model(folder, dtype=torch.float64, device="cpu").dtype == torch.float64
    assert encode_prompt(tokenizer, "a b") == [0, 1]
    assert stop_ids(model.generation_config, tokenizer) == [3]
    model.generation_config.eos_token_id = [3, 1]
    assert stop_ids(model.generation_config, tokenizer) == [1, 3]
    model.generation_config.eos_token_id = None
    assert stop_ids(model.generation_config, tokenizer) == [3]


def test_digests(folder: Path) -> None:
    model = load_model(folder)
    by_files, by_weights = model_digest(folder), model_digest(model)
    assert model_digest(load_model(folder)) == by_weights
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    assert model_digest(model) != by_weights
    model.save_pretrained(folder)
    assert model_digest(folder) != by_files


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("config.json", "is not a model folder: config.json is missing"),
        ("model.safetensors", "is not a model folder: model.safetensors is missing$"),
        ("tokenizer.json", "is not a model folder: tokenizer.json is missing"),
    ],
)
def test_missing_file(folder: Path, remove: str, message: str) -> None:
    (folder / remove).unlink()
    for load in (check_model_folder, load_model, load_tokenizer):
        with pytest.raises(InputError, match=message):
            load(folder)


def test_pickles_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save({}, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(InputError, match=r"missing \(pickled weights are not loaded\)"):
        load_model(folder)


def test_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index.write_text(json.dumps({"weight_map": dict(zip("ab", names, strict=True))}))
    with pytest.raises(InputError, match=r"model-00002-of-00002\.safetensors is missing"):
        load_model(folder)
    index.write_text("[]")
    with pytest.raises(InputError, match="is not an index of safetensors shards"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_broken_file(folder: Path, name: str) -> None:
    (folder / name).write_text("{ not it")
    load = load_tokenizer if name == "tokenizer.json" else load_model
    with pytest.raises(InputError, match="model .* can't be loaded: "):
        load(folder)


def test_wrong_places(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match="does not exist"):
        load_model("./nowhere")
    with pytest.raises(InputError, match="is a file, a model folder was expected"):
        load_tokenizer(folder / "config.json")
    with pytest.raises(InputError, match="dtype 'float31' is unknown"):
        load_model(folder, dtype="float31")
    with pytest.raises(InputError, match="can't be put on device 'nowhere'"):
        load_model(folder, device="nowhere")


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("gpt2", False), ("Qwen/Qwen3-0.6B", False), ("/models/x", True), ("./x", True),
        ("../x", True), ("~/x", True), ("runs/a/model", True), ("x/", True), (Path("x/y"), True),
    ],
)  # fmt: skip
def test_is_local(name: str | Path, local: bool) -> None:
    assert is_local(name) == local


def test_hub_names_pass_through() -> None:
    """The tests run offline, so a hub name fails as such, not as a folder."""
    with pytest.raises(InputError, match="model statllm/no-such-model can't be loaded: "):
        load_model("statllm/no-such-model")
