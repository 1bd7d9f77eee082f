"""Scores: a plain reference implementation, real data, wrong input."""

from __future__ import annotations

import math
import statistics
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring import ScoringSettings, score

# The columns that `statllm score` promises.
NAMES = {
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
}


def generations(**columns) -> Generations:
    n = len(next(iter(columns.values())))
    types = {"answer": pa.string(), "reward": pa.float64(), "response": pa.string()}
    arrays = {
        name: pa.array(rows, pa.list_(types[name])) if name in types else pa.array(rows)
        for name, rows in columns.items()
    }
    return Generations(pa.table({"prompt_id": [f"p{i}" for i in range(n)], **arrays}))


def rows_of(scored: Generations) -> list[dict]:
    return scored.table.to_pylist()


def reference_scores(answers, reference):
    """The definitions, one prompt at a time."""
    counts = Counter(answer for answer in answers if answer is not None).most_common()
    n = sum(count for _, count in counts)
    out = {"n_samples": len(answers), "n_votes": n, "n_distinct": len(counts)}
    out["pass_rate"] = sum(a == reference for a in answers) / len(answers) if answers else None
    out["majority_correct"] = 0.0
    out["n_tied"] = 0
    names = ("vote_share", "vote_margin", "vote_entropy")
    if not counts:
        return {**out, **dict.fromkeys(names), "majority_answer": {None}}
    shares = [count / n for _, count in counts] + [0.0]
    tied = {answer for answer, count in counts if count == counts[0][1]}
    return {
        **out,
        "n_tied": len(tied),
        "majority_answer": tied,
        "majority_correct": (reference in tied) / len(tied),
        "vote_share": shares[0],
        "vote_margin": shares[0] - shares[1],
        "vote_entropy": -sum(p * math.log(p) for p in shares[:-1]),
    }


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from([None, "1", "2", "3"]), max_size=7), st.just("1")),
        min_size=1,
        max_size=6,
    )
)
def test_against_the_definitions(prompts):
    answers = [row for row, _ in prompts]
    scored = score(
        generations(answer=answers, reference=[gold for _, gold in prompts]), entropy="plugin"
    )
    for row, (given_answers, gold) in zip(rows_of(scored), prompts, strict=True):
        expected = reference_scores(given_answers, gold)
        assert row["majority_answer"] in expected.pop("majority_answer")
        for name, value in expected.items():
            assert row[name] == (value if value is None else pytest.approx(value)), name


def test_names_and_types():
    scored = score(generations(response=[["#### 4", "#### 5"]], reward=[[1.0, 2.0]]))
    assert set(scored.table.column_names) >= NAMES
    assert scored.n_prompts == 1


def test_answers_only():
    (row,) = rows_of(score(generations(answer=[["4", "4", "5", None]])))
    assert (row["n_samples"], row["n_votes"], row["n_distinct"]) == (4, 3, 2)
    assert row["majority_answer"] == "4"
    assert row["vote_share_low"] < row["vote_share"] < row["vote_share_high"]
    assert row["reward_mean"] is row["reward_var"] is row["reward_gap"] is None
    assert "correct" not in row
    assert "majority_correct" not in row


def test_responses_only():
    (row,) = rows_of(score(generations(response=[["The answer is 4.", "#### 4.0", "?"]])))
    assert row["answer"] == ["4", "4", None]
    assert row["n_votes"] == 2


def test_rewards_only():
    rewards = [[1.0, 4.0, 2.5], [3.0], []]
    for row, values in zip(rows_of(score(generations(reward=rewards))), rewards, strict=True):
        assert row["n_votes"] is row["majority_answer"] is row["vote_entropy"] is None
        assert row["n_samples"] == len(values)
        assert row["reward_mean"] == (statistics.mean(values) if values else None)
        variance = statistics.variance(values) if len(values) > 1 else None
        assert row["reward_var"] == variance
        assert row["reward_gap"] == (max(values) - min(values) if values else None)


def test_rule_none_looks_for_no_answers():
    (row,) = rows_of(score(generations(response=[["chapter 1", "chapter 2"]]), rule="none"))
    assert row["n_votes"] is None
    assert "answer" not in row


def test_answers_vote_in_canonical_form_and_are_kept_as_given():
    scored = score(generations(answer=[["$1,000", "1000.0", "(b)"]]))
    (row,) = rows_of(scored)
    assert row["answer"] == ["1000", "1000", "B"]
    assert row["answer_raw"] == ["$1,000", "1000.0", "(b)"]
    assert score(scored).table.equals(scored.table)  # scoring twice changes nothing
    (exact,) = rows_of(score(generations(answer=[["$1,000", "1000.0", ""]]), equivalence="exact"))
    assert (exact["n_distinct"], exact["answer"][2]) == (3, "")


def test_canonical_answers_have_no_raw_copy():
    assert "answer_raw" not in score(generations(answer=[["1000", "B", None]]))


def test_null_answers():
    (row,) = rows_of(
        score(generations(answer=[["No answer!", "4", "no  answer"]]), null_answers=("No answer!",))
    )
    assert row["answer"] == [None, "4", None]


def test_extra_samples_enter_no_statistic():
    g = Generations(
        pa.table(
            {
                "prompt_id": ["a", "b"],
                "reference": ["1", "1"],
                "answer": [["1", "1", "2", "2", "2"], ["1", "3"]],
                "reward": [[1.0, 3.0, 9.0, 9.0, 9.0], [1.0, 2.0]],
                "pool": [["vote", "vote", "extra", "extra", "extra"], ["vote", "vote"]],
            }
        )
    )
    with_extra, without = (
        score(g),
        score(
            generations(
                answer=[["1", "1"], ["1", "3"]],
                reward=[[1.0, 3.0], [1.0, 2.0]],
                reference=["1", "1"],
            )
        ),
    )
    for name in without.table.column_names:
        if name not in ("prompt_id", "answer", "correct", "reward"):
            assert with_extra.column(name).to_pylist() == without.column(name).to_pylist(), name
    assert with_extra.column("correct").to_pylist()[0] == [True, True, False, False, False]


def test_given_verdicts_are_kept():
    g = generations(answer=[["4", "5"]], reference=["4"]).with_columns({"correct": [[False, True]]})
    (row,) = rows_of(score(g))
    assert row["correct"] == [False, True]
    assert row["pass_rate"] == 0.5


def test_unknown_reference_gives_no_verdict():
    rows = rows_of(score(generations(answer=[["4"], [None]], reference=[None, "4"])))
    assert [row["correct"] for row in rows] == [[None], [False]]
    assert [row["majority_correct"] for row in rows] == [None, 0.0]
    assert [row["pass_rate"] for row in rows] == [None, 0.0]


def test_order_of_samples_and_prompts_plays_no_part():
    rng = np.random.default_rng(0)
    answers = [[str(a) for a in rng.integers(0, 3, 6)] for _ in range(200)]
    g = generations(answer=answers)
    scored = {row["prompt_id"]: row for row in rows_of(score(g, seed=3))}
    order = rng.permutation(200)
    shuffled = g.with_columns({"answer": [list(rng.permutation(row)) for row in answers]})
    for row in rows_of(score(shuffled.take(order), seed=3)):
        for name in set(row) - {"answer"}:
            assert row[name] == scored[row["prompt_id"]][name]
    majorities = [
        [row["majority_answer"] for row in rows_of(score(g, seed=seed))] for seed in (0, 1)
    ]
    assert majorities[0] != majorities[1]


def test_math_verify_votes():
    pytest.importorskip("math_verify")
    g = generations(answer=[["1+x", "x+1", "2"]], reference=["x + 1"])
    (row,) = rows_of(score(g, equivalence="math-verify"))
    assert (row["n_distinct"], row["vote_share"]) == (2, pytest.approx(2 / 3))
    assert row["correct"] == [True, True, False]


# ---- wrong input ----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_missing_rewards(bad):
    g = generations(reward=[[1.0, 2.0], [3.0, bad]])
    message = r"'reward' is missing or not finite for sample 1 of row 1 \(prompt_id 'p1'\)"
    with pytest.raises(InputError, match=message):
        score(g)
    dropped = score(g, missing_rewards="drop").column("reward_mean").to_pylist()
    assert dropped == [1.5, 3.0]
    if bad != float("inf"):
        kept = score(g, missing_rewards="propagate").column("reward_mean").to_pylist()
        assert kept == [1.5, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "regex"}, "scoring setting 'rule'"),
        ({"level": 1.0}, "scoring setting 'level'"),
        ({"colour": 1}, "scoring setting 'colour'"),
        ({"entropy": "magic"}, "magic"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(InputError, match=message):
        score(generations(answer=[["1"]]), **options)


def test_nothing_to_score():
    with pytest.raises(InputError, match="no column 'response', 'answer' or 'reward'"):
        score(Generations(pa.table({"prompt_id": ["a"]})))


@pytest.mark.parametrize("pool", [["vote"], ["vote", "hot"], "vote"])
def test_wrong_pool(pool):
    g = generations(answer=[["1", "2"]])
    with pytest.raises(InputError, match="column 'pool'"):
        score(g.with_columns({"pool": [pool]}))


def test_settings_object_and_single_options():
    given = ScoringSettings(entropy="plugin", seed=5)
    g = generations(answer=[["1", "2", "2"]])
    assert score(g, given).table.equals(score(g, entropy="plugin", seed=5).table)
    (row,) = rows_of(score(g, given, interval="wilson"))
    (default,) = rows_of(score(g, given))
    assert row["vote_share_low"] > default["vote_share_low"]


# ---- real data ------------------------------------------------------------------------------


def floats(scored: Generations, name: str) -> np.ndarray:
    return scored.column(name).cast(pa.float64()).to_numpy()


def test_verify_cot_majorities(shared_data):
    """Ling et al. 2023: the authors' own majority verdicts, ties 1/#tied, row by row."""
    folder = shared_data / "sc_verifycot_date"
    g = Generations.read(
        folder / "gen.parquet", {"prompt_id": "qid", "response": "text", "reference": "gold"}
    )
    g = Generations(g.table.drop(["correct"]))  # our own verdicts
    scored = score(g, null_answers=("No answer!",), entropy="plugin")
    authors = pq.read_table(folder / "questions.parquet")["auth_majority_correct"].to_numpy()
    ours = floats(scored, "majority_correct")
    assert len(ours) == 369
    np.testing.assert_allclose(ours, authors, atol=1e-12)
    assert round(ours.mean(), 4) == 0.7249
    assert round(np.nanmean(floats(scored, "vote_entropy")), 4) == 0.4518


def test_zeroeval_panel(shared_data):
    """44 models on GSM8K. An empty text is an answer here, as in the reference figures."""
    g = Generations.read(
        shared_data / "panel_zeroeval" / "votes.parquet",
        {"prompt_id": "qid", "reference": "gold"},
        {"task": "gsm"},
    )
    scored = score(g, equivalence="exact", entropy="plugin")
    right = np.array(scored.column("majority_answer").to_pylist()) == np.array(
        scored.column("reference").to_pylist()
    )
    assert round(right.mean(), 4) == 0.9697
    assert round(floats(scored, "vote_entropy").mean(), 4) == 0.4315
    assert round(floats(scored, "vote_share").mean(), 4) == 0.8870
    # In canonical form blank answers don't vote; one of 1,319 majorities is tied.
    canonical = score(Generations(g.table.drop(["correct"])), entropy="plugin")
    assert round(floats(canonical, "vote_entropy").mean(), 4) == 0.4311
    assert floats(canonical, "majority_correct").sum() == 1278.5


@pytest.mark.parametrize(
    ("prompt", "variance", "gap"), [("io", 2.063, 2.247), ("cot", 1.284, 1.998)]
)
def test_writing_rewards(shared_data, prompt, variance, gap):
    """Yao et al. 2023: GPT-4 ratings of ten creative texts for each of 100 prompts."""
    g = Generations.read(
        shared_data / "sc_tot" / "text_rewards.parquet",
        {"prompt_id": "qid", "response": "text"},
        {"prompt": prompt},
    )
    scored = score(g, rule="none")
    assert round(floats(scored, "reward_var").mean(), 3) == variance
    assert round(floats(scored, "reward_gap").var(ddof=1), 3) == gap
