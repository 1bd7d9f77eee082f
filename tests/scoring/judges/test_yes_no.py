"""Log-odds of yes against no, compared with plain torch: one sequence at a time, no padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.scoring.judges import JudgeSettings, YesNoJudge, judge


def plain_logprob(model: Any, question: list[int], word: list[int]) -> float:
    """log p(word | question) from one forward pass over both, without padding or cache."""
    import torch

    ids = torch.tensor([question + word])
    with torch.no_grad():
        table = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
    start = len(question) - 1
    return sum(float(table[start + at, token]) for at, token in enumerate(word))


@pytest.fixture(scope="module")
def lab() -> YesNoJudge:
    return YesNoJudge.load(model_path())


def test_against_plain_torch_where_words_are_of_several_tokens(
    lab: YesNoJudge, tmp_path: Path
) -> None:
    questions: list[str] = [
        *problems("test", 5, 0)["prompt"].to_pylist(), "8 + 5 = 13. Right? ", "Yes or no?",
    ]  # fmt: skip
    yes, no = ("yes", "Yes", "Yessir", "12"), ("no", "No", "7")
    found = lab.log_probabilities(questions, yes, no, tmp_path)
    lengths = set()
    for question, row in zip(questions, found, strict=True):
        ids = lab.tokenizer(question)["input_ids"]
        for value, words in zip(row, (yes, no), strict=True):
            texts = [text for word in words if word != "Yessir" for text in (word, " " + word)]
            tokens = {
                tuple(lab.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts
            }
            lengths |= {len(one) for one in tokens}
            each = [plain_logprob(lab.model, ids, list(one)) for one in tokens]
            assert value == pytest.approx(np.logaddexp.reduce(each), abs=2e-4)
    assert len(lengths) > 1


def test_spellings_that_go_on_from_others_count_once(lab: YesNoJudge) -> None:
    one, more = lab.spellings(["yes"]), lab.spellings(["yes", "yes", "yessir"])
    assert one == more


def test_batches_and_cache_change_nothing(tmp_path: Path) -> None:
    questions = problems("test", 12, 0)["prompt"].to_pylist()
    one = YesNoJudge.load(model_path(), batch_tokens=1).log_probabilities(
        questions, cache=tmp_path / "one"
    )
    many = YesNoJudge.load(model_path())
    all_at_once = many.log_probabilities([*questions, questions[0]], cache=tmp_path / "many")
    np.testing.assert_allclose(all_at_once[:12], one, atol=2e-4)
    np.testing.assert_array_equal(all_at_once[12], all_at_once[0])
    kept = YesNoJudge(None, many.tokenizer, many.name, many.digest)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        kept.log_probabilities(["a new question"], cache=tmp_path / "many")
    again = many.log_probabilities(questions[::-1], cache=tmp_path / "many")
    np.testing.assert_array_equal(again[::-1], all_at_once[:12])


def test_self_score_of_a_model_that_knows(
    yes_no_judge: YesNoJudge, judge_folder: Path, tmp_path: Path
) -> None:
    responses = [["5", "1", "x <R> 9"], [None, "0"], []]
    table = Generations(
        pa.table({
            "prompt_id": ["a", "b", "c"],
            "prompt": ["?"] * 3,
            "response": pa.array(responses, pa.list_(pa.string())),
        })
    )  # fmt: skip
    settings = JudgeSettings(kind="yes-no", template=str(judge_folder / "templates" / "valid.yaml"))
    judged = judge(table.take([0]), yes_no_judge, settings, cache=tmp_path)
    reward = judged.generations.column("reward")[0].as_py()
    for text, value in zip(responses[0], reward, strict=True):
        ids = yes_no_judge.tokenizer(f"valid {text}")["input_ids"]
        vocabulary = yes_no_judge.tokenizer.get_vocab()
        odds = [plain_logprob(yes_no_judge.model, ids, [vocabulary[w]]) for w in ("yes", "no")]
        assert value == pytest.approx(odds[0] - odds[1], abs=2e-4)
    mass = judged.generations.column("judge_yes_no_mass")[0].as_py()
    assert mass[0] > 0.9
    part = JudgeSettings(**{**settings.model_dump(), "response_part": "<R>"})
    judged = judge(table, yes_no_judge, part, cache=tmp_path)
    reward = judged.generations.column("reward").to_pylist()
    assert reward[0][:2] == [None, None]
    assert reward[0][2] > 2  # 9 is valid
    assert reward[1:] == [[None, None], []]
    assert judged.n_left_out == 4
    assert judged.summary is None
    judged = judge(table.take([1, 2]), yes_no_judge, settings, cache=tmp_path)
    reward = judged.generations.column("reward").to_pylist()
    assert reward[0][0] is None
    assert reward[0][1] < -2  # 0 isn't


def test_refusals(lab: YesNoJudge, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a spelling of yes begins as one of no does"):
        lab.log_probabilities(["?"], ["yes", "no"], ["no"], tmp_path)
    with pytest.raises(InputError, match="reads 256 tokens"):
        lab.log_probabilities(["7 " * 300], cache=tmp_path)
    with pytest.raises(InputError, match="no tokens"):
        lab.log_probabilities([""], cache=tmp_path)
    with pytest.raises(InputError, match="no chat template"):
        lab.log_probabilities([[{"role": "user", "content": "?"}]], cache=tmp_path)
