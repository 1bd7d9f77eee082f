"""The command line as a user meets it: files in, files out, exit codes, one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from statllm.files import read_parquet, write_parquet

SCORE_COLUMNS = [
    "prompt_id",
    "n_samples",
    "n_votes",
    "n_distinct",
    "majority_answer",
    "vote_share",
    "vote_margin",
    "vote_entropy",
    "vote_entropy_se",
    "reward_mean",
    "reward_var",
    "reward_gap",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A long log: two prompts, five and three samples, with rewards."""
    path = tmp_path / "log.jsonl"
    rows = [
        ("a", "4", text, reward)
        for text, reward in [
            ("#### 4", 1),
            ("#### 4", 3),
            ("so 5\n#### 5", 2),
            ("?", 0),
            ("#### 4", 4),
        ]
    ] + [("b", "7", f"#### {n}", n) for n in (7, 8, 8)]
    lines = [
        {"qid": q, "question": f"what is {q}?", "gold": g, "text": t, "score": r}
        for q, g, t, r in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


NAMES = [
    "--prompt-id",
    "qid",
    "--prompt",
    "question",
    "--reference",
    "gold",
    "--response",
    "text",
    "--reward",
    "score",
]


def test_score_writes_one_row_per_prompt(statllm, log: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    code, said, _ = statllm("score", log, "-o", out, *NAMES, "--entropy", "plugin")
    assert code == 0
    table = read_parquet(out)
    assert set(SCORE_COLUMNS) <= set(table.column_names)
    rows = {row["prompt_id"]: row for row in table.to_pylist()}
    a, b = rows["a"], rows["b"]
    assert (a["n_samples"], a["n_votes"], a["n_distinct"]) == (5, 4, 2)
    assert (a["majority_answer"], b["majority_answer"]) == ("4", "8")
    assert a["vote_share"] == pytest.approx(3 / 4)
    assert a["vote_margin"] == pytest.approx(2 / 4)
    assert a["vote_entropy"] == pytest.approx(0.5623351446)  # -(3 ln(3/4) + ln(1/4)) / 4
    assert (a["majority_correct"], b["majority_correct"]) == (1.0, 0.0)
    assert (a["reward_mean"], a["reward_var"], a["reward_gap"]) == pytest.approx((2.0, 2.5, 4.0))
    assert "vote_entropy" in said
    assert "nats" in said


def test_select_writes_pairs_and_a_ledger_that_adds_up(statllm, log: Path, tmp_path: Path) -> None:
    pairs, ledger = tmp_path / "pairs.parquet", tmp_path / "ledger.parquet"
    arguments = (log, "-o", pairs, "--ledger", ledger, *NAMES)
    code, said, _ = statllm("select", "scpo", *arguments, "--threshold", "0.65")
    assert code == 0
    [pair] = read_parquet(pairs).to_pylist()  # a has 3 of 5 votes, too few; b has 2 of 3
    assert (pair["prompt_id"], pair["chosen_answer"], pair["rejected_answer"]) == ("b", "8", "7")
    assert pair["weight"] == pytest.approx((2 - 1) / 3)
    rows = read_parquet(ledger).to_pylist()
    assert len(rows) == 2
    assert sum(row["n_pairs"] for row in rows) == read_parquet(pairs).num_rows
    assert "all prompts" in said
    for rule in ("irpo", "rip"):
        assert statllm("select", rule, *arguments)[0] == 0


def test_pairs_as_jsonl_are_what_training_reads(statllm, log: Path, tmp_path: Path) -> None:
    pairs, ledger = tmp_path / "pairs.jsonl", tmp_path / "ledger.csv"
    arguments = ("select", "scpo", log, *NAMES, "--threshold", "0.65", "--ledger", ledger)
    assert statllm(*arguments, "-o", pairs)[0] == 0
    [pair] = [json.loads(line) for line in pairs.read_text().splitlines()]
    assert (pair["chosen_answer"], pair["rejected_answer"]) == ("8", "7")
    assert ledger.read_text().startswith('"prompt_id","kept","reason"')
    code, said, _ = statllm("train", "lab", pairs, "-o", tmp_path / "model", "--loss", "scpo")
    assert code == 0
    assert "1 pairs, 1 steps" in said


def test_compare_pairs_by_prompt(statllm, tmp_path: Path) -> None:
    """Five gained, one lost, four equal: exact McNemar p = 2 * (1 + 6) / 2**6 = 0.21875."""
    before = [False] * 5 + [True] + [True] * 4
    after = [True] * 5 + [False] + [True] * 4
    for name, right in (("a", before), ("b", after)):
        ids = [str(i) for i in range(10)]
        write_parquet(pa.table({"prompt_id": ids, "correct": right}), tmp_path / f"{name}.parquet")
    code, said, _ = statllm("compare", tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert code == 0
    assert "0.4000" in said
    assert "p = 0.219" in said


def test_calibrate_measures_and_writes_out_of_fold_confidences(statllm, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, size=600)
    right = rng.random(600) < p**2  # overconfident
    rows = {"prompt_id": [str(i) for i in range(601)], "p": [*p, None], "ok": [*right, None]}
    write_parquet(pa.table(rows), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    arguments = ("calibrate", tmp_path / "in.parquet", "--confidence", "p", "--correct", "ok")
    code, said, _ = statllm(*arguments, "-o", out)
    assert code == 0
    assert "1 of 601 rows lack 'p' or 'ok'" in said
    for word in ("ECE", "smooth ECE", "AUROC", "Spiegelhalter", "log loss, after - before"):
        assert word in said
    calibrated = read_parquet(out)["p_calibrated"].to_numpy()
    assert np.isnan(calibrated[-1])
    assert np.abs(calibrated[:-1] - p**2).mean() < 0.5 * np.abs(p - p**2).mean()
    assert statllm(*arguments, "--cluster", "prompt_id", "--method", "isotonic")[0] == 0


@pytest.mark.parametrize("guarantee", ["fdr", "accuracy", "fact-test"])
def test_conformal_decides_the_unknown(statllm, tmp_path: Path, guarantee: str) -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(size=1200)
    right = rng.random(1200) < p
    known = np.arange(1200) < 600
    verdict = [bool(r) if k else None for r, k in zip(right, known, strict=True)]
    rows = {
        "prompt_id": [str(i) for i in range(1201)],
        "p": [*p, None],
        "correct": [*verdict, None],
    }
    write_parquet(pa.table(rows), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    arguments = ("conformal", tmp_path / "in.parquet", "-o", out, "--confidence", "p")
    code, said, _ = statllm(*arguments, "--guarantee", guarantee, "--alpha", "0.2")
    assert code == 0
    assert "600 rows calibrate" in said
    given = read_parquet(out)["given"].to_pylist()
    assert given[:600] == [None] * 600
    assert given[1200] is False  # no confidence: withheld
    answered = np.array(given[600:1200])
    assert f"{answered.sum()} of 601 answers given" in said
    assert answered.sum() > 30
    assert p[600:][answered].min() > p[600:][~answered].max()
    wrong = ~right[600:]
    bounded = wrong[answered].mean() if guarantee != "fact-test" else answered[wrong].mean()
    assert bounded < 0.2 + 3 * np.sqrt(0.16 / 200)


def refusals(tmp_path: Path) -> list[tuple[list[object], str]]:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt_id": "a", "answer": "1"}\n{"prompt_id": \n')
    empty = tmp_path / "empty.parquet"
    empty.touch()
    good = tmp_path / "good.jsonl"
    good.write_text('{"prompt_id": "a", "answer": ["1", "2"]}\n')
    uneven = tmp_path / "uneven.jsonl"
    uneven.write_text('{"prompt_id": "a", "answer": ["1", "2"], "reward": [1.0]}\n')
    twice = tmp_path / "twice.jsonl"
    twice.write_text('{"prompt_id": "a", "answer": ["1"]}\n' * 2)
    nan = tmp_path / "nan.jsonl"
    nan.write_text(
        '{"prompt_id": "a", "prompt": "?", "response": ["x", "y"], "reward": [1.0, NaN]}\n'
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x\nmodle: lab\n")
    out = ["-o", tmp_path / "out.parquet"]
    pairs = tmp_path / "pairs.parquet"
    write_parquet(
        pa.table({"prompt_id": ["a"], "prompt": ["?"], "chosen": ["x"], "rejected": ["y"],
                  "weight": [1.0], "mood": ["good"]}),
        pairs,
    )  # fmt: skip
    return [
        (["score", broken, *out], "broken.jsonl line 2 is not JSON"),
        (["score", empty, *out], "empty.parquet is empty"),
        (["score", tmp_path / "none.csv", *out], "none.csv does not exist"),
        (["score", uneven, *out], "column 'reward' has 1 values in row 0"),
        (["score", twice, *out], "'a' is in rows 0 and 1"),
        (["score", good, *out, "--answer", "reply"], "has no column 'reply'; it has prompt_id"),
        (["score", good, *out, "--entropy", "shannon"], "shannon"),
        (["score", nan, *out], "reward"),
        (["select", "rip", nan, *out], "reward"),
        (["select", "scpo", good, *out, "--threshold", "7"], "threshold"),
        (["select", "scpo", good, *out, "--preset", "nobody"], "nobody"),
        (["run", recipe, "-o", tmp_path / "run"], "modle"),
        (["train", "lab", pairs, "-o", tmp_path / "m"], "mood"),
        (["sample", tmp_path, "lab:test", *out, "--limit", "1"], "config.json"),
        (["sample", "lab", "lab:exam", *out], "exam"),
        (["report", tmp_path], "run.yaml is missing"),
        (["compare", pairs, pairs], "correct"),
        (["calibrate", good], "none of the columns majority_answer_correct"),
        (["calibrate", pairs, "--correct", "weight"], "has no column 'vote_share'"),
        (["calibrate", pairs, "--confidence", "mood", "--correct", "weight"], "one number per row"),
        (["calibrate", pairs, "--confidence", "weight", "--correct", "weight"], "one value only"),
        (["conformal", pairs, *out, "--correct", "weight", "--alpha", "2"], "--alpha must lie"),
        (["conformal", good, *out], "none of the columns majority_answer_correct"),
        (["conformal", pairs, *out, "--confidence", "weight", "--correct", "weight"], "is known"),
        (["score", good, "-o", tmp_path / "out.xls"], "'.xls' is not written"),
        (["score", tmp_path, *out], "empty.parquet is empty"),
        (["select", "scpo", good, *out, "--ledger", tmp_path], "is a folder, a file was expected"),
        (["sample", "lab", "lab:test", "-o", tmp_path / "out.jsonl"], "'.jsonl' is not written"),
    ]


@pytest.mark.parametrize("case", range(28))
def test_wrong_input_gives_exit_code_2_and_one_sentence(statllm, tmp_path: Path, case: int) -> None:
    arguments, words = refusals(tmp_path)[case]
    code, _, error = statllm(*arguments)
    assert code == 2
    assert words in error
    assert error.startswith("statllm: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    "verb",
    [
        "demo",
        "sample",
        "score",
        "select scpo",
        "select conformal",
        "calibrate",
        "conformal",
        "train",
        "run",
        "compare",
        "report",
    ],
)
def test_help_has_examples(statllm, verb: str) -> None:
    code, said, _ = statllm(*verb.split(), "--help")
    assert code == 0
    assert "Examples" in said
    assert f"statllm {verb}" in said
