"""`statllm audit-judge`: tables of verdicts in, figures with intervals out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from statllm.estimators.judge_audit import Verdicts, audit_judge
from statllm.files import write_parquet
from statllm.generations import Generations

Run = Callable[..., tuple[int, str, str]]
OPTIONS = (
    "--pair", "id", "--order", "order", "--verdict", "winner", "--human", "human",
    "--length-a", "len_a", "--length-b", "len_b",
)  # fmt: skip


def battles(n: int = 60, judges: tuple[str, ...] = ("one",), seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        human = rng.choice(["a", "b"])
        lengths = rng.integers(20, 300, 2)
        for judge in judges:
            for order in ("ab", "ba"):
                winner = human if rng.random() < 0.7 else order[0]
                winner = rng.choice([winner, "tie"], p=[0.9, 0.1])
                rows.append(
                    {
                        "id": f"q{i}", "order": order, "winner": winner,
                        "human": human if i % 3 else None, "judge": judge,
                        "len_a": int(lengths[0]), "len_b": int(lengths[1]),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def expected(frame: pd.DataFrame) -> Verdicts:
    value = frame["winner"].map({"a": 1.0, "b": -1.0, "tie": 0.0}).to_numpy()
    a_first = (frame["order"] == "ab").to_numpy()
    return Verdicts.of(
        frame["id"].to_numpy(str), a_first, np.where(a_first, value, -value),
        human=frame["human"].map({"a": 1.0, "b": -1.0}).to_numpy(float),
        length_a=frame["len_a"], length_b=frame["len_b"],
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_report_and_picture(statllm: Run, tmp_path: Path, suffix: str) -> None:
    frame = battles()
    source = tmp_path / f"in.{suffix}"
    if suffix == "csv":
        frame.to_csv(source, index=False)
    elif suffix == "jsonl":
        frame.to_json(source, orient="records", lines=True)
    else:
        write_parquet(pa.Table.from_pandas(frame, preserve_index=False), source)
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    code, said, error = statllm("audit-judge", source, *OPTIONS, "-o", out, "--figure", picture)
    assert (code, error) == (0, "")
    assert "120 verdicts on 60 pairs" in said
    assert "Not measured, for want of the judge's own responses (--own); repeated" in said
    assert "pull of the first place: share of verdicts for the response shown first" in said
    found = json.loads(out.read_text())["judges"]["judge"]["findings"]
    wanted = audit_judge(expected(frame)).to_dict()["findings"]
    assert [each["name"] for each in found] == [each["name"] for each in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours["estimand"]
        for name in ("value", "se", "low", "high", "p_adjusted"):
            assert ours[name] == pytest.approx(theirs[name])
    assert {each["topic"] for each in found} == {"position", "length", "humans", "correction"}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_judges_are_audited_apart_and_tested_together(statllm: Run, tmp_path: Path) -> None:
    frame = battles(40, ("one", "two"))
    frame["family"] = np.where(frame["id"].str[1:].astype(int) % 2, "a", "tie")
    frame.to_csv(tmp_path / "in.csv", index=False)
    out = tmp_path / "out.json"
    command = ("audit-judge", tmp_path / "in.csv", *OPTIONS, "--own", "family", "-o", out)
    code, said, _ = statllm(*command, "--judge", "judge", "--figure", tmp_path / "out.pdf")
    assert code == 0
    judges = json.loads(out.read_text())["judges"]
    assert list(judges) == ["one", "two"]
    names = [each["name"] for each in judges["one"]["findings"]]
    assert "excess for its own over other judges" in names
    p = [
        (each["test"]["p_value"], each["p_adjusted"])
        for judge in judges.values()
        for each in judge["findings"]
        if each["test"]
    ]
    smallest = min(p)
    assert smallest[1] == pytest.approx(min(1.0, smallest[0] * len(p)))
    code, said, _ = statllm(*command, "--where", "judge=two")
    assert code == 0
    assert "80 verdicts on 40 pairs" in said


def own_table(tmp_path: Path) -> tuple[Path, Path]:
    """What `statllm judge --verdicts` writes, of two prompts, and the table it was given."""
    rows = [
        {"prompt_id": prompt, "first": first, "second": second, "vote": 0, "verdict": verdict,
         "reason": None, "text": "…", "template": "short", "judge": "lab"}
        for prompt in ("a", "b", "c", "d")
        for first, second, verdict in ((0, 1, 1.0), (1, 0, 1.0), (0, 2, 1.0), (2, 0, None))
    ]  # fmt: skip
    verdicts, samples = tmp_path / "verdicts.jsonl", tmp_path / "samples.parquet"
    verdicts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    Generations(
        pa.table({
            "prompt_id": ["a", "b", "c", "d"],
            "prompt": ["?"] * 4,
            "response": [["aaa", "b", "cc"], ["a", "bb", "c"], ["a", "b", "c"], ["aa", "b", "c"]],
        })
    ).write(samples)  # fmt: skip
    return verdicts, samples


def test_what_judge_writes_needs_no_options(statllm: Run, tmp_path: Path) -> None:
    verdicts, samples = own_table(tmp_path)
    out = tmp_path / "out.json"
    code, said, error = statllm("audit-judge", verdicts, "--responses", samples, "-o", out)
    assert (code, error) == (0, "")
    assert "16 verdicts on 8 pairs, 4 unread" in said
    findings = {
        each["name"]: each for each in json.loads(out.read_text())["judges"]["judge"]["findings"]
    }
    assert findings["consistency under swap"]["value"] == 0
    assert findings["pull of the first place"]["value"] == 1
    assert findings["pull of the first place"]["n"] == 4  # prompts
    # a is response 0. Lengths differ in 0-1 of a, b, d and in 0-2 of a, d; 0-1 is torn
    assert findings["share for the longer"]["value"] == pytest.approx((3 * 1 + 2) / 8)
    assert not any(name.startswith("win rate") for name in findings)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("winner", ["a", "x"], "column 'winner' is 'x' in row 1; a, b or tie"),
        ("order", ["ab", "1"], "column 'order' is '1' in row 1; it says which response"),
        ("human", ["a", "first"], "column 'human' is 'first' in row 1"),
        ("len_a", [5, -5], "length_a must not be negative; it is -5 in row 1"),
        ("len_a", ["x", "y"], "column 'len_a' must hold one number per row"),
        ("id", ["q", None], "column 'id' is null in row 1"),
        ("winner", [1, 0], "column 'winner' holds 0 and 1 only, .* --coding"),
    ],
)
def test_wrong_values_are_named(
    statllm: Run, tmp_path: Path, column: str, values: list[object], message: str
) -> None:
    rows = battles(2).iloc[::2].assign(human=["a", "b"]).to_dict("list")
    source = tmp_path / "in.parquet"
    write_parquet(pa.table({**rows, column: values}), source)
    code, _, error = statllm("audit-judge", source, *OPTIONS)
    assert code == 2
    assert re.search(message, error), error


def test_options_that_lack_something(statllm: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    battles(4).to_csv(source, index=False)
    for options, message in (
        ((), "has no column 'prompt_id', so it isn't a table of pairwise verdicts"),
        (("--pair", "id"), "--pair and --order belong together"),
        ((*OPTIONS, "--judge", "who"), "has no column 'who'"),
        ((*OPTIONS[:8], "--length-a", "len_a"), "--length-a and --length-b belong together"),
        ((*OPTIONS, "-o", tmp_path / "out.txt"), "'.txt' is not written"),
        ((*OPTIONS, "--where", "judge=three"), "has no row where judge = three"),
    ):
        code, _, error = statllm("audit-judge", source, *options)
        assert code == 2
        assert message in error


def test_numbers_by_place_and_by_response(statllm: Run, tmp_path: Path) -> None:
    frame = battles(30).drop(columns=["human"])
    by_response = frame["winner"].map({"a": 1, "b": 2, "tie": 0})
    a_first = frame["order"] == "ab"
    preferred = frame["winner"].map({"a": 1, "b": -1, "tie": 0})
    by_place = np.where(a_first, preferred, -preferred)
    found = []
    for values in (frame["winner"], by_response, by_place):
        frame.assign(winner=values).to_csv(tmp_path / "in.csv", index=False)
        out = tmp_path / "out.json"
        options = (*OPTIONS[:6], "-o", out)
        assert statllm("audit-judge", tmp_path / "in.csv", *options)[0] == 0
        found.append(json.loads(out.read_text())["judges"])
    assert found[0] == found[1] == found[2]
