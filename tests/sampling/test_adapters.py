"""LoRA adapters: every backend applies them as peft does, or says why it can't."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.adapters import (
    adapted_digest,
    check_fits,
    merge_adapter,
    model_shape,
    read_adapter,
)
from statllm.errors import InputError
from statllm.lab import model_path, problems
from statllm.models import load_model, load_tokenizer
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.judge_model import open_judge
from statllm.sampling.openai_backend import OpenAIBackend
from statllm.sampling.sampler import open_backend

if TYPE_CHECKING:
    from statllm.sampling.vllm_backend import VllmBackend

pytest.importorskip("peft", reason="peft isn't installed")

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM isn't installed")
GREEDY: dict[str, Any] = {"n": 1, "temperature": 0.0, "max_new_tokens": 80}


def adapted_model(seed: int = 0, **config: Any) -> Any:
    """The lab model with an adapter of random factors, not merged."""
    import torch
    from peft import LoraConfig, get_peft_model

    chosen = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    torch.manual_seed(seed)
    return get_peft_model(
        load_model(model_path(), device="cpu"),
        LoraConfig(**{**chosen, **config}, init_lora_weights=False, task_type="CAUSAL_LM"),
    )


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "lora"
    adapted_model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prompts() -> pa.Table:
    return problems("test", 100, 0)


@pytest.fixture(scope="module")
def adapted(adapter: Path, prompts: pa.Table) -> pa.Table:
    """Greedy texts of the transformers backend."""
    settings = SamplingSettings(adapter=adapter, **GREEDY)
    return sample(model_path(), prompts, settings, progress=False)


def share_equal(a: pa.Table, b: pa.Table) -> float:
    pairs = zip(a["token_ids"].to_pylist(), b["token_ids"].to_pylist(), strict=True)
    return float(np.mean([one == other for one, other in pairs]))


def changed(adapter: Path, folder: Path, **config: Any) -> Path:
    """A copy with another configuration."""
    shutil.copytree(adapter, folder)
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(content | config))
    return folder


def test_merged_weights_are_w_plus_scaled_b_a(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    folder = tmp_path / "lora"
    pattern = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 6}}
    adapted_model(seed=1, **pattern).save_pretrained(folder)
    factors = load_file(folder / "adapter_model.safetensors")
    before = load_file(model_path() / "model.safetensors")
    merged = merge_adapter(load_model(model_path(), device="cpu"), folder).state_dict()
    changed_weights = 0
    for name, weight in before.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        wanted = weight
        if f"{module}.lora_A.weight" in factors:
            scale = 6 / 2 if "v_proj" in name else 16 / 4
            product = factors[f"{module}.lora_B.weight"] @ factors[f"{module}.lora_A.weight"]
            wanted = weight + scale * product
            changed_weights += 1
        np.testing.assert_allclose(merged[name].numpy(), wanted, atol=1e-6)
    assert changed_weights == 9  # three modules in each of three layers
    assert read_adapter(folder).rank == 4


def test_greedy_texts_are_those_of_peft(adapter: Path, adapted: pa.Table) -> None:
    """Its own generation, with the factors apart from the weights."""
    import torch
    from peft import PeftModel

    apart: Any = PeftModel.from_pretrained(load_model(model_path(), device="cpu"), str(adapter))
    same = []
    for asked, said in zip(adapted["prompt_token_ids"], adapted["token_ids"], strict=True):
        ids = torch.tensor([asked.as_py()])
        whole = apart.generate(input_ids=ids, do_sample=False, max_new_tokens=80)
        same.append(whole[0, ids.shape[1] :].tolist() == said.as_py()[0])
    assert np.mean(same) >= 0.99


def test_greedy_texts_are_those_of_the_merged_model(
    adapter: Path, adapted: pa.Table, prompts: pa.Table, tmp_path: Path
) -> None:
    from peft import PeftModel

    apart: Any = PeftModel.from_pretrained(load_model(model_path(), device="cpu"), str(adapter))
    merged = shutil.copytree(model_path(), tmp_path / "merged")
    apart.merge_and_unload().save_pretrained(merged)
    settings = SamplingSettings(**GREEDY)
    assert share_equal(adapted, sample(merged, prompts, settings, progress=False)) >= 0.99
    base = sample(model_path(), prompts, settings, progress=False)
    assert share_equal(adapted, base) < 0.5
    assert adapted.schema == base.schema


def test_the_digest_has_the_adapters_content(adapter: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(adapter, tmp_path / "moved")
    assert adapted_digest("m", None) == "m"
    assert adapted_digest("m", adapter) == adapted_digest("m", moved)
    others = {adapted_digest("m", adapter), adapted_digest("n", adapter), "m"}
    others.add(adapted_digest("m", changed(adapter, tmp_path / "other", lora_alpha=8)))
    assert len(others) == 4


def test_samples_and_judgements_are_known_by_the_adapters_content(tmp_path: Path) -> None:
    """One folder that is trained again: nothing kept for the adapter of before is taken."""
    settings = SamplingSettings(adapter=tmp_path / "lora", **GREEDY)
    found = []
    for seed in (0, 1, 0):
        adapted_model(seed=seed).save_pretrained(tmp_path / "lora")
        backend, digest, label = open_backend(model_path(), settings)
        backend.close()
        found.append((digest, label, open_judge(model_path(), settings).identity))
    backend, digest, label = open_backend(model_path(), SamplingSettings(**GREEDY))
    backend.close()
    for first, second, bare in zip(*found[:2], (digest, label), strict=False):
        assert len({first, second, bare}) == 3
    assert found[0][2] != found[1][2]
    assert found[0] == found[2]
    loaded = load_model(model_path(), device="cpu"), load_tokenizer(model_path())
    with pytest.raises(InputError, match="not a model that is loaded"):
        open_backend(loaded, settings)


def test_what_is_not_an_adapter_folder(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="adapter folder .* does not exist"):
        read_adapter(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not an adapter folder: adapter_config.json is missing"):
        read_adapter(model_path())
    pickled = shutil.copytree(adapter, tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(InputError, match="pickled weights are not loaded"):
        read_adapter(pickled)
    with pytest.raises(InputError, match="is of type IA3, LORA was expected"):
        read_adapter(changed(adapter, tmp_path / "ia3", peft_type="IA3"))
    with pytest.raises(InputError, match=r"has rank 4 at .*, its adapter_config.json says 8"):
        read_adapter(changed(adapter, tmp_path / "rank", r=8))
    cut = shutil.copytree(adapter, tmp_path / "cut")
    content = (cut / "adapter_model.safetensors").read_bytes()
    (cut / "adapter_model.safetensors").write_bytes(content[:-100])
    with pytest.raises(InputError, match="adapter .*cut can't be read"):
        read_adapter(cut)


def test_an_adapter_of_another_model(adapter: Path, llama: Path, gpt2: Path) -> None:
    one = read_adapter(adapter)
    check_fits(one, model_shape(model_path()))
    with pytest.raises(InputError, match=r"made for .*model, doesn't fit the model: its model\."):
        check_fits(one, model_shape(llama))
    with pytest.raises(InputError, match=r"doesn't fit the model: it has no model\.layers"):
        sample(gpt2, problems("test", 1, 0), SamplingSettings(adapter=adapter, **GREEDY))


def test_weights_that_are_kept_transposed(gpt2: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=2, target_modules=["c_attn", "wte"], init_lora_weights=False, fan_in_fan_out=True
    )
    model: Any = get_peft_model(load_model(gpt2, device="cpu"), config)
    model.save_pretrained(tmp_path / "lora", save_embedding_layers=False)
    ids = torch.tensor([[7, 8, 9]])
    apart = model(input_ids=ids).logits
    merged: Any = merge_adapter(load_model(gpt2, device="cpu"), tmp_path / "lora")
    torch.testing.assert_close(merged(input_ids=ids).logits, apart, atol=1e-4, rtol=1e-4)


def test_a_server_has_its_own_name_for_it(adapter: Path) -> None:
    settings = SamplingSettings(adapter=adapter, backend="openai", server="http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match="give that as --served-name, or .* instead of"):
        OpenAIBackend(model_path(), settings)


# ---- vLLM ---------------------------------------------------------------------------------------


def engine_settings(adapter: Path) -> SamplingSettings:
    engine = ("enforce_eager=true", "max_model_len=256")
    return SamplingSettings(backend="vllm", engine=engine, adapter=adapter, **GREEDY)


@pytest.fixture(scope="module")
def small_engine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_NO_USAGE_STATS", "1")
        yield


@pytest.fixture(scope="module")
def engine(adapter: Path, small_engine: None) -> Iterator[VllmBackend]:
    from statllm.sampling.vllm_backend import VllmBackend

    backend = VllmBackend(model_path(), engine_settings(adapter))
    yield backend
    backend.close()


@pytest.mark.vllm_ci
@needs_vllm
def test_vllm_applies_it_too(engine: VllmBackend, adapted: pa.Table) -> None:
    names = adapted["prompt_id"].to_pylist()
    encoded = engine.encode(names, adapted["prompt"].to_pylist())
    assert encoded == adapted["prompt_token_ids"].to_pylist()
    drawn = engine.sample(names, encoded, range(1))
    ours, logprobs = (
        [row[0] for row in adapted[name].to_pylist()]
        for name in ("token_ids", "token_logprobs_model")
    )
    same = [a == one.token_ids.tolist() for a, one in zip(ours, drawn, strict=True)]
    assert np.mean(same) >= 0.99
    for a, one, equal in zip(logprobs, drawn, same, strict=True):
        if equal:
            np.testing.assert_allclose(one.logprobs_model, a, atol=0.02)


@needs_vllm
def test_vllm_says_what_it_cannot_apply(
    small_engine: None, adapter: Path, llama: Path, tmp_path: Path
) -> None:
    from statllm.sampling.vllm_backend import VllmBackend

    with pytest.raises(InputError, match="doesn't fit the model"):  # before the engine starts
        VllmBackend(llama, engine_settings(adapter))
    dora = tmp_path / "dora"
    adapted_model(use_dora=True).save_pretrained(dora)
    with pytest.raises(InputError, match="vLLM can't apply adapter .*dora"):
        VllmBackend(model_path(), engine_settings(dora))
