"""Lessons of a judge that was trained on digits, against its rules and a count by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.pairs import check_pairs
from statllm.sampling.judge_model import BackendJudge, open_judge
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.judges import SelfTaughtSettings, ask, self_taught

VOTES = 12
WORTH = {"[[A]]": "A", "[[B]]": "B", "[[C]]": "tie"}


def known(*pairs: tuple[str, str]) -> pa.Table:
    """Pairs of digits; the first is called the better one."""
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(len(pairs))],
            "prompt": ["?"] * len(pairs),
            "chosen": [better for better, _ in pairs],
            "rejected": [worse for _, worse in pairs],
        }
    )


@pytest.fixture(scope="module")
def unsure(judge_folder: Path) -> BackendJudge:
    """So hot that it errs now and then."""
    return open_judge(judge_folder, SamplingSettings(temperature=3.0, max_new_tokens=1))


@pytest.fixture(scope="module")
def settings(judge_folder: Path) -> SelfTaughtSettings:
    template = str(judge_folder / "templates" / "pair.yaml")
    return SelfTaughtSettings(template=template, votes=VOTES, balance=False)


def changed(settings: SelfTaughtSettings, **changes: Any) -> SelfTaughtSettings:
    return settings.model_copy(update=changes)


def test_a_sure_judge(judge_folder: Path, settings: SelfTaughtSettings, tmp_path: Path) -> None:
    """Its rules say what is right: the larger digit, but the first of neighbours."""
    greedy = open_judge(judge_folder, SamplingSettings(temperature=0.0, max_new_tokens=4))
    pairs = known(("9", "3"), ("4", "3"), ("3", "4"), ("0", "5"), ("5", "5"), ("2", "8"))
    made = self_taught(pairs, greedy, changed(settings, votes=1), cache=tmp_path)
    ledger = made.ledger.to_pylist()
    assert [(row["question_id"], row["example"]) for row in ledger] == [
        ("p0/0/A", "kept"),  # 9 3: A
        ("p0/0/B", "kept"),  # 3 9: B
        ("p1/0/A", "kept"),  # 4 3: A
        ("p1/0/B", "no_right"),  # 3 4: A, as they are neighbours
        ("p2/0/A", "kept"),
        ("p2/0/B", "no_right"),
        ("p3/0/A", "no_right"),  # unreadable
        ("p3/0/B", "no_right"),
        ("p4/0/A", "identical"),
        ("p4/0/B", "identical"),
        ("p5/0/A", "no_right"),  # the label is wrong
        ("p5/0/B", "no_right"),
    ]
    assert made.counts() == {"kept": 4, "no_right": 6, "identical": 2}
    assert made.counts("pair") == {"kept": 0, "no_right": 6, "no_rejected": 4, "identical": 2}
    assert [row["n_unread"] for row in ledger[6:8]] == [1, 1]
    assert [row["n_judgements"] for row in ledger] == [1] * 8 + [0, 0, 1, 1]
    examples = made.examples.to_pylist()
    assert [row["prompt"][0]["content"] for row in examples] == [
        "pair 9 3", "pair 3 9", "pair 4 3", "pair 3 4",
    ]  # fmt: skip
    assert [row["response"].strip() for row in examples] == ["[[A]]", "[[B]]", "[[A]]", "[[A]]"]
    assert made.pairs.num_rows == 0


def test_balance(judge_folder: Path, settings: SelfTaughtSettings, tmp_path: Path) -> None:
    greedy = open_judge(judge_folder, SamplingSettings(temperature=0.0, max_new_tokens=4))
    pairs = known(("9", "3"), ("4", "3"), ("3", "4"), ("7", "6"), ("8", "1"))
    chosen = changed(settings, votes=1, balance=True)
    made = self_taught(pairs, greedy, chosen, cache=tmp_path)
    kept = Counter(row["better"] for row in made.ledger.to_pylist() if row["example"] == "kept")
    assert kept == {"A": 2, "B": 2}
    assert made.counts() == {"kept": 4, "balance": 3, "no_right": 3}
    dropped = {
        tuple(
            row["question_id"]
            for row in self_taught(
                pairs, greedy, changed(chosen, seed=seed), cache=tmp_path
            ).ledger.to_pylist()
            if row["example"] == "balance"
        )
        for seed in range(12)
    }
    assert len(dropped) > 3  # by chance, not by place


def test_an_unsure_judge_by_hand(
    unsure: BackendJudge, settings: SelfTaughtSettings, rules: SimpleNamespace, tmp_path: Path
) -> None:
    """Every count, example and pair against the texts that the judge gives when asked plainly."""
    digits = [("9", "3"), ("4", "3"), ("6", "5"), ("0", "5"), ("2", "8"), ("7", "1")]
    chosen = changed(settings, pairs_per_question=3)
    made = self_taught(known(*digits), unsure, chosen, cache=tmp_path)
    questions = [
        [{"role": "user", "content": f"pair {first} {second}"}]
        for better, worse in digits
        for first, second in ((better, worse), (worse, better))
    ]
    texts = ask(unsure, questions, VOTES, tmp_path)
    examples = {row["prompt"][0]["content"]: row for row in made.examples.to_pylist()}
    pairs = made.pairs.to_pylist()
    assert check_pairs(made.pairs).num_rows == len(pairs)
    n_kept = 0
    for row, question, written in zip(made.ledger.to_pylist(), questions, texts, strict=True):
        name = question[0]["content"]
        said = Counter(WORTH.get((text or "").strip(), "unread") for text in written)
        better, worse = row["better"], {"A": "B", "B": "A"}[row["better"]]
        assert row["n_right"] == said[better]
        assert row["n_wrong"] == said[worse]
        assert (row["n_tie"], row["n_unread"], row["n_missing"]) == (said["tie"], said["unread"], 0)
        assert row["example"] == ("kept" if said[better] else "no_right")
        assert (name in examples) == bool(said[better])
        if said[better]:
            n_kept += 1
            assert examples[name]["response"] in written
            assert examples[name]["response"].strip() == f"[[{better}]]"
        mine = [pair for pair in pairs if pair["prompt"][0]["content"] == name]
        n_other = VOTES - said[better]
        assert len(mine) == row["n_pairs"] == min(3, said[better] * n_other)
        assert len({(pair["chosen_index"], pair["rejected_index"]) for pair in mine}) == len(mine)
        for pair in mine:
            assert pair["chosen"] == written[pair["chosen_index"]]
            assert pair["rejected"] == written[pair["rejected_index"]]
            assert pair["chosen"].strip() == f"[[{better}]]" != pair["rejected"].strip()
    assert len(examples) == n_kept
    assert sum(row["n_wrong"] for row in made.ledger.to_pylist()) > 0
    again = self_taught(known(*digits), unsure, chosen, cache=tmp_path)
    assert again.pairs.equals(made.pairs)
    assert again.examples.equals(made.examples)


def test_stricter_settings(
    unsure: BackendJudge, settings: SelfTaughtSettings, tmp_path: Path
) -> None:
    digits = known(("9", "3"), ("4", "3"), ("6", "5"), ("0", "5"), ("7", "1"))
    strict = changed(settings, min_right=0.5, unread_rejected=False)
    made = self_taught(digits, unsure, strict, cache=tmp_path)
    for row in made.ledger.to_pylist():
        enough = row["n_right"] >= VOTES / 2
        assert (row["example"] == "kept") == enough
        assert (row["pair"] == "kept") == (enough and row["n_wrong"] > 0)
    assert all(pair["rejected"].strip() in ("[[A]]", "[[B]]") for pair in made.pairs.to_pylist())
    without = self_taught(digits, unsure, changed(settings, pairs_per_question=0), cache=tmp_path)
    assert without.pairs.num_rows == 0


def test_what_is_drawn_does_not_depend_on_other_pairs(
    unsure: BackendJudge, settings: SelfTaughtSettings, tmp_path: Path
) -> None:
    digits = known(("9", "3"), ("4", "3"), ("6", "5"), ("7", "1"))
    whole = self_taught(digits, unsure, settings, cache=tmp_path)
    turned = self_taught(digits.take([3, 2, 1, 0]), unsure, settings, cache=tmp_path)

    def drawn(table: pa.Table) -> set[tuple[Any, ...]]:
        return {
            (row["prompt_id"], row["prompt"][0]["content"], row.get("response"), row.get("chosen"))
            for row in table.to_pylist()
        }

    assert drawn(turned.examples) == drawn(whole.examples)
    assert drawn(turned.pairs) == drawn(whole.pairs)


def test_tables_are_written_and_train(
    unsure: BackendJudge, settings: SelfTaughtSettings, tmp_path: Path
) -> None:
    from statllm._formats import read_rows
    from statllm.training.data import check_examples

    source = tmp_path / "pairs.jsonl"
    from statllm._formats import write_table

    write_table(known(("9", "3"), ("4", "3")), source)
    made = self_taught(source, unsure, changed(settings, plain=True), cache=tmp_path)
    paths = [tmp_path / name for name in ("examples.parquet", "pairs.parquet", "ledger.jsonl")]
    made.write(*paths)
    examples = check_examples(read_rows(paths[0]))
    assert examples["prompt"].to_pylist()[0] == "pair 9 3"
    assert check_pairs(read_rows(paths[1])).num_rows == made.pairs.num_rows > 0
    assert read_rows(paths[2]).num_rows == 4
    assert "4 questions" in made.summary()


def test_what_is_refused(
    unsure: BackendJudge, settings: SelfTaughtSettings, judge_folder: Path, tmp_path: Path
) -> None:
    table = known(("9", "3"))
    with pytest.raises(InputError, match="column 'rejected' is missing"):
        self_taught(table.drop_columns(["rejected"]), unsure, settings, cache=tmp_path)
    grade = changed(settings, template=str(judge_folder / "templates" / "grade.yaml"))
    with pytest.raises(InputError, match="is pointwise, not pairwise"):
        self_taught(table, unsure, grade, cache=tmp_path)
    greedy = open_judge(judge_folder, SamplingSettings(temperature=0.0, max_new_tokens=4))
    with pytest.raises(InputError, match="12 votes of a greedy judge are one"):
        self_taught(table, greedy, settings, cache=tmp_path)
