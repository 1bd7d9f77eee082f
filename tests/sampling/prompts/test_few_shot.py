"""Few-shot prompts, and generation with real models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.files import read_parquet
from statllm.lab import model_path, problems
from statllm.sampling import SamplingSettings
from statllm.sampling.prompts import (
    FILTERS,
    VARIANTS,
    PromptTemplate,
    few_shot_prompts,
    generate_questions,
    load_template,
)

SEEDS = pa.table(
    {"prompt_id": [f"s{i}" for i in range(6)], "prompt": [f"Question {i}?" for i in range(6)]}
)
RIP = load_template("self_rip")


def test_which_seeds_are_shown() -> None:
    asked = few_shot_prompts(SEEDS, 12_000, load_template("completion"), 3, seed=5)
    shown = np.array([[int(name[1:]) for name in row] for row in asked["example_ids"].to_pylist()])
    assert (np.diff(np.sort(shown, axis=1)) > 0).all()  # without replacement
    # each ordered triple of six has the same chance: 120 of them, chi-square with 119 degrees
    counts = np.bincount(shown @ [36, 6, 1], minlength=216)
    counts = counts[counts > 0]
    assert len(counts) == 120
    assert 75 < ((counts - 100) ** 2 / 100).sum() < 175  # 0.1 % and 99.9 %: 76 and 174


def test_neither_count_nor_row_order_changes_a_prompt() -> None:
    many = few_shot_prompts(SEEDS, 40, RIP, 4, seed=1)
    assert few_shot_prompts(SEEDS, 7, RIP, 4, seed=1).equals(many.slice(0, 7))
    assert few_shot_prompts(SEEDS.take([3, 0, 5, 1, 4, 2]), 40, RIP, 4, seed=1).equals(many)
    assert not few_shot_prompts(SEEDS, 40, RIP, 4, seed=2)["prompt"].equals(many["prompt"])


def test_what_a_prompt_looks_like() -> None:
    asked = few_shot_prompts(SEEDS, 1, RIP, 2)
    first, second = asked["example_ids"][0].as_py()
    [message] = asked["prompt"][0].as_py()
    text = message["content"]
    assert f"1. <begin>Question {first[1]}?</end>\n2. <begin>Question {second[1]}?</end>\n" in text
    assert text.endswith("\n\n3.")
    assert few_shot_prompts(SEEDS, 1, RIP, 2, chat=False)["prompt"].to_pylist() == [text]
    talk = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": " First? "},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Second?"},
    ]
    turns = pa.table({"prompt_id": ["a"], "prompt": [talk]})
    said = few_shot_prompts(turns, 1, load_template("completion"), 1, chat=False)["prompt"]
    assert said.to_pylist() == ["Question: First?\n\nQuestion:"]


def test_unusable_seeds() -> None:
    with pytest.raises(InputError, match="8 examples were asked for, there are 6 seeds"):
        few_shot_prompts(SEEDS, 1, RIP)
    empty = pa.table({"prompt_id": ["a", "b"], "prompt": ["Why?", " "]})
    with pytest.raises(InputError, match="prompt_id 'b' has no text"):
        few_shot_prompts(empty, 1, RIP, 1)
    with pytest.raises(InputError, match="is for length, not few_shot"):
        few_shot_prompts(SEEDS, 1, load_template("lift_words"))
    with pytest.raises(InputError, match="variant must be one of self-rip"):
        generate_questions("nowhere", SEEDS, 1, "rip")


def test_settings_of_the_papers() -> None:
    found = {
        name: (one.template, load_template(one.template).examples, one.temperature, one.top_p)
        for name, one in VARIANTS.items()
    }
    assert found == {
        "self-rip": ("self_rip", 8, 0.8, 0.95),
        "self-instruct": ("self_rip", 8, 0.8, 0.95),
        "scpo": ("scpo_problem", 4, 0.7, 0.9),
        "scpo-zebra": ("scpo_zebra_puzzle", 1, 0.7, 0.9),
    }
    assert VARIANTS["scpo"].settings(n=3, top_p=1.0).top_p == 1.0


def test_the_ledger_of_the_lab_model_accounts_for_every_text(tmp_path: Path) -> None:
    """The lab model continues a few-shot prompt with solutions, not questions: all are in it."""
    seeds = problems("train", 12)
    arguments = (model_path(), seeds, 5, "self-instruct")
    options = {"template": load_template("completion"), "examples": 2, "chat": False}
    settings = SamplingSettings(n=3, max_new_tokens=16, temperature=0.8)
    made = generate_questions(*arguments, settings, **options)
    assert made.n_generations == 15
    ids = list(
        zip(made.ledger["prompt_id"].to_pylist(), made.ledger["sample"].to_pylist(), strict=True)
    )
    assert ids == [(f"new-{i}", k) for i in range(5) for k in range(3)]  # one question at most each
    counts = made.counts()
    assert sum(counts.values()) == 15
    assert counts["kept"] == made.questions.num_rows == sum(made.ledger["kept"].to_pylist())
    kept = made.ledger.filter(made.ledger["kept"])
    assert made.questions["prompt"].to_pylist() == kept["question"].to_pylist()
    assert max(kept["rouge_l"].to_pylist(), default=0.0) < 0.7

    cut = settings.model_copy(update={"batch_size": 4, "shard_size": 2})
    other = generate_questions(
        model_path(), seeds.take(list(range(11, -1, -1))), *arguments[2:], cut, **options,
        out=tmp_path / "generations.parquet",
    )  # fmt: skip
    assert other.ledger.equals(made.ledger)
    assert other.questions.equals(made.questions)


def test_generations_are_made_once(tmp_path: Path) -> None:
    out = tmp_path / "generations.parquet"
    settings = SamplingSettings(n=2, max_new_tokens=12)

    def run(seed: int = 0, filters: str = "scpo") -> tuple[int, int]:
        own = settings.model_copy(update={"seed": seed})
        made = generate_questions(
            model_path(), problems("train", 4), 2, settings=own,
            template=load_template("completion"), examples=1, chat=False, out=out,
            filters=FILTERS[filters],
        )  # fmt: skip
        assert made.n_generations == 4
        return out.stat().st_ino, made.counts()["kept"]

    first = run()
    assert run() == first
    assert run(filters="self-instruct")[0] == first[0]  # filters need no new generations
    other = run(seed=1)
    assert other[0] != first[0]
    table = read_parquet(out)
    out.write_bytes(out.read_bytes()[:-1])  # damaged: made again, the same
    run(seed=1)
    assert read_parquet(out).equals(table)


def test_a_model_that_writes_questions(by_heart: Callable[[Mapping[str, str]], Path]) -> None:
    """One learnt by heart, of each kind: new, nearly a seed, a banned word, no question at all."""
    says = {
        "Name two long rivers in Peru": "<begin> Why is the sky blue at noon? </end> 3. <begin> "
        "Draw it </end>",
        "What do tall oak trees eat": "<begin> Name two long rivers in Chad </end>",
        "Who wrote this old song": "I rather not",
    }
    seeds = pa.table({"prompt_id": ["a", "b", "c"], "prompt": list(says)})
    template = PromptTemplate(
        "one", 1, "few_shot", "", "{examples}", example="{example}", examples=1,
        delimiters=RIP.delimiters,
    )  # fmt: skip
    settings = SamplingSettings(n=1, temperature=0, max_new_tokens=20)
    made = generate_questions(
        by_heart(says), seeds, 12, "self-rip", settings, template=template, chat=False
    )
    assert {row[0] for row in made.questions["example_ids"].to_pylist()} == {"a"}
    assert made.questions["prompt"].to_pylist() == ["Why is the sky blue at noon?"]
    asked = few_shot_prompts(seeds, 12, template, 1)
    shown = [name for names in asked["example_ids"].to_pylist() for name in names]
    assert made.counts() == {
        "kept": 1,
        "duplicate": shown.count("a") - 1,
        "banned_word": shown.count("a"),
        "similar": shown.count("b"),
        "no_question": shown.count("c"),
    }
    assert made.ledger.num_rows == 12 + shown.count("a")  # whose text has two questions
    near = made.ledger.filter(pa.compute.equal(made.ledger["reason"], "similar"))
    assert set(near["nearest"].to_pylist()) == {"a"}
    assert near["rouge_l"].to_pylist() == pytest.approx([5 / 6] * near.num_rows)
