"""Engines: the same rows as in memory, whatever the parts, batches, workers and engine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from statllm.engines import EngineSettings, Source, score_file, select_file
from statllm.errors import InputError
from statllm.generations import Generations
from statllm.scoring import ScoringSettings, score
from statllm.selection import RuleSettings, select, settings_of

pytestmark = pytest.mark.usefixtures("one_ray")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray isn't installed")
ENGINES = ["local", pytest.param("ray", marks=needs_ray)]


def samples(n: int, seed: int = 0) -> pa.Table:
    """Prompts with 0 to 8 samples; answers, verdicts and rewards of all kinds."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 9, n)
    answers = [[["4", "5", "5.0", None][i] for i in rng.integers(0, 4, k)] for k in sizes]
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in rng.permutation(n)],
            "prompt": [f"What is {i}?" for i in range(n)],
            "reference": ["4" if i % 3 else None for i in range(n)],
            "response": [[f"So #### {a}" if a else "no idea" for a in row] for row in answers],
            "reward": [np.round(rng.normal(size=k), 1).tolist() for k in sizes],
            "task": ["a" if i % 4 else "b" for i in range(n)],
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(samples(500), tmp_path / "samples.parquet", row_group_size=37)
    return tmp_path


def pieces(engine: Any, **changes: Any) -> EngineSettings:
    return EngineSettings(
        engine=engine, **{"workers": 2, "part_rows": 120, "batch_rows": 11} | changes
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_scores_are_those_of_the_table_in_memory(folder: Path, engine: str) -> None:
    source = Source(folder / "samples.parquet")
    assert score_file(source, folder / "s.parquet", settings=pieces(engine)) == 500
    expected = score(Generations.read(source.path)).table
    found = pq.read_table(folder / "s.parquet")
    assert found.schema.equals(expected.schema)
    assert found.equals(expected)
    assert not (folder / "s.parquet.parts").exists()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("scpo", {"threshold": 0.4}),
        ("irpo", {"pairs_per_prompt": 3, "order": "shuffled"}),
        ("rip", {"gap_quantile": 0.5, "rejected_length_quantile": 0.3, "min_rejected_reward": -1}),
        ("rip", {"max_gap": 2.0}),
        ("rip", {"min_gap_quantile": 0.2, "max_rejected_reward_quantile": 0.9, "reward_sd": 0.1}),
    ],
)
def test_selections_are_those_of_the_table_in_memory(
    folder: Path, engine: str, rule: str, changes: dict[str, Any]
) -> None:
    if engine == "ray" and rule == "irpo":
        pytest.skip("Ray's start takes seconds; two rules are enough")
    scored = score(Generations.read(folder / "samples.parquet"))
    pq.write_table(scored.table, folder / "scored.parquet", row_group_size=50)
    settings = settings_of(rule, None, **changes)
    expected = select(rule, scored, settings)
    found = select_file(
        rule,
        Source(folder / "scored.parquet"),
        folder / "pairs.parquet",
        folder / "ledger.parquet",
        settings,
        pieces(engine),
    )
    assert pq.read_table(folder / "pairs.parquet").equals(expected.pairs)
    assert pq.read_table(folder / "ledger.parquet").equals(expected.ledger)
    assert found.counts == expected.counts()
    assert list(found.counts) == list(expected.counts())
    assert found.thresholds == expected.thresholds
    assert sum(found.counts.values()) == found.n_prompts == 500
    assert sorted(path.name for path in folder.iterdir()) == [
        "ledger.parquet",
        "pairs.parquet",
        "samples.parquet",
        "scored.parquet",
    ]


@needs_ray
def test_ray_and_any_number_of_workers_write_the_same_bytes(folder: Path) -> None:
    source = Source(folder / "samples.parquet")
    digests = set()
    for name, settings in (
        ("a", pieces("local", workers=1)),
        ("b", pieces("local", workers=3)),
        ("c", pieces("ray")),
    ):
        score_file(source, folder / f"{name}.parquet", settings=settings)
        digests.add(hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_folder_of_files_becomes_a_folder_of_files(tmp_path: Path) -> None:
    table = samples(100)
    (tmp_path / "in").mkdir()
    for number in range(4):
        pq.write_table(table.slice(25 * number, 25), tmp_path / "in" / f"{number}.parquet")
    score_file(Source(tmp_path / "in"), tmp_path / "out", settings=pieces("local", workers=1))
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [f"part-{number:05d}.parquet" for number in range(4)]
    found = Generations.read(tmp_path / "out").table
    assert found.equals(score(Generations(table)).table)


def test_columns_are_renamed_and_rows_left_out(folder: Path) -> None:
    table = samples(200).rename_columns(["qid", *samples(1).column_names[1:]])
    pq.write_table(table, folder / "theirs.parquet", row_group_size=20)
    columns, where = {"prompt_id": "qid"}, {"task": "b"}
    path = folder / "theirs.parquet"
    n = score_file(
        Source(path, columns, where), folder / "s.parquet", settings=pieces("local", workers=1)
    )
    expected = score(Generations.read(path, columns, where)).table
    assert n == expected.num_rows == 50
    assert pq.read_table(folder / "s.parquet").equals(expected)


@pytest.mark.parametrize("rewritten", [False, True])
def test_answers_as_given_are_kept_where_any_was_rewritten(tmp_path: Path, rewritten: bool) -> None:
    answers = [["4"]] * 30 + [["5.0" if rewritten else "5"]]
    table = pa.table({"prompt_id": [f"p{i}" for i in range(31)], "answer": answers, "x": range(31)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=10)
    settings = pieces("local", workers=1, part_rows=10)
    score_file(Source(tmp_path / "in.parquet"), tmp_path / "s.parquet", settings=settings)
    found = pq.read_table(tmp_path / "s.parquet")
    assert ("answer_raw" in found.column_names) == rewritten
    assert found.equals(score(Generations(table)).table)


def test_a_prompt_id_in_two_parts_is_refused(tmp_path: Path) -> None:
    table = pa.table({"prompt_id": [*map(str, range(50)), "7"], "answer": [["4"]] * 51})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=10)
    with pytest.raises(InputError, match="must be unique, but '7' occurs twice"):
        score_file(
            Source(tmp_path / "in.parquet"),
            tmp_path / "s.parquet",
            settings=pieces("local", part_rows=10),
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_names_the_rows_and_writes_nothing(tmp_path: Path, engine: str) -> None:
    rewards = [[1.0, 2.0]] * 70 + [[1.0, None]] + [[1.0, 2.0]] * 29
    ids = [f"p{i}" for i in range(100)]
    pq.write_table(
        pa.table({"prompt_id": ids, "reward": rewards}), tmp_path / "in.parquet", row_group_size=20
    )
    settings = pieces(engine, part_rows=20, batch_rows=10)
    with pytest.raises(InputError, match=r"in rows 70 to 80: .*reward"):
        score_file(Source(tmp_path / "in.parquet"), tmp_path / "s.parquet", settings=settings)
    assert not (tmp_path / "s.parquet").exists()


def test_what_cannot_be_worked_on_is_refused(folder: Path) -> None:
    source, out = Source(folder / "samples.parquet"), folder / "s.parquet"
    with pytest.raises(InputError, match="no row where task = c"):
        score_file(Source(source.path, {}, {"task": "c"}), out, settings=pieces("local", workers=1))
    with pytest.raises(InputError, match="has no column 'nope'"):
        score_file(Source(source.path, {"answer": "nope"}), out)
    with pytest.raises(InputError, match="writes .parquet"):
        score_file(source, folder / "s.jsonl")
    with pytest.raises(InputError, match="compares all prompts"):
        select_file("conformal", source, out, None, settings_of("conformal"))
    with pytest.raises(InputError, match="draws from all pairs"):
        select_file("irpo", source, out, None, settings_of("irpo", None, max_pairs=5))
    (folder / "cut.parquet").write_bytes(source.path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a complete Parquet file"):
        score_file(Source(folder / "cut.parquet"), out)
    pq.write_table(samples(0), folder / "none.parquet")
    with pytest.raises(InputError, match="has no rows"):
        score_file(Source(folder / "none.parquet"), out)


_SLOW = """
import sys, time
from pathlib import Path
import statllm.engines.works as works
from statllm.engines import EngineSettings, Source, score_file

class Slow(works.ScoreWork):
    def __call__(self, table, first):
        time.sleep(0.2)
        return super().__call__(table, first)

Slow.__name__ = "ScoreWork"
works.ScoreWork = Slow
folder = Path(sys.argv[1])
score_file(Source(folder / "samples.parquet"), folder / "s.parquet",
           settings=EngineSettings(engine="local", workers=1, part_rows=37, batch_rows=37))
"""


def test_a_killed_run_goes_on_from_its_last_part(folder: Path) -> None:
    settings = pieces("local", workers=1, part_rows=37, batch_rows=37)
    source = Source(folder / "samples.parquet")
    running = subprocess.Popen([sys.executable, "-c", _SLOW, str(folder)])
    parts = folder / "s.parquet.parts"
    while len(list(parts.glob("scores-*.parquet"))) < 3 and running.poll() is None:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    made = {path.name: path.stat().st_mtime_ns for path in parts.glob("scores-*.parquet")}
    assert made
    again: dict[str, int] = {}

    def on_part(done: int, of: int) -> None:
        again.update({path.name: path.stat().st_mtime_ns for path in parts.glob("scores-*")})

    score_file(source, folder / "s.parquet", settings=settings, on_part=on_part)
    assert len(again) == 14
    assert {name: again[name] for name in made} == made
    expected = score(Generations.read(source.path)).table
    assert pq.read_table(folder / "s.parquet").equals(expected)


def test_other_settings_do_not_take_over_old_parts(folder: Path) -> None:
    source, out = Source(folder / "samples.parquet"), folder / "s.parquet"

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    settings = pieces("local", workers=1)
    with pytest.raises(KeyboardInterrupt):
        score_file(source, out, ScoringSettings(entropy="plugin"), settings, stop)
    score_file(source, out, None, settings)
    assert pq.read_table(out).equals(score(Generations.read(source.path)).table)


def test_rules_that_need_settings_get_them(folder: Path) -> None:
    settings: RuleSettings = settings_of("scpo")
    with pytest.raises(InputError, match="needs the column 'prompt'"):
        pq.write_table(samples(5).drop_columns("prompt"), folder / "x.parquet")
        select_file("scpo", Source(folder / "x.parquet"), folder / "p.parquet", None, settings)
