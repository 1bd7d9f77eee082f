"""Readers of evaluation logs, on logs that the tools themselves wrote."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate
from statllm.integrations import pair_scores, read_scores

LOGS = Path(__file__).parents[1] / "references" / "logs"


def _lm_eval(model: str) -> Path:
    return next((LOGS / model).glob("samples_*.jsonl"))


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_lm_eval_samples_of_one_filter() -> None:
    scores = read_scores(_lm_eval("lab__small"))
    lines = [json.loads(line) for line in _lm_eval("lab__small").read_text().splitlines()]
    strict = [row["exact_match"] for row in lines if row["filter"] == "strict-match"]
    assert len(scores) == 60
    assert scores.score.tolist() == strict
    assert scores.item[0] == "lab_words/0"
    assert (scores.metric, scores.model) == ("exact_match", "lab/small")
    assert "also there: flexible-extract (--filter)" in scores.notes[0]


def test_lm_eval_folder_clusters_and_filter() -> None:
    scores = read_scores(LOGS / "lab__better", filter="flexible-extract", cluster="doc.kind")
    assert scores.cluster is not None
    assert len(set(scores.cluster)) > 1
    assert scores.notes == ()
    by_task = read_scores(LOGS / "lab__better", cluster="task")
    assert by_task.cluster is not None
    assert set(by_task.cluster) == {"lab_words"}


@pytest.mark.parametrize("log", ["inspect_first.eval", "inspect_second.eval"])
def test_inspect_archive_has_inspect_s_own_figures(log: str) -> None:
    """Accuracy and its standard error over samples, epochs averaged, as the header says."""
    scores = read_scores(LOGS / log, cluster="source")
    assert len(scores) == 40
    header = json.loads(_header(LOGS / log))
    published = header["results"]["scores"][0]["metrics"]
    means = pd.Series(scores.score).groupby(scores.item).mean()
    estimate = mean_estimate(means)
    assert estimate.value == pytest.approx(published["accuracy"]["value"])
    assert estimate.se == pytest.approx(published["stderr"]["value"])
    assert scores.model == "mockllm/model"
    assert set(scores.cluster or []) == {"a", "b", "c"}


def _header(path: Path) -> bytes:
    """The stored header by pyarrow alone: it is the first member of the archive."""
    import pyarrow as pa

    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("header.json")
    raw = path.read_bytes()[info.header_offset :]
    start = 30 + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")
    return bytes(pa.decompress(raw[start : start + info.compress_size], info.file_size, "zstd"))


def test_inspect_json_and_dictionaries_of_scores(tmp_path: Path) -> None:
    samples = [
        {
            "id": 1,
            "epoch": 1,
            "input": "x",
            "scores": {"judge": {"value": {"tone": "C", "fact": 2}}},
        },
        {
            "id": 2,
            "epoch": 1,
            "input": "y",
            "scores": {"judge": {"value": {"tone": "P", "fact": 4}}},
        },
        {"id": 3, "epoch": 1, "input": "z", "error": {"message": "failed"}},
    ]
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"eval": {"model": "m"}, "samples": samples}))
    tone = read_scores(path)
    assert tone.metric == "judge.tone"
    np.testing.assert_array_equal(tone.score, [1, 0.5, np.nan])
    np.testing.assert_array_equal(read_scores(path, "judge.fact").score, [2, 4, np.nan])


def test_alpaca_eval_is_known_by_the_instruction(tmp_path: Path) -> None:
    entries = [
        {"instruction": "a", "generator_2": "m", "preference": 2, "dataset": "x"},
        {"instruction": "b", "generator_2": "m", "preference": 1.25, "dataset": "x"},
        {"instruction": "c", "generator_2": "m", "preference": 0, "dataset": "y"},
        {"instruction": "d", "generator_2": "m", "preference": None, "dataset": "y"},
    ]
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    path.write_text(json.dumps(entries))
    other.write_text(json.dumps(entries[::-1]))
    scores = read_scores(path, cluster="dataset")
    np.testing.assert_array_equal(scores.score, [1, 0.25, 0.5, np.nan])
    paired = pair_scores(scores, read_scores(other))
    np.testing.assert_array_equal(paired.design.matrix("A"), paired.design.matrix("B"))
    assert len(paired.missing) == 1


def test_plain_tables_long_and_nested(tmp_path: Path) -> None:
    pd.DataFrame(
        {"task_id": [0, 0, 1, 1], "trial": [0, 1, 0, 1], "reward": [1.0, 0.0, 1.0, 1.0]}
    ).to_csv(tmp_path / "long.csv", index=False)
    _lines(tmp_path / "nested.jsonl", [{"id": "0", "score": [1, 0]}, {"id": "1", "score": [1, 1]}])
    long, nested = read_scores(tmp_path / "long.csv"), read_scores(tmp_path / "nested.jsonl")
    assert long.metric == "reward"
    assert long.item == nested.item == ["0", "0", "1", "1"]
    assert long.score.tolist() == nested.score.tolist()


def test_pairs_go_by_id_and_report_who_is_alone(tmp_path: Path) -> None:
    a = _lines(tmp_path / "a.jsonl", [{"id": i, "correct": i % 2 == 0} for i in range(6)])
    b = _lines(tmp_path / "b.jsonl", [{"id": i, "correct": True} for i in (7, 3, 2, 1)])
    paired = pair_scores(read_scores(a), read_scores(b))
    assert paired.item == ["1", "2", "3"]
    assert paired.design.matrix("A").tolist() == [0, 1, 0]
    assert paired.design.matrix("B").tolist() == [1, 1, 1]
    assert paired.only_a == ["0", "4", "5"]
    assert paired.only_b == ["7"]
    assert not paired.design.repeated


def test_another_text_under_the_same_id_is_refused(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in _lm_eval("lab__small").read_text().splitlines()]
    lines[6]["doc_hash"] = "another"
    folder = tmp_path / "lab__other"
    folder.mkdir()
    changed = _lines(folder / _lm_eval("lab__small").name, lines)
    with pytest.raises(InputError, match="their texts differ"):
        pair_scores(read_scores(_lm_eval("lab__small")), read_scores(changed))


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([{"doc_id": 1, "resps": [], "acc": "x"}], {"metric": "acc"}, "line 1: 'acc' is 'x'"),
        ([{"doc_id": 1, "resps": [], "acc": 1}], {"metric": "f1"}, "no metric 'f1'; it has acc"),
        ([{"doc_id": 1, "resps": [], "acc": 1}], {"cluster": "kind"}, "'doc' has no 'kind'"),
        ([{"doc_id": 1, "resps": [], "acc": 1}] * 2, {}, "item 'task/1', sample 0 occurs twice"),
        ([{"id": 1, "words": "x"}], {}, "has none of the columns greedy_correct"),
        ([{"id": 1, "score": 1, "model": m} for m in "ab"], {}, "several models: a, b"),
        ([{"id": None, "score": 1}], {}, "'id' is null in row 0"),
        ([{"id": 1, "score": 1}], {"filter": "strict"}, "--filter has no effect"),
        ([{"id": 1, "score": 1}], {"cluster": "kind"}, "no column 'kind'"),
    ],
)
def test_wrong_logs_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, str], said: str
) -> None:
    path = _lines(tmp_path / "in.jsonl", rows)
    with pytest.raises(InputError, match=said):
        read_scores(path, **options)


def test_broken_files_are_named(tmp_path: Path) -> None:
    for name, content, said in (
        ("a.eval", b"no zip", "can't be read as an Inspect archive"),
        ("a.json", b"{", "is not JSON"),
        ("b.json", b"[1]", "neither a log of Inspect nor annotations"),
        ("a.jsonl", b'{"doc_id": 1, "resps": []}\n{', "line 2 is not JSON"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_scores(tmp_path / name)
    whole = (LOGS / "inspect_first.eval").read_bytes()
    (tmp_path / "cut.eval").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="can't be read"):
        read_scores(tmp_path / "cut.eval")
    with pytest.raises(InputError, match="exact_match"):
        pair_scores(read_scores(_lm_eval("lab__small")), read_scores(LOGS / "inspect_first.eval"))


def test_rows_of_one_model_are_kept(tmp_path: Path) -> None:
    rows = [{"id": i, "score": i % 2, "model": m, "run": 1} for i in range(4) for m in "ab"]
    path = _lines(tmp_path / "in.jsonl", rows)
    found = read_scores(path, where={"model": "b", "run": "1"})
    assert (found.model, found.item) == ("b", ["0", "1", "2", "3"])
    with pytest.raises(InputError, match="has no row where model = c"):
        read_scores(path, where={"model": "c"})
    with pytest.raises(InputError, match="--where has no effect"):
        read_scores(_lm_eval("lab__small"), where={"model": "b"})


def test_a_gap_in_an_integer_column_changes_no_id(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1.0, "score": 1}\n{"id": 2.0, "score": 0}\n')
    b = _lines(tmp_path / "b.jsonl", [{"id": 2, "score": 1}, {"id": 1, "score": 1}])
    assert pair_scores(read_scores(tmp_path / "a.jsonl"), read_scores(b)).item == ["1", "2"]


def test_samples_are_averaged_and_one_without_a_score_counts_as_missing(tmp_path: Path) -> None:
    a = _lines(tmp_path / "a.jsonl", [{"id": "x", "score": [1, 0, 0]}, {"id": "y", "score": [1]}])
    b = _lines(tmp_path / "b.jsonl", [{"id": "y", "score": [0, None]}, {"id": "x", "score": [1]}])
    paired = pair_scores(read_scores(a), read_scores(b))
    assert paired.design.matrix("A") == pytest.approx([1 / 3])
    assert (paired.item, paired.missing) == (["x"], ["y"])
    assert len(paired.design.score) == 4
    assert paired.design.repeated


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([{"id": 1, "score": 1, "c": "p"}, {"id": 1, "score": 0, "c": "q"}], [], "'p' and 'q'"),
        ([{"id": 1, "score": 1, "c": "p"}], [{"id": 1, "score": 1, "c": "q"}], "cluster 'p' of"),
    ],
)
def test_an_item_has_one_cluster(
    tmp_path: Path, a: list[dict[str, Any]], b: list[dict[str, Any]], said: str
) -> None:
    logs = [_lines(tmp_path / f"{n}.jsonl", rows) for n, rows in (("a", a), ("b", b or a))]
    with pytest.raises(InputError, match=said):
        pair_scores(*(read_scores(log, cluster="c") for log in logs))


def test_infinite_scores_and_null_clusters_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": 1, "score": 1, "c": null}\n{"id": 2, "score": Infinity, "c": "x"}\n')
    with pytest.raises(InputError, match="the score of item '2' is infinite"):
        read_scores(path)
    with pytest.raises(InputError, match="'c' is null in row 0"):
        read_scores(path, cluster="c")


def test_a_folder_is_one_run_of_the_harness(tmp_path: Path) -> None:
    row = {"doc_id": 0, "target": "1", "resps": [["1", "2", "1"]], "acc": 1.0}
    first = tmp_path / "m" / "samples_one_2026-01-01T00-00-00.jsonl"
    first.parent.mkdir()
    _lines(first, [row])
    _lines(first.with_name("samples_two_2026-01-01T00-00-00.jsonl"), [row])
    found = read_scores(tmp_path)
    assert found.item == ["one/0", "two/0"]
    assert found.notes == (
        "2 tasks are pooled: every prompt counts the same",
        "3 responses a prompt; the log has one verdict, of the filter",
    )
    again = _lines(first.with_name("samples_one_2026-02-01T00-00-00.jsonl"), [row])
    with pytest.raises(InputError, match="two logs of one task"):
        read_scores(tmp_path)
    again.unlink()
    (tmp_path / "n").mkdir()
    _lines(tmp_path / "n" / "samples_three_2026-01-01T00-00-00.jsonl", [row])
    with pytest.raises(InputError, match="several models: m, n"):
        read_scores(tmp_path)


def test_a_folder_of_inspect_logs(tmp_path: Path) -> None:
    log = (LOGS / "inspect_first.eval").read_bytes()
    (tmp_path / "a.eval").write_bytes(log)
    assert len(read_scores(tmp_path)) == 40
    (tmp_path / "b.eval").write_bytes(log)
    with pytest.raises(InputError, match="holds 2 logs; name one"):
        read_scores(tmp_path)


def test_wildbench_means_as_published(shared_data: Path, tmp_path: Path) -> None:
    """The authors' mean scores of seven models (v2.0625, GPT-4o as the judge), read as a table."""
    folder = shared_data / "pref_wildbench"
    published = pd.read_csv(folder / "ref.csv").dropna(subset="pub_score")
    assert len(published) >= 7
    scores = pd.read_parquet(folder / "scores.parquet")
    for row in published.itertuples():
        one = scores[(scores["version"] == row.version) & (scores["model"] == row.model)]
        path = tmp_path / f"{row.Index}.parquet"
        one[one["judge"] == row.judge].to_parquet(path)
        found = read_scores(path, "score", item="session_id")
        known = found.score[~np.isnan(found.score)]
        assert mean_estimate(known).value == pytest.approx(row.pub_score, abs=0.006)
