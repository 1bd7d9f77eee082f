"""`statllm judge`: a real model, from a table to a table; what is counted, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from statllm.files import read_parquet
from statllm.generations import Generations

PAIR = """name: short
version: 1
mode: pairwise
grammar: brackets
user: "1: {response_a} 2: {response_b} better: "
"""
YES_NO = """name: valid
version: 1
mode: yes-no
grammar: next_token
user: "{response} Right? "
"""


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    table = pa.table({
        "prompt_id": ["a", "b"],
        "prompt": ["3 + 4?", "9 - 2?"],
        "response": [["3 + 4 = 7", "It is 8.", None], ["9 - 2 = 7", "<R> 6"]],
    })  # fmt: skip
    path = tmp_path / "samples.parquet"
    Generations(table).write(path)
    (tmp_path / "pair.yaml").write_text(PAIR)
    (tmp_path / "yes_no.yaml").write_text(YES_NO)
    return path


def test_every_verdict_that_cant_be_read_is_counted(statllm, samples: Path, tmp_path: Path) -> None:
    """The lab's model knows arithmetic in words, and nothing of verdicts."""
    out, verdicts = tmp_path / "judged.parquet", tmp_path / "verdicts.jsonl"
    command = ("judge", "lab", samples, "-o", out, "--template", tmp_path / "pair.yaml")
    options = ("--plain", "--max-new-tokens", "12", "--cache", tmp_path, "--verdicts", verdicts)
    code, said, error = statllm(*command, *options)
    assert (code, error) == (0, "")
    table = read_parquet(out)
    assert table["judge_n_asked"].to_pylist() == table["judge_n_unread"].to_pylist() == [2, 2]
    assert table["judge_n_left_out"].to_pylist() == [1, 0]
    assert table["reward"].to_pylist() == [[None] * 3, [None] * 2]
    rows = [json.loads(line) for line in verdicts.read_text().splitlines()]
    assert [row["verdict"] for row in rows] == [None] * 4
    assert "4 verdicts" in said
    assert said.split("unreadable")[1].split()[0] == "4"
    assert "1 responses are null" in said
    assert "2 of 2 pairs couldn't be read in both orders" in said
    before = {path: path.read_bytes() for path in (out, verdicts)}
    assert statllm(*command, *options)[0] == 0  # from the cache
    assert {path: path.read_bytes() for path in before} == before


def test_yes_no(statllm, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged.jsonl"
    code, said, _ = statllm(
        "judge", "lab", samples, "-o", out, "--kind", "yes-no", "--plain", "--column", "self",
        "--template", tmp_path / "yes_no.yaml", "--cache", tmp_path, "--response-part", "<R>",
    )  # fmt: skip
    assert code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [[value is None for value in row["self"]] for row in rows] == [
        [True] * 3, [True, False],
    ]  # fmt: skip
    assert "4 responses are null or lack the part to judge" in said
    assert "would hardly say yes or no" in said  # which is true of the lab's model


class _Judge(BaseHTTPRequestHandler):
    """Prefers the longer reply, is undecided where both are alike, and ill about some."""

    broken = True
    n_asked = 0

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "judge"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = body["messages"][-1]["content"]
        a, b = (user.split(f"<reply_{x}>")[1].split("</reply")[0].strip() for x in "ab")
        type(self).n_asked += 1
        if self.broken and len(a) > 10:
            self._send(500, {"error": "ill"})
            return
        letter = "A" if len(a) > len(b) else "B" if len(b) > len(a) else "C"
        choice = {"message": {"content": f"Longer.\n[[{letter}]]"}, "finish_reason": "stop"}
        self._send(200, {"choices": [choice]})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture
def server() -> Iterator[str]:
    pytest.importorskip("openai")
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()


def test_a_server_as_judge_that_fails_and_recovers(statllm, tmp_path: Path, server: str) -> None:
    path, out = tmp_path / "s.parquet", tmp_path / "j.parquet"
    responses = [["short", "a longer reply"], ["1234567", "7654321", "123"]]
    Generations(
        pa.table({"prompt_id": ["a", "b"], "prompt": ["?", "?"], "response": responses})
    ).write(path)
    options = (
        "judge", "judge", path, "-o", out, "--backend", "openai", "--server", server,
        "--retries", "0", "--backoff", "0", "--cache", tmp_path,
    )  # fmt: skip
    _Judge.broken, _Judge.n_asked = True, 0
    code, _, error = statllm(*options)
    assert code == 2
    assert "the judge failed to answer 1 of 8 questions (server-error" in error
    assert not out.exists()
    assert _Judge.n_asked == 8
    code, said, _ = statllm(*options, "--allow-failures")
    assert code == 0
    assert read_parquet(out)["judge_n_unread"].to_pylist() == [1, 0]
    assert "missing" in said
    assert _Judge.n_asked == 9
    _Judge.broken = False
    code, said, _ = statllm(*options)
    assert code == 0
    assert _Judge.n_asked == 10  # the seven others are known
    table = read_parquet(out)
    assert table["judge_n_unread"].to_pylist() == [0, 0]
    assert table["judge_n_ties"].to_pylist() == [0, 2]
    first, second = table["reward"].to_pylist()
    assert first[1] > first[0]
    assert second[0] == second[1] > second[2]
    assert "8 verdicts" in said
    assert "consistency under swap" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--template", "none_such"), "'none_such' is none of"),
        (("--kind", "listwise"), "--kind"),
        (("--kind", "pointwise", "--template", "pairwise_quality"), "is pairwise, not pointwise"),
        (("--kind", "yes-no", "--backend", "vllm"), "needs backend transformers"),
        (("--kind", "yes-no"), "no chat template; --plain sends"),
        (("--votes", "3"), "3 votes of a greedy judge are one"),
        (("--kind", "criteria"), "kind criteria needs criteria"),
        (("--kind", "criteria", "--criteria", "none.yaml"), "none.yaml does not exist"),
        (("--fields", "tone"), "isn't NAME=TEXT"),
        (("--opponents", "1"), "--opponents"),
        (("--template", "pairwise_reference"), "needs reference"),
        ((), "has no chat template"),
        (("--plain",), "exceeds the model's 256 positions"),
    ],
)
def test_refusals(
    statllm, samples: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    out = tmp_path / "j.parquet"
    code, _, error = statllm("judge", "lab", samples, "-o", out, "--cache", tmp_path, *options)
    assert code == 2
    assert words in error
    assert not out.exists()
