"""From tables to token ids: as generated, boundary-safe, and every drop counted with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.pairs import check_pairs
from statllm.training.data import check_examples, model_limits, to_rows
from statllm.training.settings import TrainingSettings

EOS = 1
PAIR = ("chosen", "rejected")
ANY = TrainingSettings()


@pytest.fixture(scope="module")
def tokenizer(model_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder)


def pairs(**columns: list[Any]) -> pa.Table:
    n = len(next(iter(columns.values())))
    given = {
        "prompt_id": [f"p{i}" for i in range(n)],
        "prompt": ["Ann has"] * n,
        "chosen": [" 3 apples"] * n,
        "rejected": [" 4 apples"] * n,
        "weight": [1.0] * n,
        **columns,
    }
    return check_pairs(pa.table(given))


def test_ids_are_used_as_generated(model_folder: Path, tokenizer: Any) -> None:
    # Ids that no tokenizer would give for these texts: nothing may look at the texts.
    table = pairs(
        prompt_ids=[[9, 8, 7]], chosen_ids=[[200, 100, EOS]], rejected_ids=[[50, 60, EOS]]
    )
    rows = to_rows(table, PAIR, tokenizer, model_limits(model_folder, tokenizer, ANY, PAIR))
    assert rows.table.to_pylist() == [
        {
            "prompt_ids": [9, 8, 7],
            "chosen_ids": [200, 100, EOS],
            "rejected_ids": [50, 60, EOS],
            "weight": 1.0,
        }
    ]


def test_text_keeps_the_prompts_own_tokens_and_gets_an_end(
    model_folder: Path, tokenizer: Any
) -> None:
    # "app" + "les": tokenized together, a token merges across the boundary.
    together = tokenizer("Ann has 3 apples")["input_ids"]
    alone = tokenizer("Ann has 3 app")["input_ids"]
    assert together[: len(alone)] != alone
    table = pairs(prompt=["Ann has 3 app", "Ann has"], chosen=["les", " 3 apples"])
    limits = model_limits(model_folder, tokenizer, ANY, PAIR)
    rows = to_rows(table, PAIR, tokenizer, limits).table.to_pylist()
    assert rows[0]["prompt_ids"] == alone
    for row, text in zip(rows, ("Ann has 3 apples", "Ann has 3 apples"), strict=True):
        ids = [*row["prompt_ids"], *row["chosen_ids"]]
        assert ids[-1] == EOS
        assert tokenizer.decode(ids[:-1]) == text


def test_a_gold_text_without_ids_is_tokenized_beside_sampled_ones(
    model_folder: Path, tokenizer: Any
) -> None:
    table = pairs(
        prompt_ids=[tokenizer("Ann has")["input_ids"]] * 2,
        chosen_ids=[None, [7, EOS]],
        rejected_ids=[[5, EOS], [6, EOS]],
    )
    limits = model_limits(model_folder, tokenizer, ANY, PAIR)
    chosen = to_rows(table, PAIR, tokenizer, limits).table["chosen_ids"].to_pylist()
    assert chosen == [[*tokenizer(" 3 apples")["input_ids"], EOS], [7, EOS]]


def test_messages_go_through_the_chat_template(model_folder: Path, tokenizer: Any) -> None:
    import copy

    chat = copy.deepcopy(tokenizer)
    chat.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    table = pairs(prompt=[[{"role": "user", "content": "How many?"}]])
    limits = model_limits(model_folder, chat, ANY, PAIR)
    row = to_rows(table, PAIR, chat, limits).table.to_pylist()[0]
    assert row["prompt_ids"] == chat("[user] How many?\n[assistant]")["input_ids"]
    assert row["chosen_ids"] == [*chat(" 3 apples")["input_ids"], EOS]


DROPS = {
    "empty_prompt": {"prompt_ids": []},
    "empty_chosen": {"chosen_ids": [EOS]},
    "empty_rejected": {"rejected_ids": []},
    "chosen_without_eos": {"chosen_ids": [5, 6]},
    "rejected_without_eos": {"rejected_ids": [5, 6]},
    "identical": {"rejected_ids": [5, 6, EOS]},
    "too_long": {"prompt_ids": [9] * 62},
}


def drop_table() -> pa.Table:
    good = {"prompt_ids": [9, 9], "chosen_ids": [5, 6, EOS], "rejected_ids": [7, EOS]}
    rows = [good, *({**good, **change} for change in DROPS.values()), good]
    return pairs(**{name: [row[name] for row in rows] for name in good})


def test_drops_are_counted_by_reason_and_named_by_row(model_folder: Path, tokenizer: Any) -> None:
    limits = model_limits(model_folder, tokenizer, ANY, PAIR)
    rows = to_rows(drop_table(), PAIR, tokenizer, limits)
    assert rows.drops == dict.fromkeys(sorted(DROPS), 1)
    assert rows.dropped.to_pylist() == [
        {"row": i, "prompt_id": f"p{i}", "reason": reason} for i, reason in enumerate(DROPS, 1)
    ]
    assert rows.table.num_rows + sum(rows.drops.values()) == drop_table().num_rows


def test_exactly_the_limit_is_not_too_long(model_folder: Path, tokenizer: Any) -> None:
    table = pairs(
        prompt_ids=[[9] * 10] * 2,
        chosen_ids=[[5, 6, EOS]] * 2,
        rejected_ids=[[7, EOS], [7, 8, 9, EOS]],
    )
    rows = to_rows(
        table,
        PAIR,
        tokenizer,
        model_limits(model_folder, tokenizer, TrainingSettings(max_length=13), PAIR),
    )
    assert rows.dropped.to_pylist() == [{"row": 1, "prompt_id": "p1", "reason": "too_long"}]


def test_truncated_rejected_is_kept_only_when_asked(model_folder: Path, tokenizer: Any) -> None:
    keep_rejected = model_limits(model_folder, tokenizer, ANY, ("chosen",))
    assert "rejected_without_eos" not in to_rows(drop_table(), PAIR, tokenizer, keep_rejected).drops
    keep_all = model_limits(model_folder, tokenizer, TrainingSettings(require_eos=False), PAIR)
    assert "chosen_without_eos" not in to_rows(drop_table(), PAIR, tokenizer, keep_all).drops


def test_text_that_ran_into_the_limit_gets_no_end(model_folder: Path, tokenizer: Any) -> None:
    table = pairs(chosen_finish=["length", "stop"])
    rows = to_rows(table, PAIR, tokenizer, model_limits(model_folder, tokenizer, ANY, PAIR))
    assert rows.drops == {"chosen_without_eos": 1}


def test_a_response_that_ran_into_a_stop_string_is_tokenized_anew(
    model_folder: Path, tokenizer: Any
) -> None:
    """Its tokens have a part of that string and no end."""
    as_text = pairs(chosen_finish=["stop", "length"])
    ids = [[*row, 77] for row in to_rows_of(as_text, model_folder, tokenizer)]
    stopped = as_text.append_column("chosen_ids", pa.array(ids, pa.list_(pa.int32())))
    found = to_rows_of(stopped, model_folder, tokenizer)
    assert found[0] == to_rows_of(as_text, model_folder, tokenizer)[0]
    assert found[0][-1] == EOS
    assert found[1] == ids[1]  # cut at the limit: as it was drawn


def to_rows_of(table: pa.Table, model_folder: Path, tokenizer: Any) -> list[list[int]]:
    free = TrainingSettings(require_eos=False)
    rows = to_rows(table, PAIR, tokenizer, model_limits(model_folder, tokenizer, free, PAIR))
    found: list[list[int]] = rows.table["chosen_ids"].to_pylist()
    return found


def test_any_of_several_end_tokens_ends_a_response(model_folder: Path, tokenizer: Any) -> None:
    import dataclasses

    limits = model_limits(model_folder, tokenizer, ANY, PAIR)
    several = dataclasses.replace(limits, eos_ids={EOS, 77})
    table = pairs(prompt_ids=[[9]], chosen_ids=[[5, 77]], rejected_ids=[[6, EOS]])
    assert to_rows(table, PAIR, tokenizer, several).drops == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_ids": [[5, 6]]}, "no row is left to train on: 1 chosen_without_eos"),
        ({"chosen_ids": [[5, 400, EOS]]}, "'chosen_ids' has token 400 in row 0, outside"),
        ({"rejected_ids": [[-1, EOS]]}, "'rejected_ids' has token -1 in row 0"),
        ({"prompt_ids": [[None, 5]]}, "'prompt_ids' has a null among its tokens"),
    ],
)
def test_unusable_tables(
    model_folder: Path, tokenizer: Any, change: dict[str, Any], message: str
) -> None:
    good = {"prompt_ids": [[9, 9]], "chosen_ids": [[5, 6, EOS]], "rejected_ids": [[7, EOS]]}
    limits = model_limits(model_folder, tokenizer, ANY, PAIR)
    with pytest.raises(InputError, match=message):
        to_rows(pairs(**{**good, **change}), PAIR, tokenizer, limits)


def test_max_length_above_the_models_own(model_folder: Path, tokenizer: Any) -> None:
    with pytest.raises(InputError, match="max_length 100 is more than the model's 64 tokens"):
        model_limits(model_folder, tokenizer, TrainingSettings(max_length=100), PAIR)


def test_examples_need_text_or_ids() -> None:
    table = check_examples(pa.table({"prompt": ["a"], "response": ["b"]}))
    assert table["weight"].to_pylist() == [1.0]
    with pytest.raises(InputError, match="column 'response' is missing"):
        check_examples(pa.table({"prompt": ["a"]}))
    with pytest.raises(InputError, match="unknown column 'wieght'"):
        check_examples(pa.table({"prompt": ["a"], "response": ["b"], "wieght": [0.5]}))
