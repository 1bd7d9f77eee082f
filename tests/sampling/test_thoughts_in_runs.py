"""Thought prompts in a run: what is scored, rated, sampled again, and what a whole run keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.experiment import read_experiment
from statllm.files import read_json, read_parquet
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.loop import run
from statllm.recipe import Recipe, make_recipe
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.thoughts import (
    ThoughtSettings,
    rate_shown,
    sample_shown,
    score_shown,
    thought_tokens,
)
from statllm.scoring.settings import ScoringSettings
from statllm.stages import Run, is_complete

SPECIFIC = ThoughtSettings(template="tpo_specific")
TEMPLATE = (
    "name: marked\nversion: 1\ntask: thoughts\nsource: a test\n"
    'delimiters: {response: "####"}\nuser: "{prompt}"\n'
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "marked.yaml"
    path.write_text(TEMPLATE)
    return path


def said() -> Generations:
    return Generations(
        pa.table(
            {
                "prompt_id": ["a", "b"],
                "prompt": ["Think. 2 + 2?", "Think. 3 + 3?"],
                "original_prompt": ["2 + 2?", "3 + 3?"],
                "reference": ["4", "6"],
                "response": [["#### 4? No. <R> 5", "5? <R> It's 4.", "#### 4"], ["6", "<R> 6"]],
            }
        )
    )


def test_answers_are_those_of_the_response_part() -> None:
    scored = score_shown(said(), SPECIFIC, ScoringSettings())
    assert scored.column("answer").to_pylist() == [["5", "4", None], [None, "6"]]
    assert scored.column("correct").to_pylist() == [[False, True, False], [False, True]]
    assert scored.column("response").to_pylist() == said().column("response").to_pylist()
    assert scored.column("prompt").to_pylist() == ["Think. 2 + 2?", "Think. 3 + 3?"]
    assert scored.column("n_votes").to_pylist() == [2, 1]


def test_a_rater_sees_original_prompts_and_response_parts_alone() -> None:
    scored = score_shown(said(), SPECIFIC, ScoringSettings())
    seen = []

    def rate(table: Generations) -> Generations:
        seen.append(table)
        texts = table.column("response").to_pylist()
        return table.with_columns({"reward": [[float(len(text)) for text in row] for row in texts]})

    rated = rate_shown(scored, rate)
    (table,) = seen
    assert table.column("prompt").to_pylist() == ["2 + 2?", "3 + 3?"]
    assert table.column("response").to_pylist() == [["5", "It's 4."], ["6"]]
    assert table.column("correct").to_pylist() == [[False, True], [True]]
    assert rated.column("reward").to_pylist() == [[1.0, 7.0, None], [None, 1.0]]
    assert rated.column("response").to_pylist() == said().column("response").to_pylist()


def test_what_cannot_be_cut_is_sampled_again(template: Path, tmp_path: Path) -> None:
    """At a high temperature many texts lack the marker; what could be cut stays as it is."""
    asked, again = (
        problems("test", 12, 3),
        SamplingSettings(n=4, temperature=1.0, max_new_tokens=40),
    )
    hot = SamplingSettings(n=4, temperature=2.5, max_new_tokens=40, seed=5)
    never = ThoughtSettings(template=str(template), retries=0)
    often = ThoughtSettings(template=str(template), retries=6)
    first = sample_shown(model_path(), asked, hot, again, never, tmp_path / "a.parquet")
    later = sample_shown(model_path(), asked, hot, again, often, tmp_path / "b.parquet")
    before, after = (t.column("thought_failure").to_pylist() for t in (first, later))
    counts = [sum(reason is not None for reason in row) for row in before]
    assert first.column("first_failures").to_pylist() == counts
    assert later.column("first_failures").to_pylist() == counts
    assert 5 < sum(counts) < 48
    assert sum(reason is not None for row in after for reason in row) < sum(counts) / 4
    old, new = (t.column("response").to_pylist() for t in (first, later))
    for row in range(12):
        for place in range(4):
            if before[row][place] is None:
                assert old[row][place] == new[row][place]
            elif after[row][place] is None:
                assert "####" in new[row][place]
                assert new[row][place] != old[row][place]
    (tmp_path / "b_1.parquet").unlink()  # as if it had been killed there
    repeat = sample_shown(model_path(), asked, hot, again, often, tmp_path / "b.parquet")
    assert repeat.column("response").to_pylist() == new


def test_thought_tokens_are_those_before_the_marker(template: Path) -> None:
    """The sampler's own count of the whole, less marker, answer and end of sequence."""
    thoughts = ThoughtSettings(template=str(template))
    from statllm.sampling.prompts import thought_prompts

    asked = thought_prompts(problems("test", 20, 0), thoughts.load())
    drawn = Generations(
        sample(model_path(), asked, SamplingSettings(n=1, temperature=0.0, max_new_tokens=60))
    )
    scored = score_shown(drawn, thoughts, ScoringSettings())
    found = np.array(thought_tokens(model_path(), scored).to_pylist(), dtype=float)
    whole = np.array([row[0] for row in scored.column("n_tokens").to_pylist()])
    assert np.isfinite(found).any()
    rest = (whole - found)[np.isfinite(found)]
    assert set(rest) <= {3.0, 4.0, 5.0}  # "####", " 48" (one or two tokens), the end


def recipe(template: Path, **changes: Any) -> Recipe:
    return make_recipe(
        {
            "name": "tpo",
            "model": "lab",
            "thoughts": str(template),
            "problems": {"source": "lab:train", "n": 12},
            "sampling": {"n": 4, "temperature": 1.5, "max_new_tokens": 50},
            "rewards": {"lab": {"careful": 0, "noise": 0.2}},
            "selection": {"rule": "tpo", "settings": {"rho": "auto", "max_failure_share": 0.5}},
            "training": {"loss": "dpo", "max_steps": 1, "batch_size": 4},
            "evaluation": {"problems": {"source": "lab:test", "n": 8}, "k": 2},
            "iterations": [{}],
            **changes,
        }
    )


@pytest.fixture(scope="module")
def finished(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(recipe(template), tmp_path_factory.mktemp("run"), isolate=False)


def test_a_run_with_thoughts(finished: Run) -> None:
    scored = Generations.read(finished.path(1, "scores.parquet"))
    rewarded = Generations.read(finished.path(1, "rewards.parquet"))
    failures = scored.column("thought_failure").to_pylist()
    rewards = rewarded.column("reward").to_pylist()
    assert any(reason for row in failures for reason in row)
    for row, reward in zip(failures, rewards, strict=True):
        assert [reason is not None for reason in row] == [value is None for value in reward]
    assert rewarded.column("response").to_pylist() == scored.column("response").to_pylist()
    pairs = read_parquet(finished.path(1, "pairs.parquet")).to_pylist()
    texts = dict(zip(scored.prompt_ids, scored.column("response").to_pylist(), strict=True))
    asked = dict(zip(scored.prompt_ids, scored.column("prompt").to_pylist(), strict=True))
    for pair in pairs:
        assert pair["prompt"] == asked[pair["prompt_id"]]
        assert pair["chosen"] == texts[pair["prompt_id"]][pair["chosen_index"]]
        assert "####" in pair["chosen"]
    counts = read_json(finished.record(1, "score"))["counts"]
    assert counts["thoughts: split"] == sum(r is None for row in failures for r in row)
    table = read_parquet(finished.path(1, "evaluation.parquet"))
    assert table["prompt"].to_pylist() == problems("test", 8, 0)["prompt"].to_pylist()
    assert {"greedy_failed", "parse_failures", "thought_tokens"} <= set(table.column_names)
    names = {row["name"] for row in read_parquet(finished.folder / "metrics.parquet").to_pylist()}
    assert {"parse_failures", "thought_tokens"} <= names


def test_it_goes_on_and_notices_another_template(finished: Run, template: Path) -> None:
    states = []
    run(
        recipe(template),
        finished.folder,
        isolate=False,
        listener=lambda *now: states.append(now[2]),
    )
    assert set(states) == {"kept"}
    try:
        template.write_text(TEMPLATE.replace("{prompt}", "Think. {prompt}"))
        from statllm.sampling.prompts import load_template

        load_template.cache_clear()
        for stage in ("sample", "score", "reward", "evaluate"):
            assert not is_complete(finished, 1, stage)
        assert is_complete(finished, 1, "train")
    finally:
        template.write_text(TEMPLATE)
        load_template.cache_clear()


def test_a_judge_and_a_reward_model_see_no_thought(template: Path, tmp_path: Path) -> None:
    """Their rewards are those of a table that never had a thought."""
    from statllm.scoring.judges import JudgeSettings, YesNoJudge, judge

    question = tmp_path / "short.yaml"
    question.write_text(
        "name: short\nversion: 1\nmode: yes-no\ngrammar: next_token\n"
        'user: "{prompt} {response} Right? Answer yes or no."\n'
    )
    judging = {"kind": "yes-no", "plain": True, "template": str(question)}
    done = run(
        recipe(
            template,
            rewards={"judge": "lab", "judging": judging},
            problems={"source": "lab:train", "n": 5},
            selection={"rule": "tpo", "settings": {"rho": 0.1}},
        ),
        tmp_path / "run",
        isolate=False,
    )
    scored = Generations.read(done.path(1, "scores.parquet"))
    bare = Generations(
        pa.table(
            {
                "prompt_id": scored.column("prompt_id"),
                "prompt": scored.column("original_prompt"),
                "response": scored.column("final_response"),
            }
        )
    )
    expected = judge(bare, YesNoJudge.load(str(model_path())), JudgeSettings(**judging)).generations
    found = Generations.read(done.path(1, "rewards.parquet"))
    np.testing.assert_allclose(
        found.ragged("reward").values, expected.ragged("reward").values, rtol=1e-5, atol=1e-6
    )
    assert found.column("prompt").to_pylist() == scored.column("prompt").to_pylist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"thoughts": "tpo_none"}, "'tpo_none' is none of"),
        ({"thoughts": "lift_words"}, "is for length; for thoughts: tpo_generic"),
        ({"thoughts": {"template": "tpo_generic", "retrys": 2}}, "unknown key 'thoughts.retrys'"),
        ({"thoughts": {"template": "tpo_generic", "retries": -1}}, "key 'thoughts.retries'"),
        ({"sampling": {"stop": "anytime"}}, "sampling.stop reads answers in whole texts"),
        ({"selection": {"rule": "tpo", "lift": {}}}, "selection.lift counts the words"),
        (
            {"rewards": {"judge": "lab", "judging": {"response_part": "<R>"}}},
            "leave out rewards.judging.response_part",
        ),
    ],
)
def test_recipes_that_are_refused(template: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        recipe(template, **changes)


EXPERIMENT = """
name: x
seeds: [3, 4]
base:
  model: lab
  problems: {source: "lab:train", n: 5, seed: 10}
  selection: {rule: scpo}
  training: {}
  evaluation: {problems: {source: "lab:test", n: 5}}
  iterations: [{}, {problems: {seed: 100}}, {problems: {n: 4}}]
arms:
  plain: {}
  thought: {thoughts: tpo_specific}
comparisons: [{arm: thought, against: plain}]
"""


def test_experiments_draw_each_iterations_problems_by_seed(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(EXPERIMENT)
    made = read_experiment(path).recipe("thought", 4)
    drawn = [(made.iteration(k).problems.n, made.iteration(k).problems.seed) for k in (1, 2, 3)]
    assert drawn == [(5, 14), (5, 104), (4, 14)]
    path.write_text(EXPERIMENT + "same_problems: true\n")
    made = read_experiment(path).recipe("thought", 4)
    assert [made.iteration(k).problems.seed for k in (1, 2, 3)] == [10, 100, 10]


def test_measures_of_thoughts_need_thoughts(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(EXPERIMENT + "measures: [greedy_correct, thought_tokens]\n")
    with pytest.raises(InputError, match="'thought_tokens' needs thoughts, which arm 'plain'"):
        read_experiment(path)
