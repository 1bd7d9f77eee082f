"""A tiny random model with a real tokenizer, and random pairs of token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

TEXT = [
    "Ann has 3 apples and buys 12 more. How many apples does she have?",
    "3 + 12 = 15. The answer is 15.",
    "Ben reads 7 pages a day for 4 days. How many pages does he read?",
    "7 * 4 = 28. The answer is 28.",
]


def write_model(folder: Path, seed: int = 0, kind: str = "Llama", **config: Any) -> Path:
    """Write a random model and a byte-level BPE tokenizer; logits are far from uniform."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", model_max_length=64
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        **config,
    }
    made = getattr(transformers, f"{kind}Config")(**settings)
    getattr(transformers, f"{kind}ForCausalLM")(made).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a tiny model far more than they bring."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    return write_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "start")


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def random_rows() -> Callable[..., pa.Table]:
    """Make token-id rows as the trainers take them, of unequal lengths and weights."""

    def make(n: int, seed: int = 0) -> pa.Table:
        rng = np.random.default_rng(seed)

        def ids(low: int, high: int, end: list[int]) -> pa.Array:
            lists = [
                [*rng.integers(2, 250, rng.integers(low, high)).tolist(), *end] for _ in range(n)
            ]
            return pa.array(lists, pa.list_(pa.int32()))

        return pa.table(
            {
                "prompt_ids": ids(2, 8, []),
                "chosen_ids": ids(1, 16, [1]),
                "rejected_ids": ids(1, 16, [1]),
                "weight": rng.uniform(0.1, 1.0, n),
            }
        )

    return make


@pytest.fixture(scope="session")
def random_pairs(random_rows: Callable[..., pa.Table]) -> Callable[..., pa.Table]:
    """Make a preference table with token ids."""

    def make(n: int, seed: int = 0) -> pa.Table:
        rows = random_rows(n, seed)
        names = ("prompt", "chosen", "rejected")
        texts = {name: [f"{name} {i}" for i in range(n)] for name in names}
        columns = {name: rows[name] for name in rows.column_names}
        return pa.table({"prompt_id": [f"p{i}" for i in range(n)], **texts, **columns})

    return make


# ---- oracles ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def load() -> Callable[[Path], Any]:
    """Load a model folder in float32."""

    def load(folder: Path) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    return load


@pytest.fixture(scope="session")
def plain_gradient(load: Callable[[Path], Any]) -> Callable[..., Any]:
    """Compute a step's gradient in plain torch: no padding, no batching, no trl."""

    def gradient(
        folder: Path, rows: list[dict[str, Any]], beta: float, alpha: float, reference: Path
    ) -> Any:
        import torch
        from torch.nn import functional

        model, ref = load(folder), load(reference)

        def logp(of: Any, prompt: list[int], response: list[int]) -> Any:
            ids = torch.tensor([prompt + response])
            logits = of(input_ids=ids).logits[0, len(prompt) - 1 : -1]
            return functional.log_softmax(logits, -1)[range(len(response)), response].sum()

        total = torch.zeros(())
        for row in rows:
            sides = [(row["prompt_ids"], row[name]) for name in ("chosen_ids", "rejected_ids")]
            chosen, rejected = (logp(model, *side) for side in sides)
            with torch.no_grad():
                ref_chosen, ref_rejected = (logp(ref, *side) for side in sides)
            logit = beta * (chosen - ref_chosen - rejected + ref_rejected)
            dpo = torch.log1p(torch.exp(-logit))
            total = total + row["weight"] * (dpo + alpha * -chosen / len(row["chosen_ids"]))
        (total / len(rows)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    return gradient


@pytest.fixture(scope="session")
def text_pairs() -> pa.Table:
    """Sixteen pairs of text."""
    prompts = ["How many apples does Ann have?", "How many pages?"] * 8
    rng = np.random.default_rng(5)
    answers = [[f" {a} + {b} = {a + b}." for a, b in rng.integers(1, 60, (16, 2))] for _ in "cr"]
    return pa.table(
        {
            "prompt_id": [str(i) for i in range(16)],
            "prompt": prompts,
            "chosen": answers[0],
            "rejected": answers[1],
            "weight": [1.0] * 16,
        }
    )


@pytest.fixture(scope="session")
def train_trl(load: Callable[[Path], Any]) -> Callable[..., Any]:
    """Train four steps with trl's DPOTrainer; return it and the model."""

    def train(
        folder: Path, out: Path, rows: pa.Table, micro: int, batch: int, **config: Any
    ) -> tuple[Any, Any]:
        from datasets import Dataset
        from transformers import AutoTokenizer
        from trl import DPOConfig, DPOTrainer

        model, peft = load(folder), config.pop("peft_config", None)
        settings = {
            "gradient_checkpointing": False, "bf16": False, "learning_rate": 1e-4, "max_steps": 4,
            "max_length": None, "seed": 0, "data_seed": 0, "report_to": "none",
            "disable_tqdm": True, "save_strategy": "no", **config,
        }  # fmt: skip
        trl = DPOTrainer(
            model=model,
            args=DPOConfig(
                output_dir=str(out),
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=batch // micro,
                **settings,
            ),
            train_dataset=Dataset(rows),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=peft,
        )
        trl.train()
        return trl, trl.model if peft else model

    return train


@pytest.fixture
def trainer(model_folder: Path, load: Callable[[Path], Any], tmp_path: Path) -> Callable[..., Any]:
    """Make a preference trainer of the random model, each in a folder of its own."""
    number = iter(range(100))

    def make(rows: pa.Table, reference: Path | None = None, **settings: Any) -> Any:
        from statllm.training import PreferenceSettings
        from statllm.training.preference import preference_trainer

        callbacks = settings.pop("callbacks", ())
        same = settings.pop("starts_at_reference", True)
        defaults = {"learning_rate": 1e-3, "max_grad_norm": 0.0, "batch_size": 4}
        return preference_trainer(
            load(model_folder),
            rows,
            PreferenceSettings(**{**defaults, **settings}),
            tmp_path / str(next(number)),
            reference=None if reference is None else load(reference),
            starts_at_reference=same,
            callbacks=callbacks,
        )

    return make
