"""A judge model over a generation table: verdicts, counts, ratings, and nothing asked twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import minimize

from statllm.errors import InputError
from statllm.estimators.ranking import ELO_SCALE
from statllm.generations import Generations
from statllm.sampling.judge_model import BackendJudge, open_judge
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.judges import (
    Judged,
    JudgeSettings,
    Question,
    YesNoJudge,
    ask,
    combine_orders,
    judge,
)

RESPONSES = [
    ["3", "7", "4", "9"],
    ["hm <R> 5", "<R> 5", None, "8", "0 <R> 2"],
    ["1"],
    ["0", "6"],
    [],
]
GREEDY = SamplingSettings(temperature=0.0, max_new_tokens=4)
VALUE = {"[[A]]": 1.0, "[[B]]": -1.0, "[[C]]": 0.0, "hm": np.nan}


@pytest.fixture(scope="module")
def digits() -> Generations:
    ids = [f"p{i}" for i in range(len(RESPONSES))]
    responses = pa.array(RESPONSES, pa.list_(pa.string()))
    return Generations(
        pa.table({"prompt_id": ids, "prompt": ["?"] * len(ids), "response": responses})
    )


@pytest.fixture(scope="module")
def model(judge_folder: Path) -> BackendJudge:
    return open_judge(judge_folder, GREEDY)


def template(folder: Path, name: str) -> str:
    return str(folder / "templates" / f"{name}.yaml")


def digit(text: str | None, part: bool) -> int | None:
    if text is None or (part and "<R>" not in text):
        return None
    return int(text.split()[-1])


def likelihood_optimum(wins: np.ndarray, prior: float) -> np.ndarray:
    """Ratings by a general optimiser that knows the definition only."""
    k = len(wins)
    battles = wins + prior / (2 * (k - 1)) * (1 - np.eye(k))

    def loss(free: np.ndarray) -> float:
        e = np.append(free, 0.0)
        return float((battles * np.logaddexp(0, e[None, :] - e[:, None])).sum())

    found = minimize(loss, np.zeros(k - 1), method="BFGS", options={"gtol": 1e-9})
    e = np.append(found.x, 0.0)
    return ELO_SCALE * (e - e.mean())


@pytest.mark.parametrize("plain", [True, False])
def test_pairwise_from_model_to_ratings(
    digits: Generations,
    model: BackendJudge,
    judge_folder: Path,
    rules: SimpleNamespace,
    tmp_path: Path,
    plain: bool,
) -> None:
    settings = JudgeSettings(
        template=template(judge_folder, "pair"), response_part="<R>", plain=plain
    )
    only = digits.take([1])
    judged = judge(only, model, settings, cache=tmp_path)
    assert judged.generations.column("judge_n_left_out").to_pylist() == [2]
    settings = JudgeSettings(template=template(judge_folder, "pair"), plain=plain)
    rows = [0, 2, 3, 4]
    judged = judge(digits.take(rows), model, settings, cache=tmp_path)
    table = judged.generations
    total = {"asked": 0, "unread": 0, "ties": 0, "flips": 0}
    for place, row in enumerate(rows):
        numbers = [int(text) for text in RESPONSES[row]]
        k = len(numbers)
        wins = np.zeros((k, k))
        unread = ties = flips = 0
        for i in range(k):
            for j in range(k):
                if i == j:
                    continue
                v = VALUE[rules.pair(numbers[i], numbers[j])]
                back = VALUE[rules.pair(numbers[j], numbers[i])]
                unread += np.isnan(v)
                ties += v == 0
                flips += i < j and abs(v + back) == 2
                wins[i, j] += (v == 1) + 0.5 * (v == 0)
                wins[j, i] += (v == -1) + 0.5 * (v == 0)
        found = {
            "asked": table.column("judge_n_asked")[place].as_py(),
            "unread": table.column("judge_n_unread")[place].as_py(),
            "ties": table.column("judge_n_ties")[place].as_py(),
            "flips": table.column("judge_n_flips")[place].as_py(),
        }
        assert found == {"asked": k * (k - 1), "unread": unread, "ties": ties, "flips": flips}
        for name in total:
            total[name] += found[name]
        assert table.column("judge_battles")[place].as_py() == wins.tolist()
        rating = table.column("reward")[place].as_py()
        if k > 1 and wins.any():
            np.testing.assert_allclose(rating, likelihood_optimum(wins, 1.0), atol=1e-3)
        else:
            assert rating == [None] * k  # nothing was fought: the prior alone rates nobody
    assert total == {"asked": 14, "unread": 2, "ties": 0, "flips": 1}
    assert judged.summary is not None
    assert (judged.summary.n, judged.summary.n_failed) == (14, 2)
    assert judged.summary.reasons == {"no_verdict": 2}
    assert judged.audit is not None
    assert (judged.audit.n_pairs, judged.audit.n_failed) == (7, 1)
    assert (judged.audit.n_toward_first, judged.audit.n_toward_second) == (1, 0)


def test_verdicts_name_the_places_in_the_row(
    digits: Generations,
    model: BackendJudge,
    judge_folder: Path,
    rules: SimpleNamespace,
    tmp_path: Path,
) -> None:
    settings = JudgeSettings(template=template(judge_folder, "pair"), response_part="<R>")
    judged = judge(digits.take([1]), model, settings, cache=tmp_path)
    rows = judged.verdicts.to_pylist()
    assert [(row["first"], row["second"]) for row in rows] == [
        (0, 1), (0, 4), (1, 0), (1, 4), (4, 0), (4, 1),
    ]  # fmt: skip
    for row in rows:
        a, b = (digit(RESPONSES[1][row[name]], True) for name in ("first", "second"))
        assert a is not None
        assert b is not None
        assert row["text"] == rules.pair(a, b)
        assert row["template"] == "pair@1"
        assert row["judge"].startswith(judge_folder.name)
    reward = judged.generations.column("reward")[0].as_py()
    assert reward[2] is None  # null
    assert reward[3] is None  # without the part
    assert reward[0] == reward[1] > reward[4]


def test_pointwise_mean_of_what_could_be_read(
    digits: Generations,
    model: BackendJudge,
    judge_folder: Path,
    rules: SimpleNamespace,
    tmp_path: Path,
) -> None:
    settings = JudgeSettings(kind="pointwise", template=template(judge_folder, "grade"))
    judged = judge(digits.take([0, 3, 4]), model, settings, cache=tmp_path)
    assert judged.generations.column("reward").to_pylist() == [[3, 7, 4, 9], [None, 6], []]
    assert judged.generations.column("judge_n_read").to_pylist() == [[1, 1, 1, 1], [0, 1], []]
    assert judged.generations.column("judge_n_unread").to_pylist() == [0, 1, 0]
    texts = judged.verdicts["text"].to_pylist()
    assert texts == [rules.grade(n) for n in (3, 7, 4, 9, 0, 6)]


class Recorded:
    """A judge of a few rules, which notes what it is asked for."""

    name, samples = "rules", True

    def __init__(self, identity: str = "rules-1", fail_after: int | None = None) -> None:
        self.identity, self.fail_after = identity, fail_after
        self.asked: list[tuple[Question, int]] = []

    def write(
        self, keys: Sequence[str], questions: Sequence[Question], votes: range
    ) -> Iterator[tuple[int, list[str | None]]]:
        for place, question in enumerate(questions):
            if self.fail_after is not None and len(self.asked) >= self.fail_after:
                raise KeyboardInterrupt
            self.asked += [(question, vote) for vote in votes]
            yield place, [f"Score: {(int(str(question).split()[-1]) + v) % 9 + 1}" for v in votes]


def test_votes_have_a_standard_error(
    digits: Generations, judge_folder: Path, tmp_path: Path
) -> None:
    settings = JudgeSettings(
        kind="pointwise", template=template(judge_folder, "grade"), votes=3, plain=True
    )
    judged = judge(digits.take([0]), Recorded(), settings, cache=tmp_path)
    votes = np.array([[(n + v) % 9 + 1 for v in range(3)] for n in (3, 7, 4, 9)])
    assert judged.generations.column("reward")[0].as_py() == pytest.approx(votes.mean(axis=1))
    expected = votes.std(axis=1, ddof=1) / np.sqrt(3)
    assert judged.generations.column("reward_se")[0].as_py() == pytest.approx(expected)


def test_nothing_is_asked_twice_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    questions = ["grade 1", "grade 2", "grade 1", "grade 3"]
    stopped = Recorded(fail_after=2)
    with pytest.raises(KeyboardInterrupt):
        ask(stopped, questions, cache=tmp_path)
    assert [question for question, _ in stopped.asked] == ["grade 1", "grade 2"]
    again = Recorded()
    texts = ask(again, questions, cache=tmp_path)
    assert again.asked == [("grade 3", 0)]
    assert texts == [["Score: 2"], ["Score: 3"], ["Score: 2"], ["Score: 4"]]
    more = Recorded()
    texts = ask(more, questions[:2], n_votes=3, cache=tmp_path)
    assert more.asked == [("grade 1", 1), ("grade 1", 2), ("grade 2", 1), ("grade 2", 2)]
    assert texts[0] == ["Score: 2", "Score: 3", "Score: 4"]
    other = Recorded("rules-2")  # other weights or settings: another judge
    ask(other, questions[:1], cache=tmp_path)
    assert other.asked == [("grade 1", 0)]


def test_samples_are_a_function_of_question_and_vote(judge_folder: Path, tmp_path: Path) -> None:
    hot = SamplingSettings(temperature=4.0, max_new_tokens=4, seed=5, shard_size=2)
    questions = [f"pair {a} {b}" for a in range(4) for b in range(4)]
    whole = ask(open_judge(judge_folder, hot), questions, 3, tmp_path / "a")
    part = ask(open_judge(judge_folder, hot), questions[5:9][::-1], 3, tmp_path / "b")
    assert part == whole[5:9][::-1]
    assert len({text for row in whole for text in row}) > 5
    with pytest.raises(InputError, match="3 votes of a greedy judge are one"):
        ask(open_judge(judge_folder, GREEDY), questions, 3, tmp_path)


def test_damaged_cache_is_named(tmp_path: Path) -> None:
    import sqlite3

    ask(Recorded(), ["grade 1"], cache=tmp_path)
    (path,) = tmp_path.glob("judge-rules-*.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE texts SET text = ?", (b"nonsense",))
    with pytest.raises(InputError, match="is damaged"):
        ask(Recorded(), ["grade 1"], cache=tmp_path)


def test_bounded_round_robin(digits: Generations, judge_folder: Path, tmp_path: Path) -> None:
    responses = pa.array([[str(n) for n in range(1, 10)]] * 2, pa.list_(pa.string()))
    table = Generations(
        pa.table({"prompt_id": ["a", "b"], "prompt": ["?", "?"], "response": responses})
    )
    settings = JudgeSettings(template=template(judge_folder, "pair"), opponents=4)
    judged = judge(table, open_judge(judge_folder, GREEDY), settings, cache=tmp_path)
    rows = judged.verdicts.to_pylist()
    schedules = []
    for name in ("a", "b"):
        met = [(row["first"], row["second"]) for row in rows if row["prompt_id"] == name]
        assert len(met) == len(set(met)) == 9 * 4  # both orders of 18 pairs
        assert {(j, i) for i, j in met} == set(met)
        assert [sum(i == k for i, _ in met) for k in range(9)] == [4] * 9
        schedules.append(met)
    assert schedules[0] != schedules[1]
    alone = judge(table.take([1]), open_judge(judge_folder, GREEDY), settings, cache=tmp_path)
    assert alone.generations.column("reward").to_pylist() == [
        judged.generations.column("reward")[1].as_py()
    ]


def test_tpo_rating_is_plain_maximum_likelihood(
    model: BackendJudge, judge_folder: Path, tmp_path: Path
) -> None:
    """Of neighbours the first wins, so that all have won and lost: finite without a prior."""
    table = Generations(
        pa.table({"prompt_id": ["a"], "prompt": ["?"], "response": [["3", "4", "5", "6", "4"]]})
    )
    settings = JudgeSettings(template=template(judge_folder, "pair"), ties="none", prior_ties=0.0)
    judged = judge(table, model, settings, cache=tmp_path)
    wins = np.array(judged.generations.column("judge_battles")[0].as_py())
    assert wins.sum() == 18  # 20 verdicts, of which both on 4 against 4 are ties
    assert judged.generations.column("judge_n_ties").to_pylist() == [2]
    rating = judged.generations.column("reward")[0].as_py()
    np.testing.assert_allclose(rating, likelihood_optimum(wins, 0.0), atol=1e-3)


def test_audit_agrees_with_the_combined_orders(
    model: BackendJudge, judge_folder: Path, tmp_path: Path
) -> None:
    numbers = [str(n) for n in range(10)]
    table = Generations(
        pa.table({"prompt_id": ["a"], "prompt": ["?"], "response": [numbers + numbers[:3]]})
    )
    settings = JudgeSettings(template=template(judge_folder, "pair"))
    judged: Judged = judge(table, model, settings, cache=tmp_path)
    frame = judged.verdicts.to_pandas().set_index(["first", "second"])["verdict"]
    pairs = [(i, j) for i in range(13) for j in range(i + 1, 13)]
    forward = [frame[(i, j)] for i, j in pairs]
    backward = [frame[(j, i)] for i, j in pairs]
    counts = combine_orders(forward, backward).counts
    assert counts["failed"] == 2 * 11 + 1  # whatever met a 0
    assert judged.audit is not None
    assert judged.audit.n_failed == counts["failed"]
    assert judged.audit.n_toward_first == counts["inconsistent"] == 8 + 4  # neighbours
    row = judged.generations.table.to_pylist()[0]
    assert row["judge_n_inconsistent"] == row["judge_n_flips"] == 12
    assert row["judge_n_ties"] == 4
    assert row["judge_n_unread"] == 46


def test_refusals(
    digits: Generations, model: BackendJudge, judge_folder: Path, yes_no_judge: YesNoJudge
) -> None:
    pair = template(judge_folder, "pair")
    with pytest.raises(InputError, match="'pair' is pairwise, not pointwise"):
        judge(digits, model, JudgeSettings(kind="pointwise", template=pair))
    with pytest.raises(InputError, match="needs a YesNoJudge"):
        judge(digits, model, JudgeSettings(kind="yes-no"))
    with pytest.raises(InputError, match="needs a YesNoJudge"):
        judge(digits, yes_no_judge, JudgeSettings(template=pair))
    with pytest.raises(InputError, match="there is no column 'response'"):
        judge(Generations(digits.table.drop_columns(["response"])), model)
    null = Generations(digits.table.set_column(1, "prompt", pa.array([None] * 5, pa.string())))
    with pytest.raises(InputError, match="the prompt of prompt_id 'p0' is null"):
        judge(null, model, JudgeSettings(template=pair))
    with pytest.raises(InputError, match="needs reference"):
        judge(digits, model, JudgeSettings(template="pairwise_reference"))
    unknown = Generations(digits.table.append_column("reference", [["1", None, "1", "1", "1"]]))
    with pytest.raises(InputError, match="prompt_id 'p1' has none"):
        judge(unknown, model, JudgeSettings(template="pairwise_reference"))
    long: Any = {"prompt_id": ["a"], "prompt": ["?"], "response": [["1 " * 80, "2"]]}
    with pytest.raises(InputError, match="the question to the judge that ends in .* has 82 tokens"):
        judge(Generations(pa.table(long)), model, JudgeSettings(template=pair))
