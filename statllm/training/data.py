"""From tables to token ids; what can't be trained on is dropped and counted, never cut."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from statllm.errors import InputError
from statllm.models import encode_prompt
from statllm.pairs import REQUIRED_COLUMNS, check_columns, check_weights
from statllm.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_IDS = pa.list_(pa.int32())

#: Columns of a table of examples for SFT. Either the text or the token ids of prompt and of
#: response must be there.
EXAMPLE_COLUMNS: dict[str, pa.DataType] = {
    "prompt_id": pa.string(),
    "prompt": REQUIRED_COLUMNS["prompt"],
    "response": pa.string(),
    "weight": pa.float64(),
    "prompt_ids": _IDS,
    "response_ids": _IDS,
    "response_finish": pa.string(),
    "rule": pa.string(),
    "iteration": pa.int32(),
    "model": pa.string(),
}


@dataclass(frozen=True)
class Rows:
    """Rows ready for training, and what became of the others.

    Parameters
    ----------
    table : pa.Table
        Columns ``prompt_ids``, ``<response>_ids`` for each response, and ``weight``.
    dropped : pa.Table
        Columns ``row`` (of the input), ``prompt_id`` (null where unknown) and ``reason``.
    """

    table: pa.Table
    dropped: pa.Table

    @property
    def n_input(self) -> int:
        """Number of rows of the input."""
        return int(self.table.num_rows + self.dropped.num_rows)

    @property
    def drops(self) -> dict[str, int]:
        """Number of dropped rows by reason."""
        return dict(sorted(Counter(self.dropped["reason"].to_pylist()).items()))


@dataclass(frozen=True)
class Limits:
    """What a row must satisfy to be trained on.

    Parameters
    ----------
    eos_ids : collection of int
        Tokens that end a response; models with several (end of turn, end of text) use any.
    vocab_size, max_length : int
        Of the model, in tokens; `max_length` bounds prompt and response together.
    must_end : collection of str
        Responses that must end with one of `eos_ids`.
    """

    eos_ids: Collection[int]
    vocab_size: int
    max_length: int
    must_end: Collection[str]


def model_limits(
    model: Path,
    tokenizer: PreTrainedTokenizerBase,
    settings: TrainingSettings,
    must_end: Collection[str],
) -> Limits:
    """Return the limits that a model folder and the settings set together.

    Raises
    ------
    InputError
        As `max_length`.
    """
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(model).get_text_config()
    ends = [tokenizer.eos_token_id, config.eos_token_id]
    if (model / "generation_config.json").is_file():
        ends.append(GenerationConfig.from_pretrained(model).eos_token_id)
    flat = [token for end in ends for token in (end if isinstance(end, list) else [end])]
    return Limits(
        eos_ids=frozenset(token for token in flat if token is not None),
        vocab_size=config.vocab_size,
        max_length=max_length(config, settings.max_length),
        must_end=must_end if settings.require_eos else (),
    )


def max_length(config: PretrainedConfig, wanted: int | None) -> int:
    """Return the most tokens of a row: those that are asked for, or the model's own.

    Raises
    ------
    InputError
        If that is more than the model takes.

    Examples
    --------
    >>> from transformers import LlamaConfig
    >>> max_length(LlamaConfig(max_position_embeddings=512), None)
    512
    """
    text = config.get_text_config()
    longest: int = getattr(text, "max_position_embeddings", None) or sys.maxsize
    if wanted is not None and wanted > longest:
        raise InputError(f"max_length {wanted} is more than the model's {longest} tokens")
    return wanted or longest


def check_examples(table: pa.Table) -> pa.Table:
    """Return a table of SFT examples with its columns in their types; a missing weight is 1.

    Raises
    ------
    InputError
        As `statllm.pairs.check_pairs`.

    Examples
    --------
    >>> check_examples(pa.table({"prompt": ["1 + 1 ="], "response": [" 2"]})).column_names
    ['prompt', 'response', 'weight']
    """
    needed = []
    for text, ids in (("prompt", "prompt_ids"), ("response", "response_ids")):
        needed.append(text if ids not in table.column_names else ids)
    table = check_columns(table, EXAMPLE_COLUMNS, tuple(needed))
    if "weight" not in table.column_names:
        return table.append_column("weight", pa.array(np.ones(table.num_rows)))
    check_weights(table)
    return table


def to_rows(
    table: pa.Table,
    responses: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
) -> Rows:
    """Return the token ids of prompt and responses, as generated where the table has them.

    Text without token ids is tokenized and ends with the tokenizer's end-of-sequence token,
    unless the column ``<response>_finish`` says "length". So is the text of a response that has
    finished ("stop") without an end among its tokens: it ran into a stop string, of which a part
    is among them. The tokens of the prompt are always
    those of the prompt alone, which is what the model sees when it samples; a token that would
    merge across the boundary is not used.

    Reasons for a drop, the first that holds: ``empty_prompt``, ``empty_<response>`` (no token
    but the end), ``<response>_without_eos``, ``identical`` (responses that don't differ),
    ``too_long``.

    Raises
    ------
    InputError
        If a token id is outside the model's vocabulary, the tokenizer has no end-of-sequence
        token, or no row is left.

    Examples
    --------
    Token 2 is the end; the second rejected response ran into the length limit. With all token
    ids given, the tokenizer isn't asked.

    >>> ids = {"prompt_ids": [[5], [5]], "chosen_ids": [[6, 2], [7, 2]]}
    >>> table = pa.table({**ids, "rejected_ids": [[8, 2], [8, 9]], "weight": [1.0, 0.5]})
    >>> responses = ["chosen", "rejected"]
    >>> limits = Limits(eos_ids={2}, vocab_size=10, max_length=100, must_end=responses)
    >>> rows = to_rows(table, responses, None, limits)
    >>> rows.table.num_rows, rows.drops
    (1, {'rejected_without_eos': 1})
    """
    prompts = _prompt_ids(table, tokenizer)
    ids = {name: _response_ids(table, name, prompts, tokenizer, limits) for name in responses}
    _check_vocabulary({"prompt": prompts, **ids}, limits.vocab_size)
    reasons = _reasons(prompts, ids, limits)
    kept = pa.array(reasons == "")
    rows = pa.table(
        {
            "prompt_ids": prompts,
            **{f"{name}_ids": column for name, column in ids.items()},
            "weight": table["weight"],
        }
    ).filter(kept)
    where = np.flatnonzero(reasons != "")
    known = "prompt_id" in table.column_names
    dropped = pa.table(
        {
            "row": pa.array(where, pa.int64()),
            "prompt_id": table["prompt_id"].take(where) if known else pa.nulls(len(where)),
            "reason": pa.array(reasons[where].tolist(), pa.string()),
        }
    )
    result = Rows(rows, dropped)
    if rows.num_rows == 0:
        counts = ", ".join(f"{count} {reason}" for reason, count in result.drops.items())
        raise InputError(f"no row is left to train on: {counts}")
    return result


def encode_response(
    tokenizer: PreTrainedTokenizerBase, prompt: str | list[Any], prompt_ids: list[int], text: str
) -> list[int]:
    """Token ids of a response's text, without an end.

    Prompt and response are tokenized together where that leaves the prompt's tokens as they are
    (tokenizers of the SentencePiece family treat the start of a text specially), and apart where
    a token would merge across the boundary.
    """
    if isinstance(prompt, str):
        together = encode_prompt(tokenizer, prompt + text)
        if together[: len(prompt_ids)] == prompt_ids:
            return together[len(prompt_ids) :]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _prompt_ids(table: pa.Table, tokenizer: PreTrainedTokenizerBase) -> pa.Array:
    given = _given(table, "prompt_ids")
    missing = np.flatnonzero(given.is_null().to_numpy(zero_copy_only=False))
    if not len(missing):
        return given
    texts = table["prompt"].take(missing).to_pylist()
    return _filled(given, missing, [encode_prompt(tokenizer, text) for text in texts])


def _response_ids(
    table: pa.Table,
    name: str,
    prompts: pa.Array,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
) -> pa.Array:
    """Token ids of one of the responses; tokenized are those that lack ids, or an end of them."""
    given = _given(table, f"{name}_ids")
    lacking = given.is_null().to_numpy(zero_copy_only=False)
    if name in table.column_names and f"{name}_finish" in table.column_names:
        stopped = pc.equal(table[f"{name}_finish"], "stop").fill_null(False)
        lacking = lacking | (stopped.to_numpy() & ~_ends(given, limits.eos_ids))
    missing = np.flatnonzero(lacking)
    if not len(missing):
        return given
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-sequence token, which text needs")
    texts = table.take(missing)
    finish = f"{name}_finish"
    cut = texts[finish].to_pylist() if finish in texts.column_names else [None] * len(missing)
    context = texts["prompt"].to_pylist() if "prompt" in texts.column_names else [[]] * len(missing)
    encoded = []
    for prompt, prompt_ids, text, reason in zip(
        context, prompts.take(missing).to_pylist(), texts[name].to_pylist(), cut, strict=True
    ):
        ids = encode_response(tokenizer, prompt, prompt_ids, text)
        encoded.append(ids if reason == "length" else [*ids, int(tokenizer.eos_token_id)])
    return _filled(given, missing, encoded)


def _given(table: pa.Table, name: str) -> pa.Array:
    """The token-id column, or nulls."""
    if name not in table.column_names:
        return pa.nulls(table.num_rows, _IDS)
    return pa.concat_arrays(table[name].cast(_IDS).chunks)


def _filled(given: pa.Array, missing: npt.NDArray[np.intp], lists: list[list[int]]) -> pa.Array:
    """`given` with the missing rows replaced by `lists`."""
    source = np.arange(len(given))
    source[missing] = len(given) + np.arange(len(missing))
    return pa.concat_arrays([given, pa.array(lists, _IDS)]).take(pa.array(source))


def _check_vocabulary(columns: dict[str, pa.Array], vocab_size: int) -> None:
    for name, column in columns.items():
        if column.flatten().null_count:
            raise InputError(f"column '{name}_ids' has a null among its tokens")
        values = column.flatten().to_numpy()
        wrong = np.flatnonzero((values < 0) | (values >= vocab_size))
        if len(wrong):
            row = pc.list_parent_indices(column)[int(wrong[0])].as_py()
            raise InputError(
                f"column '{name}_ids' has token {values[wrong[0]]} in row {row}, outside the "
                f"model's vocabulary of {vocab_size}: are these another tokenizer's ids?"
            )


def _reasons(
    prompts: pa.Array, responses: dict[str, pa.Array], limits: Limits
) -> npt.NDArray[np.str_]:
    """The first reason to drop each row, "" where there is none."""
    n_prompt = pc.list_value_length(prompts).to_numpy()
    tests: list[tuple[str, npt.NDArray[np.bool_]]] = [("empty_prompt", n_prompt == 0)]
    lengths = {name: pc.list_value_length(ids).to_numpy() for name, ids in responses.items()}
    ends = {name: _ends(ids, limits.eos_ids) for name, ids in responses.items()}
    tests += [(f"empty_{name}", lengths[name] - ends[name] == 0) for name in responses]
    tests += [(f"{name}_without_eos", ~ends[name]) for name in responses if name in limits.must_end]
    if len(responses) == 2:
        tests.append(("identical", _identical(*responses.values())))
    longest = np.max([lengths[name] for name in responses], axis=0)
    tests.append(("too_long", n_prompt + longest > limits.max_length))
    return np.select([holds for _, holds in tests], [name for name, _ in tests], "")


def _ends(ids: pa.Array, eos_ids: Collection[int]) -> npt.NDArray[np.bool_]:
    """Whether each list ends with one of `eos_ids`."""
    values, offsets = ids.values.to_numpy(), ids.offsets.to_numpy()
    filled = offsets[1:] > offsets[:-1]
    last = np.full(len(ids), -1)
    last[filled] = values[offsets[1:][filled] - 1]
    ends: npt.NDArray[np.bool_] = np.isin(last, list(eos_ids))
    return ends


def _identical(left: pa.Array, right: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether the lists of the two columns are the same, row by row."""
    lengths = [pc.list_value_length(ids).to_numpy() for ids in (left, right)]
    same: npt.NDArray[np.bool_] = lengths[0] == lengths[1]
    for row in np.flatnonzero(same):
        same[row] = left[row].values.equals(right[row].values)
    return same
