"""`statllm radioactivity`: the command line, and models that learned from marked text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from statllm.errors import InputError
from statllm.estimators.watermark.schemes import make_scheme

KEY = 20240214


def run(*arguments: object) -> tuple[int, str]:
    from statllm.cli.radioactivity import radioactivity as command

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        return 2, str(result.exception)
    return result.exit_code, result.output


def lab() -> tuple[Any, Any]:
    from statllm.lab import model_path
    from statllm.models import load_model, load_tokenizer

    return load_model(model_path(), device="cpu"), load_tokenizer(model_path())


def written(
    model: Any,
    tokenizer: Any,
    scheme: Any,
    rows: int,
    n: int,
    seed: int,
    temperature: float = 1.5,
) -> np.ndarray:
    """Texts of a model, with a watermark or without."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, TemperatureLogitsWarper

    from statllm.sampling.watermark import WatermarkProcessor

    prompt = torch.tensor([tokenizer(" has ")["input_ids"]] * rows)
    if scheme is None:
        processor: Any = TemperatureLogitsWarper(temperature)
    else:
        processor = WatermarkProcessor(scheme, prompt.shape[1], temperature=temperature)
    torch.manual_seed(seed)
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=GenerationConfig(
            do_sample=True, top_k=0, max_new_tokens=n, min_new_tokens=n, eos_token_id=0,
            pad_token_id=1,
        ),
        logits_processor=LogitsProcessorList([processor]),
    )  # fmt: skip
    return np.asarray(out[:, prompt.shape[1] :])


def taught(texts: np.ndarray, steps: int, seed: int = 0) -> Any:
    """The lab's model, trained further on these texts."""
    import torch

    model, _ = lab()
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        ids = torch.from_numpy(texts[rng.choice(len(texts), 16, replace=False)])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models trained on marked texts and on others, and the texts."""
    folder = tmp_path_factory.mktemp("radioactive")
    model, tokenizer = lab()
    scheme = make_scheme("kgw", vocabulary=615, key=KEY, share=0.5, bias=5.0)
    marked = written(model, tokenizer, scheme, 256, 64, seed=1)
    plain = written(model, tokenizer, None, 256, 64, seed=2)
    for name, texts in (("marked", marked), ("plain", plain)):
        trained = taught(texts, steps=300)
        trained.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        table = pa.table({"token_ids": texts.tolist()})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=100)
    fresh = written(model, tokenizer, scheme, 256, 64, seed=3)
    pq.write_table(pa.table({"token_ids": fresh.tolist()}), folder / "fresh.parquet")
    entry = "scheme: kgw, vocabulary: 615, share: 0.5, bias: 5.0"
    (folder / "keys.yaml").write_text(
        f"- {{name: ours, key: {KEY}, {entry}}}\n- {{name: other, key: 99, {entry}}}\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("texts", ["marked", "fresh"])
def test_a_model_that_learned_from_marked_text_is_found(models: Path, texts: str) -> None:
    """Read are its training texts, or others of the same source; a plain model isn't found."""
    options = [models / f"{texts}.parquet", "--key-file", models / "keys.yaml"]
    options += ["--trained-on", models / "marked.parquet"]
    log_p = {}
    for name in ("marked", "plain"):
        out = models / f"{name}-{texts}.parquet"
        code, said = run(models / name, *options, "-o", out)
        assert code == 0, said
        for row in pq.read_table(out).to_pylist():
            log_p[name, row["configuration"]] = row["log_p_value"]
            assert row["n_effective"] > 300
    # 615 contexts of one token: few different pairs, and of fresh texts fewer were learned
    assert log_p.pop(("marked", "ours")) < math.log(1e-5 if texts == "marked" else 1e-2)
    assert min(log_p.values()) > math.log(0.005)


@pytest.mark.slow
def test_a_closed_model_is_found_by_its_words(models: Path) -> None:
    from statllm.models import load_model, load_tokenizer

    for name, marked in (("marked", True), ("plain", False)):
        model = load_model(models / name, device="cpu")
        words = written(
            model, load_tokenizer(models / name), None, 128, 64, seed=9, temperature=0.7
        )
        table = pa.table({"token_ids": words.tolist(), "prompt": [[5, 6]] * 128})
        pq.write_table(table, models / f"{name}-words.parquet")
        code, said = run(
            models / name, models / f"{name}-words.parquet", "--key-file", models / "keys.yaml",
            "--generated", "--prompts", "prompt", "--configuration", "ours",
            "-o", models / "closed.jsonl",
        )  # fmt: skip
        assert code == 0, said
        log_p = json.loads((models / "closed.jsonl").read_text())["log_p_value"]
        # over draws of the words log p has mean -14 and standard deviation 2.5; after 120 steps
        # it was -7 and 2, and rounding in training, which threads change, decided about 1e-4
        assert (log_p < math.log(1e-3)) == marked


@pytest.fixture
def small(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "token_ids": [rng.integers(3, 600, 300).tolist(), [5, 6], [], None],
            "text": ["Ann has 5 apples.", None, "", "Ben has 7 pears."],
            "prompt": ["How many?", "Who?", None, "Where?"],
        }
    )
    pq.write_table(table, tmp_path / "texts.parquet")
    (tmp_path / "keys.yaml").write_text("- {name: ours, scheme: vllm-gumbel, key: 987654321}\n")
    return tmp_path


def test_the_command_line(small: Path) -> None:
    base = ["lab", small / "texts.parquet", "--key-file", small / "keys.yaml"]
    code, said = run(*base)
    assert code == 0, said
    assert " 299 " in said  # of windows of 256, 44 and 2 tokens all but the first ones
    again = [run(*base, "--temperature", 1, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    code, said = run(*base, "--text", "text")
    assert code == 0, said
    code, said = run(*base, "--text", "text", "--generated", "--prompts", "prompt")
    assert code == 0, said
    code, said = run(*base, "--trained-on", small / "texts.parquet", "-o", small / "o.csv")
    assert code == 0, said
    assert (small / "o.csv").read_text().count("\n") == 2
    lines = ['{"text": "Ann has 5 apples."}\n', '{"text": null}\n']
    (small / "texts.jsonl").write_text("".join(lines))
    code, said = run("lab", small / "texts.jsonl", *base[2:], "--text", "text")
    assert code == 0, said
    assert sorted(path.suffix for path in small.iterdir()) == [
        ".csv",
        ".jsonl",
        ".parquet",
        ".yaml",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokens", "nothing"], "column 'nothing' is missing"),
        (["--tokens", "text"], "a tokenizer is needed"),
        (["--tokens", "a", "--text", "b"], "exclude each other"),
        (["--prompts", "prompt"], "no effect without --generated"),
        (["--configuration", "nobody"], "no entry 'nobody'"),
        (["--test", "weighted"], "configuration 'ours': test must be one of"),
        (["-o", "out.txt"], "out.txt"),
    ],
)
def test_what_the_command_line_refuses(small: Path, options: list[str], message: str) -> None:
    base = ["lab", small / "texts.parquet", "--key-file", small / "keys.yaml"]
    code, said = run(*base, *options)
    assert code == 2
    assert message in said
    assert "987654321" not in said


def test_keys_that_cannot_be_pooled_are_refused_by_name(small: Path) -> None:
    (small / "keys.yaml").write_text("- {name: t, scheme: synthid, key: [654, 400]}\n")
    code, said = run("lab", small / "texts.parquet", "--key-file", small / "keys.yaml")
    assert code == 2
    assert "configuration 't': synthid can't be tested" in said
    (small / "keys.yaml").write_text("- {name: t, scheme: vllm-gumbel, key: 1}\n")
    pq.write_table(pa.table({"token_ids": [[5, 700]]}), small / "big.parquet")
    code, said = run("lab", small / "big.parquet", "--key-file", small / "keys.yaml")
    assert code == 2
    assert "token 700 isn't the model's" in said
