"""The lab's rater: exact truth, noise of a known size, and a run that uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.files import read_parquet
from statllm.generations import Generations
from statllm.lab.reward_settings import LabRewards
from statllm.lab.rewards import lab_rewards, true_statements
from statllm.loop import run
from statllm.recipe import make_recipe


def test_truth_is_counted_by_hand() -> None:
    assert true_statements("First 27 - 11 = 16. Then 16 * 3 = 48. #### 48") == 1.0
    assert true_statements("First 27 - 11 = 15. Then 15 * 3 = 45. #### 45") == 0.5
    assert true_statements("#### 48") == 0.0


def test_noise_has_its_size_and_equal_texts_equal_rewards() -> None:
    n = 4000
    given = Generations(
        pa.table(
            {
                "prompt_id": [str(i) for i in range(n)],
                "prompt": ["?"] * n,
                "response": [["#### 1", "#### 1", "#### 2"]] * n,
                "correct": [[True, True, False]] * n,
            }
        )
    )
    rated = lab_rewards(given, LabRewards(noise=0.5, seed=1))
    rewards = np.array(rated.column("reward").to_pylist())
    truth = np.array(rated.column("true_reward").to_pylist())
    assert np.array_equal(truth, np.tile([1.0, 1.0, 0.0], (n, 1)))
    errors = rewards - truth
    assert np.array_equal(errors[:, 0], errors[:, 1])
    assert abs(errors[:, 0].std() - 0.5) < 4 * 0.5 / np.sqrt(2 * n)
    assert abs(np.corrcoef(errors[:, 0], errors[:, 2])[0, 1]) < 4 / np.sqrt(n)


def test_what_is_missing_is_named() -> None:
    given = Generations(pa.table({"prompt_id": ["a"], "prompt": ["?"], "response": [["x"]]}))
    with pytest.raises(InputError, match="'correct'"):
        lab_rewards(given)


def test_a_recipe_with_rewards_and_a_control_of_equal_size(tmp_path: Path) -> None:
    recipe = make_recipe(
        {
            "name": "rip",
            "model": "lab",
            "problems": {"source": "lab:train", "n": 40},
            "sampling": {"n": 4, "max_new_tokens": 60},
            "rewards": {"lab": {"noise": 0.1}},
            "selection": {
                "rule": "rip",
                "as_many_as": {"rule": "rip", "settings": {"rejected_reward_quantile": 0.5}},
            },
            "training": {"loss": "dpo", "max_steps": 2, "batch_size": 8},
            "evaluation": {"problems": {"source": "lab:test", "n": 10}, "k": 2},
            "iterations": [{}],
        }
    )
    done = run(recipe, tmp_path, isolate=False)
    rewards = read_parquet(done.path(1, "rewards.parquet"))
    assert {"reward", "true_reward"} <= set(rewards.column_names)
    ledger = read_parquet(done.path(1, "ledger.parquet"))
    reasons = ledger["reason"].to_pylist()
    kept, lost = reasons.count("kept"), reasons.count("not_drawn")
    assert kept == -(-(kept + lost) // 2)  # half of those with a pair, as the median keeps


def reward_model(folder: Path) -> Path:
    """A classifier on the lab's body, with a head of random weights."""
    import torch
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    from statllm.lab import model_path

    torch.manual_seed(0)
    model = LlamaForSequenceClassification.from_pretrained(model_path(), num_labels=1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path()).save_pretrained(folder)
    return folder


def question(folder: Path) -> Path:
    """A question to a judge that is short enough for the lab's model."""
    path = folder / "short.yaml"
    path.write_text(
        "name: short\nversion: 1\nmode: yes-no\ngrammar: next_token\n"
        'user: "{prompt} {response} Right? Answer yes or no."\n'
    )
    return path


@pytest.mark.parametrize("source", ["model", "judge"])
def test_a_run_with_a_reward_model_or_a_judge(source: str, tmp_path: Path) -> None:
    """The rewards of a run are those that the same model gives outside of it."""
    from statllm.lab import model_path
    from statllm.scoring.judges import JudgeSettings, YesNoJudge, judge
    from statllm.scoring.reward_models import RewardModel, add_rewards

    if source == "model":
        folder = reward_model(tmp_path / "rm")
        rewards: dict[str, object] = {"model": str(folder)}
    else:
        judging = {"kind": "yes-no", "plain": True, "template": str(question(tmp_path))}
        rewards = {"judge": "lab", "judging": judging}
    recipe = make_recipe(
        {
            "name": "rip",
            "model": "lab",
            "problems": {"source": "lab:train", "n": 6},
            "sampling": {"n": 3, "max_new_tokens": 40},
            "rewards": rewards,
            "selection": {"rule": "rip"},
            "training": {"loss": "dpo", "max_steps": 1, "batch_size": 4},
            "evaluation": {"problems": {"source": "lab:test", "n": 4}, "k": 2},
            "iterations": [{}],
        }
    )
    done = run(recipe, tmp_path / "run", isolate=False)
    scored = Generations.read(done.path(1, "scores.parquet"))
    if source == "model":
        expected = add_rewards(scored, [RewardModel(folder, cache=tmp_path / "other")])
    else:
        settings = JudgeSettings(**judging)
        expected = judge(scored, YesNoJudge.load(str(model_path())), settings).generations
    found = Generations.read(done.path(1, "rewards.parquet")).ragged("reward").values
    np.testing.assert_allclose(found, expected.ragged("reward").values, rtol=1e-5, atol=1e-6)
    assert len(np.unique(found)) > 6
    assert not done.path(1, "rewards.work").exists()


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ({}, "name one of model, judge, lab, not none"),
        ({"lab": {}, "model": "rm"}, "not model and lab"),
        ({"lab": {"noise": -1}}, "rewards.lab.noise"),
    ],
)
def test_wrong_rewards_are_refused(rewards: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_recipe(
            {
                "name": "x",
                "model": "lab",
                "problems": {"source": "lab:train"},
                "rewards": rewards,
                "selection": {"rule": "rip"},
                "training": {},
                "evaluation": {"problems": {"source": "lab:test"}},
                "iterations": [{}],
            }
        )
