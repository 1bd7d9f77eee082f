"""Lessons of working before the marker, and the rater who likes words."""

from __future__ import annotations

import re
from itertools import islice

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab.reward_settings import LabRewards
from statllm.lab.rewards import lab_rewards
from statllm.lab.thinker import MARKER, WORDINGS, spoken_answer, spoken_documents
from statllm.lab.world import apply, generate

STATEMENT = r"(?:First|Then|Finally) (\d+) ([+*-]) (\d+) = (\d+)\."


def texts(n: int, **given: float) -> list[str]:
    """The responses of the first documents."""
    return [pieces[1][0] for pieces in islice(spoken_documents(**given), n)]  # type: ignore[arg-type]


def test_what_is_shown_is_the_right_answer_in_some_wording() -> None:
    n = 400
    seen = set()
    documents = islice(spoken_documents(seed=2, forgets=0, slips=0), n)
    for problem, document in zip(islice(generate("pretrain", 2), n), documents, strict=True):
        (prompt, asked), (text, learned) = document
        assert prompt == problem.prompt
        assert (asked, learned) == (False, True)  # the response alone is learned
        working, marker, shown = text.partition(MARKER)
        assert marker
        assert MARKER not in shown
        said = [spoken_answer(problem, i) for i in range(len(WORDINGS))]
        assert shown.strip() in said
        seen.add(said.index(shown.strip()))
        for a, sign, b, c in re.findall(STATEMENT, working):
            assert apply(int(a), sign, int(b)) == int(c)
    assert seen == set(range(len(WORDINGS)))


def test_shares_of_texts_without_marker_and_of_slips() -> None:
    n = 2000
    plain = texts(n, forgets=0, slips=0)
    worked = sum(not text.startswith(MARKER) for text in plain)
    lost = texts(n, forgets=0.3, slips=0)
    assert sum(MARKER not in text for text in lost) / worked == pytest.approx(0.3, abs=0.05)
    assert all(lost)
    problems = list(islice(generate("pretrain", 0), n))

    def wrong(rows: list[str]) -> int:
        last = [re.findall(r"\d+", text.partition(MARKER)[2]) for text in rows]
        return sum(
            found[0] != str(problem.answer) for found, problem in zip(last, problems, strict=True)
        )

    assert wrong(plain) == 0
    assert wrong(texts(n, forgets=0, slips=0.2)) / n == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize(
    ("given", "name"), [({"forgets": 2.0}, "forgets"), ({"slips": -1.0}, "slips")]
)
def test_wrong_shares_are_refused(given: dict[str, float], name: str) -> None:
    with pytest.raises(InputError, match=name):
        next(spoken_documents(**given))  # type: ignore[arg-type]


def test_a_rater_who_likes_words() -> None:
    g = Generations(
        pa.table(
            {
                "prompt_id": ["a"],
                "prompt": ["?"],
                "response": [["4", "It is 4 now."]],
                "correct": [[True, True]],
            }
        )
    )
    rated = lab_rewards(g, LabRewards(careful=0, per_word=0.1))
    assert rated.column("reward").to_pylist() == [pytest.approx([1.1, 1.4])]
    assert rated.column("true_reward").to_pylist() == [[1.0, 1.0]]
