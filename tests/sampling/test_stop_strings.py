"""Responses that end before a text: the same draws, cut by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from statllm.lab import model_path, problems
from statllm.models import load_tokenizer
from statllm.sampling import SamplingSettings, sample


@pytest.mark.parametrize("strings", [("####",), (" 1", "####", "=")])
def test_texts_and_tokens_end_where_the_string_is_complete(strings: tuple[str, ...]) -> None:
    prompts = problems("test", 12, 0)
    given = {"n": 3, "max_new_tokens": 60}
    whole = sample(model_path(), prompts, SamplingSettings(**given), progress=False)
    cut = sample(
        model_path(), prompts, SamplingSettings(**given, stop_strings=strings), progress=False
    )
    tokenizer = load_tokenizer(model_path())
    seen = 0
    for name in ("response", "token_ids", "token_logprobs", "finish_reason"):
        assert len(whole[name]) == len(cut[name])
    rows = zip(
        *(
            [one for row in table[name].to_pylist() for one in row]
            for table in (whole, cut)
            for name in ("response", "token_ids", "token_logprobs_model", "finish_reason")
        ),
        strict=True,
    )
    for text, ids, logs, why, short, kept, kept_logs, ended in rows:
        places = [text.find(string) for string in strings if string in text]
        if not places:
            assert (short, kept, kept_logs, ended) == (text, ids, logs, why)
            continue
        seen += 1
        assert short == text[: min(places)]
        assert kept == ids[: len(kept)]
        assert kept_logs == logs[: len(kept)]
        assert ended == "stop"

        def holds(part: list[int]) -> bool:
            decoded = tokenizer.decode(part, skip_special_tokens=True)
            return any(string in decoded for string in strings)

        assert holds(kept)
        assert not holds(kept[:-1])
    assert seen > 5
    sums = [np.sum(one) for row in cut["token_logprobs_model"].to_pylist() for one in row]
    logprobs = [one for row in cut["logprob"].to_pylist() for one in row]
    np.testing.assert_allclose(logprobs, sums, atol=1e-5)
    lengths = [len(one) for row in cut["token_ids"].to_pylist() for one in row]
    assert [one for row in cut["n_tokens"].to_pylist() for one in row] == lengths


def test_the_stopping_rule_reads_what_is_left() -> None:
    prompts = problems("test", 3, 0)
    settings = SamplingSettings(
        n=6, max_new_tokens=60, stop="esc", window=2, round=2, stop_strings=("####",)
    )
    table = sample(model_path(), prompts, settings, progress=False)
    assert not any("####" in text for row in table["response"].to_pylist() for text in row)


def test_an_empty_string_is_refused() -> None:
    with pytest.raises(ValidationError, match="stop_strings"):
        SamplingSettings(stop_strings=("",))
