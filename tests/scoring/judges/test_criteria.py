"""Criteria as pass vectors, and the layers of good feedback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.sampling.judge_model import open_judge
from statllm.sampling.settings import SamplingSettings
from statllm.scoring.judges import (
    LAYERS,
    JudgeSettings,
    Question,
    judge,
    layered_rates,
    load_template,
    parse_scores,
    read_criteria,
    read_verdicts,
)

nan = float("nan")


def table_of(responses: list[list[str | None]]) -> Generations:
    ids = [f"p{i}" for i in range(len(responses))]
    column = pa.array(responses, pa.list_(pa.string()))
    return Generations(pa.table({"prompt_id": ids, "prompt": ["?"] * len(ids), "response": column}))


def test_pass_vectors_of_a_model(
    judge_folder: Path, rules: SimpleNamespace, tmp_path: Path
) -> None:
    criteria = tmp_path / "criteria.yaml"
    criteria.write_text("first: even\nsecond: big\n")
    given = {
        "kind": "criteria", "criteria": str(criteria),
        "template": str(judge_folder / "templates" / "check.yaml"),
    }  # fmt: skip
    model = open_judge(judge_folder, SamplingSettings(temperature=0.0, max_new_tokens=3))
    table = table_of([["4", "0", None], ["7", "6"]])
    judged = judge(table, model, JudgeSettings(**given), cache=tmp_path)
    vectors = judged.generations.column("criteria").to_pylist()
    assert vectors == [[[1, 0], [1, None], None], [[0, 1], [1, 1]]]
    assert judged.generations.column("criteria_names").to_pylist() == [["first", "second"]] * 2
    assert judged.generations.column("reward").to_pylist() == [[0.5, 1, None], [0.5, 1]]
    assert judged.generations.column("judge_n_unread").to_pylist() == [0, 0]  # N/A was read
    assert judged.generations.column("judge_n_left_out").to_pylist() == [1, 0]
    assert judged.summary is not None
    assert judged.summary.reasons == {"not_applicable": 1}
    for row in judged.verdicts.to_pylist():
        text = {"first": "even", "second": "big"}[row["criterion"]]
        number = table.column("response")[int(row["prompt_id"][1:])][row["response"]].as_py()
        assert row["text"] == rules.criterion(text, int(number))
    strict = judge(table, model, JudgeSettings(pass_rule="all", **given), cache=tmp_path)
    assert strict.generations.column("reward").to_pylist() == [[0, 1, None], [0, 1]]


class LayerRules:
    """2 passes one layer, 4 two of them, and so on; nothing can be read of what is said to 5."""

    name, identity, samples = "layers", "layers", False

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def write(
        self, keys: Sequence[str], questions: Sequence[Question], votes: range
    ) -> Iterator[tuple[int, list[str | None]]]:
        for place, question in enumerate(questions):
            assert not isinstance(question, str)
            content = question[-1]["content"]
            layer = next(i for i, text in enumerate(LAYERS.values()) if text in content)
            number = int(content.split("<feedback>")[1].split("<")[0])
            self.asked.append((layer, number))
            verdict = "hm" if number == 5 and layer else f"[[{int(number >= 2 * layer + 2)}]]"
            yield place, [verdict]


def test_a_layer_is_asked_of_what_passed_all_before(tmp_path: Path) -> None:
    rules = LayerRules()
    table = table_of([["1", "2", None, "9"], ["5"], ["6", "4"]])
    judged = judge(table, rules, JudgeSettings(kind="layers"), cache=tmp_path)
    assert sorted(rules.asked) == [
        (0, 1), (0, 2), (0, 4), (0, 5), (0, 6), (0, 9),
        (1, 2), (1, 4), (1, 5), (1, 6), (1, 9),
        (2, 4), (2, 6), (2, 9),
        (3, 6), (3, 9),
    ]  # fmt: skip
    assert judged.generations.column("reward").to_pylist() == [[0, 1, None, 4], [None], [3, 2]]
    layers = judged.generations.column("layers").to_pylist()
    assert layers[0] == [[0, None, None, None], [1, 0, None, None], None, [1, 1, 1, 1]]
    assert layers[1] == [[1, None, None, None]]
    assert judged.generations.column("judge_n_unread").to_pylist() == [0, 1, 0]


def test_layered_rates_against_counting() -> None:
    rng = np.random.default_rng(1)
    table = rng.choice([0, 1, 1, 1, nan], (60, 4))
    rates = layered_rates(table)
    rows = list(table)
    for layer, rate in enumerate(rates.rates):
        read = [row for row in rows if not np.isnan(row[layer])]
        passed = [row for row in read if row[layer] == 1]
        assert (rates.n_asked[layer], rates.n_unread[layer]) == (len(rows), len(rows) - len(read))
        assert (rate.n, rate.value) == (len(read), len(passed) / len(read))
        wilson = binomtest(len(passed), len(read)).proportion_ci(method="wilson")
        interval = rate.interval(0.95)
        assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high))
        rows = passed
    assert rates.overall.value * rates.overall.n == pytest.approx(len(rows))
    assert rates.overall.n == 60 - sum(rates.n_unread)
    assert rates.to_frame()["name"].tolist() == list(LAYERS)
    assert list(rates.n_asked) == sorted(rates.n_asked, reverse=True)


def test_document_rubric_adds_up_its_facets() -> None:
    rubric = load_template("document_reasoning")
    assert (rubric.low, rubric.high) == (-2, 9)
    facets = '"problem_completeness": 2, "problem_complexity": 1, "technical_correctness": 0.5'
    texts = {
        f"{{{facets}, \"thinking\": 3}}": 6.5,
        f"{{{facets}, \"thinking\": -1, \"score\": 2.5}}": 2.5,
        f"{{{facets}, \"thinking\": 3, \"score\": 7}}": "contradictory",
        f"{{{facets}}}": "no_verdict",
        f"{{{facets}, \"thinking\": 4}}": "out_of_range",
        f"{{{facets}, \"thinking\": \"3\"}}": "invalid_value",
        f"{{{facets}, \"thinking\": 1, \"thinking\": 2}}": "contradictory",
        '{"score": 9}': "no_verdict",
    }  # fmt: skip
    verdicts = read_verdicts(rubric, list(texts))
    found = [
        reason if value is None else value
        for value, reason in zip(
            verdicts.value.to_pylist(), verdicts.reason.to_pylist(), strict=True
        )
    ]
    assert found == list(texts.values())
    with pytest.raises(InputError, match="need grammar json"):
        parse_scores(["Score: 1"], 0, 9, parts={"a": [0, 1]})


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs criteria"):
        JudgeSettings(kind="criteria")
    with pytest.raises(ValueError, match="isn't NAME=TEXT"):
        JudgeSettings(fields=("criterion",))
    path = tmp_path / "list.yaml"
    path.write_text("- one\n")
    with pytest.raises(InputError, match="a mapping of names to texts"):
        read_criteria(path)
    with pytest.raises(InputError, match="does not exist"):
        read_criteria(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="4 layers were expected"):
        layered_rates([[1.0, 0.0]])
    with pytest.raises(ValueError, match="1, 0 and NaN"):
        layered_rates([[1.0, 0.5, 0, 0]])
