"""Rules by name, presets, the ledger."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from statllm.errors import InputError
from statllm.pairs import PAIR_COLUMNS
from statllm.selection import (
    RULES,
    IrpoSettings,
    RuleSettings,
    ScpoSettings,
    preset,
    preset_names,
    scpo,
    select,
    settings_of,
)

ANSWERS = [["A", "A", "B"], ["A", "A", "A"], [None, None, None], ["A", "B", "C"]]


@pytest.fixture
def labelled(table):
    return table(
        answer=ANSWERS,
        correct=[[True, True, False], [True] * 3, [False] * 3, [False, True, False]],
        reward=[[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [1.0, 2.0, 2.0]],
    )


@pytest.mark.parametrize("rule", RULES)
def test_ledger_accounts_for_every_prompt(labelled, rule):
    selection = select(rule, labelled)
    ledger = selection.ledger.to_pylist()
    assert [line["prompt_id"] for line in ledger] == labelled.prompt_ids
    assert sum(selection.counts().values()) == labelled.n_prompts
    assert sum(line["n_pairs"] for line in ledger) == selection.pairs.num_rows
    for line in ledger:
        assert line["kept"] == (line["reason"] == "kept") == (line["n_pairs"] > 0)
        assert line["rule"] == rule
    assert set(selection.pairs.column_names) <= set(PAIR_COLUMNS)
    kept = {line["prompt_id"] for line in ledger if line["kept"]}
    assert set(selection.pairs["prompt_id"].to_pylist()) == kept
    for name, kind in (("kept", pa.bool_()), ("reason", pa.string()), ("n_pairs", pa.int32())):
        assert selection.ledger.schema.field(name).type == kind


def test_summary(labelled):
    selection = select("scpo", labelled)
    assert selection.counts() == {
        "kept": 1,
        "below_threshold": 1,
        "no_distinct_answers": 1,
        "no_parsed_answer": 1,
    }
    assert selection.summary() == (
        "1 of 4 prompts kept, 1 pairs; dropped: below_threshold 1, no_distinct_answers 1, "
        "no_parsed_answer 1"
    )


def test_writing(labelled, tmp_path):
    selection = select("irpo", labelled)
    selection.write(tmp_path / "pairs.parquet", tmp_path / "ledger.parquet")
    assert pq.read_table(tmp_path / "pairs.parquet").equals(selection.pairs)
    assert pq.read_table(tmp_path / "ledger.parquet").equals(selection.ledger)


def test_settings_by_name_and_by_object(labelled):
    by_object = select("scpo", labelled, ScpoSettings(threshold=0.9))
    assert select("scpo", labelled, threshold=0.9).ledger.equals(by_object.ledger)
    assert scpo(labelled, ScpoSettings(threshold=0.9)).ledger.equals(by_object.ledger)
    changed = settings_of("scpo", ScpoSettings(threshold=0.9, seed=4), seed=5)
    assert changed == ScpoSettings(threshold=0.9, seed=5)


def test_wrong_names(labelled):
    with pytest.raises(InputError, match="rule 'dpo' is unknown; rules: scpo, irpo, rip"):
        select("dpo", labelled)
    with pytest.raises(InputError, match="rule 'scpo' has no setting 'tau'; it has seed"):
        select("scpo", labelled, tau=0.5)
    both = {"max_gap": 1.0, "gap_quantile": 0.5}
    with pytest.raises(InputError, match="^rip: max_gap and gap_quantile exclude each other$"):
        settings_of("rip", **both)
    with pytest.raises(InputError, match="scpo setting 'threshold'"):
        select("scpo", labelled, threshold=2)
    with pytest.raises(InputError, match="IrpoSettings are not the settings of rule 'scpo'"):
        select("scpo", labelled, IrpoSettings())


@pytest.mark.parametrize("rule", RULES)
def test_settings_are_frozen_documented_and_strict(rule):
    kind = RULES[rule].settings
    assert issubclass(kind, RuleSettings)
    assert all(field.description for field in kind.model_fields.values())
    with pytest.raises(ValidationError):
        kind().seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        kind(colour="red")  # type: ignore[call-arg]


# ---- presets: the numbers are typed from the papers' text and tables ------------------------


@pytest.mark.parametrize(
    ("name", "thresholds", "n"),
    [
        # Section 3 of arXiv 2411.04109: tau = .5k then .7k, .5k then .6k; k = 8 and 16.
        ("scpo-gsm8k", [(0.5, 1), (0.7, 1)], 8),
        ("scpo-math", [(0.5, 1), (0.6, 1)], 8),
        ("scpo-zebralogic", [(0.0, 2), (0.5, 1)], 16),
    ],
)
def test_scpo_presets(name, thresholds, n):
    for iteration, (share, votes) in enumerate(thresholds, start=1):
        given = preset(name, iteration)
        assert (given.settings.threshold, given.settings.min_votes) == (share, votes)
        assert (given.sampling.n, given.sampling.temperature, given.sampling.top_p) == (n, 0.7, 0.9)
        extra = (given.sampling.n_extra, given.sampling.extra_temperature)
        assert extra == ((0, None) if name == "scpo-zebralogic" else (8, 1.2))
        assert (given.training.beta, given.training.alpha) == (0.5, 1.0)
        assert given.training.learning_rate == (5e-6,)
        assert (given.training.batch_size, given.training.epochs) == (16, 10)


@pytest.mark.parametrize(
    ("name", "k", "n", "temperatures", "max_steps"),
    [
        # Section 3 of arXiv 2404.19733.
        ("irpo-gsm8k", 10, 30, [0.8, 0.8, 1.3, 1.3], 5000),
        ("irpo-arc", 20, 30, [0.8, 0.8, 1.3], 4000),
        ("irpo-math", 15, 20, [0.8, 0.8, 1.0], 5000),
    ],
)
def test_irpo_presets(name, k, n, temperatures, max_steps):
    for iteration, temperature in enumerate(temperatures, start=1):
        given = preset(name, iteration)
        assert given.settings.pairs_per_prompt == k
        assert (given.sampling.n, given.sampling.temperature) == (n, temperature)
        assert (given.training.beta, given.training.alpha) == (0.1, 1.0)
        assert given.training.learning_rate == (7e-7,)
        assert (given.training.batch_size, given.training.max_steps) == (16, max_steps)
    assert (preset("irpo-gsm8k").settings.gold, preset("irpo-gsm8k").settings.max_pairs) == (
        "last",
        60_000,
    )
    assert preset("irpo-arc").settings.gold == "ignore"


@pytest.mark.parametrize(
    ("name", "reward", "length", "gap", "n"),
    [
        # Table 10 of arXiv 2501.18578.
        ("rip-wildchat-8b", 0.126, 1878, 0.042, 64),
        ("rip-wildchat-8b-no-gap", 0.126, 1878, None, 64),
        ("rip-wildchat-70b", 0.126, 1878, 0.042, 32),
        ("rip-405b-judge", 8, 1399, 1, 64),
        ("rip-helpsteer2", None, 1303, None, 2),
        ("rip-self-instruct", 0.126, 1878, None, 64),
        ("rip-self-rip", 0.126, 1878, None, 64),
    ],
)
def test_rip_presets(name, reward, length, gap, n):
    given = preset(name)
    rule = given.settings
    assert (rule.min_rejected_reward, rule.min_rejected_length, rule.max_gap) == (
        reward,
        length,
        gap,
    )
    assert rule.gap_inclusive == (name != "rip-405b-judge")
    assert given.sampling.n == n
    assert given.training.beta == 0.1
    assert given.training.batch_size == (256 if "70b" in name else 64)


def test_preset_names():
    assert [name for rule in RULES for name in preset_names(rule)] == preset_names()
    for name in preset_names():
        given = preset(name)
        assert given.rule == name.split("-")[0]
        assert isinstance(given.settings, RULES[given.rule].settings)
        assert "arXiv" in given.source
    with pytest.raises(InputError, match="preset 'scpo-arc' is unknown; presets: scpo-gsm8k"):
        preset("scpo-arc")
    with pytest.raises(InputError, match="preset 'scpo-math' has iterations 1 to 2, not 3"):
        preset("scpo-math", 3)
    assert preset("scpo-math", 2, seed=9).settings == ScpoSettings(threshold=0.6, seed=9)
