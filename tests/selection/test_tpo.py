"""TPO: scores with a price on length, pairs, parse failures and their cap, and the tuned price."""

from __future__ import annotations

import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from statllm.errors import InputError
from statllm.estimators.ranking import elo_from_battles
from statllm.generations import Generations
from statllm.ragged import Ragged
from statllm.selection import TpoSettings, length_controlled, preset, rip, tpo
from statllm.training_recipe import preset_settings

REWARDS, LENGTHS = [0.10, 0.14, 0.12, 0.16], [100, 200, 150, 400]
relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def cut(thought: str, response: str | None) -> str:
    return thought if response is None else f"{thought}<R>{response}"


def said(rows: list[list[tuple[float | None, str | None]]], thought: str = "Hm.") -> Generations:
    """Rows of (reward, response part); None for a text that can't be cut."""
    return Generations(
        pa.table(
            {
                "prompt_id": [f"p{i}" for i in range(len(rows))],
                "prompt": [f"question {i}" for i in range(len(rows))],
                "response": pa.array(
                    [[cut(thought, part) for _, part in row] for row in rows],
                    pa.list_(pa.string()),
                ),
                "reward": pa.array(
                    [[reward for reward, _ in row] for row in rows], pa.list_(pa.float64())
                ),
            }
        )
    )


def test_scores_worked_by_hand() -> None:
    """r and l of the issue; standard deviations sqrt(.0005) and sqrt(12968.75), ddof 0."""
    rewards, lengths = (Ragged.from_lists([v]) for v in (REWARDS, LENGTHS))
    half = length_controlled(rewards, lengths, 0.5).values
    np.testing.assert_allclose(half, [-0.848, 0.502, -0.173, 0.518], atol=5e-4)
    one = length_controlled(rewards, lengths, 1.0).values
    np.testing.assert_allclose(one, [-0.354, 0.557, 0.102, -0.305], atol=5e-4)
    assert (half.argmax(), half.argmin(), one.argmax(), one.argmin()) == (3, 0, 1, 0)


@pytest.mark.parametrize(("rho", "best"), [(0.5, 3), (1.0, 1)])
def test_the_pair_of_that_example(rho: float, best: int) -> None:
    g = said([[(r, "x" * n) for r, n in zip(REWARDS, LENGTHS, strict=True)]])
    found = tpo(g, TpoSettings(rho=rho, response_part="<R>"))
    (pair,) = found.pairs.to_pylist()
    assert (pair["chosen_index"], pair["rejected_index"]) == (best, 0)
    assert pair["chosen"] == "Hm.<R>" + "x" * LENGTHS[best]  # whole texts are trained on
    assert pair["prompt"] == "question 0"
    (line,) = found.ledger.to_pylist()
    assert (line["chosen_length"], line["rejected_length"]) == (LENGTHS[best], 100)
    assert line["rho"] == rho


def test_equal_values_have_no_spread() -> None:
    """The mean of three times .1 isn't .1 in floating point: sd would be 1e-17, and N 1."""
    equal, lengths = Ragged.from_lists([[0.1] * 3]), Ragged.from_lists([[5, 5, 5]])
    assert length_controlled(equal, lengths, 0.5).values.tolist() == [0.0] * 3
    varied = Ragged.from_lists([[1, 2, 3]])
    by_length = length_controlled(equal, varied, 0.5).values
    assert by_length.tolist() == sorted(by_length, reverse=True)
    g = said([[(0.1, "abc"), (0.1, "abc"), (0.1, "abc")], [(0.1, "a"), (0.1, "abc")]])
    found = tpo(g, TpoSettings(rho=0.5, response_part="<R>"))
    assert found.ledger["reason"].to_pylist() == ["tied", "kept"]
    assert found.pairs["chosen"].to_pylist() == ["Hm.<R>a"]


@relaxed
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 4).map(float), st.integers(1, 9).map("y".__mul__)), max_size=6
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_against_a_plain_loop(rows: list[list[tuple[float, str]]], rho: float) -> None:
    expected = {}
    for i, row in enumerate(rows):
        if len(row) < 2:
            continue
        columns = [[reward for reward, _ in row], [float(len(text)) for _, text in row]]
        z = []
        for values in columns:
            mean, sd = statistics.fmean(values), statistics.pstdev(values)
            z.append([0.0 if len(set(values)) == 1 else (v - mean) / sd for v in values])
        score = [round(a - rho * b, 9) for a, b in zip(*z, strict=True)]
        assume(len(set(score)) == 1 or max(score) - min(score) > 1e-6)
        if len(set(score)) > 1:
            expected[f"p{i}"] = (score.index(max(score)), score.index(min(score)))
    found = tpo(said(rows), TpoSettings(rho=rho, response_part="<R>", ties="first"))
    got = {
        p["prompt_id"]: (p["chosen_index"], p["rejected_index"]) for p in found.pairs.to_pylist()
    }
    assert got == expected


def test_thoughts_decide_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = [[(float(rng.normal()), "y" * int(rng.integers(1, 60))) for _ in range(5)]] * 20
    short, long = said(rows, "Hm."), said(rows, "Hm. " * 50)
    mixed = long.with_columns(
        {"final_response": [[part for _, part in row] for row in rows]}
    )  # the column, without a marker named
    chosen = [
        tpo(g, TpoSettings(rho=0.3, response_part=part)).pairs.select(
            ["chosen_index", "rejected_index"]
        )
        for g, part in ((short, "<R>"), (long, "<R>"), (mixed, None))
    ]
    assert chosen[0].equals(chosen[1])
    assert chosen[0].equals(chosen[2])


def test_without_a_marker_the_whole_text_is_the_response() -> None:
    """The direct baseline: at rho 0 the pairs are RIP's without its filters."""
    rng = np.random.default_rng(1)
    g = said([[(float(rng.integers(0, 4)), "y" * int(rng.integers(1, 9))) for _ in range(6)]] * 30)
    ours = tpo(g, TpoSettings(rho=0, ties="first")).pairs
    theirs = rip(g, rip_settings()).pairs
    assert ours.drop_columns(["rule"]).equals(theirs.drop_columns(["rule"]))


def rip_settings():
    from statllm.selection import RipSettings

    return RipSettings(ties="first")


# ---- texts that can't be cut --------------------------------------------------------------------


def failing(n: int, of: int, others: int = 2) -> Generations:
    """`of` of `n` prompts have a text that can't be cut, beside `others` that can."""
    good = [(float(i), "y" * (i + 1)) for i in range(others)]
    return said([[*good, (None, None)] if i < of else [(0.0, "a"), (1.0, "b")] for i in range(n)])


def test_failures_are_rejected_up_to_the_cap() -> None:
    for share, expected in ((1.0, 50), (0.1, 10), (0.25, 25), (0.0, 0)):
        found = tpo(
            failing(100, 50),
            TpoSettings(rho=0, response_part="<R>", max_failure_share=share),
        )
        assert found.counts() == {"kept": 100}
        failed = found.ledger["rejected_failed"].to_pylist()
        assert sum(failed) == expected
        assert found.thresholds["failure_share"] == expected / 100
        pairs = found.pairs.to_pylist()
        assert [p["rejected"] == "Hm." for p in pairs] == failed
        assert all(p["chosen_index"] == 1 for p in pairs)  # the argmax of what could be cut


def test_the_cap_counts_pairs_that_only_failures_make() -> None:
    """50 prompts have another pair; j of the rest get one: j <= .1 (50 + j) gives j = 5."""
    found = tpo(
        failing(100, 50, others=1), TpoSettings(rho=0, response_part="<R>", max_failure_share=0.1)
    )
    assert found.counts() == {"kept": 55, "failures_over_cap": 45}
    none = tpo(
        failing(100, 50, others=1), TpoSettings(rho=0, response_part="<R>", unparsed="dropped")
    )
    assert none.counts() == {"kept": 50, "too_few_responses": 50}


def test_which_failures_are_rejected_depends_on_names_not_on_order() -> None:
    g = failing(60, 40)
    settings_ = TpoSettings(rho=0, response_part="<R>", max_failure_share=0.3, seed=3)
    order = np.random.default_rng(0).permutation(60)
    one, other = tpo(g, settings_).pairs, tpo(g.take(order), settings_).pairs
    assert one.sort_by("prompt_id").equals(other.sort_by("prompt_id"))
    changed = tpo(g, settings_.model_copy(update={"seed": 4})).ledger["rejected_failed"]
    assert changed.to_pylist() != tpo(g, settings_).ledger["rejected_failed"].to_pylist()


@relaxed
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2).map(float), st.sampled_from(["a", "bb", None]))),
        max_size=12,
    ),
    st.floats(0, 1),
)
def test_the_cap_holds_and_no_more_is_given_up_than_it_asks(
    rows: list[list[tuple[float, str | None]]], share: float
) -> None:
    rows = [[(None if part is None else r, part) for r, part in row] for row in rows]
    found = tpo(said(rows), TpoSettings(rho=0.1, response_part="<R>", max_failure_share=share))
    ledger = found.ledger.to_pylist()
    kept = [line for line in ledger if line["kept"]]
    failed = sum(line["rejected_failed"] for line in kept)
    assert failed <= share * len(kept) + 1e-6
    assert sum(found.counts().values()) == len(rows)
    left = [
        line for line, row in zip(ledger, rows, strict=True)
        if any(part is None for _, part in row) and any(part for _, part in row)
        and not line["rejected_failed"]
    ]  # fmt: skip
    # One more prompt would break it, whichever that is: at best it adds a pair, too.
    if left:
        assert failed + 1 > share * (len(kept) + 1) - 1e-6 or failed + 1 > share * len(kept) - 1e-6


def test_prompts_without_a_pair() -> None:
    g = said(
        [
            [(None, None), (None, None)],
            [(1.0, "a")],
            [],
            [(1.0, "a"), (1.0, "a")],
            [(0.0, "a"), (1.0, "a")],
        ]
    )
    found = tpo(g, TpoSettings(rho=0, response_part="<R>"))
    assert found.ledger["reason"].to_pylist() == [
        "no_parsed_response",
        "too_few_responses",
        "no_parsed_response",
        "tied",
        "kept",
    ]
    assert found.ledger["n_failed"].to_pylist() == [2, 0, 0, 0, 0]


def test_cut_off_texts_are_neither_responses_nor_failures() -> None:
    g = said([[(0.0, "a"), (1.0, "b"), (2.0, "c"), (None, None)]])
    g = g.with_columns({"finish_reason": [["stop", "stop", "length", "length"]]})
    found = tpo(g, TpoSettings(rho=0, response_part="<R>", max_failure_share=1))
    (pair,) = found.pairs.to_pylist()
    assert (pair["chosen_index"], pair["rejected_index"]) == (1, 0)
    found = tpo(
        g, TpoSettings(rho=0, response_part="<R>", max_failure_share=1, truncated="include")
    )
    (pair,) = found.pairs.to_pylist()
    assert (pair["chosen_index"], pair["rejected_index"]) == (2, 3)


@pytest.mark.parametrize(("bad", "what"), [(None, "missing"), (float("inf"), "infinite")])
def test_rewards_that_are_no_numbers(bad: float | None, what: str) -> None:
    g = said([[(0.0, "a"), (1.0, "b")], [(0.0, "a"), (bad, "b"), (1.0, "c"), (None, None)]])
    with pytest.raises(InputError, match=rf"'reward' is {what} for sample 1 of row 1 .*'p1'"):
        tpo(g, TpoSettings(rho=0, response_part="<R>"))
    found = tpo(g, TpoSettings(rho=0, response_part="<R>", missing="drop", max_failure_share=0))
    assert found.pairs["chosen_index"].to_pylist() == [1, 2]


def test_wrong_input_is_named() -> None:
    g = said([[(0.0, "a"), (1.0, "b")]])
    with pytest.raises(InputError, match="tpo needs the column 'reward'"):
        tpo(Generations(g.table.drop_columns(["reward"])))
    with pytest.raises(InputError, match="'final_response' hasn't as many texts"):
        tpo(g.with_columns({"final_response": [["a"]]}))
    for bad in (-0.1, float("nan"), float("inf"), "some"):
        with pytest.raises(ValueError, match="rho"):
            TpoSettings(rho=bad)


def test_elo_of_the_self_taught_evaluator_goes_in() -> None:
    """B_mn = 1[m beats n, m first] + 1[n loses to m, n first]; a judge that prefers later ones."""
    k = 4
    wins = 2.0 * np.tril(np.ones((k, k)), -1)
    rating = elo_from_battles(wins).rating
    found = tpo(
        said([[(float(r), "y") for r in rating]]), TpoSettings(rho=0.1, response_part="<R>")
    )
    (pair,) = found.pairs.to_pylist()
    assert (pair["chosen_index"], pair["rejected_index"]) == (3, 0)
    plain = elo_from_battles(wins, prior_ties=0).rating  # the paper's: no finite maximum
    with pytest.raises(InputError, match="prior_ties above 0 keeps it finite"):
        tpo(said([[(float(r), "y") for r in plain]]), TpoSettings(rho=0, response_part="<R>"))


# ---- the tuned price ----------------------------------------------------------------------------


def wordy(n: int, bias: float, seed: int = 0) -> Generations:
    """Rewards that grow with length."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, (n, 6))
    rewards = rng.normal(size=(n, 6)) + bias * lengths / 10
    return said(
        [
            [(float(r), "y" * int(m)) for r, m in zip(*row, strict=True)]
            for row in zip(rewards, lengths, strict=True)
        ]
    )


def difference(g: Generations, rho: float) -> float:
    pairs = tpo(g, TpoSettings(rho=rho, response_part="<R>", rho_step=0.05)).pairs.to_pylist()
    return float(np.mean([len(p["chosen"]) - len(p["rejected"]) for p in pairs]))


@pytest.mark.parametrize("bias", [0.05, 0.12, 0.2])
def test_the_price_is_the_smallest_that_is_enough(bias: float) -> None:
    g = wordy(150, bias)
    grid = [round(0.05 * i, 12) for i in range(11)]
    by_hand = {rho: difference(g, rho) for rho in grid}
    values = list(by_hand.values())
    assert values == sorted(values, reverse=True)  # a price never makes the chosen side longer
    enough = [rho for rho, value in by_hand.items() if value <= 0]
    found = tpo(g, TpoSettings(response_part="<R>", rho_step=0.05)).thresholds
    assert found["rho"] == (enough[0] if enough else 0.5)
    assert found["length_difference"] == pytest.approx(by_hand[found["rho"]])
    assert found["rho_low"] <= found["rho"] <= found["rho_high"]
    assert found["length_difference_low"] < found["length_difference"]


def test_where_no_price_or_none_at_all_is_needed() -> None:
    steep = tpo(wordy(80, 5.0), TpoSettings(response_part="<R>")).thresholds
    assert steep["rho"] == steep["rho_high"] == 0.5
    assert steep["length_difference"] > 0  # says that it wasn't enough
    assert tpo(wordy(80, -1.0), TpoSettings(response_part="<R>")).thresholds["rho"] == 0.0
    wider = tpo(wordy(80, 5.0), TpoSettings(response_part="<R>", max_rho=2.0)).thresholds
    assert wider["length_difference"] <= 0
    assert 0.5 < wider["rho"] < 2


def test_the_interval_of_the_price_covers_that_of_many_prompts() -> None:
    """The price that ten thousand prompts would get lies in most of the intervals of 60."""
    truth = tpo(wordy(4000, 0.12, seed=9), TpoSettings(response_part="<R>", rho_step=0.02))
    target = truth.thresholds["rho"]
    assert 0.05 < target < 0.45
    found = [
        tpo(wordy(60, 0.12, seed), TpoSettings(response_part="<R>", rho_step=0.02)).thresholds
        for seed in range(40)
    ]
    covered = [t["rho_low"] - 0.02 <= target <= t["rho_high"] + 0.02 for t in found]
    assert np.mean(covered) >= 0.85
    assert np.std([t["rho"] for t in found]) > 0  # and they aren't all the same


def test_units_of_length() -> None:
    g = said([[(1.0, "a b c"), (0.9, "abcdefgh"), (0.0, "z")]])
    for unit, lengths in (("words", (3.0, 1.0)), ("characters", (5.0, 1.0))):
        (line,) = tpo(g, TpoSettings(rho=0, response_part="<R>", length=unit)).ledger.to_pylist()
        assert (line["chosen_length"], line["rejected_length"]) == lengths


def test_preset() -> None:
    """Text of arXiv 2410.10630: K = 8, temperature .8, top-p .95, rho in [0, .5], 10 epochs."""
    for iteration in (1, 2, 3, 4):
        known = preset("tpo-ultrafeedback", iteration)
        assert (known.settings.rho, known.settings.max_rho) == ("auto", 0.5)
        assert known.settings.unparsed == "rejected"
        assert (known.sampling.n, known.sampling.temperature, known.sampling.top_p) == (
            8,
            0.8,
            0.95,
        )
    # beta, learning rate and batch size aren't printed: ours are kept.
    assert preset_settings("tpo-ultrafeedback") == {"loss": "dpo", "alpha": 0.0, "epochs": 10}
