"""`sample` on tiny models: against transformers, plain forward passes and exact probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats

from statllm.errors import InputError
from statllm.files import read_parquet
from statllm.generations import Generations
from statllm.models import load_model, load_tokenizer
from statllm.sampling import SamplingSettings, sample

KINDS = ["llama", "gpt2", "mistral"]


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def by_prompt(table: pa.Table, name: str) -> dict[str, Any]:
    return dict(zip(table["prompt_id"].to_pylist(), table[name].to_pylist(), strict=True))


# ---- what is recorded ---------------------------------------------------------------------------


def test_columns(llama: Path, prompts: pa.Table) -> None:
    settings = SamplingSettings(n=3, max_new_tokens=12, temperature=0.9, top_p=0.8, seed=5)
    table = sample(llama, prompts, settings)
    Generations(table)  # valid
    tokenizer = load_tokenizer(llama)
    assert table["prompt_id"].to_pylist() == prompts["prompt_id"].to_pylist()
    assert table["reference"].to_pylist() == prompts["reference"].to_pylist()
    assert set(table["finish_reason"].combine_chunks().flatten().to_pylist()) == {"stop", "length"}
    for row in table.to_pylist():
        assert row["prompt_token_ids"] == tokenizer(row["prompt"])["input_ids"]
        assert (row["seed"], row["temperature"], row["top_p"]) == (5, 0.9, 0.8)
        for s in range(3):
            ids = row["token_ids"][s]
            stopped = row["finish_reason"][s] == "stop"
            assert (ids[-1] == tokenizer.eos_token_id) == stopped
            assert tokenizer.eos_token_id not in ids[:-1]
            assert stopped or len(ids) == 12
            assert row["n_tokens"][s] == len(ids)
            assert row["response"][s] == tokenizer.decode(ids, skip_special_tokens=True)
            assert len(row["token_logprobs"][s]) == len(row["token_logprobs_model"][s]) == len(ids)
            assert row["logprob"][s] == pytest.approx(
                np.sum(row["token_logprobs_model"][s], dtype=np.float64), abs=1e-12
            )
    types = {field.name: str(field.type) for field in table.schema}
    assert types["token_ids"] == "list<item: list<item: int32>>"
    assert types["token_logprobs"] == "list<item: list<item: float>>"
    assert types["logprob"] == "list<item: double>"
    assert types["n_tokens"] == "list<item: int32>"
    assert types["prompt_token_ids"] == "list<item: int32>"


def test_the_model_column_names_content_not_place(
    llama: Path, prompts: pa.Table, tmp_path: Path
) -> None:
    from shutil import copytree

    copied = copytree(llama, tmp_path / "llama")
    settings = SamplingSettings(n=1, max_new_tokens=2)
    names = {sample(path, prompts, settings)["model"][0].as_py() for path in (llama, copied)}
    assert len(names) == 1
    assert str(tmp_path) not in names.pop()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.4, 0.85), (0, 1.0)])
def test_logprobs_of_a_plain_forward_pass(
    folder: Path, prompts: pa.Table, temperature: float, top_p: float
) -> None:
    """One pass over prompt and response, no cache, no padding, in float64."""
    table = sample(
        folder,
        prompts,
        SamplingSettings(n=4, max_new_tokens=10, temperature=temperature, top_p=top_p),
    )
    model = load_model(folder, dtype="float64")
    for row in table.to_pylist():
        for s, ids in enumerate(row["token_ids"]):
            context = torch.tensor([row["prompt_token_ids"] + ids])
            with torch.inference_mode():
                logits = model(context).logits[0, len(row["prompt_token_ids"]) - 1 : -1]
            plain = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
            np.testing.assert_allclose(row["token_logprobs_model"][s], plain, atol=2e-4)
            if temperature == 0:
                assert ids == logits.argmax(-1).tolist()
                assert row["token_logprobs"][s] == [0.0] * len(ids)
                continue
            weights = (logits / temperature).softmax(-1).numpy()
            for t, token in enumerate(ids):
                order = np.argsort(-weights[t], kind="stable")
                kept = order[: 1 + int((np.cumsum(weights[t][order]) < top_p).sum())]
                final = np.log(weights[t][token] / weights[t][kept].sum())
                assert token in kept
                assert row["token_logprobs"][s][t] == pytest.approx(final, abs=2e-4)


def test_greedy_is_that_of_transformers(folder: Path, prompts: pa.Table) -> None:
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    settings = SamplingSettings(n=1, temperature=0, max_new_tokens=30)
    table = sample((model, tokenizer), prompts, settings)
    for row in table.to_pylist():
        ids = torch.tensor([row["prompt_token_ids"]])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30
        )
        assert row["token_ids"][0] == out[0, ids.shape[1] :].tolist()


# ---- the distribution ---------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.5, 0.7)])
def test_first_and_second_token(llama: Path, temperature: float, top_p: float) -> None:
    """20,000 samples of two tokens: the first, and the second after each frequent first."""
    n = 20_000
    one = pa.table({"prompt_id": ["x"], "prompt": ["w3 w14 w15"]})
    table = sample(
        llama,
        one,
        SamplingSettings(
            n=n, max_new_tokens=2, temperature=temperature, top_p=top_p, batch_size=4096
        ),
    )
    row = table.to_pylist()[0]
    firsts = np.array([ids[0] for ids in row["token_ids"]])
    model = load_model(llama, dtype="float64")

    def p_value(tokens: np.ndarray, context: list[int], temperature: float) -> float:
        with torch.inference_mode():
            logits = model(torch.tensor([context])).logits[0, -1]
        weights = (logits / temperature).softmax(-1).numpy()
        order = np.argsort(-weights, kind="stable")
        out = order[1 + int((np.cumsum(weights[order]) < top_p).sum()) :]
        weights[out] = 0
        counts = np.bincount(tokens, minlength=len(weights)).astype(float)
        assert (counts[out] == 0).all()
        expected = len(tokens) * weights / weights.sum()
        rare = expected < 5  # pooled, as the test asks for
        if rare.sum() > 1:
            counts = np.append(counts[~rare], counts[rare].sum())
            expected = np.append(expected[~rare], expected[rare].sum())
        return float(stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue)

    prompt = row["prompt_token_ids"]
    assert p_value(firsts, prompt, temperature) > 1e-3
    assert p_value(firsts, prompt, 1.1 * temperature) < 1e-6
    tested = 0
    for first in np.unique(firsts):
        seconds = np.array([ids[1] for ids in row["token_ids"] if ids[0] == first and len(ids) > 1])
        if len(seconds) > 500:
            tested += 1
            assert p_value(seconds, [*prompt, int(first)], temperature) > 1e-4
    assert tested >= 5


def test_seeds_samples_and_prompts_differ(llama: Path) -> None:
    same = pa.table({"prompt_id": ["a", "b"], "prompt": ["w3 w14", "w3 w14"]})
    texts = []
    for seed in (0, 1):
        settings = SamplingSettings(n=4, max_new_tokens=10, seed=seed)
        texts += sample(llama, same, settings)["response"].combine_chunks().flatten().to_pylist()
    assert len(set(texts)) == 16


# ---- independence of the batch ------------------------------------------------------------------


def test_texts_do_not_depend_on_the_batch(folder: Path, prompts: pa.Table) -> None:
    """Batch sizes, shard sizes, order and neighbours."""
    loaded = load_model(folder), load_tokenizer(folder)
    common: dict[str, Any] = {"n": 5, "max_new_tokens": 14, "temperature": 1.1, "top_p": 0.97}

    def run(table: pa.Table, **how: Any) -> dict[str, Any]:
        return by_prompt(sample(loaded, table, SamplingSettings(**common, **how)), "token_ids")

    expected = run(prompts, batch_size=1)
    assert run(prompts, batch_size=3, shard_size=3) == expected
    assert run(prompts, batch_size=64) == expected
    assert run(prompts, batch_size=64, near_tie=0.02) == expected
    assert run(prompts.take([4, 0, 6, 2, 5, 1, 3]), batch_size=8, shard_size=3) == expected
    some = run(prompts.take([5, 1]), batch_size=64)
    assert some == {key: expected[key] for key in ("p5", "p1")}


def test_the_lab_model_does_not_either() -> None:
    """A trained model, with the default near_tie."""
    from statllm.lab import model_path, problems

    loaded = load_model(model_path()), load_tokenizer(model_path())
    table = problems("test", 60, 0)
    runs = [
        sample(loaded, table, SamplingSettings(n=8, max_new_tokens=60, batch_size=size))
        for size in (7, 480)
    ]
    assert runs[0]["token_ids"].equals(runs[1]["token_ids"])
    assert runs[0]["response"].equals(runs[1]["response"])
    for name in ("token_logprobs", "token_logprobs_model"):
        flat = [run[name].combine_chunks().flatten().flatten().to_numpy() for run in runs]
        np.testing.assert_allclose(flat[0], flat[1], atol=1e-4)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.2, 0.9), (0.0, 1.0)])
def test_near_ties_are_decided_alone(
    llama: Path, prompts: pa.Table, temperature: float, top_p: float
) -> None:
    """In float16 batching moves log-probs by up to .006: without near_tie the texts differ."""
    loaded = load_model(llama, dtype="float16"), load_tokenizer(llama)

    def run(near_tie: float, batch_size: int) -> tuple[list[Any], int]:
        settings = SamplingSettings(
            n=6, max_new_tokens=16, temperature=temperature, top_p=top_p,
            near_tie=near_tie, batch_size=batch_size,
        )  # fmt: skip
        table = sample(loaded, prompts, settings)
        return table["token_ids"].to_pylist(), sum(table["n_near_ties"].to_pylist())

    if temperature > 0:
        assert run(0.0, 42)[0] != run(0.0, 1)[0]
    small, large = run(0.01, 5), run(0.01, 42)
    assert small[0] == large[0]
    assert 0 < large[1] < sum(len(ids) for row in large[0] for ids in row)


def test_fewer_samples_are_the_first_of_more(llama: Path, prompts: pa.Table) -> None:
    """n samples are the first of more samples, and greedy samples of a prompt are all alike."""
    few = sample(llama, prompts, SamplingSettings(n=2, max_new_tokens=9))["token_ids"].to_pylist()
    more = sample(llama, prompts, SamplingSettings(n=6, max_new_tokens=9))["token_ids"].to_pylist()
    assert [row[:2] for row in more] == few
    greedy = sample(llama, prompts, SamplingSettings(n=3, max_new_tokens=9, temperature=0))
    assert all(row[0] == row[1] == row[2] for row in greedy["token_ids"].to_pylist())


# ---- prompts ------------------------------------------------------------------------------------


def test_messages_go_through_the_template(llama: Path) -> None:
    messages = [{"role": "user", "content": "w1 w2"}]
    chat = pa.table({"prompt_id": ["x"], "prompt": [messages]})
    plain = pa.table({"prompt_id": ["x"], "prompt": ["<user> w1 w2 <assistant>"]})
    settings = SamplingSettings(n=3, max_new_tokens=8)
    tables = [sample(llama, table, settings) for table in (chat, plain)]
    assert tables[0]["prompt"].to_pylist() == [messages]
    for name in ("prompt_token_ids", "token_ids"):
        assert tables[0][name].to_pylist() == tables[1][name].to_pylist()


def test_messages_without_a_template(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    tokenizer.chat_template = None
    chat = pa.table({"prompt_id": ["x"], "prompt": [[{"role": "user", "content": "w1"}]]})
    with pytest.raises(InputError, match="prompt_id 'x'.* no chat template"):
        sample((load_model(llama), tokenizer), chat, SamplingSettings(n=1))


def test_a_model_that_gives_nan(llama: Path, prompts: pa.Table) -> None:
    model = load_model(llama)
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(InputError, match="can't be sampled from: the model's logits are NaN"):
        sample((model, load_tokenizer(llama)), prompts, SamplingSettings(n=1, max_new_tokens=2))


def test_empty_table(llama: Path, prompts: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "empty.parquet"
    table = sample(llama, prompts.slice(0, 0), SamplingSettings(), out=out)
    full = sample(llama, prompts, SamplingSettings(n=1, max_new_tokens=1))
    assert table.num_rows == 0
    assert table.schema == full.schema
    assert read_parquet(out).equals(table)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt_id": ["a", "a"]}, "'prompt_id' must be unique, but 'a' is in rows 0 and 1"),
        ({"prompt": ["w1", None]}, "the prompt of prompt_id 'b' is null"),
        ({"prompt": ["w1", " "]}, "the prompt of prompt_id 'b' has no tokens"),
        (
            {"prompt": ["w1", "w1 " * 45]},
            "the prompt of prompt_id 'b' has 45 tokens, which with max_new_tokens 20 exceeds the "
            "model's 64 positions",
        ),
        ({"answer": [["1"], ["2"]]}, "column 'answer' belongs to samples"),
        ({"seed": [1, 2]}, "column 'seed' belongs to samples"),
    ],
)
def test_wrong_prompts(llama: Path, columns: dict[str, Any], message: str) -> None:
    table = pa.table({"prompt_id": ["a", "b"], "prompt": ["w1", "w2"], **columns})
    with pytest.raises(InputError, match=message):
        sample(llama, table, SamplingSettings(n=1, max_new_tokens=20))


def test_no_prompt_column(llama: Path) -> None:
    with pytest.raises(InputError, match="column 'prompt' is missing"):
        sample(llama, pa.table({"prompt_id": ["a"]}))


def test_the_longest_prompt_that_fits(llama: Path) -> None:
    table = pa.table({"prompt_id": ["a"], "prompt": ["w1 " * 44]})
    settings = SamplingSettings(n=2, max_new_tokens=20)
    assert sample(llama, table, settings)["n_tokens"][0].as_py() <= [20, 20]


def test_settings_are_checked() -> None:
    for wrong in ({"n": 0}, {"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"tempreature": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SamplingSettings(**wrong)


def test_import_is_light() -> None:
    import subprocess
    import sys

    code = "import sys, statllm.sampling; print('torch' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "False"
