"""`statllm report` on a table: files in, one page out, exit codes, one clear sentence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from statllm.files import read_parquet, write_parquet


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Sixty prompts with six answers each, easy ones and hard ones."""
    rng = np.random.default_rng(0)
    rows = {"prompt_id": [], "prompt": [], "reference": [], "response": []}
    for i, ease in enumerate(rng.random(60)):
        answers = [7 if rng.random() < ease else int(rng.integers(8, 12)) for _ in range(6)]
        rows["prompt_id"].append(f"p{i}")
        rows["prompt"].append("3 + 4?")
        rows["reference"].append("7")
        rows["response"].append([f"I think\n#### {answer}" for answer in answers])
    path = tmp_path / "samples.parquet"
    write_parquet(pa.table(rows), path)
    return path


def numbers(text: str) -> list[float]:
    plain = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", text, flags=re.DOTALL).replace("−", "-")
    return [float(number) for number in re.findall(r"-?\d+\.\d+", plain)]


def text_of(path: Path) -> str:
    html = re.sub(r"<style>.*?</style>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<wbr>|<[^>]+>", lambda m: "" if "wbr" in m[0] else " ", html).split())


def test_the_page_has_the_numbers_that_score_prints(statllm, samples: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.parquet"
    code, printed, _ = statllm("score", samples, "-o", scores, "--metrics", "all")
    assert code == 0
    code, out, _ = statllm("report", scores, "-o", tmp_path / "page.html")
    assert code == 0
    assert out.strip().endswith("page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    printed = printed[printed.index("is the majority answer right?") :]
    for name in ("vote_share", "vote_entropy", "degree", "lexical_dissimilarity"):
        line = re.search(rf"^\s*{name}\s.*$", printed, re.MULTILINE)
        heading = f'<th scope="row">{name.replace("_", "_<wbr>")}<small>'
        row = html[html.index(heading) :].partition("</tr>")[0]
        assert line
        auroc, _, prr, aurc, *_ = re.findall('<td class="num">(.*?)</td>', row, re.DOTALL)
        shown = [*numbers(auroc)[:3], *numbers(aurc), *numbers(prr)]
        assert numbers(line[0])[:9] == pytest.approx(shown, abs=0.0056)


def test_a_table_of_ones_own(statllm, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    p = rng.random(80)
    log = tmp_path / "log.csv"
    lines = [f"{i // 2},{x},{1 - x},{int(rng.random() < x)},a" for i, x in enumerate(p)]
    lines += ["90,0.5,0.5,1,b"]
    log.write_text("\n".join(["topic,p,loss,is_right,split", *lines]) + "\n")
    code, out, err = statllm(
        "report", log, "--confidence", "p", "--confidence=-loss", "--correct", "is_right",
        "--cluster", "topic", "--alpha", "0.2", "--where", "split=a",
    )  # fmt: skip
    assert code == 0, err
    assert out.strip().endswith("log.html")
    text = text_of(tmp_path / "log.html")
    assert "Of 80 answers with a verdict in 40 clusters" in text
    assert "by is_right" in text
    assert "difference" in text


def test_rows_of_one_prompt_are_a_cluster(statllm, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    p = rng.random(40)
    columns = {"prompt_id": [f"q{i // 4}" for i in range(40)], "confidence": p}
    path = tmp_path / "rows.parquet"
    write_parquet(pa.table({**columns, "correct": (rng.random(40) < p) * 1}), path)
    assert statllm("report", path)[0] == 0
    assert "Of 40 answers with a verdict in 10 clusters" in text_of(tmp_path / "rows.html")


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"correct": None}, [], "has none of the columns majority_answer_correct"),
        ({"correct": [1, 1, 1]}, [], "all answers are right (3 with a verdict)"),
        ({"correct": [1, 2, 0]}, [], "'correct' is 2 in row 1, not 0 or 1"),
        ({"confidence": [0.5, 0.5, 0.5]}, [], "'confidence' has one value only"),
        ({"confidence": None}, [], "no column that `statllm score` writes"),
        ({"confidence": ["a", "b", "c"]}, [], "must hold one number per row"),
        ({}, ["--confidence", "nope"], "has no column 'nope'"),
        ({}, ["--alpha", "1.5"], "--alpha must lie between 0 and 1"),
        ({}, ["--delta", "0"], "--delta must lie between 0 and 1"),
        ({}, ["--where", "confidence=9"], "has no row where confidence = 9"),
        ({}, ["RUN"], "is a table, which has a page of its own"),
    ],
)
def test_a_table_that_can_not_be_reported_on(
    statllm, tmp_path: Path, change: dict[str, object], arguments: list[str], message: str
) -> None:
    columns = {"confidence": [0.9, 0.8, 0.1], "correct": [1, 1, 0], **change}
    path = tmp_path / "rows.parquet"
    write_parquet(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    code, _, err = statllm("report", path, *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "rows.html").exists()


def test_options_of_tables_are_refused_for_runs(statllm, tmp_path: Path) -> None:
    code, _, err = statllm("report", tmp_path, "--confidence", "p")
    assert code == 2
    assert "--confidence is for tables" in err


def test_the_source_is_left_alone(statllm, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(pa.table({"confidence": [0.9, 0.8, 0.1], "correct": [1, 1, 0]}), path)
    before = read_parquet(path)
    assert statllm("report", path)[0] == 0
    assert read_parquet(path).equals(before)
