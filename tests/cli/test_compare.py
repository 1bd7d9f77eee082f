"""`statllm compare` on logs that the tools themselves wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

LOGS = Path(__file__).parents[1] / "references" / "logs"
A, B = LOGS / "lab__small", LOGS / "lab__better"


def _scores(folder: Path, filter: str = "strict-match") -> np.ndarray:
    lines = next(folder.glob("*.jsonl")).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return np.array([row["exact_match"] for row in rows if row["filter"] == filter])


def test_two_logs_of_the_harness(statllm, tmp_path: Path) -> None:
    out, picture = tmp_path / "c.json", tmp_path / "c.svg"
    code, said, _ = statllm("compare", A, B, "--margin", ".05", "-o", out, "--figure", picture)
    assert code == 0
    report = json.loads(out.read_text())
    a, b = _scores(A), _scores(B)
    paired = stats.ttest_rel(b, a)
    assert report["difference"]["value"] == pytest.approx(b.mean() - a.mean())
    assert report["difference"]["low"] == pytest.approx(paired.confidence_interval().low)
    assert report["tests"]["paired t"]["p_value"] == pytest.approx(paired.pvalue)
    won, lost = int(np.sum(b > a)), int(np.sum(b < a))
    exact = stats.binomtest(won, won + lost).pvalue
    assert report["tests"]["McNemar"]["p_value"] == pytest.approx(exact)
    margin = stats.ttest_rel(b + 0.05, a, alternative="greater").pvalue
    assert report["tests"]["not worse by 0.05"]["p_value"] == pytest.approx(margin)
    assert report["models"] == ["lab/small", "lab/better"]
    assert "strict-match; also there: flexible-extract" in said
    assert "prompts a random sample" in said
    assert picture.read_bytes().startswith(b"<?xml")


def test_epochs_are_averaged_and_clusters_counted(statllm, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    logs = LOGS / "inspect_first.eval", LOGS / "inspect_second.eval"
    code, said, _ = statllm("compare", *logs, "--cluster", "source", "-o", out)
    assert code == 0
    report = json.loads(out.read_text())
    assert report["difference"]["n"] == 3
    assert "clustered by source, each prompt's samples averaged" in report["estimand"]
    assert "3 clusters are few" in said
    assert set(report["tests"]) == {"paired t"}


def test_items_of_one_side_are_named(statllm, tmp_path: Path) -> None:
    pd.DataFrame({"id": [1, 2, 3, 4], "score": [0.1, 0.2, 0.4, np.nan]}).to_csv(
        tmp_path / "a.csv", index=False
    )
    pd.DataFrame({"id": [5, 4, 3, 2], "score": [0.9, 0.5, 0.6, 0.1]}).to_csv(
        tmp_path / "b.csv", index=False
    )
    code, said, _ = statllm("compare", tmp_path / "a.csv", tmp_path / "b.csv")
    assert code == 0
    assert "score on 2 common items" in said
    assert "1 common items lack a score, '4' for one" in said
    assert "1 items are in " in said


def test_equal_scores_have_no_error(statllm, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    code, _, _ = statllm("compare", A, A, "-o", out)
    assert code == 0
    report = json.loads(out.read_text())
    assert report["difference"]["value"] == 0
    assert report["minimum_detectable_effect"] is None
    assert report["tests"]["McNemar"]["p_value"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([A, LOGS / "inspect_first.eval"], "can't be compared"),
        ([A, B, "--filter", "loose"], "no filter 'loose'; it has strict-match, flexible-extract"),
        ([A, B, "--column", "f1"], "no metric 'f1'"),
        ([A, B, "--cluster", "source"], "'doc' has no 'source'"),
        ([A, B, "--margin", "0"], "--margin must be positive"),
        ([A, LOGS / "none.jsonl"], "none.jsonl"),
    ],
)
def test_what_is_wrong_is_named(statllm, arguments: list[object], said: str) -> None:
    code, _, error = statllm("compare", *arguments)
    assert code != 0
    assert said in " ".join(error.split())


def test_one_table_holds_both_models(statllm, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    score = rng.normal(size=(30, 2))
    rows = [
        {"id": i, "model": m, "kind": k, "score": score[i, int(m == "new")] + (k == "x")}
        for i in range(30)
        for m in ("base", "new")
        for k in "xy"
    ]
    path, out = tmp_path / "all.csv", tmp_path / "c.json"
    pd.DataFrame(rows).to_csv(path, index=False)
    sides = ("--where-a", "model=base", "--where-b", "model=new")
    code, _, _ = statllm("compare", path, path, "--where", "kind=y", *sides, "-o", out)
    assert code == 0
    report = json.loads(out.read_text())
    theirs = stats.ttest_rel(score[:, 1], score[:, 0])
    assert report["a"]["value"] == pytest.approx(score[:, 0].mean())
    assert report["tests"]["paired t"]["p_value"] == pytest.approx(theirs.pvalue)
    assert report["where"] == [{"kind": "y", "model": m} for m in ("base", "new")]
    code, _, error = statllm("compare", path, path)
    assert code != 0
    assert "--where model=" in " ".join(error.split())


def test_what_has_no_error_is_said(statllm, tmp_path: Path) -> None:
    for name, value, n in (("a", 1, 9), ("b", 0, 9), ("one", 1, 1)):
        rows = [{"id": i, "score": value} for i in range(n)]
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    _, said, _ = statllm("compare", tmp_path / "a.csv", tmp_path / "b.csv")
    assert "A and B differ by the same on all 9 prompts" in " ".join(said.split())
    _, said, _ = statllm("compare", tmp_path / "a.csv", tmp_path / "one.csv")
    assert "an error needs two prompts" in said


def test_ids_of_any_text_are_printed(statllm, tmp_path: Path) -> None:
    """Neither markup nor half a pair of surrogates in an id is a crash."""
    ids = ["é[red]", "[/x]", "\ud800", "d"]
    for name, order in (("a", ids), ("b", ids[::-1][:2])):
        rows = [{"doc_id": i, "resps": [], "acc": n % 2} for n, i in enumerate(order)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    code, said, _ = statllm("compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert code == 0
    assert "'task/é[red]' for one" in " ".join(said.split())
    code, said, _ = statllm("compare", tmp_path / "b.jsonl", tmp_path / "b.jsonl")
    assert code == 0
