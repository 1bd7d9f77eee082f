"""Log-probabilities and their moments against the model's logits in 64 bits."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from statllm.errors import InputError
from statllm.lab import model_path
from statllm.models import load_model, load_tokenizer
from statllm.ragged import Ragged
from statllm.scoring import token_laws as module
from statllm.scoring.ordered_rows import ordered_log_p, shard_log_p
from statllm.scoring.token_laws import encoded, start_token, token_laws, token_log_p, zlib_bytes


@pytest.fixture(scope="module")
def model():
    return load_model(model_path(), device="cpu")


def by_hand(model, ids: list[int]) -> np.ndarray:
    """Log p, mu, sigma of the tokens after the first, one text, all logits, float64."""
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    p = log_p.exp()
    mean = (p * log_p).sum(-1)
    sd = ((p * log_p**2).sum(-1) - mean**2).sqrt()
    own = log_p[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    return torch.stack([own, mean, sd]).numpy()


def test_against_all_logits(model, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lists = [rng.integers(2, 600, n).tolist() for n in (30, 2, 1, 0, 7, 30, 90)]
    texts = Ragged.from_lists(lists, np.int64)
    expected = [by_hand(model, ids) for ids in lists if len(ids) > 1]
    monkeypatch.setattr(module, "_LOGITS", 615 * 11)  # chunks that end inside of texts
    laws = token_laws(model, texts, batch_tokens=70)
    assert laws.log_p.lengths.tolist() == [29, 1, 0, 0, 6, 29, 89]
    for got, want in zip(
        (laws.log_p, laws.mean, laws.sd), np.concatenate(expected, axis=1), strict=True
    ):
        assert got.values == pytest.approx(want, abs=2e-4)
    begun = token_log_p(model, texts, start=0)
    assert begun.lengths.tolist() == texts.lengths.tolist()
    assert begun.row(4) == pytest.approx(by_hand(model, [0, *lists[4]])[0], abs=2e-4)


def test_a_long_text_is_read_in_windows_that_predict_each_token_once(model) -> None:
    ids = np.random.default_rng(1).integers(2, 600, 600).tolist()
    found = token_log_p(model, Ragged.from_lists([ids], np.int64)).values
    assert len(found) == 599
    assert found[:255] == pytest.approx(by_hand(model, ids[:256])[0], abs=2e-4)
    second = by_hand(model, ids[384 - 256 : 384])[0]  # predicts places 256 to 383
    assert found[255:383] == pytest.approx(second[-128:], abs=2e-4)
    last = by_hand(model, ids[600 - 256 :])[0]
    assert found[511:] == pytest.approx(last[-88:], abs=2e-4)


def test_a_model_that_caps_its_logits_is_read_whole() -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5,
        max_position_embeddings=64, attn_implementation="eager",
    )  # fmt: skip
    capped = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        capped.get_output_embeddings().weight.mul_(50)
    ids = [3, 7, 9, 2, 4, 30]
    laws = token_laws(capped, Ragged.from_lists([ids], np.int64))
    want = by_hand(capped, ids)
    assert laws.log_p.values == pytest.approx(want[0], abs=1e-5)
    assert laws.sd.values == pytest.approx(want[2], abs=1e-5)


def test_a_model_with_an_adapter() -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    base = load_model(model_path(), device="cpu")
    adapted = get_peft_model(base, LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    adapted.eval()
    ids = [3, 7, 9, 20, 4, 30]
    laws = token_laws(adapted, Ragged.from_lists([ids], np.int64))
    assert laws.log_p.values == pytest.approx(by_hand(adapted, ids)[0], abs=2e-4)


def test_impossible_tokens_and_sure_laws(model) -> None:
    logits = torch.full((3, 5), -math.inf)
    logits[0, 2] = 0.0  # one token only
    logits[1, :2] = torch.tensor([0.0, math.log(3)])
    logits[2] = torch.tensor([0.0, -200.0, -300.0, -400.0, -math.inf])
    own, mean, sd = module._moments(logits, torch.tensor([2, 1, 4]), lambda x: x, True)
    assert own == pytest.approx([0.0, math.log(0.75), -math.inf])
    p = np.array([0.25, 0.75])
    mu = float(p @ np.log(p))
    assert mean == pytest.approx([0.0, mu, 0.0], abs=1e-6)
    assert sd == pytest.approx([0.0, math.sqrt(p @ (np.log(p) - mu) ** 2), 0.0], abs=1e-6)


def test_orders_are_concatenations(model) -> None:
    rows = Ragged.from_lists([[10, 11], [20, 21, 22], [30]], np.int64)
    found = ordered_log_p(model, rows, [[0, 1, 2], [2, 0, 1]], start=0, separator=[5])
    whole = [[0, 10, 11, 5, 20, 21, 22, 5, 30, 5], [0, 30, 5, 10, 11, 5, 20, 21, 22, 5]]
    assert found == pytest.approx([by_hand(model, ids)[0].sum() for ids in whole], abs=1e-3)


def test_shards_keep_their_orders_when_more_are_drawn(model) -> None:
    rng = np.random.default_rng(3)
    rows = Ragged.from_lists([rng.integers(2, 600, 5).tolist() for _ in range(11)], np.int64)
    done: list[tuple[int, int]] = []
    own, permuted = shard_log_p(
        model, rows, 3, 6, seed=4, start=0, progress=lambda *some: done.append(some)
    )
    assert (own.shape, permuted.shape, done) == ((3,), (3, 6), [(1, 3), (2, 3), (3, 3)])
    first = ordered_log_p(model, rows, [[0, 1, 2, 3]], start=0)  # 4 + 4 + 3 rows
    assert own[0] == pytest.approx(first[0], abs=1e-3)
    _, more = shard_log_p(model, rows, 3, 9, seed=4, start=0)
    assert more[:, :6] == pytest.approx(permuted, abs=1e-3)
    with pytest.raises(InputError, match="5 shards of two rows at most, not 6"):
        shard_log_p(model, rows, 6, 2)


def test_text_and_bad_input(model) -> None:
    tokenizer = load_tokenizer(model_path())
    texts = encoded(tokenizer, ["How many apples?", ""])
    assert texts.lengths[1] == 0
    assert (
        texts.row(0).tolist()
        == tokenizer("How many apples?", add_special_tokens=False)["input_ids"]
    )
    assert zlib_bytes(["How many apples?"])[0] == len(zlib.compress(b"How many apples?"))
    assert start_token(tokenizer) == tokenizer.eos_token_id
    assert token_laws(model, encoded(tokenizer, [])).log_p.n_rows == 0
    with pytest.raises(InputError, match="row 1 holds NoneType"):
        encoded(tokenizer, ["a", None])  # type: ignore[list-item]
    with pytest.raises(InputError, match="token 700 isn't the model's"):
        token_laws(model, Ragged.from_lists([[3, 700]], np.int64))


def test_nan_names_the_text() -> None:
    broken = load_model(model_path(), device="cpu")
    broken.lm_head.weight = torch.nn.Parameter(broken.lm_head.weight.clone())  # of its own
    with torch.no_grad():
        broken.get_input_embeddings().weight[77] = math.nan
    with pytest.raises(InputError, match="NaN for text 1"):
        token_laws(broken, Ragged.from_lists([[3, 4], [3, 77, 5]], np.int64))
