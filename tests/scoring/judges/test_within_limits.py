"""Violators lose and aren't judged; the others are, by the prompt without its limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.judge_model import BackendJudge, open_judge
from statllm.sampling.prompts import length_benchmark, load_template
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.judges import JudgeSettings, Question, judge_within_limits

VALUE = {"[[A]]": 1.0, "[[B]]": 0.0, "[[C]]": 0.5}
PLAIN = pa.table({"prompt_id": ["a", "b", "c"], "prompt": ["Which?", "What?", "How many?"]})
BASELINES = [["5"], [["3"], ["7"]], ["4"]]
RESPONSES = [["9", "6", "9 9", "0"], ["7"], ["1", None], ["8 8 8"]]


@pytest.fixture(scope="module")
def answers() -> Generations:
    asked = length_benchmark(PLAIN, BASELINES, load_template("lift_words"))
    responses = pa.array(RESPONSES, pa.list_(pa.string()))
    return Generations(asked.append_column("response", responses))


@pytest.fixture(scope="module")
def model(judge_folder: Path) -> BackendJudge:
    return open_judge(judge_folder, SamplingSettings(temperature=0.0, max_new_tokens=4))


@pytest.fixture
def pair(judge_folder: Path) -> JudgeSettings:
    return JudgeSettings(template=str(judge_folder / "templates" / "pair.yaml"))


class Listening:
    """A judge, and what it has been asked."""

    def __init__(self, judge: BackendJudge) -> None:
        self.judge, self.asked = judge, list[str]()
        self.name, self.identity, self.samples = judge.name, judge.identity, judge.samples

    def write(
        self, keys: Sequence[str], questions: Sequence[Question], votes: range
    ) -> Iterator[tuple[int, list[str | None]]]:
        self.asked += [str(question) for question in questions]
        return self.judge.write(keys, questions, votes)


def test_outcomes_are_those_of_the_judges_rule(
    answers: Generations, model: BackendJudge, pair: JudgeSettings, rules: SimpleNamespace,
    tmp_path: Path,
) -> None:  # fmt: skip
    found = judge_within_limits(answers, model, pair, cache=tmp_path)
    table = found.table.to_pylist()
    assert found.n_missing == 1
    assert [row["prompt_id"] for row in table] == ["a"] * 4 + ["b#1", "b#2", "c"]
    assert [row["question_id"] for row in table] == ["a"] * 4 + ["b", "b", "c"]
    assert [row["n_words"] for row in table] == [1, 1, 2, 1, 1, 1, 3]
    assert [row["violated"] for row in table] == [False, False, True, False, False, False, True]
    baselines = [5, 5, 5, 5, 3, 7, 4]
    for row, own, base in zip(table, [9, 6, None, 0, 7, 1, None], baselines, strict=True):
        if own is None or own == 0:  # over the limit, or "hm"
            assert row["outcome"] is None
            continue
        first, second = rules.pair(own, base), rules.pair(base, own)
        assert row["outcome"] == (VALUE[first] + 1 - VALUE[second]) / 2
    # 6 against 5: whichever stands first, so a win and a loss
    assert [row["outcome"] for row in table] == [1, 0.5, None, None, 1, 0, None]
    assert found.n_unread == 1


def test_figures_are_means_by_hand(
    answers: Generations, model: BackendJudge, pair: JudgeSettings, tmp_path: Path
) -> None:
    found = judge_within_limits(answers, model, pair, cache=tmp_path)
    violations, wins, words = found.figures()
    assert violations.value == pytest.approx(2 / 7)
    assert wins.value == pytest.approx(2.5 / 6)  # of those with a verdict, or over the limit
    assert words.value == pytest.approx(10 / 7)
    assert words.n == 3  # questions, not answers


def test_the_judge_sees_neither_limits_nor_violators(
    answers: Generations, model: BackendJudge, tmp_path: Path
) -> None:
    form = tmp_path / "seen.yaml"
    form.write_text(
        "name: seen\nversion: 1\nmode: pairwise\ngrammar: brackets\n"
        'user: "{prompt} pair {response_a} {response_b}"\n'
    )
    listening = Listening(model)
    judge_within_limits(answers, listening, JudgeSettings(template=str(form)), cache=tmp_path)
    said = "\n".join(listening.asked)
    assert len(listening.asked) == 10  # five answers within the limit, both orders
    assert "Which?" in said
    assert "What?" in said
    assert "words or less" not in said
    assert "9 9" not in said
    assert "How many?" not in said  # its only answer breaks the limit


def test_who_breaks_all_limits_isnt_judged(
    answers: Generations, model: BackendJudge, pair: JudgeSettings
) -> None:
    listening = Listening(model)
    last = Generations(answers.table.slice(3))
    found = judge_within_limits(last, listening, pair)
    assert found.judged is None
    assert not listening.asked
    assert [figure.value for figure in found.figures()] == [1, 0, 3]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"kind": "pointwise"}, "needs pairwise"),
        ({}, {"ties": "none"}, "ties must be half"),
        ({"max_words": [1, 1, None, 1]}, {}, "'max_words' of prompt_id 'b#2' is None"),
        ({"max_words": [1.5, 1, 1, 1]}, {}, "'max_words' of prompt_id 'a' is 1.5"),
        ({"max_words": [True] * 4}, {}, "'max_words' of prompt_id 'a' is True"),
        ({"max_words": [1e300, 1, 1, 1]}, {}, r"'max_words' of prompt_id 'a' is 1e\+300"),
        ({"original_prompt": ["?", "?", "?", None]}, {}, "'original_prompt' of prompt_id 'c'"),
        ({"baseline": ["5", None, "7", "4"]}, {}, "'baseline' of prompt_id 'b#1' isn't a text"),
        ({"response": [[None], [], [], []]}, {}, "there are no answers"),
        ({"baseline": None}, {}, "baseline"),
    ],
)
def test_what_cant_be_judged(
    answers: Generations, model: BackendJudge, change: dict[str, Any],
    settings: dict[str, Any], message: str,
) -> None:  # fmt: skip
    table = answers.table
    for name, values in change.items():
        table = table.drop_columns([name])
        if values is not None:
            kind = answers.table.schema.field(name).type if name == "response" else None
            table = table.append_column(name, pa.array(values, kind))
    with pytest.raises(InputError, match=message):
        judge_within_limits(Generations(table), model, JudgeSettings(**settings))
