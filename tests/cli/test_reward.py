"""`statllm train-reward`, `statllm reward`: from pairs to a reward model, to rewards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from statllm.files import read_json, read_parquet, write_parquet
from statllm.lab import model_path, problems

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    table = problems("train", 40)
    write_parquet(
        pa.table(
            {
                "prompt_id": table["prompt_id"],
                "prompt": table["prompt"],
                "chosen": [f"#### {answer}" for answer in table["reference"].to_pylist()],
                "rejected": [f"Easy. #### {answer}" for answer in table["reference"].to_pylist()],
            }
        ),
        path,
    )
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.jsonl"
    lines = problems("test", 3).to_pylist()
    rows = [
        f'{{"qid": "{row["prompt_id"]}", "q": {row["prompt"]!r}, "text": "{text}"}}'.replace(
            "'", '"'
        )
        for row in lines
        for text in ("#### 7", "Easy. #### 7", "Easy. #### 12")
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


NAMES = ["--prompt-id", "qid", "--prompt", "q", "--response", "text"]
TRAINING = ["--learning-rate", "1e-3", "--batch-size", "8", "--max-steps", "6"]


def test_from_pairs_to_rewards(statllm: Run, pairs: Path, samples: Path, tmp_path: Path) -> None:
    models = [tmp_path / "rm0", tmp_path / "rm1"]
    for seed, model in enumerate(models):
        code, out, err = statllm(
            "train-reward", "lab", pairs, "-o", model, *TRAINING, "--seed", seed, "--held-out", 0.2
        )
        assert code == 0, err
        assert "rm" in out
        assert "32 pairs, 8 held out, 6 steps" in out
        assert "pair accuracy" in out
        assert read_json(model / "config.json")["architectures"] == [
            "LlamaForSequenceClassification"
        ]
    cache = ["--cache", tmp_path / "cache"]
    target = tmp_path / "rewarded.parquet"
    code, out, err = statllm(
        "reward", models[0], samples, "-o", target, *NAMES, *cache, "--gap-variance", "laplace"
    )
    assert code == 0, err
    assert "mean reward_gap_var" in out
    first = read_parquet(target)
    assert first.column_names[-3:] == ["reward", "reward_sd", "reward_gap_var"]
    assert [len(row) for row in first["reward"].to_pylist()] == [3, 3, 3]
    assert min(first["reward_gap_var"].to_pylist()) > 0

    target = tmp_path / "ensemble.parquet"
    options = ["--member", models[1], "--gap-variance", "ensemble", "--token-budget", 50]
    code, _, err = statllm("reward", models[0], samples, "-o", target, *NAMES, *cache, *options)
    assert code == 0, err
    both = read_parquet(target)
    other = tmp_path / "other.parquet"
    assert statllm("reward", models[1], samples, "-o", other, *NAMES, *cache)[0] == 0
    mean = (
        np.array(first["reward"].to_pylist()) + np.array(read_parquet(other)["reward"].to_pylist())
    ) / 2
    np.testing.assert_allclose(both["reward"].to_pylist(), mean, rtol=1e-4, atol=1e-5)

    # The rewards go on into the statistics of prompts.
    scored = tmp_path / "scored.parquet"
    assert statllm("score", tmp_path / "rewarded.parquet", "-o", scored)[0] == 0
    gaps = [max(row) - min(row) for row in first["reward"].to_pylist()]
    np.testing.assert_allclose(read_parquet(scored)["reward_gap"].to_pylist(), gaps, rtol=1e-12)


def test_errors_are_one_sentence(statllm: Run, samples: Path, tmp_path: Path) -> None:
    code, _, err = statllm(
        "reward", model_path(), samples, "-o", tmp_path / "o.parquet", *NAMES,
        "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert code == 2
    assert "is not a reward model" in err
    assert "Traceback" not in err
    code, _, err = statllm("train-reward", "lab", samples, "-o", tmp_path / "rm")
    assert code == 2
    assert "unknown column 'qid'" in err


@pytest.mark.slow
def test_the_lab_has_a_reward_model(statllm: Run, tmp_path: Path) -> None:
    """Right samples of the lab model against wrong ones; then samples of other problems."""

    def path(name: str) -> Path:
        return tmp_path / f"{name}.parquet"

    sampling = ["--n", 8, "--max-new-tokens", 64]
    for split, limit in (("train", 300), ("test", 60)):
        problems = ["sample", "lab", f"lab:{split}", "--limit", limit, *sampling]
        assert statllm(*problems, "-o", path(split))[0] == 0
    assert statllm("score", path("train"), "-o", path("scored"))[0] == 0
    select = ["select", "irpo", path("scored"), "-o", path("pairs"), "--pairs-per-prompt", 4]
    assert statllm(*select)[0] == 0
    model = tmp_path / "rm"
    options = ["--learning-rate", "1e-3", "--batch-size", 32, "--epochs", 2]
    assert statllm("train-reward", "lab", path("pairs"), "-o", model, *options)[0] == 0
    accuracy = read_json(model / "reward_training.json")["pair_accuracy"]
    assert accuracy["low"] > 0.5
    rewarding = ["reward", model, path("test"), "-o", path("rewarded"), "--cache", tmp_path / "c"]
    assert statllm(*rewarding, "--gap-variance", "laplace")[0] == 0
    assert statllm("score", path("rewarded"), "-o", path("final"))[0] == 0
    table = read_parquet(path("final"))
    reward = np.concatenate(table["reward"].to_pylist())
    correct = np.concatenate(table["correct"].to_pylist()).astype(bool)
    above = (reward[correct][:, None] > reward[~correct]).mean()
    assert above > 0.65  # AUROC over samples of problems that no training saw
