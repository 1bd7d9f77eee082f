"""What is sent to servers and what is made of their answers."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.cli import main
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.models import load_tokenizer
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.answers import Answer, Journal, MalformedAnswer, read_answer
from statllm.sampling.calls import retry_after
from statllm.sampling.failures import SamplesMissing

needs_client = pytest.mark.skipif(
    importlib.util.find_spec("openai") is None, reason="the openai client isn't installed"
)
CHAT = pa.table(
    {
        "prompt_id": ["a", "b"],
        "prompt": [[{"role": "system", "content": "s"}, {"role": "user", "content": "w1"}]] * 2,
    }
)


def settings(server: Any, /, **changes: Any) -> SamplingSettings:
    chosen = {
        "n": 3, "max_new_tokens": 12, "backend": "openai", "server": server.url,
        "backoff": 0.01, "retries": 2,
    }  # fmt: skip
    return SamplingSettings(**{**chosen, **changes})


# ---- vLLM's extensions --------------------------------------------------------------------------


@needs_client
def test_token_ids_go_out_and_come_back(
    llama: Path, forty: pa.Table, serve: Callable[..., Any]
) -> None:
    server = serve()
    table = sample(llama, forty, settings(server), progress=False)
    Generations(table)  # valid
    ours = sample(llama, forty, SamplingSettings(n=3, max_new_tokens=12), progress=False)
    assert table.schema == ours.schema
    assert table.select(forty.column_names).equals(forty)
    assert table["prompt_token_ids"].equals(ours["prompt_token_ids"])
    assert table["model"].equals(ours["model"])
    tokenizer = load_tokenizer(llama)
    answers = {  # what the server said, by what it was asked
        (tuple(body["prompt"]), body["seed"]): _said(server, body) for body in server.bodies
    }
    assert len(answers) == 120
    used = []
    for row in table.to_pylist():
        seeds = {seed for prompt, seed in answers if list(prompt) == row["prompt_token_ids"]}
        assert len(seeds) == 3
        for ids, logprobs, text, reason, total, length in zip(
            row["token_ids"], row["token_logprobs_model"], row["response"],
            row["finish_reason"], row["logprob"], row["n_tokens"], strict=True,
        ):  # fmt: skip
            [seed] = [
                seed
                for seed in seeds
                if answers[tuple(row["prompt_token_ids"]), seed]["token_ids"] == ids
            ]
            used.append(seed)
            said = answers[tuple(row["prompt_token_ids"]), seed]
            assert np.allclose(logprobs, said["logprobs"]["token_logprobs"], rtol=1e-6)
            assert text == tokenizer.decode(ids, skip_special_tokens=True)
            assert (reason, length) == (said["finish_reason"], len(ids))
            assert total == pytest.approx(sum(said["logprobs"]["token_logprobs"]), rel=1e-5)
    assert len(set(used)) == 120
    body = server.bodies[0]
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (0, 0, 1)
    assert body["stop_token_ids"] == [2]
    assert set(server.paths) == {"/v1/completions"}


def _said(server: Any, body: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = server.completion(body)["choices"][0]
    return choice


@needs_client
def test_samples_do_not_depend_on_how_they_are_asked_for(
    llama: Path, forty: pa.Table, serve: Callable[..., Any]
) -> None:
    server = serve()
    whole = sample(llama, forty, settings(server, n=4), progress=False)
    cut = settings(server, n=2, shard_size=7, concurrency=1, timeout=9.0)
    turned = sample(llama, forty.take(list(range(39, -1, -1))), cut, progress=False)
    back = turned.take(list(range(39, -1, -1)))
    for a, b in zip(whole["token_ids"].to_pylist(), back["token_ids"].to_pylist(), strict=True):
        assert a[:2] == b


@needs_client
@pytest.mark.parametrize(
    ("temperature", "top_p", "known"),
    [(0.0, 1.0, "zero"), (1.0, 1.0, "model"), (0.7, 1.0, "nan"), (1.0, 0.9, "nan")],
)
def test_logprobs_under_what_was_drawn_from(
    temperature: float, top_p: float, known: str, llama: Path, forty: pa.Table,
    serve: Callable[..., Any],
) -> None:  # fmt: skip
    chosen = settings(serve(), n=1, temperature=temperature, top_p=top_p)
    table = sample(llama, forty, chosen, progress=False)
    drawn, model = (
        np.array(table[name].combine_chunks().flatten().flatten())
        for name in ("token_logprobs", "token_logprobs_model")
    )
    expected = {"zero": np.zeros_like(model), "model": model, "nan": np.full_like(model, np.nan)}
    np.testing.assert_array_equal(drawn, expected[known])


# ---- other servers ------------------------------------------------------------------------------


@needs_client
def test_of_a_plain_server_only_what_it_tells_is_known(
    forty: pa.Table, serve: Callable[..., Any], tmp_path: Path
) -> None:
    server, out = serve(vllm=False), tmp_path / "out.parquet"
    table = sample("tiny", forty, settings(server), out=out, progress=False)
    Generations(table)
    extensions = {"return_token_ids", "top_k", "min_p", "repetition_penalty", "stop_token_ids"}
    assert not any(extensions & set(body) for body in server.bodies)
    assert {body["prompt"] for body in server.bodies} == set(forty["prompt"].to_pylist())
    assert table["token_ids"].to_pylist() == [[None] * 3] * 40
    assert table["prompt_token_ids"].to_pylist() == [None] * 40
    assert table["model"].to_pylist() == ["tiny"] * 40
    by_text = {_said(server, body)["text"]: server.completion(body) for body in server.bodies}
    for row in table.to_pylist():
        for text, logprobs, length in zip(
            row["response"], row["token_logprobs_model"], row["n_tokens"], strict=True
        ):
            said = by_text[text]
            assert length == said["usage"]["completion_tokens"] == len(logprobs)
    types = sample("tiny", forty, settings(serve(), token_logprobs=False), progress=False)
    assert types.schema == table.schema
    assert types["logprob"].to_pylist() == [[None] * 3] * 40


@needs_client
@pytest.mark.parametrize("vllm", [True, False])
def test_messages_go_to_chat(vllm: bool, serve: Callable[..., Any]) -> None:
    server = serve(vllm=vllm)
    table = sample("tiny", CHAT, settings(server), progress=False)
    assert set(server.paths) == {"/v1/chat/completions"}
    assert server.bodies[0]["messages"] == CHAT["prompt"].to_pylist()[0]
    texts = {server.completion(b)["choices"][0]["message"]["content"] for b in server.bodies}
    assert set(table["response"].combine_chunks().flatten().to_pylist()) == texts
    assert table["prompt_token_ids"].to_pylist() == [[7, 8] if vllm else None] * 2
    lengths = [len(row) for row in table["token_logprobs"].combine_chunks().flatten().to_pylist()]
    assert lengths == table["n_tokens"].combine_chunks().flatten().to_pylist()


@needs_client
def test_a_text_as_a_message(forty: pa.Table, serve: Callable[..., Any]) -> None:
    server = serve(vllm=False)
    sample("tiny", forty.slice(0, 1), settings(server, endpoint="chat"), progress=False)
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "w0 w0"}]


@needs_client
def test_in_a_running_loop(forty: pa.Table, serve: Callable[..., Any]) -> None:
    """As in a notebook."""

    async def cell() -> pa.Table:
        return sample("tiny", forty, settings(serve(vllm=False)), progress=False)

    assert asyncio.run(cell()).num_rows == 40


# ---- answers ------------------------------------------------------------------------------------


def _body(**choice: Any) -> str:
    return json.dumps({"choices": [{"text": "w1", "finish_reason": "stop", **choice}]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "isn't JSON"),
        ("[1]", "one choice"),
        ('{"choices": [1]}', "one choice"),
        ('{"choices": [{}, {}]}', "one choice"),
        (_body(finish_reason=None), "isn't finished"),
        (_body(finish_reason="abort"), "isn't finished"),
        (_body(text=7), "isn't text"),
        ("[" * 100_000, "isn't JSON"),
        (_body(token_ids=["a"]), "token_ids can't be read"),
        (_body(token_ids=[2**31]), "token_ids can't be read"),
        (_body(prompt_token_ids=[-1]), "prompt_token_ids can't be read"),
        (_body(token_ids=[1], logprobs={"token_logprobs": [-1, -2]}), "1 tokens, 2 logprobs"),
        (_body(logprobs={"token_logprobs": [0.5]}), "aren't log-probabilities"),
        (_body(logprobs={"token_logprobs": [None]}), "logprobs can't be read"),
        ('{"choices": [{"finish_reason": "stop"}]}', "no text"),
    ],
)
def test_malformed_answers(body: str, message: str) -> None:
    with pytest.raises(MalformedAnswer, match=message):
        read_answer(body, chat=False)


@pytest.mark.parametrize("told", [-1, 2**31, 1.5, "7", None])
def test_numbers_of_tokens_that_cannot_be(told: object) -> None:
    body = {"choices": [{"text": "w1", "finish_reason": "stop"}]}
    whole = json.dumps({**body, "usage": {"completion_tokens": told}})
    assert read_answer(whole, chat=False).n_tokens is None


def test_halves_of_surrogate_pairs() -> None:
    body = '{"choices": [{"text": "a\\ud83d b\\ud83d\\ude00", "finish_reason": "length"}]}'
    text = read_answer(body, chat=False).text
    assert text == "a\ufffd b\U0001f600"
    assert pa.array([text]).to_pylist() == [text]


def test_other_reasons_and_empty_messages() -> None:
    body = '{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}'
    assert read_answer(body, chat=True) == Answer("", "content_filter")


def test_a_journal_whose_last_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    answers = {
        f"k{i}": Answer("ä\n\u2028", "stop", 2, [1, 2], [-0.1, -1e-9], [3]) for i in range(5)
    }
    with Journal(path) as journal:
        for key in ("k0", "k1"):
            journal.add(key, answers[key])
    path.write_bytes(path.read_bytes()[:-9])
    again = Journal(path)
    assert again.answers == {"k0": answers["k0"]}
    with again:
        for key in ("k1", "k2"):
            again.add(key, answers[key])
    assert Journal(path).answers == {key: answers[key] for key in ("k0", "k1", "k2")}


@pytest.mark.parametrize("value", ["soon", "nan", ""])
def test_a_retry_after_that_cannot_be_read(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


# ---- wrong settings -----------------------------------------------------------------------------


@needs_client
def test_what_is_refused(llama: Path, forty: pa.Table, serve: Callable[..., Any]) -> None:
    server = serve()
    for changed, message in [
        ({"server": None}, "needs --server"),
        ({"backend": "transformers"}, "a server needs backend openai"),
        ({"engine": ("a=1",)}, "need backend vllm"),
        ({"max_new_tokens": 63}, "exceeds the model's 64 positions"),
    ]:
        with pytest.raises(InputError, match=message):
            sample(llama, forty, settings(server, **changed), progress=False)
    with pytest.raises(InputError, match="no model 'other', only 'tiny'"):
        sample("other", forty, settings(server), progress=False)
    with pytest.raises(InputError, match="'a' is a list of messages"):
        sample("tiny", CHAT, settings(server, endpoint="completions"), progress=False)
    with pytest.raises(InputError, match="'p0' is null"):
        nothing = pa.table({"prompt_id": ["p0"], "prompt": pa.array([None], pa.string())})
        sample("tiny", nothing, settings(server), progress=False)
    assert not server.bodies
    with pytest.raises(ValueError, match="server"):
        SamplingSettings(server="https://me:secret@host/v1")


@needs_client
def test_an_unknown_model_ends_the_job(forty: pa.Table, serve: Callable[..., Any]) -> None:
    server = serve(lambda number, body: (404, "no such model"), vllm=False)
    with pytest.raises(SamplesMissing, match="refused, .*no such model"):
        sample("unknown", forty, settings(server, concurrency=4), progress=False)
    assert len(server.bodies) <= 4


@pytest.mark.skipif(importlib.util.find_spec("openai") is not None, reason="openai is installed")
def test_without_the_client_the_error_says_what_to_install(llama: Path, forty: pa.Table) -> None:
    chosen = SamplingSettings(backend="openai", server="http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match="pip install openai"):
        sample(llama, forty, chosen)


# ---- the command --------------------------------------------------------------------------------


@needs_client
def test_the_command_and_its_rerun(
    llama: Path,
    serve: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = tmp_path / "prompts.jsonl", tmp_path / "out.parquet"
    source.write_text("".join(f'{{"prompt_id": {i}, "prompt": "w{i}"}}\n' for i in range(9)))
    bad = serve(lambda number, body: "500" if body["prompt"] == [6 + 4] else None)

    def run(server: Any, *more: str) -> None:
        command = [
            "statllm", "sample", str(llama), str(source), "-o", str(out), "--n", "2",
            "--max-new-tokens", "8", "--backend", "openai", "--server", server.url,
            "--retries", "1", "--backoff", "0.01", *more,
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code or 0) == (2 if server is bad and not more else 0)

    run(bad)
    said = capsys.readouterr().err
    assert "1 of 9 prompts lack samples (prompt_id '4'" in said
    assert "out.parquet.failures.jsonl lists all" in said
    run(bad, "--allow-failures")
    assert "1 prompts are missing" in " ".join(capsys.readouterr().out.split())
    good = serve()
    run(good)
    assert [body["prompt"] for body in good.bodies] == [[10], [10]]
    assert Generations.read(out).n_prompts == 9
