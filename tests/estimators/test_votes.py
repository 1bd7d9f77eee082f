"""Votes against a loop over collections.Counter, published values and real data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mpmath
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.estimators import auroc, majority_correct, vote_counts, vote_entropy
from statllm.estimators.votes import VoteTable
from statllm.ragged import Ragged

ROWS = st.lists(
    st.lists(st.one_of(st.none(), st.sampled_from(["1", "2", "10", "", "é", "a b"])), max_size=9),
    max_size=12,
)


def plain_counts(row: list[str | None]) -> Counter[str]:
    return Counter(answer for answer in row if answer is not None)


def answers_and_counts(votes: VoteTable) -> list[dict[str, int]]:
    """What the table says, row by row."""
    names = votes.vocabulary.to_pylist()
    return [
        {names[code]: count for code, count in zip(codes, counts, strict=True)}
        for codes, counts in zip(votes.codes.to_lists(), votes.counts.to_lists(), strict=True)
    ]


# ---- counting ---------------------------------------------------------------------------------


@settings(deadline=None)  # other work may share the machine
@given(ROWS)
def test_counts_equal_a_loop_over_counter(rows: list[list[str | None]]) -> None:
    votes = vote_counts(rows)
    plain = [plain_counts(row) for row in rows]
    assert answers_and_counts(votes) == [dict(row) for row in plain]
    assert votes.n_samples.tolist() == [len(row) for row in rows]
    assert votes.n_votes.tolist() == [row.total() for row in plain]
    assert votes.n_distinct.tolist() == [len(row) for row in plain]
    for counts in votes.counts.to_lists():
        assert counts == sorted(counts, reverse=True)
    for row, own, share, margin in zip(rows, plain, votes.share, votes.margin, strict=True):
        top = [count for _, count in own.most_common(2)] + [0, 0]
        if own:
            assert share == pytest.approx(top[0] / own.total())
            assert margin == pytest.approx((top[0] - top[1]) / own.total())
        else:
            assert np.isnan(share)
            assert np.isnan(margin)
        assert [own.get(answer, 0) if answer is not None else 0 for answer in row] == (
            votes.votes_of_samples.row(rows.index(row)).tolist()
        )
    assert votes.n_tied.tolist() == [
        sum(count == max(row.values()) for count in row.values()) if row else 0 for row in plain
    ]


@settings(deadline=None)
@given(ROWS, st.randoms())
def test_order_of_samples_and_prompts_changes_nothing(rows, random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = [random.sample(rows[i], len(rows[i])) for i in order]
    left, right = vote_counts(rows), vote_counts(shuffled)
    for ties in ("random", "lexical", "none"):
        plain = left.majority(ties, seed=3).to_pylist()
        assert right.majority(ties, seed=3).to_pylist() == [plain[i] for i in order]
    np.testing.assert_array_equal(left.share[order], right.share)
    np.testing.assert_array_equal(left.mode_probability()[order], right.mode_probability())


@settings(deadline=None)
@given(ROWS)
def test_majority_under_each_tie_rule(rows: list[list[str | None]]) -> None:
    votes = vote_counts(rows)
    columns = {ties: votes.majority(ties).to_pylist() for ties in ("lexical", "first", "none")}
    drawn = votes.majority("random", seed=11).to_pylist()
    for i, row in enumerate(rows):
        counts = plain_counts(row)
        tied = [a for a, count in counts.items() if count == max(counts.values())]
        if not tied:
            assert {columns[ties][i] for ties in columns} | {drawn[i]} == {None}
            continue
        assert columns["lexical"][i] == min(tied)
        assert columns["first"][i] == counts.most_common(1)[0][0]
        assert columns["none"][i] == (tied[0] if len(tied) == 1 else None)
        assert drawn[i] in tied


def test_random_ties_are_fair_and_differ_between_prompts_and_seeds() -> None:
    # 4,000 prompts tied between "a" and "b", made distinct by one further answer each.
    rows = [["a", "a", "b", "b", f"other {i}"] for i in range(4000)]
    votes = vote_counts(rows)
    first = np.array(votes.majority("random", seed=0).to_pylist())
    second = np.array(votes.majority("random", seed=1).to_pylist())
    # Both shares are binomial(4000, 1/2): 5 standard deviations are 0.04.
    assert abs(np.mean(first == "a") - 0.5) < 0.04
    assert abs(np.mean(first == second) - 0.5) < 0.04
    np.testing.assert_array_equal(first, votes.majority("random", seed=0).to_pylist())


def test_random_tie_of_a_prompt_does_not_depend_on_the_others() -> None:
    alone = vote_counts([["x", "y"]]).majority("random", seed=5).to_pylist()
    among = vote_counts([["q", "z", "y"], ["y", "x"], ["x"]]).majority("random", seed=5).to_pylist()
    assert among[1] == alone[0]


def test_lexical_ties_of_numbers_are_numerical() -> None:
    assert vote_counts([[10, 9], [-3, 2]]).majority("lexical").to_pylist() == [9, -3]


@pytest.mark.parametrize("width", [1, 2, 3, 16, 17, 100, 5000])
def test_long_rows_and_many_answers(width: int) -> None:
    rng = np.random.default_rng(width)
    rows = [
        rng.integers(0, rng.integers(1, 2 * width + 2), size=rng.integers(0, width + 1)).tolist()
        for _ in range(60)
    ]
    votes = vote_counts(rows)
    for row, counts, own in zip(
        rows, votes.counts.to_lists(), votes.votes_of_samples.to_lists(), strict=True
    ):
        plain = Counter(row)
        assert counts == sorted(plain.values(), reverse=True)
        assert own == [plain[answer] for answer in row]


def test_many_blocks_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    dense = rng.integers(-1, 9, size=(30_000, 16))  # several blocks of the kernel; -1 = no vote
    votes = vote_counts(Ragged.from_lengths(dense.ravel(), np.full(len(dense), 16)))
    expected = np.stack([(dense == answer).sum(1) for answer in range(9)], axis=1)
    np.testing.assert_array_equal(votes.n_votes, expected.sum(1))
    np.testing.assert_array_equal(votes.n_distinct, (expected > 0).sum(1))
    ordered = -np.sort(-expected, axis=1)
    np.testing.assert_array_equal(votes.counts.values, ordered[ordered > 0])


def test_many_answers_in_long_rows_need_wide_sort_keys() -> None:
    # 320,000 distinct answers in rows of 5,000: code and count no longer fit into 31 bits.
    answers = np.arange(64 * 5000).reshape(64, 5000)
    answers[:, -7:] = answers[:, :1]
    votes = vote_counts(Ragged.from_lengths(answers.ravel(), np.full(64, 5000)))
    assert set(votes.n_distinct) == {4993}
    assert votes.counts.to_lists()[63][:2] == [8, 1]
    assert votes.majority().to_pylist() == answers[:, 0].tolist()


# ---- input ------------------------------------------------------------------------------------

PLAIN = [["b", "a", None, "a"], [], [None], ["c"]]


def arrow_forms() -> dict[str, object]:
    column = pa.array(PLAIN, pa.list_(pa.string()))
    shared = pa.DictionaryArray.from_arrays(
        pa.array([1, 0, None, 2, 3, 4], pa.int8()), ["a", "b", "a", None, "c"]
    )
    return {
        "lists": PLAIN,
        "array": column,
        "large": pa.array(PLAIN, pa.large_list(pa.large_string())),
        "string view": pa.array(PLAIN, pa.list_(pa.string_view())),
        "chunks": pa.chunked_array([column.slice(0, 1), column.slice(1, 2), column.slice(3)]),
        "slice": pa.array([["z"], *PLAIN, ["y"]]).slice(1, 4),
        "null row": pa.array([PLAIN[0], None, PLAIN[2], PLAIN[3]]),
        "dictionary": pa.chunked_array(
            [
                pa.array(part, pa.list_(pa.dictionary(pa.int32(), pa.string())))
                for part in (PLAIN[:2], PLAIN[2:])
            ]
        ),
        # A dictionary with a repeated answer and a null in it.
        "odd dictionary": pa.ListArray.from_arrays([0, 4, 4, 5, 6], shared),
        "unsigned dictionary": pa.array(PLAIN, pa.list_(pa.dictionary(pa.uint8(), pa.string()))),
        "series": pd.Series(PLAIN),
        "ragged of text": Ragged.from_lists([["b", "a", "a"], [], [], ["c"]]),
    }


@pytest.mark.parametrize("form", arrow_forms())
def test_every_form_of_input_gives_the_same_votes(form: str) -> None:
    votes = vote_counts(arrow_forms()[form])
    assert answers_and_counts(votes) == [{"a": 2, "b": 1}, {}, {}, {"c": 1}]
    assert votes.majority().to_pylist() == ["a", None, None, "c"]


def test_fixed_size_lists_and_numbers() -> None:
    fixed = pa.array([[1, 2], [2, 2]], pa.list_(pa.int64(), 2))
    assert vote_counts(fixed).counts.to_lists() == [[1, 1], [2]]
    real = vote_counts([[0.5, float("nan"), 0.5], [float("nan")]])
    assert real.n_votes.tolist() == [2, 0]
    assert vote_counts([[True, False, True]]).majority().to_pylist() == [True]


@pytest.mark.parametrize("empty", [[], [[]], [[None]], pa.array([], pa.list_(pa.string()))])
def test_nothing_to_count(empty: object) -> None:
    votes = vote_counts(empty)
    assert votes.n_votes.sum() == 0
    assert np.isnan(votes.share).all()
    assert np.isnan(votes.mode_probability()).all()
    assert votes.majority().null_count == votes.n_prompts
    assert len(votes.to_frame()) == votes.n_prompts


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="one list per prompt"):
        vote_counts(["a", "b"])
    with pytest.raises(InputError, match="lists of strings or of numbers"):
        vote_counts([["a", 1]])
    with pytest.raises(ValueError, match="ties must be one of"):
        vote_counts([["a"]]).majority("best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 references for 2 prompts"):
        majority_correct(vote_counts([["a"], ["b"]]), ["a"])
    with pytest.raises(InputError, match="one type"):
        majority_correct(vote_counts([[1]]), ["a"])
    with pytest.raises(ValueError, match="prior must be positive"):
        vote_counts([["a"]]).mode_probability(0)


# ---- statistics -------------------------------------------------------------------------------


def of_counts(*counts: int) -> VoteTable:
    return vote_counts([[f"answer {i}" for i, n in enumerate(counts) for _ in range(n)]])


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        # Independent computation by adaptive quadrature, given to ten digits.
        ((6, 2, 1), 0.8861263527),
        ((8, 1, 1), 0.9793793145),
        ((4, 3, 2, 1), 0.5262064720),
        ((3, 1, 1), 0.6977023320),
    ],
)
def test_mode_probability_golden(counts: tuple[int, ...], value: float) -> None:
    assert of_counts(*counts).mode_probability()[0] == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("prior", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1, 1), (2, 1), (60, 40), (900, 870, 3)])
def test_mode_probability_against_mpmath(counts: tuple[int, ...], prior: float) -> None:
    shapes = [count + prior for count in counts]

    def integrand(x: mpmath.mpf) -> mpmath.mpf:
        value = x ** (shapes[0] - 1) * mpmath.exp(-x) / mpmath.gamma(shapes[0])
        for shape in shapes[1:]:
            value *= mpmath.gammainc(shape, 0, x, regularized=True)
        return value

    centre, spread = shapes[0], shapes[0] ** 0.5
    cuts = [max(0.0, centre + step * spread) for step in (-12, -4, 0, 4, 12)]
    exact = mpmath.quad(integrand, [*dict.fromkeys([0.0, *cuts]), centre + 60 * spread])
    assert of_counts(*counts).mode_probability(prior)[0] == pytest.approx(float(exact), abs=1e-9)


def test_mode_probability_of_two_answers_is_a_beta_tail() -> None:
    # P(share > 1/2) under Beta(n1 + 1, n2 + 1): .9375 for 3:0 and .91015625 for 6:2. An answer
    # that was never seen isn't a rival here, so 3:0 is checked through 6:2 and 20:10.
    values = [of_counts(6, 2).mode_probability()[0], of_counts(20, 10).mode_probability()[0]]
    assert values == pytest.approx([0.91015625, 0.9646222270], abs=1e-10)


@pytest.mark.parametrize("m", [2, 3, 7])
def test_mode_probability_of_tied_answers_is_shared(m: int) -> None:
    assert of_counts(*[4] * m).mode_probability()[0] == pytest.approx(1 / m, abs=1e-12)


def test_mode_probability_row_by_row_equals_all_at_once() -> None:
    rng = np.random.default_rng(4)
    rows = [rng.integers(0, 4, size=rng.integers(0, 12)).tolist() for _ in range(200)]
    together = vote_counts(rows).mode_probability()
    alone = [vote_counts([row]).mode_probability()[0] for row in rows]
    np.testing.assert_allclose(together, alone, rtol=1e-13)


def test_margin_variance_is_the_multinomial_one() -> None:
    n, p = 6, np.array([0.5, 0.3, 0.2])
    covariance = n * (np.diag(p) - np.outer(p, p))
    contrast = np.array([1, -1, 0]) / n
    votes = of_counts(5, 3, 2)  # the same shares among ten votes
    assert votes.margin_variance[0] == pytest.approx(contrast @ covariance @ contrast * n / 10)
    assert of_counts(4).margin_variance[0] == 0


def test_share_intervals_against_statsmodels() -> None:
    from statsmodels.stats.proportion import multinomial_proportions_confint, proportion_confint

    votes = vote_counts([["a"] * 6 + ["b"] * 2 + ["c"], ["a"] * 4 + ["b"]])
    for method, theirs in [("wilson", "wilson"), ("clopper-pearson", "beta")]:
        low, high = votes.share_interval(method, 0.9)  # type: ignore[arg-type]
        expected = proportion_confint(np.array([6, 4]), np.array([9, 5]), 0.1, theirs)
        np.testing.assert_allclose([low, high], expected, rtol=1e-9)
    low, high = votes.share_interval("goodman", 0.9)
    for i, counts in enumerate([[6, 2, 1], [4, 1]]):
        expected = multinomial_proportions_confint(counts, 0.1, "goodman")[0]
        np.testing.assert_allclose([low[i], high[i]], expected, rtol=1e-9)


def test_only_goodman_covers_the_answer_that_was_picked() -> None:
    rng = np.random.default_rng(1)
    p = np.full(8, 1 / 8)  # the winner is pure chance: selection bias at its worst
    draws = rng.multinomial(10, p, size=20_000)
    answers = np.repeat(np.tile(np.arange(8), 20_000), draws.ravel())
    rows = Ragged.from_lengths(answers, np.full(20_000, 10))
    votes = vote_counts(rows)
    covered = {}
    for method in ("wilson", "clopper-pearson", "goodman"):
        low, high = votes.share_interval(method, 0.95, n_categories=8)  # type: ignore[arg-type]
        covered[method] = np.mean((low <= p[0]) & (p[0] <= high))
    assert covered["goodman"] > 0.95
    assert covered["wilson"] < 0.9


def test_unseen_mass_is_good_turing() -> None:
    votes = of_counts(4, 2, 1, 1)
    assert votes.unseen_mass[0] == 2 / 8
    assert votes.unseen_mass_se[0] == pytest.approx(np.sqrt((2 * 6 + 2 * 8 * 1) / 8**3))


def test_unseen_mass_standard_error_in_simulation() -> None:
    rng = np.random.default_rng(2)
    p = 1 / np.arange(1, 101)
    p /= p.sum()
    n, repeats = 200, 4000
    draws = rng.multinomial(n, p, size=repeats)
    rows = Ragged.from_lengths(
        np.repeat(np.tile(np.arange(100), repeats), draws.ravel()), [n] * repeats
    )
    votes = vote_counts(rows)
    error = votes.unseen_mass - (p * (draws == 0)).sum(1)
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(repeats) + 1e-3
    assert np.mean(votes.unseen_mass_se) == pytest.approx(error.std(), rel=0.05)


@settings(deadline=None)
@given(ROWS, st.lists(st.sampled_from(["1", "2", "é", "none of them", None]), min_size=12))
def test_majority_correct_is_the_expected_score_of_random_ties(rows, references) -> None:  # type: ignore[no-untyped-def]
    scores = majority_correct(vote_counts(rows), references[: len(rows)])
    for row, reference, score in zip(rows, references, scores, strict=False):
        counts = plain_counts(row)
        tied = [a for a, count in counts.items() if count == max(counts.values())]
        if reference is None:
            assert np.isnan(score)
        else:
            assert score == pytest.approx((reference in tied) / max(len(tied), 1))


def test_to_frame_has_a_row_per_prompt() -> None:
    frame = vote_counts(PLAIN).to_frame()
    assert frame["majority_answer"].isna().tolist() == [False, True, True, False]
    assert frame["vote_share"].round(6).tolist()[0] == 0.666667
    assert (frame["vote_share_low"] <= frame["vote_share_high"]).all()


# ---- real data --------------------------------------------------------------------------------


def grouped(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return frame.groupby("qid", sort=True)[columns].agg(list).reset_index()


def test_verify_cot_majority_row_by_row(shared_data: Path) -> None:
    # lz1oceani/verify_cot: their own `majority_correct`, ties worth 1/#tied, 'No answer!' dropped.
    samples = pd.read_parquet(shared_data / "sc_verifycot_date" / "gen.parquet")
    samples["answer"] = samples["answer"].where(samples["answer"] != "No answer!", None)
    table = grouped(samples, ["answer"])
    authors = pd.read_parquet(shared_data / "sc_verifycot_date" / "questions.parquet")
    authors = authors.set_index("qid").loc[table["qid"]]
    answers = [[None if pd.isna(a) else a for a in row] for row in table["answer"]]
    scores = majority_correct(vote_counts(answers), authors["gold"].tolist())
    np.testing.assert_array_equal(scores, authors["auth_majority_correct"])
    assert round(scores.mean(), 4) == 0.7249


def test_panel_majority_and_auroc_of_share(shared_data: Path) -> None:
    # WildEval/ZeroEval, 44 models' answers to GSM8K as votes.
    long = pd.read_parquet(shared_data / "panel_zeroeval" / "votes.parquet")
    long = long[long["task"] == "gsm"]
    table = grouped(long, ["answer"])
    gold = long.groupby("qid", sort=True)["gold"].first().tolist()
    answers = [[None if pd.isna(a) else a for a in row] for row in table["answer"]]
    votes = vote_counts(answers)
    first = np.array(votes.majority("first").to_pylist()) == np.array(gold)
    assert round(first.mean(), 4) == 0.9697
    # One prompt in 1,319 is tied, and the first of the two answers is right.
    assert majority_correct(votes, gold).sum() == first.sum() - 0.5
    assert round(auroc(votes.share, first).value, 3) == 0.888
    assert votes.share.mean() == pytest.approx(0.887048881270298, abs=1e-12)
    plain = vote_entropy(answers, "plugin")
    assert plain.value.mean() == pytest.approx(0.43145942846435514, abs=1e-12)
    assert np.mean(votes.n_tied > 1) == pytest.approx(0.000758150113722517)


@pytest.mark.parametrize("kind", ["text", "integers", "objects"])
def test_an_array_of_prompts_by_samples_is_rows(kind: str) -> None:
    array = {
        "text": np.array([["a", "b", "a"], ["c", "c", "c"]]),
        "integers": np.array([[1, 2, 1], [3, 3, 3]]),
        "objects": np.array([["a", "b", "a"], ["c", None, "c"]], dtype=object),
    }[kind]
    votes = vote_counts(array)
    assert votes.share.tolist() == [2 / 3, 1.0]
    assert votes.n_votes.tolist() == ([3, 2] if kind == "objects" else [3, 3])
    assert vote_counts(np.empty((2, 0))).n_votes.tolist() == [0, 0]
