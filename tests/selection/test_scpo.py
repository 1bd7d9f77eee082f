"""ScPO against the rule written out for one prompt at a time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.pairs import check_pairs
from statllm.scoring import score
from statllm.selection import ScpoSettings, scpo

FIVE_TWO_ONE = ["A"] * 5 + ["B"] * 2 + ["C"]


def only(selection):
    """The reason of the one prompt, and its pair."""
    (line,) = selection.ledger.to_pylist()
    pairs = selection.pairs.to_pylist()
    assert line["kept"] == (line["reason"] == "kept")
    assert line["n_pairs"] == len(pairs)
    return line["reason"], pairs[0] if pairs else None


# ---- the rule -------------------------------------------------------------------------------


def test_majority_against_rarest(table):
    reason, pair = only(scpo(table(answer=[FIVE_TWO_ONE]), ScpoSettings(threshold=0.5)))
    assert reason == "kept"
    assert (pair["chosen_answer"], pair["rejected_answer"]) == ("A", "C")
    assert pair["weight"] == 0.5
    assert (pair["chosen_votes"], pair["rejected_votes"], pair["n_votes"]) == (5, 1, 8)
    assert pair["chosen"] == f"{pair['chosen_index']}:A"
    assert pair["rejected"] == "7:C"
    assert pair["rejected_index"] == 7


@pytest.mark.parametrize(
    ("answers", "threshold", "reason"),
    [
        (["A"] * 8, 0.5, "no_distinct_answers"),
        (["A"] * 4 + ["B"] * 4, 0.5, "tied"),
        (["A"] * 3 + ["B", "C", "D", "E", "F"], 0.5, "below_threshold"),
        (["A"] * 3 + [None] * 5, 0.5, "below_threshold"),
        ([None] * 8, 0.0, "no_parsed_answer"),
        ([], 0.0, "no_parsed_answer"),
        (["A"] * 7 + ["B"] * 3, 0.7, "kept"),
        (["A"] * 7 + ["B"] * 6 + ["C"] * 12, 0.48, "kept"),
        (["A"] * 7 + ["B"] * 6 + ["C"] * 6 + ["D"] * 6, 0.28, "kept"),  # .28 * 25 > 7 in floats
        (["A"] * 6 + ["B"] * 3, 0.7, "below_threshold"),
    ],
)
def test_dropped_with_a_reason(table, answers, threshold, reason):
    assert only(scpo(table(answer=[answers]), ScpoSettings(threshold=threshold)))[0] == reason


def test_absolute_threshold(table):
    """ZebraLogic, first iteration: two of sixteen votes."""
    given = ScpoSettings(threshold=0.0, min_votes=2)
    letters = [chr(65 + i) for i in range(16)]
    assert only(scpo(table(answer=[letters]), given))[0] == "below_threshold"
    reason, pair = only(scpo(table(answer=[["A", *letters[:15]]]), given))
    assert (reason, pair["chosen_answer"], pair["weight"]) == ("kept", "A", 1 / 16)


def test_unparsed_responses(table):
    answers = [["A", "A", "B", "B", None, "A"]]
    _, pair = only(scpo(table(answer=answers)))
    assert (pair["rejected_answer"], pair["weight"]) == ("B", 1 / 6)
    _, pair = only(scpo(table(answer=answers), ScpoSettings(unparsed_rejected=True)))
    assert (pair["rejected_index"], pair["rejected_votes"], pair["weight"]) == (4, 0, 0.5)
    _, pair = only(scpo(table(answer=answers), ScpoSettings(k="votes")))
    assert pair["weight"] == 1 / 5


POOL = ["vote"] * 4 + ["extra"] * 3


@pytest.mark.parametrize(
    ("extra", "rejected", "weight"),
    [
        ("ignore", {"B"}, (3 - 1) / 4),
        ("rejected", {"C"}, (3 - 0) / 4),  # C has no vote among the four
        ("vote", {"C"}, (4 - 1) / 7),
    ],
)
def test_extra_samples(table, extra, rejected, weight):
    g = table(answer=[["A", "A", "A", "B", "A", "B", "C"]], pool=[POOL])
    seen = set()
    for seed in range(20):
        _, pair = only(scpo(g, ScpoSettings(extra=extra, seed=seed)))
        assert pair["weight"] == weight
        assert pair["chosen_answer"] == "A"
        assert extra == "vote" or pair["chosen_index"] < 4
        seen.add(pair["rejected_answer"])
    assert seen == rejected


def test_extra_samples_save_a_unanimous_prompt(table):
    g = table(answer=[["A", "A", "A", "A", "A", "A", "B"]], pool=[POOL])
    assert only(scpo(g, ScpoSettings(extra="ignore")))[0] == "no_distinct_answers"
    reason, pair = only(scpo(g))
    assert (reason, pair["rejected_index"], pair["weight"]) == ("kept", 6, 1.0)


def test_truncated_responses_vote_but_stay_out_of_pairs(table):
    finish = ["length", "length", "stop", "stop", "stop", "length"]
    g = table(answer=[["A", "A", "A", "B", "B", "C"]], finish_reason=[finish])
    _, pair = only(scpo(g))
    assert (pair["chosen_index"], pair["rejected_answer"], pair["weight"]) == (2, "B", 1 / 6)
    _, pair = only(scpo(g, ScpoSettings(truncated="include")))
    assert (pair["rejected_index"], pair["rejected_finish"]) == (5, "length")
    all_cut = table(answer=[["A", "A", "B"]], finish_reason=[["length", "length", "stop"]])
    assert only(scpo(all_cut))[0] == "truncated"


def test_labels(table):
    g = table(
        answer=[["A", "A", "B"], ["A", "A", "B"], ["A", "A"], ["B", "B"], ["B", "A", None]],
        reference=["B", None, "A", "A", "A"],
    )
    selection = scpo(g, ScpoSettings(labels="use"))
    pairs = {pair["prompt_id"]: pair for pair in selection.pairs.to_pylist()}
    assert (pairs["p0"]["chosen_answer"], pairs["p0"]["weight"]) == ("B", 1.0)
    assert (pairs["p1"]["chosen_answer"], pairs["p1"]["weight"]) == ("A", pytest.approx(1 / 3))
    assert (pairs["p4"]["chosen_answer"], pairs["p4"]["rejected_answer"]) == ("A", "B")
    reasons = selection.ledger["reason"].to_pylist()
    assert reasons == ["kept", "kept", "no_incorrect", "no_correct", "kept"]
    assert selection.ledger["labelled"].to_pylist() == [True, False, True, True, True]
    # Without labels the references play no part.
    assert scpo(g).ledger["reason"].to_pylist()[0] == "kept"
    assert scpo(g).pairs["chosen_answer"].to_pylist()[0] == "A"


def test_constant_weight_still_drops_ties(table):
    g = table(answer=[FIVE_TWO_ONE, ["A", "A", "B", "B"]])
    selection = scpo(g, ScpoSettings(weight="constant"))
    assert selection.pairs["weight"].to_pylist() == [1.0]
    assert selection.ledger["reason"].to_pylist() == ["kept", "tied"]


def test_several_pairs_take_several_responses(table):
    g = table(answer=[["A", "A", "A", "B", "B"]])
    pairs = scpo(g, ScpoSettings(pairs_per_prompt=10)).pairs.to_pylist()
    made = [(pair["chosen_index"], pair["rejected_index"]) for pair in pairs]
    assert len(set(made)) == len(made) == 6  # lcm(3, 2)
    first = scpo(g).pairs.to_pylist()
    assert pairs[:1] == first


# ---- against the definitions ----------------------------------------------------------------


def by_definition(row, settings):
    """(reason, weight, {(chosen index, rejected index)}) that the rule allows."""
    voters = [s for s in row if s["pool"] == "vote" or settings.extra == "vote"]
    pool = row if settings.extra != "ignore" else voters
    votes = Counter(s["answer"] for s in voters if s["answer"] is not None)
    k = sum(votes.values()) if settings.k == "votes" else len(voters)
    if not votes:
        return "no_parsed_answer", None, set()
    top = max(votes.values())
    if top < max(settings.threshold * k, settings.min_votes) - 1e-9:
        return "below_threshold", None, set()
    present = [s for s in pool if s["answer"] is not None or settings.unparsed_rejected]
    if len({s["answer"] for s in present}) < 2:
        return "no_distinct_answers", None, set()
    usable = [s for s in present if s["finish"] == "stop"]
    chosen = [s for s in usable if s in voters and s["answer"] is not None]
    chosen = [s for s in chosen if votes[s["answer"]] == top]
    pairs, low = set(), None
    for c in chosen:
        others = [s for s in usable if s["answer"] != c["answer"]]
        if others:
            low = min(votes[s["answer"]] for s in others)
            pairs |= {(c["i"], s["i"]) for s in others if votes[s["answer"]] == low}
    if not pairs:
        return "truncated", None, set()
    return ("tied", None, set()) if low == top else ("kept", (top - low) / k, pairs)


_samples = st.lists(
    st.fixed_dictionaries(
        {
            "answer": st.sampled_from([None, "A", "B", "C", "D"]),
            "pool": st.sampled_from(["vote", "vote", "extra"]),
            "finish": st.sampled_from(["stop", "stop", "stop", "length"]),
        }
    ),
    max_size=9,
)


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(_samples, min_size=1, max_size=5),
    st.builds(
        ScpoSettings,
        threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7]),
        min_votes=st.sampled_from([1, 2]),
        k=st.sampled_from(["samples", "votes"]),
        extra=st.sampled_from(["rejected", "vote", "ignore"]),
        unparsed_rejected=st.booleans(),
        seed=st.integers(0, 1000),
    ),
)
def test_against_the_definition(table, prompts, given_settings):
    rows = [[{**s, "i": i} for i, s in enumerate(row)] for row in prompts]
    g = table(
        answer=[[s["answer"] for s in row] for row in rows],
        pool=[[s["pool"] for s in row] for row in rows],
        finish_reason=[[s["finish"] for s in row] for row in rows],
    )
    selection = scpo(g, given_settings)
    pairs = {pair["prompt_id"]: pair for pair in selection.pairs.to_pylist()}
    for line, row in zip(selection.ledger.to_pylist(), rows, strict=True):
        reason, weight, allowed = by_definition(row, given_settings)
        assert line["reason"] == reason
        if reason == "kept":
            pair = pairs[line["prompt_id"]]
            assert (pair["chosen_index"], pair["rejected_index"]) in allowed
            assert pair["weight"] == pytest.approx(weight)


# ---- draws ----------------------------------------------------------------------------------


def shuffled(g: Generations, seed: int) -> Generations:
    """The same table with its rows and their samples in another order."""
    rng = np.random.default_rng(seed)
    rows = g.table.to_pylist()
    for row in rows:
        order = rng.permutation(len(row["answer"]))
        for name in ("answer", "response"):
            row[name] = [row[name][i] for i in order]
    order = rng.permutation(len(rows))
    return Generations(pa.Table.from_pylist([rows[i] for i in order], schema=g.table.schema))


def test_the_order_of_rows_and_samples_plays_no_part(table):
    rng = np.random.default_rng(1)
    answers = [[str(a) for a in rng.integers(0, 4, 8)] for _ in range(500)]
    g = table(answer=answers)

    def answers_of(selection):
        return {
            pair["prompt_id"]: (pair["chosen_answer"], pair["rejected_answer"], pair["weight"])
            for pair in selection.pairs.to_pylist()
        }

    given_settings = ScpoSettings(threshold=0.25)
    expected = answers_of(scpo(g, given_settings))
    assert len(expected) > 300
    for seed in range(3):
        assert answers_of(scpo(shuffled(g, seed), given_settings)) == expected
    other_seed = answers_of(scpo(g, ScpoSettings(threshold=0.25, seed=1)))
    assert other_seed != expected


def test_reordering_rows_keeps_every_pair(table):
    rng = np.random.default_rng(2)
    g = table(answer=[[str(a) for a in rng.integers(0, 3, 8)] for _ in range(200)])
    order = rng.permutation(200)
    key = [("prompt_id", "ascending")]
    assert scpo(g.take(order)).pairs.sort_by(key).equals(scpo(g).pairs.sort_by(key))


def test_picks_are_uniform(table):
    """Within the cluster, and between clusters with equally few votes; one draw per prompt."""
    n = 20_000
    g = table(answer=[["A", "A", "A", "A", "B", "C", "D"]] * n)
    pairs = scpo(g).pairs
    chosen = np.bincount(pairs["chosen_index"].to_numpy(), minlength=4)
    rejected = np.bincount(pairs["rejected_index"].to_numpy(), minlength=7)[4:]
    assert chosen.sum() == rejected.sum() == n
    assert stats.chisquare(chosen).pvalue > 0.001
    assert stats.chisquare(rejected).pvalue > 0.001
    # The two draws are independent of each other.
    both = np.zeros((4, 3))
    np.add.at(both, (pairs["chosen_index"].to_numpy(), pairs["rejected_index"].to_numpy() - 4), 1)
    assert stats.chi2_contingency(both).pvalue > 0.001


def test_picks_of_one_prompt_over_seeds_are_uniform(table):
    g = table(answer=[["A", "A", "A", "A", "B"]])
    counts = Counter(
        scpo(g, ScpoSettings(seed=seed)).pairs["chosen_index"][0].as_py() for seed in range(400)
    )
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


# ---- tables ---------------------------------------------------------------------------------


def test_token_ids_and_provenance_travel_along(table):
    g = table(
        answer=[["A", "A", "B"]],
        token_ids=[[[1, 2], [1, 3], [4]]],
        finish_reason=[["stop", "stop", "stop"]],
        reward=[[0.1, 0.2, 0.3]],
    ).with_columns(
        {
            "prompt_token_ids": pa.array([[7, 8]], pa.list_(pa.int32())),
            "iteration": [2],
            "model": ["m1"],
        }
    )
    selection = scpo(g)
    pair = check_pairs(selection.pairs).to_pylist()[0]
    assert pair["prompt_ids"] == [7, 8]
    assert pair["chosen_ids"] == [[1, 2], [1, 3]][pair["chosen_index"]]
    assert pair["rejected_ids"] == [4]
    assert (pair["rule"], pair["iteration"], pair["model"]) == ("scpo", 2, "m1")
    assert pair["pair_id"] == "p0#0"
    assert pair["rejected_reward"] == 0.3
    assert selection.ledger["iteration"].to_pylist() == [2]


def test_raw_answers_vote_in_canonical_form_and_scored_ones_as_they_stand(table):
    g = table(answer=[["1,000", "1000.0", "$1000", "7"]])
    _, pair = only(scpo(g))
    assert (pair["chosen_answer"], pair["weight"]) == ("1000", 0.5)
    assert only(scpo(score(g, equivalence="exact"), ScpoSettings(threshold=0.5)))[0] == (
        "below_threshold"
    )


def test_answers_are_extracted_from_responses(table):
    g = table(response=[["#### 4", "so #### 4.0", "The answer is 5"]])
    _, pair = only(scpo(g))
    assert (pair["chosen_answer"], pair["rejected"]) == ("4", "The answer is 5")


def test_chat_prompts(table):
    messages = [[{"role": "user", "content": "2 + 2?"}]]
    g = table(answer=[["4", "4", "5"]], prompt=messages)
    assert scpo(g).pairs["prompt"].to_pylist() == messages


def test_missing_columns_are_named(table):
    g = table(answer=[["4"]])
    with pytest.raises(InputError, match="scpo needs the column 'response'; the table has answer"):
        scpo(Generations(g.table.drop(["response"])))
    with pytest.raises(InputError, match="scpo with labels needs the column 'correct'"):
        scpo(g, ScpoSettings(labels="use"))


def test_empty_table(table):
    empty = scpo(Generations(table(answer=[["4"]]).table.slice(0, 0)))
    assert (empty.pairs.num_rows, empty.ledger.num_rows) == (0, 0)
    assert empty.counts() == {"kept": 0}
