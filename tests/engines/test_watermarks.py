"""Watermarks over a corpus: both engines, resuming, the ledger, and the command line."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.engines.settings import EngineSettings
from statllm.engines.source import Source
from statllm.engines.watermarks import detect_corpus
from statllm.errors import InputError
from statllm.estimators.watermark.detect import detect
from statllm.estimators.watermark.schemes import make_scheme
from statllm.lab import model_path
from statllm.models import load_tokenizer
from statllm.ragged import Ragged
from statllm.scoring.watermarks import Configuration, read_configurations

KEYS = """
- {name: ours, scheme: vllm-gumbel, key: 987654321}
- {name: theirs, scheme: sglang-gumbel, key: 0x0123456789abcdef}
- {name: tournament, scheme: synthid, key: [654, 400, 836, 123]}
"""
MARKED = (3, 40, 77)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 documents of random tokens, some empty, three of them watermarked."""
    rng = np.random.default_rng(0)
    documents: list[list[int]] = [
        rng.integers(0, 50_000, rng.integers(0, 200)).tolist() for _ in range(120)
    ]
    documents[5] = []
    scheme = make_scheme("vllm-gumbel", key=987654321)
    for row in MARKED:
        text: list[int] = []
        for _ in range(120):
            law = rng.dirichlet(np.full(200, 0.3))
            text.append(int(np.argmax(scheme.reweighted(law, np.array(text, np.int64)))))
        documents[row] = text
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "keys.yaml").write_text(KEYS)
    table = pa.table(
        {
            "prompt_id": [f"d{i}" for i in range(120)],
            "token_ids": pa.array(documents, pa.list_(pa.int32())),
        }
    )
    pq.write_table(table, folder / "corpus.parquet", row_group_size=25)
    return folder


def test_p_values_are_those_of_detect_and_adjusted_over_the_corpus(
    corpus: Path, tmp_path: Path
) -> None:
    keys = read_configurations(corpus / "keys.yaml")
    source = Source(corpus / "corpus.parquet")
    found = detect_corpus(
        source, tmp_path / "found.parquet", keys, settings=EngineSettings(workers=1, part_rows=25)
    )
    table = pq.read_table(tmp_path / "found.parquet").to_pandas()
    tokens = Ragged.from_arrow(pq.read_table(corpus / "corpus.parquet")["token_ids"])
    tokens = Ragged(tokens.values.astype(np.int64), tokens.offsets)
    every = [detect(each.scheme.marks(tokens)).log_p for each in keys]
    for each, log_p in zip(keys, every, strict=True):
        np.testing.assert_allclose(table[f"log_p[{each.name}]"], log_p, rtol=1e-12)
    best = np.nanmin(np.where(np.isnan(every), 0.0, every), axis=0) + np.log(3)
    tested = table["log_p"].notna().to_numpy()
    np.testing.assert_allclose(table["log_p"][tested], np.minimum(best, 0)[tested], rtol=1e-12)
    assert found.n_tested == tested.sum() < 120
    # documents without anything to test count, with p = 1
    p = np.exp(table["log_p"].fillna(0.0))
    expected = multipletests(p, method="fdr_bh")[1]
    np.testing.assert_allclose(np.exp(table["log_q"][tested]), expected[tested], rtol=1e-9)
    assert table.index[table["watermarked"]].tolist() == list(MARKED)
    assert set(table["configuration"][table["watermarked"]]) == {"ours"}


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
def test_ray_writes_the_same_bytes(corpus: Path, tmp_path: Path, one_ray: None) -> None:
    keys = read_configurations(corpus / "keys.yaml")
    digests = set()
    for engine in ("local", "ray"):
        out = tmp_path / f"{engine}.parquet"
        settings = EngineSettings(engine=engine, workers=2, part_rows=25)
        detect_corpus(Source(corpus / "corpus.parquet"), out, keys, settings=settings)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tokens = pa.array([rng.integers(0, 9000, 400).tolist() for _ in range(2000)])
    pq.write_table(pa.table({"token_ids": tokens}), tmp_path / "c.parquet", row_group_size=20)
    (tmp_path / "keys.yaml").write_text(KEYS)
    command = [
        sys.executable, "-m", "statllm", "watermark", "detect", "c.parquet", "-o", "found.parquet",
        "--key-file", "keys.yaml", "--part-rows", "20", "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    parts = tmp_path / "found.parquet.parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("*.parquet"))) < 10 and time.monotonic() < deadline:
        assert process.poll() is None or len(list(parts.glob("*.parquet"))) == 0, "too fast to kill"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in parts.glob("detections-*.parquet")}
    assert done
    assert not (tmp_path / "found.parquet").exists()
    keys = read_configurations(tmp_path / "keys.yaml")
    redone = []

    def watch(n: int, of: int) -> None:
        redone.extend(p for p, t in done.items() if p.exists() and p.stat().st_mtime_ns != t)

    settings = EngineSettings(workers=1, part_rows=20)
    source = Source(tmp_path / "c.parquet")
    detect_corpus(source, tmp_path / "found.parquet", keys, settings=settings, on_part=watch)
    assert not redone
    detect_corpus(source, tmp_path / "whole.parquet", keys, settings=settings)
    assert (tmp_path / "found.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        return 2, str(result.exception)
    return result.exit_code, result.output


def test_rows_are_dropped_and_the_ledger_adds_up(corpus: Path, tmp_path: Path) -> None:
    code, said = run(
        "select", "provenance", corpus / "corpus.parquet", "-o", tmp_path / "clean.parquet",
        "--key-file", corpus / "keys.yaml", "--ledger", tmp_path / "ledger.parquet",
        "--workers", 1,
    )  # fmt: skip
    assert code == 0, said
    clean = pq.read_table(tmp_path / "clean.parquet")["prompt_id"].to_pylist()
    assert clean == [f"d{i}" for i in range(120) if i not in MARKED]
    ledger = pq.read_table(tmp_path / "ledger.parquet").to_pandas()
    assert len(ledger) == 120
    assert ledger.index[ledger["reason"] == "watermarked"].tolist() == list(MARKED)
    assert (ledger["kept"] == (ledger["reason"] != "watermarked")).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.parquet", "ledger.parquet"]


def test_texts_of_lists_and_json_lines(corpus: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model_path())
    texts = ["How many apples has Ann?", "Ann has 5 apples and Ben has 7."]
    (tmp_path / "in.jsonl").write_text(
        f'{{"prompt_id": "a", "response": ["{texts[0]}", "{texts[1]}"]}}\n'
        '{"prompt_id": "b", "response": [null]}\n'
    )
    out = tmp_path / "out.parquet"
    code, said = run(
        "watermark", "detect", tmp_path / "in.jsonl", "-o", out, "--key-file",
        corpus / "keys.yaml", "--text", "response", "--tokenizer", model_path(), "--workers", 1,
    )  # fmt: skip
    assert code == 0, said
    table = pq.read_table(out)
    assert table["prompt_id"].to_pylist() == ["a", "a", "b"]
    assert table["sample"].to_pylist() == [0, 1, 0]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert table["n_tokens"].to_pylist() == [len(ids[0]), len(ids[1]), 0]
    assert not (tmp_path / "out.parquet.input.parquet").exists()


def test_segments_from_the_command_line(corpus: Path, tmp_path: Path) -> None:
    """Marked texts of 120 tokens between 100 and 60 random ones."""
    texts = pq.read_table(corpus / "corpus.parquet")["token_ids"].to_pylist()
    rng = np.random.default_rng(4)
    documents = [
        [*rng.integers(0, 50_000, 100).tolist(), *texts[row], *rng.integers(0, 50_000, 60).tolist()]
        for row in MARKED
    ]
    names = ["a", "b", "c", "d", "e"]
    table = pa.table({"prompt_id": names, "token_ids": [*documents, [], texts[0]]})
    pq.write_table(table, tmp_path / "mixed.parquet")
    out = tmp_path / "segments.parquet"
    command = ["watermark", "locate", tmp_path / "mixed.parquet", "-o", out, "--workers", 1]
    keys = ["--key-file", corpus / "keys.yaml"]
    code, said = run(*command, *keys, "--configuration", "ours")
    assert code == 0, said
    assert "3 segments in 3 of 5 documents" in said
    found = pq.read_table(out).to_pylist()
    assert [row["prompt_id"] for row in found] == ["a", "b", "c"]
    for row in found:
        assert abs(row["start"] - 100) < 30
        assert abs(row["stop"] - 220) < 30
        assert row["start_earliest"] <= 100 <= row["start_latest"]
        assert row["stop_earliest"] <= 220 <= row["stop_latest"]
    for options, message in (
        ([], "has several entries"),
        (["--configuration", "nobody"], "no entry 'nobody'"),
        (["--configuration", "ours", "--alpha", "1"], "--alpha must lie"),
    ):
        code, said = run(*command, *keys, *options)
        assert code == 2
        assert message in said


def test_a_certificate_from_the_command_line(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.parquet"
    detect_corpus(Source(corpus / "corpus.parquet"), out, read_configurations(corpus / "keys.yaml"))
    code, said = run("watermark", "certify", out, "--configuration", "theirs", "--alpha", 0.05)
    assert code == 0, said
    assert "false-positive rate at 0.05" in said
    code, said = run("watermark", "certify", out, "--configuration", "nobody")
    assert code == 2
    assert "log_p[nobody]" in said


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        ("- {name: a, scheme: magic, key: 1}", [], "entry 'a': there is no scheme 'magic'"),
        ("- {name: a, scheme: vllm-gumbel}", [], "entry 'a': 'key' is missing"),
        ("- {name: a, scheme: vllm-gumbel, kye: 987654321}", [], "'kye' is no option"),
        ("- {name: a, scheme: vllm-gumbel, key: -987654321}", [], "key must lie between"),
        ("- {name: a, scheme: kgw, vocabulary: 10}", [], "configuration 'a': token"),
        ("- {name: a, key: 987654321}", [], "'scheme' is missing"),
        ("- {name: a, key: 1}\n- {name: a, key: 2}", ["--scheme", "vllm-gumbel"], "two entries"),
        ("- [987654321", [], "is not YAML, line"),
        ("just text", [], "a list of entries"),
        (KEYS, ["--tokens", "nothing"], "column 'nothing' is missing"),
        (KEYS, ["--tokens", "prompt_id"], "a tokenizer is needed"),
        (KEYS, ["--text", "prompt_id"], "--text needs --tokenizer"),
        (KEYS, ["--fdr", "0"], "--fdr must lie"),
        (KEYS, ["--test", "optimal"], "configuration 'tournament': test must be one of"),
    ],
)
def test_what_is_refused_and_never_shows_a_key(
    corpus: Path, tmp_path: Path, keys: str, options: list[str], message: str
) -> None:
    (tmp_path / "keys.yaml").write_text(keys)
    code, said = run(
        "watermark", "detect", corpus / "corpus.parquet", "-o", tmp_path / "out.parquet",
        "--key-file", tmp_path / "keys.yaml", "--workers", 1, *options,
    )  # fmt: skip
    assert code == 2
    assert message in said
    assert "987654321" not in said
    assert not (tmp_path / "out.parquet").exists()


def test_a_configuration_is_known_by_its_digest_not_by_its_key() -> None:
    one, other = (
        Configuration("a", make_scheme("vllm-gumbel", key=key)) for key in (987654321, 987654322)
    )
    assert one.digest() != other.digest()
    assert "987654321" not in repr(one)


def test_a_plan_from_the_command_line(tmp_path: Path) -> None:
    """Of the published table: 306 tokens for the sum at Delta = .3, 1e-6 and power .99."""
    code, said = run("watermark", "plan", "--delta", 0.3)
    assert code == 0, said
    assert abs(int(re.search(r"sum +(\d+)", said)[1]) - 306) < 8  # type: ignore[index]
    table = pa.table({"token_logprobs": [[[-0.1, -1.0], [-0.3]], [[]], [[-2.0]]]})
    pq.write_table(table, tmp_path / "s.parquet")
    code, said = run("watermark", "plan", tmp_path / "s.parquet")
    assert code == 0, said
    for options, message in (
        ([], "either SAMPLES or --delta"),
        ([tmp_path / "s.parquet", "--column", "logs"], "no column 'logs'"),
        (["--delta", 1.5], "between 0 and 1"),
        (["--delta", 0.1, "--power", 1], "--power must lie"),
    ):
        code, said = run("watermark", "plan", *options)
        assert code == 2
        assert message in said
