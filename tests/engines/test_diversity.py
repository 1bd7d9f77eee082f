"""Rows that cover a corpus: on both engines, as on the vectors in memory; a cluster by address."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.engines.diversity import select_diverse
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.errors import InputError
from statllm.scoring.embeddings import embed
from statllm.selection.diversity import k_center

WORDS = ["ann", "ben", "has", "apples", "pears", "seven", "two", "buys", "how", "many", "now"]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer with random weights, over a dozen words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("embedder")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    texts: list[str | None] = [" ".join(rng.choice(WORDS, rng.integers(2, 8))) for _ in range(60)]
    texts[7], texts[20] = "", None
    path = tmp_path_factory.mktemp("corpus") / "prompts.parquet"
    names = [f"p{i}" for i in range(60)]
    pq.write_table(pa.table({"prompt_id": names, "prompt": texts}), path, row_group_size=13)
    return path


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_picks_are_those_of_k_center_on_all_vectors(
    corpus: Path, embedder: Path, tmp_path: Path
) -> None:
    settings = EngineSettings(workers=1, part_rows=13, batch_rows=5)
    found = select_diverse(
        Source(corpus), tmp_path / "kept.parquet", embedder, 9, tmp_path / "ledger.parquet",
        seed=3, settings=settings,
    )  # fmt: skip
    table = pq.read_table(corpus)
    texts = table["prompt"].to_pylist()
    some = [i for i, text in enumerate(texts) if text]
    vectors = np.full((60, 16), np.nan)
    vectors[some] = embed([[texts[i] for i in some]], embedder)
    expected = k_center(vectors, 9, seed=3)
    kept = pq.read_table(tmp_path / "kept.parquet")
    assert kept.equals(table.take(np.sort(expected.rows)))
    ledger = pq.read_table(tmp_path / "ledger.parquet")
    assert np.flatnonzero(ledger["kept"].to_numpy()).tolist() == sorted(expected.rows.tolist())
    assert found.counts == {"kept": 9, "near_a_kept_one": 49, "empty": 2}
    assert ledger["reason"].to_pylist().count("empty") == 2
    np.testing.assert_allclose(
        np.nan_to_num(ledger["distance"].to_numpy()), np.nan_to_num(expected.distance), atol=1e-6
    )
    assert found.radius == pytest.approx(expected.radius[-1], abs=1e-6)
    assert found.after.distance.value > found.before.distance.value
    assert not list(tmp_path.glob("kept.parquet.*"))


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
def test_both_engines_write_the_same_bytes(
    corpus: Path, embedder: Path, tmp_path: Path, one_ray: None
) -> None:
    digests = set()
    for engine in ("local", "ray"):
        out, ledger = tmp_path / f"{engine}.parquet", tmp_path / f"{engine}-ledger.parquet"
        settings = EngineSettings(engine=engine, workers=2, part_rows=13)
        select_diverse(Source(corpus), out, embedder, 5, ledger, settings=settings)
        digests.add(hashlib.sha256(out.read_bytes() + ledger.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_command_says_what_it_did(corpus: Path, embedder: Path, tmp_path: Path) -> None:
    command = ["select", "diverse", corpus, "-o", tmp_path / "kept.parquet", "--embedder", embedder]
    result = CliRunner().invoke(app, [str(c) for c in [*command, "--k", 5, "--workers", 1]])
    assert result.exit_code == 0, result.output
    assert "mean cosine distance, kept" in result.output
    assert pq.read_table(tmp_path / "kept.parquet").num_rows == 5


@pytest.mark.parametrize(
    ("k", "column", "message"),
    [(59, "prompt", "k must lie between 1 and 58"), (5, "text", "no column 'text'")],
)
def test_what_is_refused(
    corpus: Path, embedder: Path, tmp_path: Path, k: int, column: str, message: str
) -> None:
    settings = EngineSettings(workers=1)
    with pytest.raises(InputError, match=message):
        select_diverse(
            Source(corpus), tmp_path / "k.parquet", embedder, k, column=column, settings=settings
        )
    assert not (tmp_path / "k.parquet").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
def test_a_cluster_by_its_address(tmp_path: Path) -> None:
    """A cluster that was started by itself, as another program would find it."""
    import ray.util

    host = ray.util.get_node_ip_address()
    with socket.socket() as one:
        one.bind((host, 0))
        port = one.getsockname()[1]
    environment = {
        **os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"
    }  # fmt: skip
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", f"--port={port}",
        "--num-cpus=1", "--block", "--include-dashboard=false", "--disable-usage-stats",
    ]  # fmt: skip
    # in a group of its own: `ray stop` would end every Ray of this machine
    head = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        answering(host, port)
        answers = pa.array([["4", "4", "5"]] * 30)
        names = [f"p{i}" for i in range(30)]
        pq.write_table(pa.table({"prompt_id": names, "answer": answers}), tmp_path / "v.parquet")
        outputs = []
        for options in (
            ["--engine", "ray", "--address", f"{host}:{port}"],
            ["--engine", "local"],
        ):
            out = tmp_path / f"{options[1]}.parquet"
            command = [sys.executable, "-m", "statllm", "score", "v.parquet", "-o", str(out)]
            subprocess.run(
                [*command, *options], check=True, cwd=tmp_path, env=environment, timeout=300
            )
            outputs.append(out.read_bytes())
        assert outputs[0] == outputs[1]
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait(60)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
def test_no_cluster_at_an_address(corpus: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "statllm", "select", "decontaminate", str(corpus), "-o", "k.parquet",
        "--against", str(corpus), "--engine", "ray", "--address", "127.0.0.1:9",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert "no Ray cluster answers there" in result.stderr


def answering(host: str, port: int) -> None:
    """Wait until the head listens."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex((host, port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the head didn't start")
