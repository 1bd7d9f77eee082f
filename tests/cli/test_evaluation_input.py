"""What users give the evaluation commands by mistake: one sentence, or the right figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

GOOD = "id,score\n" + "".join(f"{i},{i % 2}\n" for i in range(12))
OTHER = "id,score\n" + "".join(f"{i},{int(i % 3 == 0)}\n" for i in range(12))
BATTLES = "model_a,model_b,winner\n" + "a,b,a\nb,c,b\nc,a,c\na,b,b\nb,c,c\nc,a,a\n" * 3


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ö däta"


@pytest.mark.parametrize("verb", ["compare", "power", "passk", "winrate"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "is empty"),
        ("a.parquet", b"", "is empty"),
        ("a.csv", "id,score\n", "has no "),
        ("a.csv", "a,b\n1,2\n", "has none of the columns"),
        ("a.csv", "id,score\n1,good\n", "good"),
        ("a.csv", "id,score\n1,\n2,\n", " a.csv"),
        ("a.csv", "id,score\n,1\n2,0\n", "null in row 0"),
        ("a.csv", "id,score\n1,inf\n2,0\n", "inf"),
        ("a.csv", "id,score,score\n1,1,1\n2,0,0\n", "column 'score' occurs twice"),
        ("a.csv", "id,score\n1.5,1\nnan,0\n", "null in row 1"),
        ("a.csv", "id,score\n1,1e308\n2,-1e308\n3,1e308\n", "1e+308"),
        ("a.csv", b"id,score\n\xe9,1\nb,0\n", "column 'id' is not UTF-8 text"),
        ("a.csv", "id,score\nz,1\ny,0\n", None),
        ("a.xlsx", "PK", "'.xlsx' is not read"),
        ("a", GOOD, "'' is not read"),
        ("a.jsonl", '{"id": 1, "score": 1}\n{"id":', "line 2 is not JSON"),
        ("a.jsonl", '{"id": 1, "score": {"x": 1}}\n', "row 0"),
        ("a.json", "[]", "AlpacaEval"),
    ],
)
def test_one_sentence(
    statllm, folder: Path, verb: str, name: str, content: str | bytes, said: str | None
) -> None:
    path, good = write(folder / name, content), write(folder / "good.csv", GOOD)
    others = [good] if verb in ("compare", "power") else []
    code, _, error = statllm(verb, path, *others, "-o", folder / "o.json")
    if said is None:  # no common item; a single figure has them
        assert code == (2 if others else 0)
        return
    assert code == 2
    assert error.count("\n") == 1
    assert said in error.replace("ö däta/", " ")
    assert not (folder / "o.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["passk", "GOOD", "--k", "1000000000000"], "0 of 12 tasks are complete"),
        (["passk", "GOOD", "--tokens", "word"], "'word' must hold numbers"),
        (["passk", "GOOD", "--reward", "word"], "'word' must hold numbers"),
        (["passk", "GOOD", "--cluster", "word"], "12 of 12 tasks are complete, in 1 clusters"),
        (["power", "GOOD", "OTHER", "--effect", "nan"], "--effect must not be 0, and finite"),
        (["power", "GOOD", "OTHER", "--effect", "inf"], "--effect must not be 0, and finite"),
        (["power", "GOOD", "OTHER", "--power", ".04"], "--power 0.04 must be above --alpha"),
        (["power", "--sd", ".4", "--where", "m=x"], "--where picks from the logs of a pilot"),
        (["power", "--sd", ".4", "--item", "id"], "--item picks from the logs of a pilot"),
        (["compare", "GOOD", "OTHER", "-o", "GOOD.json"], None),
        (["compare", "JSON", "JSON", "-o", "JSON"], "is read; write to another file"),
        (["winrate", "JSON", "-o", "JSON"], "is read; write to another file"),
        (["compare", "IDS", "GOOD"], "'id' is {'a': 1} in row 0, not an id"),
    ],
)
def test_options(statllm, folder: Path, arguments: list[str], said: str | None) -> None:
    good = GOOD.replace("score", "score,word").replace("\n", ",x\n").replace("word,x", "word")
    entries = [{"instruction": str(i), "preference": 1 + i % 2} for i in range(9)]
    given = {
        "GOOD": write(folder / "good.csv", good),
        "GOOD.json": folder / "o.json",
        "OTHER": write(folder / "other.csv", OTHER),
        "JSON": write(folder / "in.json", json.dumps(entries)),
        "IDS": write(folder / "ids.jsonl", '{"id": {"a": 1}, "score": 1}\n'),
    }
    before = given["JSON"].read_bytes()
    code, _, error = statllm(*(given.get(each, each) for each in arguments))
    assert code == (0 if said is None else 2), error
    assert said is None or said in error
    assert given["JSON"].read_bytes() == before


def test_columns_that_occur_twice(statllm, folder: Path) -> None:
    battles = write(folder / "battles.csv", "model_a,model_b,winner,winner\na,b,a,a\nb,a,a,a\n")
    code, _, error = statllm("rank", battles)
    assert code == 2
    assert "column 'winner' occurs twice" in error
    verdicts = write(folder / "verdicts.csv", "pair,order,verdict,order\n1,a,a,a\n1,b,b,b\n")
    code, _, error = statllm("audit-judge", verdicts, "--pair", "pair", "--order", "order")
    assert code == 2
    assert "column 'order' occurs twice" in error


def test_a_judge_without_a_verdict(statllm, folder: Path) -> None:
    path, out = write(folder / "v.csv", "pair,order,verdict\n1,a,\n1,b,\n"), folder / "o.json"
    code, _, error = statllm("audit-judge", path, "--pair", "pair", "--order", "order", "-o", out)
    assert code == 2
    assert "column 'verdict' holds no verdict" in error
    assert not out.exists()


def test_the_file_is_named_once(statllm, folder: Path) -> None:
    path = write(folder / "p.csv", GOOD)
    code, _, error = statllm("passk", path, "--answer", "zzz")
    assert code == 2
    assert error.count("p.csv") == 1


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_names_in_pictures(statllm, folder: Path, suffix: str) -> None:
    """Dollars aren't mathematics, and a picture says which model is which."""
    odd, picture = "$x_$", folder / f"p.{suffix}"
    battles = f"model_a,model_b,winner\n{odd},b,a\nb,{odd},a\n{odd},b,tie\n"
    code, _, error = statllm("rank", write(folder / "r.csv", battles), "--figure", picture)
    assert code == 0, error
    assert picture.stat().st_size > 1000
    picture.unlink()
    paths = []
    for model, content in ((odd, GOOD), ("tuned", OTHER)):
        head, *lines = content.splitlines()
        table = [f"{head},model", *(f"{line},{model}" for line in lines)]
        paths.append(write(folder / f"{len(paths)}.csv", "\n".join(table)))
    code, _, error = statllm("compare", *paths, "--figure", picture)
    assert code == 0, error
    assert picture.stat().st_size > 1000
    if suffix == "svg":
        assert "B: tuned" in picture.read_text()


def test_a_level_isn_t_rounded(statllm, folder: Path) -> None:
    rows = "id,score\n" + "".join(f"{i // 2},{i % 3 % 2}\n" for i in range(12))
    path = write(folder / "p.csv", rows)
    assert "99.5 % band" in statllm("passk", path, "--level", ".995")[1]
    battles = write(folder / "battles.csv", BATTLES)
    assert "99.5 % interval" in statllm("rank", battles, "--level", ".995")[1]


def test_no_interval_is_a_dash_and_no_warning(statllm, folder: Path) -> None:
    one = write(folder / "one.csv", "id,score\n1,1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for verb, others in (("compare", [one]), ("winrate", [])):
            code, said, _ = statllm(verb, one, *others, "-o", folder / "o.json")
            assert code == 0
            assert "nan]" not in said
            assert " - " in said
            assert "NaN" not in (folder / "o.json").read_text()
        picture = folder / "p.png"
        code, said, _ = statllm(
            "power", "--disagreement", ".01", "--effect", ".5", "--figure", picture
        )
    assert code == 0
    assert "above the share 0.01" in said


def test_many_samples_and_repeated_ids_are_averaged(statllm, folder: Path) -> None:
    """Rows of one id are its samples, wherever they are."""
    a = write(folder / "a.csv", "id,score\n1,1\n2,0\n1,0\n2,0\n3,1\n3,1\n")
    b = write(folder / "b.csv", "id,score\n3,1\n2,1\n1,1\n")
    code, _, _ = statllm("compare", a, b, "-o", folder / "o.json")
    assert code == 0
    report = json.loads((folder / "o.json").read_text())
    assert report["difference"]["value"] == pytest.approx(np.mean([0.5, 1, 0]))
    assert "each prompt's samples averaged" in report["estimand"]
    assert list(report["tests"]) == ["paired t"]


@pytest.mark.parametrize(
    "verb",
    [
        "compare",
        *(
            pytest.param(verb, marks=pytest.mark.slow)
            for verb in ("power", "passk", "rank", "audit-judge", "winrate")
        ),
    ],
)
def test_a_report_is_replaced_whole_or_not_at_all(folder: Path, verb: str) -> None:
    """Killed while it writes: the old report is untouched, and the next run replaces it."""
    good, other = write(folder / "good.csv", GOOD), write(folder / "other.csv", OTHER)
    verdicts = "id,order,verdict\n" + "".join(
        f"{i},{order},{'ab'[i % 2]}\n" for i in range(8) for order in "ab"
    )
    sources = {
        "compare": [good, other],
        "power": [good, other],
        "rank": [write(folder / "battles.csv", BATTLES)],
        "audit-judge": [write(folder / "v.csv", verdicts), "--pair", "id", "--order", "order"],
    }.get(verb, [good])
    out = write(folder / "o.json", "old")
    kill = (
        "import os, statllm.files as f; f._sync = lambda path: os.kill(os.getpid(), 9); "
        "from statllm.cli import main; main()"
    )
    plain = "from statllm.cli import main; main()"
    arguments = [verb, *map(str, sources), "-o", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", kill, *arguments], env=environment, check=False)
    assert done.returncode == -9
    assert out.read_text() == "old"
    done = subprocess.run(
        [sys.executable, "-c", plain, *arguments], env=environment, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["compare", "passk", "rank", "winrate"])
def test_a_million_rows(statllm, folder: Path, verb: str) -> None:
    n = 1_000_000
    rng = np.random.default_rng(0)
    folder.mkdir()
    out, score = folder / "o.json", rng.integers(0, 2, (2, n))
    if verb == "rank":
        a = rng.integers(0, 50, n)
        names = np.array([f"m{i}" for i in range(50)])
        frame = {"model_a": names[a], "model_b": names[(a + rng.integers(1, 50, n)) % 50],
                 "winner": np.array(["a", "b"])[score[0]]}  # fmt: skip
        pd.DataFrame(frame).to_parquet(folder / "in.parquet")
        sources = [folder / "in.parquet"]
    else:
        ids = np.arange(n) // (10 if verb == "passk" else 1)
        sources = []
        for place, order in enumerate((np.arange(n), rng.permutation(n))):
            path = folder / f"{place}.parquet"
            pd.DataFrame({"id": ids[order], "score": score[place][order]}).to_parquet(path)
            sources.append(path)
        sources = sources if verb == "compare" else sources[:1]
    code, _, error = statllm(verb, *sources, "-o", out)
    assert code == 0, error
    report = json.loads(out.read_text())
    if verb == "compare":
        gap = (score[1] - score[0]).mean()
        assert report["difference"]["value"] == pytest.approx(gap)
    elif verb == "passk":
        assert report["curves"]["pass@k"][0]["value"] == pytest.approx(score[0].mean())
    elif verb == "winrate":
        assert report["models"][0]["figures"][0]["value"] == pytest.approx(score[0].mean())
    else:
        assert len(report["models"]) == 50
