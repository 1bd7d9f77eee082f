"""What corpora may be, and that none is lost: `statllm watermark` and `select provenance`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from statllm.cli.app import app
from statllm.errors import InputError
from statllm.lab import model_path

KEYS = "- {name: ours, scheme: vllm-gumbel, key: 987654321}\n"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        return 2, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 500, (4, 30)).tolist()
    (tmp_path / "many").mkdir()
    for name in ("corpus.parquet", "many/a.parquet"):
        pq.write_table(pa.table({"token_ids": ids}), tmp_path / name)
    (tmp_path / "keys.yaml").write_text(KEYS)
    return tmp_path


def detect(folder: Path, corpus: str, *options: object, out: str = "out.parquet") -> Any:
    return run(
        "watermark", "detect", folder / corpus, "-o", folder / out,
        "--key-file", folder / "keys.yaml", "--workers", 1, *options,
    )  # fmt: skip


@pytest.mark.parametrize("verb", [["watermark", "detect"], ["watermark", "locate"],
                                  ["select", "provenance"]])  # fmt: skip
@pytest.mark.parametrize(
    ("corpus", "out"),
    [("corpus.parquet", "corpus.parquet"), ("many", "many"), ("many", "many/out.parquet"),
     ("corpus.parquet", "many/../corpus.parquet")],
)  # fmt: skip
def test_a_corpus_is_never_overwritten(
    folder: Path, verb: list[str], corpus: str, out: str
) -> None:
    files = sorted(folder.rglob("*.parquet"))
    before = [path.read_bytes() for path in files]
    code, said = run(
        *verb, folder / corpus, "-o", folder / out, "--key-file", folder / "keys.yaml",
        "--workers", 1,
    )  # fmt: skip
    assert code == 2
    assert "what is read" in said
    assert sorted(folder.rglob("*.parquet")) == files
    assert [path.read_bytes() for path in files] == before


def test_a_ledger_is_not_written_over_the_corpus(folder: Path) -> None:
    before = (folder / "corpus.parquet").read_bytes()
    code, said = run(
        "select", "provenance", folder / "corpus.parquet", "-o", folder / "clean.parquet",
        "--ledger", folder / "corpus.parquet", "--key-file", folder / "keys.yaml",
    )  # fmt: skip
    assert code == 2
    assert "what is read" in said
    assert (folder / "corpus.parquet").read_bytes() == before


def test_a_run_that_failed_leaves_nothing_to_another_corpus(folder: Path) -> None:
    """JSON lines are converted and kept for a rerun; not for a rerun on another, older file."""
    (folder / "good.jsonl").write_text(json.dumps({"token_ids": [1, 2, 3, 4, 5, 6]}) + "\n")
    os.utime(folder / "good.jsonl", (1, 1))
    (folder / "bad.jsonl").write_text('{"token_ids": [1.5, 2.5]}\n')
    code, said = detect(folder, "bad.jsonl")
    assert code == 2
    assert f"{folder / 'bad.jsonl'}, in rows 0 to 1: column 'token_ids' holds" in said
    assert len(list(folder.glob("out.parquet.input-*.parquet"))) == 1
    code, said = detect(folder, "good.jsonl")
    assert code == 0, said
    assert pq.read_table(folder / "out.parquet")["n_tokens"].to_pylist() == [6]
    assert not list(folder.glob("out.parquet.input-*"))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1, 2, 3], None, [4, 5, 6]], pa.list_(pa.int32(), 3)),
        pa.array([[1, 2, 3], None, [4, 5, 6]], pa.large_list(pa.uint64())),
        pa.array([[[1, 2, 3]], None, [[4, 5, 6]]], pa.list_(pa.list_(pa.int16(), 3))),
    ],
)
def test_lists_of_any_kind(folder: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"token_ids": column}), folder / "lists.parquet")
    code, said = detect(folder, "lists.parquet")
    assert code == 0, said
    found = pq.read_table(folder / "out.parquet")
    assert sum(found["n_tokens"].to_pylist()) == 6


@pytest.mark.parametrize("column", [pa.nulls(3), pa.array([[], None, []], pa.list_(pa.null()))])
def test_documents_that_are_not_there(folder: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"token_ids": column}), folder / "none.parquet")
    code, said = detect(folder, "none.parquet")
    assert code == 0, said
    assert "0 of 0 tested documents" in said


def test_words_of_a_dictionary_and_the_built_in_tokenizer(folder: Path) -> None:
    column = pa.array(["Ann has 5 apples.", None, "Ann has 5 apples."]).dictionary_encode()
    pq.write_table(pa.table({"text": column}), folder / "texts.parquet")
    code, said = detect(folder, "texts.parquet", "--text", "text", "--tokenizer", "lab")
    assert code == 0, said
    lengths = pq.read_table(folder / "out.parquet")["n_tokens"].to_pylist()
    assert lengths[0] == lengths[2] > lengths[1] == 0


def test_a_tokenizer_needs_no_model_beside_it(folder: Path) -> None:
    (folder / "alone").mkdir()
    for path in Path(model_path()).glob("*token*"):
        (folder / "alone" / path.name).write_bytes(path.read_bytes())
    pq.write_table(pa.table({"text": ["Ann has 5 apples."]}), folder / "texts.parquet")
    found = []
    for name in ("lab", folder / "alone"):
        code, said = detect(folder, "texts.parquet", "--text", "text", "--tokenizer", name)
        assert code == 0, said
        found.append(pq.read_table(folder / "out.parquet"))
    assert found[0].equals(found[1])


def test_what_is_no_document_is_named(folder: Path) -> None:
    table = pa.table({"token_ids": pa.array([[1, 2**64 - 1]], pa.list_(pa.uint64()))})
    pq.write_table(table, folder / "wrong.parquet")
    code, said = detect(folder, "wrong.parquet")
    assert code == 2
    assert "18446744073709551615, which is no token id" in said
    (folder / "wrong.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    code, said = detect(folder, "wrong.jsonl", "--text", "text", "--tokenizer", "lab")
    assert code == 2
    assert "column 'text' holds text that isn't UTF-8" in said
    twice = pa.table([pa.array([[1]]), pa.array([[1]])], names=["token_ids", "token_ids"])
    pq.write_table(twice, folder / "twice.parquet")
    code, said = detect(folder, "twice.parquet")
    assert code == 2
    assert "twice.parquet has two columns 'token_ids'" in said


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("- {name: a, scheme: 987654321, key: 3}", "there is no scheme (not shown)"),
        ("- {name: a, scheme: [987654321], key: 3}", "there is no scheme (not shown)"),
        ("- {scheme: 987654321, key: 3}", "entry 'entry-1'"),
        ("- {name: a, scheme: vllm-gumbel, 987654321: 3}", "(not shown) is no option"),
        ("- {name: a, scheme: vllm-gumbel, key: 3, context_width: '987654321'}",
         "context_width must be a whole number, not str"),
        ("- {name: a, scheme: vllm-gumbel, key: 3, context_width: 987654321.5}",
         "context_width must be a whole number, not float"),
        ("- {name: a, scheme: textseal-gumbel, key: 987654321, key_b: 987654321}",
         "key_b must differ from key"),
    ],
)  # fmt: skip
def test_a_key_in_a_wrong_place_is_not_shown(folder: Path, keys: str, message: str) -> None:
    (folder / "keys.yaml").write_text(keys)
    code, said = detect(folder, "corpus.parquet")
    assert code == 2
    assert message in said
    assert "987654321" not in said


def test_embed_and_detect_with_the_built_in_model(folder: Path) -> None:
    """The example of `embed --help`, smaller."""
    embed = ["watermark", "embed", "lab", "lab:test", "-o", folder / "w.parquet", "--limit", 1,
             "--max-new-tokens", 110, "--key-file", folder / "keys.yaml"]  # fmt: skip
    code, said = run(*embed, "--min-new-tokens", 100, "--temperature", 1.5)
    assert code == 0, said
    code, said = detect(folder, "w.parquet")
    assert code == 0, said
    assert "1 of 1 tested documents are called watermarked" in said
    (folder / "keys.yaml").write_text("- {name: a, scheme: kgw, vocabulary: 300}")
    for options, message in (
        (["--min-new-tokens", 200], "--min-new-tokens is above --max-new-tokens"),
        (["--temperature", "inf"], "--temperature must be above 0 and finite"),
        ([], "vocabulary of kgw is 300, the model's logits have 615"),
    ):
        code, said = run(*embed, *options)
        assert code == 2
        assert message in said


def test_other_numbers_out_of_range(folder: Path) -> None:
    code, said = detect(folder, "corpus.parquet")
    assert code == 0, said
    for value in (0, 1.5, "nan"):
        code, said = run("watermark", "certify", folder / "out.parquet", "--extrapolate", value)
        assert code == 2
        assert "--extrapolate must lie between 0 and 1" in said
    code, said = run("watermark", "certify", folder / "out.parquet")
    assert code == 0
    assert "no tail is fitted" in said
