"""What a command writes replaces neither what it reads nor what else it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from statllm.files import write_parquet

TEXT = '{"prompt_id": "a", "prompt": "1 + 1?", "response": ["2", "3"], "document": "x"}\n'
COMMANDS = {
    "select scpo": ["select", "scpo", "IN", "--threshold", ".5"],
    "select rft": ["select", "rft", "IN"],
    "select lift": ["select", "lift", "IN"],
    "select near-duplicates": ["select", "near-duplicates", "IN"],
    "select decontaminate": ["select", "decontaminate", "IN", "--against", "IN"],
    "prompts generate": ["prompts", "generate", "lab", "IN", "--count", "1"],
    "prompts back-translate": ["prompts", "back-translate", "lab", "IN"],
    "prompts contrast": ["prompts", "contrast", "lab", "IN"],
    "journey extract": ["journey", "extract", "IN"],
    "journey pairs": ["journey", "pairs", "IN"],
    "distill filter": ["distill", "filter", "IN"],
    "distill chains": ["distill", "chains", "IN"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["-o", "IN"], "in.jsonl is read; write to another file"),
        (["-o", "OUT", "--ledger", "IN"], "in.jsonl is read; write to another file"),
        (["-o", "OUT", "--ledger", "OUT"], "out.jsonl would be both the output and the ledger"),
    ],
)
def test_no_file_is_lost(
    statllm: Callable[..., tuple[int, str, str]],
    command: str,
    files: list[str],
    words: str,
    tmp_path: Path,
) -> None:
    given = {"IN": tmp_path / "in.jsonl", "OUT": tmp_path / "out.jsonl"}
    given["IN"].write_text(TEXT)
    code, _, error = statllm(*(given.get(each, each) for each in [*COMMANDS[command], *files]))
    assert code == 2
    assert words in error
    assert given["IN"].read_text() == TEXT
    assert not given["OUT"].exists()


@pytest.mark.parametrize("output", ["IN", "OUT"])
def test_an_engine_loses_none_either(
    statllm: Callable[..., tuple[int, str, str]], output: str, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    answers = {"prompt_id": ["a"], "response": [["2", "3"]], "answer": [["2", "3"]]}
    write_parquet(pa.table(answers), source)
    before = source.read_bytes()
    given = {"IN": source, "OUT": out}[output]
    files = ["-o", given, "--ledger", given, "--engine", "local"]
    code, _, error = statllm("select", "scpo", source, "--threshold", ".5", *files)
    assert code == 2
    assert ("would be two outputs" if output == "OUT" else "what is read") in error
    assert source.read_bytes() == before
    assert not out.exists()
