"""`statllm watermark`: the page of what was found, and diagnoses, from the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.estimators.watermark.schemes import make_scheme
from statllm.files import write_text

Run = Callable[..., tuple[int, str, str]]

KEYS = """
- {name: ours, scheme: vllm-gumbel, key: 987654321}
- {name: theirs, scheme: vllm-gumbel, key: 123456789}
"""


def written(key: int, n: int = 150, seed: int = 0) -> list[int]:
    """A text of vLLM's watermark over 200 tokens."""
    rng, text = np.random.default_rng(seed), list[int]()
    scheme = make_scheme("vllm-gumbel", key=key)
    for _ in range(n):
        law = rng.dirichlet(np.full(200, 0.3))
        text.append(int(np.argmax(scheme.reweighted(law, np.array(text, np.int64)))))
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """human.parquet, mixed.parquet (5 of 80 documents marked), marked.parquet, keys.yaml."""
    folder = tmp_path_factory.mktemp("watermark")
    rng = np.random.default_rng(0)
    human = [rng.integers(0, 50_000, 120).tolist() for _ in range(155)]
    marked = [written(987654321, seed=k) for k in range(5)]
    kind = pa.list_(pa.int32())
    for name, rows in (("human", human[:80]), ("mixed", marked + human[80:]), ("marked", marked)):
        table = pa.table({"token_ids": pa.array(rows, kind)})
        pq.write_table(table, folder / f"{name}.parquet")
    write_text(KEYS, folder / "keys.yaml")
    return folder


def test_detect_writes_a_page(folder: Path, tmp_path: Path, statllm: Run) -> None:
    keys = ["--key-file", folder / "keys.yaml", "--workers", 1]
    human, found = tmp_path / "human.parquet", tmp_path / "found.parquet"
    code, _, err = statllm(
        "watermark", "detect", folder / "human.parquet", "-o", human, *keys
    )  # fmt: skip
    assert code == 0, err
    page = tmp_path / "page.html"
    code, out, err = statllm(
        "watermark", "detect", folder / "mixed.parquet", "-o", found, *keys, "--report", page,
        "--human", human,
    )  # fmt: skip
    assert code == 0, err
    assert str(page) in out
    html = page.read_text(encoding="utf-8")
    assert "5 documents are called watermarked at a false-discovery rate of 0.01" in html
    assert "Measured on 80 human documents" in html
    assert "987654321" not in html
    assert "123456789" not in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--human", "h.parquet"], "--human has no effect without --report"),
        (["--report", "page.txt"], "page.txt"),
        (["--report", "page.html", "--human", "none.parquet"], "none.parquet"),
    ],
)
def test_a_page_that_can_not_be_is_refused_first(
    folder: Path, tmp_path: Path, statllm: Run, options: list[str], message: str
) -> None:
    code, _, err = statllm(
        "watermark", "detect", folder / "mixed.parquet", "-o", tmp_path / "f.parquet",
        "--key-file", folder / "keys.yaml", *options,
    )  # fmt: skip
    assert code == 2
    assert message in err
    assert not (tmp_path / "f.parquet").exists()


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Responses of the lab model with vLLM's watermark, and a tokenizer that isn't its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from statllm.lab import model_path
    from statllm.sampling.watermark import sample_watermarked

    folder = tmp_path_factory.mktemp("sampled")
    prompts = [f"Ann has {n} apples and buys {n + 3} more. How many has she?" for n in range(6)]
    table = pa.table({"prompt_id": [str(n) for n in range(6)], "prompt": prompts})
    scheme = make_scheme("vllm-gumbel", key=987654321)
    marked = sample_watermarked(model_path(), table, scheme, max_new_tokens=50, temperature=2.0)
    responses = [row[0] for row in marked["response"].to_pylist()]
    glued = [a + b for a, b in zip(prompts, responses, strict=True)]
    marked = marked.drop_columns(["response"])
    marked = marked.append_column("response", pa.array(responses))
    pq.write_table(marked, folder / "whole.parquet")
    texts = marked.drop_columns(["token_ids"]).append_column("glued", pa.array(glued))
    pq.write_table(texts, folder / "texts.parquet")
    other = Tokenizer(models.BPE())
    other.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    other.train_from_iterator(responses, trainer)
    shutil.copytree(model_path(), folder / "other")
    PreTrainedTokenizerFast(tokenizer_object=other).save_pretrained(folder / "other")
    write_text(KEYS, folder / "keys.yaml")
    return folder


def diagnosed(statllm: Run, sampled: Path, *options: object, name: str = "texts") -> str:
    code, out, err = statllm(
        "watermark", "diagnose", sampled / f"{name}.parquet", "--key-file", sampled / "keys.yaml",
        *options,
    )  # fmt: skip
    assert code == 0, err
    assert "987654321" not in out
    assert "123456789" not in out
    return out


def test_responses_of_the_lab_model_are_diagnosed(statllm: Run, sampled: Path) -> None:
    from statllm.lab import model_path

    lab, other = model_path(), sampled / "other"
    ours, theirs = ("--configuration", "ours"), ("--configuration", "theirs")
    texts = ("--text", "response", "--tokenizer")
    assert "as deployed: " in diagnosed(statllm, sampled, *ours, name="whole")
    assert "as deployed: " in diagnosed(statllm, sampled, *ours, *texts, lab)
    assert "wrong key: " in diagnosed(statllm, sampled, *theirs, name="whole")
    out = diagnosed(statllm, sampled, *ours, *texts, other, "--try-tokenizer", lab)
    assert "wrong tokenizer: " in out
    assert f"tokenizer {lab}" in out
    out = diagnosed(statllm, sampled, *ours, *texts, other, name="whole")
    assert "wrong tokenizer: " in out
    assert "of column token_ids" in out
    out = diagnosed(statllm, sampled, *ours, *texts, other)
    assert "too little to see: " in out  # another tokenizer's texts are a few tokens long
    glued = ("--text", "glued", "--tokenizer", lab)
    out = diagnosed(statllm, sampled, *ours, *glued, "--prompt", "prompt")
    assert "prompt included: " in out
    assert "100% of the texts begin with their prompt" in out


def test_findings_are_written(statllm: Run, folder: Path, tmp_path: Path) -> None:
    code, out, err = statllm(
        "watermark", "diagnose", folder / "marked.parquet", "--key-file", folder / "keys.yaml",
        "--configuration", "theirs", "--reference", folder / "human.parquet",
        "-o", tmp_path / "found.parquet", "--limit", 100,
    )  # fmt: skip
    assert code == 0, err
    assert "wrong key: " in out
    table = pq.read_table(tmp_path / "found.parquet").to_pandas()
    assert table.columns.tolist() == [
        "mistake", "evidence", "log_p", "log_p_adjusted", "found", "advice",
    ]  # fmt: skip
    assert table["mistake"][table["found"]].tolist() == ["wrong key"]
    # the other entry of the file: its test is that of the deployed one
    code, out, err = statllm(
        "watermark", "diagnose", folder / "human.parquet", "--key-file", folder / "keys.yaml",
        "--configuration", "ours",
    )  # fmt: skip
    assert code == 0, err
    assert "nothing found: " in out


def test_a_token_of_beginning_is_found(statllm: Run, folder: Path, tmp_path: Path) -> None:
    """80 texts of four tokens after a BOS that vLLM's context never had."""
    rows = [[1, *written(987654321, n=4, seed=seed)] for seed in range(80)]
    pq.write_table(pa.table({"token_ids": rows}), tmp_path / "short.parquet")
    code, out, err = statllm(
        "watermark", "diagnose", tmp_path / "short.parquet", "--key-file", folder / "keys.yaml",
        "--configuration", "ours", "--special-token", 1, "--special-token", 2,
    )  # fmt: skip
    assert code == 0, err
    assert "special tokens: " in out
    assert "Give the detector what the generator had" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "several entries"),
        (["--configuration", "ours", "--device", "tpu"], "--device must be cuda or cpu"),
        (["--configuration", "ours", "--try-tokenizer", "x"], "without --text"),
        (["--configuration", "ours", "--alpha", 2], "alpha must lie"),
        (["--configuration", "ours", "--tokens", "ids"], "'ids' is missing"),
        (["--configuration", "ours", "--prompt", "prompt"], "'prompt' is missing"),
        (["--configuration", "ours", "--log-probabilities", "lp"], "no column 'lp'"),
        (["--configuration", "ours", "-o", "found.txt"], "found.txt"),
    ],
)
def test_a_diagnosis_that_can_not_be(
    folder: Path, statllm: Run, options: list[object], message: str
) -> None:
    code, _, err = statllm(
        "watermark", "diagnose", folder / "mixed.parquet", "--key-file", folder / "keys.yaml",
        *options,
    )  # fmt: skip
    assert code == 2
    assert message in err
