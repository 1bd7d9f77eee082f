"""`statllm conformal sets` and `claims`: tables in, sets and kept claims out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from statllm.cli.conformal_sets import Score
from statllm.estimators.conformal.scores import SetMethod
from statllm.files import read_parquet, write_parquet

Run = Callable[..., tuple[int, str, str]]


def questions(n: int = 300, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits and right options."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(n, k))
    return logits, np.argmax(logits + rng.gumbel(size=(n, k)), axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits)
    return weights / weights.sum(1, keepdims=True)


def wide(path: Path, n_known: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """A table of p_A..p_D, labels as letters, the first ones known."""
    logits, truth = questions(n)
    p = softmax(logits)
    label = ["ABCD"[y] if i < n_known else None for i, y in enumerate(truth)]
    columns = {f"p_{name}": p[:, i] for i, name in enumerate("ABCD")}
    write_parquet(pa.table({"id": range(n), **columns, "label": label}), path)
    return p, truth


def test_sets_of_unlabelled_rows_are_the_lac_sets(statllm: Run, tmp_path: Path) -> None:
    p, truth = wide(tmp_path / "in.parquet", 200)
    out = tmp_path / "out.parquet"
    arguments = ("conformal", "sets", tmp_path / "in.parquet", "-o", out)
    code, said, _ = statllm(*arguments, "--probs", "p_A,p_B,p_C,p_D", "--alpha", "0.2")
    assert code == 0
    assert "200 rows calibrate, 100 get a set (lac)" in said
    strange = np.sort(1 - p[np.arange(200), truth[:200]])
    limit = strange[int(np.ceil(201 * 0.8)) - 1]
    rows = read_parquet(out).to_pylist()
    for i, row in enumerate(rows):
        if i < 200:
            assert row["set"] is row["set_size"] is row["option_p_values"] is None
            continue
        assert row["set"] == ["ABCD"[j] for j in range(4) if 1 - p[i, j] <= limit]
        assert row["set_size"] == len(row["set"])
        assert row["set_uncalibrated"] is False
        kept = ["ABCD"[j] for j in range(4) if row["option_p_values"][j] > 0.2]
        assert kept == row["set"]


def test_csv_has_no_lists(statllm: Run, tmp_path: Path) -> None:
    wide(tmp_path / "in.parquet", 200)
    arguments = ("conformal", "sets", tmp_path / "in.parquet", "--probs", "p_A,p_B,p_C,p_D", "-o")
    for name in ("out.csv", "out.parquet"):
        assert statllm(*arguments, tmp_path / name)[0] == 0
    flat, nested = pd.read_csv(tmp_path / "out.csv"), read_parquet(tmp_path / "out.parquet")
    for row, other in zip(flat[200:].to_dict("records"), nested.to_pylist()[200:], strict=True):
        assert row["set"].split() == other["set"]
        assert [row[f"p_value_{name}"] for name in "ABCD"] == other["option_p_values"]
    assert flat["set"][:200].isna().all()


def test_a_part_of_the_labelled_rows_measures_coverage(statllm: Run, tmp_path: Path) -> None:
    wide(tmp_path / "in.parquet", 300)
    out = tmp_path / "out.parquet"
    arguments = ("conformal", "sets", tmp_path / "in.parquet", "-o", out)
    options = ("--probs", "p_A,p_B,p_C,p_D", "--calibration-fraction", "0.5", "--method", "aps")
    code, said, _ = statllm(*arguments, *options, "--json")
    assert code == 0
    report = json.loads(said)
    rows = [row for row in read_parquet(out).to_pylist() if row["set"] is not None]
    hits = sum(row["label"] in row["set"] for row in rows)
    exact = stats.binomtest(hits, 150).proportion_ci(method="exact")
    assert report["n_calibration"] == report["n_sets"] == len(rows) == 150
    found = report["coverage"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (hits / 150, exact.low, exact.high)
    )
    [group] = report["groups"]
    assert group["law"] == "Beta(136, 15)"  # l = floor(151 / 10)
    law = stats.beta(136, 15)
    assert (group["expected_coverage"], group["expected_low"], group["expected_high"]) == (
        pytest.approx((law.mean(), law.ppf(0.05), law.ppf(0.95)))
    )
    sizes = [row["set_size"] for row in rows]
    assert report["set_size"]["value"] == pytest.approx(np.mean(sizes))
    assert report["set_size"]["se"] == pytest.approx(np.std(sizes, ddof=1) / np.sqrt(150))
    again = tmp_path / "again.parquet"
    assert statllm(*arguments[:3], "-o", again, *options)[0] == 0
    assert read_parquet(again).equals(read_parquet(out))  # the same seed


def test_list_columns_of_logits_and_numbers_as_labels(statllm: Run, tmp_path: Path) -> None:
    logits, truth = questions()
    wide(tmp_path / "wide.parquet", 200)
    lines = [
        {"probs": row.tolist(), "label": int(y) if i < 200 else None}
        for i, (row, y) in enumerate(zip(logits, truth, strict=True))
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    same = ("conformal", "sets", tmp_path / "wide.parquet", "-o", a, "--probs", "p_A,p_B,p_C,p_D")
    assert statllm(*same)[0] == 0
    assert statllm("conformal", "sets", source, "-o", b, "--logits", "--names", "A,B,C,D")[0] == 0
    assert read_parquet(a)["set"].to_pylist() == read_parquet(b)["set"].to_pylist()
    assert statllm("conformal", "sets", source, "-o", b, "--logits")[0] == 0
    letters = [None if row is None else ["ABCD".index(x) for x in row] for row in
               read_parquet(a)["set"].to_pylist()]  # fmt: skip
    numbers = read_parquet(b)["set"].to_pylist()
    assert letters == [None if row is None else [int(x) for x in row] for row in numbers]


def test_calibration_from_a_file_and_from_a_column(statllm: Run, tmp_path: Path) -> None:
    _, truth = wide(tmp_path / "in.parquet", 300)
    table = read_parquet(tmp_path / "in.parquet")
    part = ["fit" if i < 200 else "test" for i in range(300)]
    write_parquet(table.append_column("part", pa.array(part)), tmp_path / "both.parquet")
    write_parquet(table.slice(0, 200), tmp_path / "fit.parquet")
    write_parquet(table.slice(200), tmp_path / "test.parquet")
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    probs = ("--probs", "p_A,p_B,p_C,p_D", "--json")
    start = ("conformal", "sets")
    code, first, _ = statllm(
        *start, tmp_path / "both.parquet", "-o", a, *probs, "--calibration-where", "part=fit"
    )
    assert code == 0
    fit = ("--calibration", tmp_path / "fit.parquet")
    code, second, _ = statllm(*start, tmp_path / "test.parquet", "-o", b, *probs, *fit)
    assert code == 0
    assert json.loads(first) == json.loads(second)
    assert read_parquet(a)["set"].to_pylist()[200:] == read_parquet(b)["set"].to_pylist()
    hits = sum("ABCD"[y] in s for y, s in zip(truth[200:], read_parquet(b)["set"].to_pylist(),
                                              strict=True))  # fmt: skip
    assert json.loads(first)["coverage"]["value"] == pytest.approx(hits / 100)


def test_a_small_group_gets_every_option_and_a_note(statllm: Run, tmp_path: Path) -> None:
    """n = 8 at alpha = 0.1: a crash elsewhere, here the whole set and a sentence."""
    wide(tmp_path / "in.parquet", 200)
    table = read_parquet(tmp_path / "in.parquet")
    group = ["rare" if i < 8 or i >= 290 else "common" for i in range(300)]
    write_parquet(table.append_column("topic", pa.array(group)), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    code, said, _ = statllm(
        "conformal", "sets", tmp_path / "in.parquet", "-o", out, "--probs", "p_A,p_B,p_C,p_D",
        "--groups", "topic",
    )  # fmt: skip
    assert code == 0
    assert "rare: 8 calibration items are too few for alpha = 0.1: at least 9 are needed" in said
    rows = read_parquet(out).to_pylist()
    assert all(row["set"] == list("ABCD") and row["set_uncalibrated"] for row in rows[290:])
    assert not any(row["set_uncalibrated"] for row in rows[200:290])
    small = tmp_path / "small.parquet"
    write_parquet(table.slice(192), small)
    assert statllm("conformal", "sets", small, "-o", out, "--probs", "p_A,p_B,p_C,p_D")[0] == 0
    assert all(row["set_uncalibrated"] for row in read_parquet(out).to_pylist()[8:])


def test_rows_without_probabilities_get_no_set(statllm: Run, tmp_path: Path) -> None:
    rows = [{"probs": [0.7, 0.3], "label": 0}] * 20 + [{"probs": None}, {"probs": [0.6, 0.4]}]
    write_parquet(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    code, said, _ = statllm("conformal", "sets", tmp_path / "in.parquet", "-o", out)
    assert code == 0
    assert "1 rows lack probabilities" in said
    assert read_parquet(out)["set"].to_pylist()[20:] == [None, []]  # 1 - .6 > 1 - .7


# ---- claims ------------------------------------------------------------------------------------


def published() -> dict[str, object]:
    path = Path(__file__).parents[1] / "references" / "conformal_factuality.json"
    loaded: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def test_claims_reproduce_the_published_threshold(statllm: Run, tmp_path: Path) -> None:
    reference = published()
    rows = [
        {"prompt_id": str(i), "confidence": score + noise, "correct": bool(right)}
        for i, response in enumerate(reference["nq"])  # type: ignore[arg-type]
        for score, noise, right in response
    ]
    rows += [{"prompt_id": "new", "confidence": c, "correct": None} for c in (3.9, 4.2, None)]
    order = np.random.default_rng(0).permutation(len(rows))  # claims in any order
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    write_parquet(pa.Table.from_pylist([rows[i] for i in order]), source)
    code, said, _ = statllm("conformal", "claims", source, "-o", out, "--level", "0.8", "--json")
    assert code == 0
    report = json.loads(said)
    assert report["threshold"] == reference["thresholds"][0]["threshold"]  # type: ignore[index]
    assert (report["n_calibration"], report["n_claims"], report["n_kept"]) == (50, 3, 2)
    assert report["factual"] is None
    for row in read_parquet(out).to_pylist():
        sure = row["confidence"]
        wanted = None if row["prompt_id"] != "new" else sure is not None and sure > 3.79873
        assert row["kept"] == wanted


def test_nested_claims_are_the_same(statllm: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    long, nested = [], []
    for i in range(60):
        k = int(rng.integers(1, 6))
        right = (rng.random(k) < 0.8).tolist()
        sure = (rng.normal(size=k) + np.array(right)).tolist()
        known = i < 40
        nested.append(
            {"prompt_id": f"{i:02}", "confidence": sure, "correct": right if known else None}
        )
        long += [
            {"prompt_id": f"{i:02}", "confidence": s, "correct": r if known else None}
            for s, r in zip(sure, right, strict=True)
        ]
    write_parquet(pa.Table.from_pylist(long), tmp_path / "long.parquet")
    write_parquet(pa.Table.from_pylist(nested), tmp_path / "nested.parquet")
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    code, first, _ = statllm("conformal", "claims", tmp_path / "long.parquet", "-o", a, "--json")
    assert code == 0
    code, second, _ = statllm("conformal", "claims", tmp_path / "nested.parquet", "-o", b, "--json")
    assert code == 0
    assert json.loads(first) == json.loads(second)
    flat = [kept for row in read_parquet(b)["kept"].to_pylist()[40:] for kept in row]
    assert [kept for kept in read_parquet(a)["kept"].to_pylist() if kept is not None] == flat


def test_claims_measure_what_they_promise(statllm: Run, tmp_path: Path) -> None:
    rows = [
        {"prompt_id": str(i), "confidence": score, "correct": bool(right)}
        for i, response in enumerate(published()["nq"])  # type: ignore[arg-type]
        for score, _, right in response
    ]
    write_parquet(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    arguments = ("conformal", "claims", tmp_path / "in.parquet", "-o", tmp_path / "out.parquet")
    code, said, _ = statllm(*arguments, "--calibration-fraction", "0.5")
    assert code == 0
    assert "25 labelled responses that didn't calibrate" in said
    assert "factual responses" in said
    assert "removed claims" in said


def test_eight_responses_keep_no_claim(statllm: Run, tmp_path: Path) -> None:
    rows = [{"prompt_id": str(i), "confidence": 0.5, "correct": True} for i in range(8)]
    rows.append({"prompt_id": "new", "confidence": 0.9, "correct": None})
    write_parquet(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    code, said, _ = statllm("conformal", "claims", tmp_path / "in.parquet", "-o", out)
    assert code == 0
    assert "8 calibration items are too few" in said
    assert "no claim is kept" in said
    assert read_parquet(out)["kept"].to_pylist()[8] is False


# ---- the verbs ---------------------------------------------------------------------------------


def test_a_file_alone_means_answers(statllm: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(size=400)
    right = [bool(r) if i < 200 else None for i, r in enumerate(rng.random(400) < p)]
    write_parquet(pa.table({"p": p, "correct": right}), tmp_path / "in.parquet")
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    options = ("--confidence", "p", "--alpha", "0.3")
    assert statllm("conformal", *options, tmp_path / "in.parquet", "-o", a)[0] == 0
    code, said, _ = statllm(
        "conformal", "answers", tmp_path / "in.parquet", "-o", b, *options, "--json"
    )
    assert code == 0
    assert read_parquet(a).equals(read_parquet(b))
    report = json.loads(said)
    assert report["n_given"] == sum(filter(None, read_parquet(b)["given"].to_pylist()))
    assert (report["n_calibration"], report["n_new"]) == (200, 200)


def refusals(folder: Path) -> list[tuple[list[object], str]]:
    good = folder / "good.parquet"
    rows = [{"probs": [0.7, 0.3], "label": 0, "confidence": 1.0, "prompt_id": str(i), "correct": 1}
            for i in range(5)]  # fmt: skip
    write_parquet(pa.Table.from_pylist(rows), good)
    uneven, outside, other = folder / "uneven.jsonl", folder / "outside.jsonl", folder / "o.jsonl"
    uneven.write_text('{"probs": [0.7, 0.3], "label": 0}\n{"probs": [1.0], "label": 0}\n')
    outside.write_text('{"probs": [0.7, 0.3], "label": 0}\n{"probs": [-1, -2], "label": 0}\n')
    other.write_text('{"probs": [0.7, 0.3], "label": 0}\n{"probs": [0.1, 0.9], "label": "Z"}\n')
    half = ["--calibration-fraction", "0.5"]
    return [
        (["sets", good], "every label is known"),
        (["sets", good, "--alpha", "1"], "--alpha must lie"),
        (["sets", good, "--calibration-fraction", "2"], "--calibration-fraction must lie"),
        (["sets", good, *half, "--calibration-where", "label=0"], "exclude each other"),
        (["sets", good, "--calibration-where", "label=9"], "no labelled row to calibrate on"),
        (["sets", good, *half, "--names", "A"], "--names must be 2 different names"),
        (["sets", good, *half, "--probs", "p"], "has no column 'p'"),
        (["sets", good, *half, "--probs", "label"], "must hold a list of numbers per row"),
        (["sets", uneven, *half], "have [1, 2] options"),
        (["sets", outside, *half], "isn't in [0, 1] in row 1; --logits"),
        (["sets", other, *half], "line 2"),
        (["claims", good], "every label is known"),
        (["claims", good, "--level", "0"], "--level must lie"),
        (["claims", good, "--confidence", "sure"], "has no column 'sure'"),
    ]


@pytest.mark.parametrize("case", range(14))
def test_wrong_input_gives_exit_code_2_and_one_sentence(
    statllm: Run, tmp_path: Path, case: int
) -> None:
    arguments, words = refusals(tmp_path)[case]
    code, _, error = statllm("conformal", *arguments, "-o", tmp_path / "out.parquet")
    assert code == 2
    assert words in error
    assert error.startswith("statllm: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out.parquet").exists()


def test_every_score_can_be_chosen() -> None:
    assert set(get_args(Score)) == set(get_args(SetMethod))


@pytest.mark.parametrize("verb", ["answers", "sets", "claims"])
def test_help_has_examples(statllm: Run, verb: str) -> None:
    code, said, _ = statllm("conformal", verb, "--help")
    assert code == 0
    assert "Examples" in said
    assert f"statllm conformal {verb}" in said
