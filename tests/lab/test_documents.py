"""The reader against the generator, and the corpus against what it says of itself."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice

import pytest

from statllm.errors import InputError
from statllm.lab import generate, problems
from statllm.lab.documents import KINDS, SHARES, chain_text, documents, renamed, tell
from statllm.lab.reading import FAULTS, read_problem
from statllm.lab.world import split_of
from statllm.selection import decontaminate, near_duplicates


@pytest.mark.parametrize("split", ["pretrain", "train", "test"])
def test_every_problem_is_read_as_it_was_made(split) -> None:
    for problem in islice(generate(split, seed=11), 400):
        found = read_problem(problem.text).problem
        assert found is not None, problem.text
        assert (found.start, found.steps, found.values) == (
            problem.start, problem.steps, problem.values
        )  # fmt: skip


GOOD = "Ida has 27 plums. First Ida gives 11 to Leo. Then Ida finds 3 more. "
ASK = "How many plums are there now?"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD, "no_question"),
        (ASK, "no_opening"),
        ("First Ida gives 11 to Leo. " + ASK, "no_opening"),
        ("Ida has 27 plums. Then Ida gives 11 to Leo. " + ASK, "not_an_event"),
        (GOOD.replace("gives 11", "gives") + ASK, "not_an_event"),
        (GOOD.replace("Then Ida", "Then Kate") + ASK, "other_name"),
        (GOOD.replace("Leo", "Ida") + ASK, "other_name"),
        (GOOD + ASK.replace("plums", "eggs"), "other_name"),
        ("Ida has 27 plums. First Ida gives 11 to Leo. " + ASK, "steps"),
        (GOOD + "Finally Ida finds 1 more. Finally Ida finds 1 more. " + ASK, "steps"),
        (GOOD.replace("11", "28") + ASK, "impossible"),
        (GOOD.replace("3 more", "60 more") + ASK, "impossible"),
    ],
)
def test_faults_are_named(text: str, fault: str) -> None:
    assert read_problem(text).fault == fault
    assert fault in FAULTS


def test_a_good_text_is_good() -> None:
    found = read_problem(GOOD + ASK).problem
    assert found is not None
    assert found.answer == 19


def test_documents_keep_the_story_and_say_what_they_are() -> None:
    rng = random.Random(0)
    for problem in islice(generate("train", seed=2), 100):
        story = re.split(r"(?<=[.?]) ", problem.text)[:-1]
        for kind in KINDS:
            document = tell(problem, kind, rng)
            whole = all(sentence in document.text for sentence in story)
            assert whole == (kind not in ("cut", "number")), document.text
            assert (document.reference is not None) == (kind in ("told", "wrong"))
            right = document.reference == str(problem.answer)
            assert right == (kind == "told")
            assert (document.points["completeness"] > 0) == whole
            assert (document.points["correctness"] < 0) == (kind == "wrong")


def test_the_corpus_has_what_it_was_asked_for() -> None:
    corpus = documents(600, duplicates=0.2, leaks=0.05, leaked=50).to_pylist()
    origins = Counter(row["origin"] for row in corpus)
    assert origins == {"own": 450, "duplicate": 120, "leak": 30}
    by_id = {row["prompt_id"]: row for row in corpus}
    of_test = set(problems("test", 50)["prompt_id"].to_pylist())
    for row in corpus:
        if row["origin"] == "duplicate":
            assert by_id[row["source"]]["chain"] == row["chain"]
        elif row["origin"] == "leak":
            assert row["source"] in of_test
    kinds = Counter(row["kind"] for row in corpus if row["origin"] == "own")
    for kind, share in zip(KINDS, SHARES, strict=True):
        assert abs(kinds[kind] / 450 - share) < 0.07
    assert documents(50, seed=3).equals(documents(50, seed=3))


def test_own_documents_are_of_their_split() -> None:
    for problem in islice(generate("train", 0), 50):
        assert split_of(problem.start, problem.steps) == "train"
    chains = {chain_text(p) for p in islice(generate("test", 0), 300)}
    own = [row["chain"] for row in documents(300).to_pylist() if row["origin"] != "leak"]
    assert not chains & set(own)


def test_planted_copies_are_near_duplicates_and_planted_leaks_leak() -> None:
    rng = random.Random(1)
    told = list(islice(generate("train", seed=4), 200))
    texts = [p.text for p in told] + [renamed(p, rng).text for p in told]
    found = near_duplicates(texts, 0.55, shingle=1)
    assert (found.cluster[:200] == found.cluster[200:]).mean() >= 0.95
    test = problems("test", 100)
    questions = [text[3:-4] for text in test["prompt"].to_pylist()]
    leaks = decontaminate(questions + [p.text for p in told], test["prompt"])
    assert leaks.leaks[:100].mean() >= 0.95
    assert leaks.leaks[100:].mean() <= 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "at least 1"),
        ({"duplicates": 0.9, "leaks": 0.2}, "below 1"),
        ({"split": "test"}, "the test only leaks"),
    ],
)
def test_wrong_input(changes, message) -> None:
    with pytest.raises(InputError, match=message):
        documents(**{"n": 10, **changes})
    with pytest.raises(InputError, match="kind 'odd' is unknown"):
        tell(next(generate("train")), "odd", random.Random(0))
