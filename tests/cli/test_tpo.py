"""`statllm select tpo`: pairs, ledger, and what it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.generations import Generations
from statllm.selection import TpoSettings, tpo


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    rows = [
        (["Hm. <R> long long text", "<R> short", "no marker"], [0.9, 0.1, None]),
        (["<R> a b", "<R> a b c d"], [0.3, 0.4]),
        (["<R> x", "<R> y"], [0.5, 0.5]),
    ]
    table = pa.table(
        {
            "prompt_id": ["a", "b", "c"],
            "prompt": ["A", "B", "C"],
            "response": [texts for texts, _ in rows],
            "reward": pa.array([values for _, values in rows], pa.list_(pa.float64())),
        }
    )
    path = tmp_path / "rewards.parquet"
    pq.write_table(table, path)
    return path


Call = Callable[..., tuple[int, str, str]]


def test_pairs_ledger_and_prices(statllm: Call, rewards: Path, tmp_path: Path) -> None:
    pairs, ledger = tmp_path / "pairs.parquet", tmp_path / "ledger.parquet"
    code, output, error = statllm(
        "select", "tpo", rewards, "-o", pairs, "--ledger", ledger, "--rho", ".2",
        "--response-part", "<R>", "--length", "words", "--max-failure-share", "0.5",
    )  # fmt: skip
    assert code == 0, error
    settings = TpoSettings(rho=0.2, response_part="<R>", length="words", max_failure_share=0.5)
    expected = tpo(Generations.read(rewards), settings)
    assert pq.read_table(pairs).equals(expected.pairs)
    assert pq.read_table(ledger).equals(expected.ledger)
    assert expected.counts() == {"kept": 2, "tied": 1}
    assert "rho = 0.2" in output
    assert "failure_share = 0.5" in output


def test_auto_is_the_default_and_the_preset(statllm: Call, rewards: Path, tmp_path: Path) -> None:
    found = []
    for more in ((), ("--rho", "auto"), ("--preset", "tpo-ultrafeedback", "--iteration", "4")):
        pairs = tmp_path / "p.parquet"
        code, output, error = statllm(
            "select", "tpo", rewards, "-o", pairs, "--response-part", "<R>", *more
        )
        assert code == 0, error
        assert "rho_high" in output
        found.append(pq.read_table(pairs))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--rho", "some"), "rho"),
        (("--rho", "-1"), "rho"),
        (("--max-failure-share", "2"), "max_failure_share"),
        (("--preset", "rip-wildchat-8b"), "is one of rule 'rip'"),
        ((), "column 'reward' is missing for sample 2 of row 0"),
        (("--engine", "local", "--response-part", "<R>"), "looks at all prompts"),
    ],
)
def test_what_is_refused(
    statllm: Call, more: tuple[str, ...], words: str, rewards: Path, tmp_path: Path
) -> None:
    code, _, error = statllm("select", "tpo", rewards, "-o", tmp_path / "p.parquet", *more)
    assert code != 0
    assert words in error
    assert not (tmp_path / "p.parquet").exists()
