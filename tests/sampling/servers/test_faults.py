"""Server faults: every prompt is accounted for, and a rerun asks for the gaps and nothing else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.sampling import SamplingSettings, sample
from statllm.sampling.failures import SamplesMissing, failures_file

pytest.importorskip("openai", reason="the openai client isn't installed")

N = 3
FAULTS = ("429", "429-later", "500", "503", "hang", "malformed", "truncated", "close", "html",
          "no-choice", "abort", "short-logprobs")  # fmt: skip


def settings(server: Any, **changes: Any) -> SamplingSettings:
    chosen = {
        "n": N, "max_new_tokens": 12, "shard_size": 16, "seed": 3, "backend": "openai",
        "server": server.url, "timeout": 20.0, "backoff": 0.01, "concurrency": 8, "retries": 3,
    }  # fmt: skip
    return SamplingSettings(**{**chosen, **changes})


def name(body: dict[str, Any]) -> str:
    """What a request asks for."""
    return json.dumps([body["prompt"], body["seed"]])


@pytest.fixture
def undisturbed(
    llama: Path, forty: pa.Table, serve: Callable[..., Any], tmp_path: Path
) -> tuple[bytes, list[str]]:
    """The bytes of a run without faults, and its requests."""
    server, out = serve(), tmp_path / "undisturbed.parquet"
    sample(llama, forty, settings(server), out=out, progress=False)
    return out.read_bytes(), [name(body) for body in server.bodies]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_that_pass(
    fault: str,
    llama: Path,
    forty: pa.Table,
    serve: Callable[..., Any],
    tmp_path: Path,
    undisturbed: tuple[bytes, list[str]],
) -> None:
    """Every seventh request fails once or twice; the table is the same, byte for byte."""
    seen: Counter[str] = Counter()

    def sometimes(number: int, body: dict[str, Any]) -> str | None:
        seen[name(body)] += 1
        return fault if body["seed"] % 7 == 0 and seen[name(body)] <= 1 else None

    server, out = serve(sometimes), tmp_path / "out.parquet"
    patience = {"timeout": 0.5} if fault == "hang" else {}
    sample(llama, forty, settings(server, **patience), out=out, progress=False)
    assert out.read_bytes() == undisturbed[0]
    failed = sum(json.loads(one)[1] % 7 == 0 for one in undisturbed[1])
    assert failed > 5
    assert len(server.bodies) == 40 * N + failed or fault == "hang"
    assert set(seen) == set(undisturbed[1])
    assert not failures_file(out).exists()
    assert not (tmp_path / "out.parquet.shards").exists()


@pytest.mark.parametrize("fault", ["500", "malformed", "close", (400, "too long")])
def test_one_percent_that_never_answer(
    fault: Any,
    llama: Path,
    forty: pa.Table,
    serve: Callable[..., Any],
    tmp_path: Path,
    undisturbed: tuple[bytes, list[str]],
) -> None:
    poison = set(undisturbed[1][::60])
    assert len(poison) == 2  # of 120, in the first and in the second shard

    def fails(number: int, body: dict[str, Any]) -> Any:
        return fault if name(body) in poison else None

    server, out = serve(fails), tmp_path / "out.parquet"
    with pytest.raises(SamplesMissing, match="2 of 40 prompts lack samples") as caught:
        sample(llama, forty, settings(server), out=out, progress=False)
    assert not out.exists()
    listed = [json.loads(line) for line in failures_file(out).read_text().splitlines()]
    assert [(one["prompt_id"], one["sample"]) for one in listed] == [
        (one.prompt_id, one.sample) for one in caught.value.failures
    ]
    whole = read_parquet(tmp_path / "undisturbed.parquet").to_pylist()
    asked = {  # the seeds are in no column: prompt and place say which request it was
        row["prompt_id"]: [
            body["seed"] for body in server.bodies if body["prompt"] == row["prompt_token_ids"]
        ]
        for row in whole
    }
    assert len(listed) == 2
    for one in listed:
        assert {json.loads(p)[1] for p in poison} & set(asked[one["prompt_id"]])
        refused = isinstance(fault, tuple)
        assert one["attempts"] == (1 if refused else 4)
        kinds = {"500": "server-error", "malformed": "malformed", "close": "connection"}
        assert one["kind"] == ("refused" if refused else kinds[fault])

    healed = serve()
    sample(llama, forty, settings(healed), out=out, progress=False)
    assert sorted(name(body) for body in healed.bodies) == sorted(poison)
    assert out.read_bytes() == undisturbed[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.parquet",
        "undisturbed.parquet",
    ]


def test_a_server_that_wants_another_name_for_the_limit(
    llama: Path, forty: pa.Table, serve: Callable[..., Any], tmp_path: Path, undisturbed: Any
) -> None:
    """It's told once what to ask for, and the answers are the same."""
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server = serve(lambda number, body: (400, said) if "max_tokens" in body else None)
    out = tmp_path / "out.parquet"
    sample(llama, forty, settings(server), out=out, progress=False)
    assert out.read_bytes() == undisturbed[0]
    refused = sum("max_tokens" in body for body in server.bodies)
    assert 1 <= refused <= 8  # those that were under way when the first was refused
    assert len(server.bodies) == 40 * N + refused


def test_a_server_without_a_parameter(
    llama: Path, forty: pa.Table, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """A 1 is the default and needn't be said; anything else isn't silently left out."""

    def refuses(number: int, body: dict[str, Any]) -> Any:
        for name in ("temperature", "top_p"):
            if name in body:
                return 400, f"Unsupported value: '{name}' does not support {body[name]} here."
        return None

    neutral = {"temperature": 1.0, "top_p": 1.0}
    server = serve(refuses)
    table = sample(llama, forty, settings(server, **neutral), progress=False)
    assert table.num_rows == 40
    told = [body for body in server.bodies if "temperature" in body or "top_p" in body]
    assert 2 <= len(told) <= 16  # those that were under way when each was refused
    assert len(server.bodies) == 40 * N + len(told)

    server = serve(refuses)
    with pytest.raises(SamplesMissing, match="Unsupported value: 'temperature'"):
        sample(llama, forty, settings(server, temperature=0.5), progress=False)
    assert len(server.bodies) <= 8  # nobody else is asked in vain


def test_allowed_failures(
    llama: Path,
    forty: pa.Table,
    serve: Callable[..., Any],
    tmp_path: Path,
    undisturbed: tuple[bytes, list[str]],
) -> None:
    server, out = (
        serve(lambda number, body: "500" if body["seed"] % 40 == 0 else None),
        tmp_path / "o",
    )
    allowed = settings(server, allow_failures=True)
    table = sample(llama, forty, allowed, out=out, progress=False)
    whole = read_parquet(tmp_path / "undisturbed.parquet")
    lost = {json.loads(line)["prompt_id"] for line in failures_file(out).read_text().splitlines()}
    assert 0 < len(lost) < 20
    kept = [i for i, one in enumerate(whole["prompt_id"].to_pylist()) if one not in lost]
    assert table.equals(whole.take(kept))
    assert read_parquet(out).equals(table)
    missing = [one for one in undisturbed[1] if json.loads(one)[1] % 40 == 0]
    healed = serve()
    sample(llama, forty, settings(healed, allow_failures=True), out=out, progress=False)
    assert sorted(name(body) for body in healed.bodies) == sorted(missing)
    assert out.read_bytes() == undisturbed[0]
    assert not failures_file(out).exists()


@pytest.mark.parametrize("shard_size", [16, 64])
def test_a_server_that_dies(
    shard_size: int,
    llama: Path,
    forty: pa.Table,
    serve: Callable[..., Any],
    tmp_path: Path,
    undisturbed: tuple[bytes, list[str]],
) -> None:
    """Answers and failures together are all samples; a new server gets the rest."""
    server = serve(lambda number, body: "die" if number == 61 else None)
    out = tmp_path / "out.parquet"
    with pytest.raises(SamplesMissing) as caught:
        sample(llama, forty, settings(server, shard_size=shard_size), out=out, progress=False)
    assert not out.exists()
    lost = [(one.prompt_id, one.sample) for one in caught.value.failures]
    assert len(set(lost)) == len(lost) == 40 * N - server.answered
    assert {one.kind for one in caught.value.failures} == {"connection", "not-sent"}

    again = serve()
    sample(llama, forty, settings(again, shard_size=shard_size), out=out, progress=False)
    assert len(again.bodies) == len(lost)
    assert read_parquet(out).equals(read_parquet(tmp_path / "undisturbed.parquet"))


def test_a_server_that_is_gone_is_said_at_once(
    llama: Path, forty: pa.Table, serve: Callable[..., Any]
) -> None:
    server = serve()
    server.die()
    with pytest.raises(InputError, match=f"{server.url} can't be reached"):
        sample(llama, forty, settings(server), progress=False)


def test_kill_9_of_the_job(
    llama: Path,
    forty: pa.Table,
    serve: Callable[..., Any],
    tmp_path: Path,
    undisturbed: tuple[bytes, list[str]],
) -> None:
    """What had been answered in the middle of a shard isn't asked for again."""
    server = serve()
    server.pause = 0.05
    source, out = tmp_path / "prompts.parquet", tmp_path / "out.parquet"
    write_parquet(forty, source)
    code = (
        "import sys\n"
        "from statllm.files import read_parquet\n"
        "from statllm.sampling import SamplingSettings, sample\n"
        "settings = SamplingSettings.model_validate_json(sys.argv[3])\n"
        "sample(sys.argv[1], read_parquet(sys.argv[2]), settings, out=sys.argv[4])\n"
    )
    chosen = settings(server, concurrency=2)
    arguments = [str(llama), str(source), chosen.model_dump_json(), str(out)]
    with subprocess.Popen([sys.executable, "-c", code, *arguments]) as process:
        while server.answered < 20 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    before = server.answered
    again = serve()
    sample(llama, forty, settings(again), out=out, progress=False)
    assert 40 * N - before <= len(again.bodies) <= 40 * N - before + 2  # those on their way
    assert out.read_bytes() == undisturbed[0]


def test_a_busy_server_is_waited_for(
    llama: Path, forty: pa.Table, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """Three of four requests meet a rate limit, again and again; four retries are enough.

    A request may be refused while another is answered, and then, alone, three times more.
    """
    server = serve(lambda number, body: None if number % 4 == 0 else "429")
    table = sample(llama, forty, settings(server, concurrency=16, retries=4), progress=False)
    assert table.num_rows == 40
    assert len(server.bodies) > 3 * 40 * N


def test_a_server_at_work_is_waited_for(
    llama: Path, forty: pa.Table, serve: Callable[..., Any]
) -> None:
    """The first request takes .6 s, and every other is refused meanwhile."""
    free = threading.Event()

    def one_at_a_time(number: int, body: dict[str, Any]) -> str | None:
        if number == 0:
            time.sleep(0.6)
            free.set()
        return None if free.is_set() else "429"

    server = serve(one_at_a_time)
    table = sample(llama, forty.slice(0, 4), settings(server, concurrency=3), progress=False)
    assert table.num_rows == 4
    assert len(server.bodies) > 4 * N + 2 * 4  # both others were refused more often than `retries`


def test_a_limit_that_refuses_everything_ends_the_job(
    llama: Path, forty: pa.Table, serve: Callable[..., Any]
) -> None:
    server = serve(lambda number, body: (429, "you exceeded your quota"))
    with pytest.raises(SamplesMissing, match="40 of 40 .*rate-limited.*quota") as caught:
        sample(llama, forty, settings(server, retries=1), progress=False)
    assert len(caught.value.failures) == 40 * N
    assert len(server.bodies) < 40 * N / 2  # most were never sent


def test_retry_after_holds_for_all(llama: Path, forty: pa.Table, serve: Callable[..., Any]) -> None:
    """While a server has asked for a pause of .3 s, no request arrives."""
    server = serve(lambda number, body: "429" if number == 5 else None)
    server.retry_after = 0.3
    sample(llama, forty.slice(0, 6), settings(server, concurrency=1), progress=False)
    gaps = np.diff(server.times)
    assert gaps[5] >= 0.3


def test_requests_per_minute(llama: Path, forty: pa.Table, serve: Callable[..., Any]) -> None:
    server = serve()
    start = time.monotonic()
    sample(llama, forty.slice(0, 4), settings(server, requests_per_minute=1500), progress=False)
    assert len(server.times) == 12
    assert max(server.times) - start >= 11 * 60 / 1500


def test_concurrency(llama: Path, forty: pa.Table, serve: Callable[..., Any]) -> None:
    server = serve()
    server.pause = 0.03
    sample(llama, forty, settings(server, concurrency=5), progress=False)
    assert 2 <= server.most_busy <= 5


def test_a_wrong_key_ends_the_job_and_is_never_told(
    llama: Path,
    forty: pa.Table,
    serve: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-31")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-47")
    server = serve(lambda number, body: (401, "Incorrect API key provided: sk-secret-31"))
    out = tmp_path / "out.parquet"
    with pytest.raises(SamplesMissing, match=r"40 of 40 .*refused.*provided: \*\*\*") as caught:
        sample(llama, forty, settings(server, api_key_variable="MY_KEY"), out=out, progress=False)
    assert server.keys == {"Bearer sk-secret-31"}
    assert len(server.bodies) <= 8
    assert len(caught.value.failures) == 40 * N
    assert "sk-" not in str(caught.value)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"sk-" not in path.read_bytes()


def test_stopping_goes_on_without_the_prompts_that_fail(
    llama: Path, forty: pa.Table, serve: Callable[..., Any], tmp_path: Path
) -> None:
    rule = {"n": 8, "stop": "esc", "window": 2, "round": 2}
    from statllm.scoring import ScoringSettings

    scoring = ScoringSettings(rule="number")
    good, bad = serve(), serve(lambda number, body: "500" if body["seed"] % 40 == 0 else None)
    whole = sample(llama, forty, settings(good, **rule), scoring=scoring, progress=False)
    allowed = settings(bad, **rule, allow_failures=True, retries=0)
    out = tmp_path / "out.parquet"
    part = sample(llama, forty, allowed, out=out, scoring=scoring, progress=False)
    lost = {json.loads(line)["prompt_id"] for line in failures_file(out).read_text().splitlines()}
    assert 0 < len(lost) < 30
    kept = [i for i, one in enumerate(whole["prompt_id"].to_pylist()) if one not in lost]
    assert part.equals(whole.take(kept))
    assert len(bad.bodies) == len({name(body) for body in bad.bodies})  # none was asked for twice


def test_all_fail(llama: Path, forty: pa.Table, serve: Callable[..., Any]) -> None:
    server = serve(lambda number, body: "500")
    table = sample(llama, forty, settings(server, allow_failures=True, retries=0), progress=False)
    assert table.num_rows == 0
