"""The writer of prompts: what it reads, how it tells spoilt questions from clean ones, its file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.lab import model_path
from statllm.lab.chains import read_chain
from statllm.lab.pool import corrupted_pool
from statllm.lab.prompt_writer import (
    Course,
    asked,
    expected_share,
    imitate,
    lists,
    plain,
    teach_writing,
)
from statllm.lab.reading import Reading, read_problem
from statllm.models import load_model
from statllm.sampling.prompts import few_shot_prompts, load_template


@pytest.mark.parametrize("read", [read_problem, read_chain])
def test_readers_tell_spoilt_prompts_of_the_pool_from_clean_ones(
    read: Callable[[str], Reading],
) -> None:
    pool = corrupted_pool(600)
    readings = [read(plain(prompt)) for prompt in pool["prompt"].to_pylist()]
    for reading, kind, answer in zip(
        readings, pool["kind"].to_pylist(), pool["reference"].to_pylist(), strict=True
    ):
        assert (reading.problem is not None) == (kind == "clean")
        # A gap is no slip of the sums: that is a fault of written questions alone.
        assert reading.fault != "impossible"
        assert reading.problem is None or str(reading.problem.answer) == answer


@pytest.mark.parametrize(
    ("text", "values", "fault"),
    [
        ("Ida has 9 eggs. First Leo buys 2 of them. Then Mia drops 4 away.", (11, 7), None),
        ("Ida has 2 bags with 3 eggs each. Then the number doubles.", (6, 12), None),
        ("Ida has bags with 3 eggs each. Then the number doubles.", None, "no_opening"),
        ("Ida has 9 eggs. First Leo buys 2 of 3. Then Mia drops 4.", None, "not_an_event"),
        ("Ida has 9 eggs. Then Leo buys 2 more. First Mia drops 4.", None, "not_an_event"),
        ("Ida has 9 eggs. First Leo paints 2 more. Then Mia drops 4.", None, "not_an_event"),
        ("Ida has 9 eggs. First Leo buys 2 more.", None, "steps"),
        ("Ida has 9 eggs. First Leo drops 12. Then Mia finds 4.", None, "impossible"),
        ("Ida has 59 eggs. First Leo finds 2. Then Mia drops 4.", None, "impossible"),
    ],
)
def test_a_chain_is_read_from_verbs_and_numbers(
    text: str, values: tuple[int, ...] | None, fault: str | None
) -> None:
    reading = read_chain(f"{text} How many plums does Zoe have in the end?")
    assert reading.fault == fault
    assert (None if reading.problem is None else reading.problem.values) == values
    assert read_chain(text).fault == "no_question"


def test_the_next_question_of_a_list_follows_laplaces_rule() -> None:
    """Counted with the reader, which knows nothing of how the lists were made."""
    course = Course(examples=2)
    counts = np.zeros((3, 2))
    for pieces in islice(lists(course, seed=5), 3000):
        *shown, last = [read_problem(text.strip()).problem is None for text, _ in pieces[1::2]]
        counts[sum(shown)] += (last, 1)
    expected = np.array([expected_share(s, 2) for s in range(3)])
    assert expected == pytest.approx([0.25, 0.5, 0.75])
    error = np.sqrt(expected * (1 - expected) / counts[:, 1])
    assert np.all(np.abs(counts[:, 0] / counts[:, 1] - expected) < 4 * error)


def test_lists_are_what_the_template_shows() -> None:
    for pieces in islice(lists(Course(), seed=1), 20):
        assert [counts for _, counts in pieces] == [False] + [True] * 9
        texts = [text.strip() for text, _ in pieces[1::2]]
        seeds = pa.table({"prompt_id": list("abcd"), "prompt": texts[:4]})
        # The template draws the order of its examples; any order is one of a list.
        row = few_shot_prompts(seeds, 1, load_template("completion"), chat=False).to_pylist()[0]
        order = [texts["abcd".index(name)] for name in row["example_ids"]]
        put = dict(zip(range(1, 8, 2), order, strict=True))
        said = "".join(f" {put[i]}" if i in put else text for i, (text, _) in enumerate(pieces[:9]))
        assert row["prompt"] == said


def test_questions_are_of_the_pretraining_split() -> None:
    found = [
        reading.problem.split
        for pieces in islice(lists(Course()), 60)
        for text, _ in pieces[1::2]
        if (reading := read_problem(text.strip())).problem is not None
    ]
    assert len(found) > 50
    assert set(found) == {"pretrain"}


def test_words_and_prompt_are_one_question() -> None:
    prompt = corrupted_pool(1)["prompt"][0].as_py()
    assert asked(plain(prompt)) == prompt


def test_a_short_course_writes_a_model_that_has_room_for_lists(tmp_path: Path) -> None:
    losses = teach_writing(tmp_path / "writer", course=Course(steps=2, lists=2))
    assert len(losses) == 2
    assert load_model(tmp_path / "writer").config.max_position_embeddings == 512
    assert (tmp_path / "writer" / "model.safetensors").stat().st_size < 1.5e6  # 16 bits


def test_a_writer_reads_examples_and_needs_some(tmp_path: Path) -> None:
    pool = [plain(prompt) for prompt in corrupted_pool(6)["prompt"].to_pylist()]
    course = Course("short", steps=2, lists=2, examples=2)
    model, tokenizer = imitate(model_path(), pool, course)
    before = load_model(model_path()).get_input_embeddings().weight
    assert not model.get_input_embeddings().weight.equal(before)
    assert len(tokenizer) == len(before)
    with pytest.raises(InputError, match="examples must be more than 2 questions, got 2"):
        imitate(model_path(), pool[:2], course)
