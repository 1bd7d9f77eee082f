"""Score and select a table larger than memory: rows per second, peak memory, equal outputs.

The floor is reading the file's columns once, batch by batch, on one processor. Memory is that of
all processes of an engine together, shared pages counted once (PSS), sampled five times a second;
of Ray's also its servers.

    python benchmarks/engines.py --rows 10_000_000 --engines local ray
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SAMPLES, GROUP = 8, 250_000
_WORDS = ("We add them up and get", "Half of it is left, so", "That is", "All of them together are")


def make(path: Path, rows: int) -> None:
    """Write a table of made prompts with eight responses and rewards each, uncompressed."""
    rng = np.random.default_rng(0)
    forms = pa.array([f"{words} #### {answer}" for answer in range(6) for words in _WORDS])
    writer = None
    for start in range(0, rows, GROUP):
        m = min(GROUP, rows - start)
        bounds = rng.dirichlet(np.ones(6), m).cumsum(1)
        answers = (rng.random((m, SAMPLES, 1)) > bounds[:, None, :]).sum(2).clip(0, 5)
        chosen = answers * len(_WORDS) + rng.integers(0, len(_WORDS), answers.shape)
        offsets = pa.array(np.arange(0, m * SAMPLES + 1, SAMPLES), pa.int32())
        rewards = pa.array(rng.normal(size=m * SAMPLES))
        table = pa.table(
            {
                "prompt_id": [f"p{i}" for i in range(start, start + m)],
                "prompt": [f"Problem {i}: how many are there?" for i in range(start, start + m)],
                "reference": pa.array(rng.integers(0, 6, m)).cast(pa.string()),
                "response": pa.ListArray.from_arrays(offsets, forms.take(pa.array(chosen.ravel()))),
                "reward": pa.ListArray.from_arrays(offsets, rewards),
            }
        )
        writer = writer or pq.ParquetWriter(
            path, table.schema, compression="none", use_dictionary=["reference"]
        )
        writer.write_table(table)
    assert writer is not None
    writer.close()


def read_seconds(path: Path) -> float:
    """Seconds to read every column once."""
    begin = time.perf_counter()
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        for _ in file.iter_batches(batch_size=20_000, use_threads=False):
            pass
    return time.perf_counter() - begin


def family(root: int) -> Iterator[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting += parents.get(process, [])


def pss(process: int) -> int:
    """Proportional set size in bytes."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))


def measured(arguments: list[str]) -> tuple[float, float]:
    """Run statllm; seconds and peak GB of its processes."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "statllm", *arguments], stdout=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(pss(one) for one in family(process.pid)))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"statllm {' '.join(arguments)} ended with {process.returncode}")
    return time.perf_counter() - begin, peak / 1e9


def digest(path: Path) -> str:
    """First digits of a file's SHA-256."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def main() -> None:
    """Print a table and, last, the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=200_000)
    parser.add_argument("--engines", nargs="+", default=["local"], choices=["local", "ray"])
    parser.add_argument("--workers", default="2")
    parser.add_argument("--folder", type=Path, help="Where the files lie; default: temporary.")
    given = parser.parse_args()
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        table = folder / "table.parquet"
        make(table, given.rows)
        floor = read_seconds(table)
        print(f"{given.rows:,} rows, {table.stat().st_size / 1e9:.2f} GB, read in {floor:.1f} s")
        print("engine  verb          seconds    rows/s  x reading  peak GB  SHA-256")
        for engine in given.engines:
            scores = folder / f"{engine}-scores.parquet"
            pairs, ledger = folder / f"{engine}-pairs.parquet", folder / f"{engine}-ledger.parquet"
            options = ["--engine", engine, "--workers", given.workers]
            for verb, source, out, more in (
                ("score", table, scores, []),
                ("select scpo", scores, pairs, ["--ledger", str(ledger)]),
                ("select rip", scores, pairs, ["--gap-quantile", ".5"]),
            ):
                command = [*verb.split(), str(source), "-o", str(out), *more, *options]
                seconds, peak = measured(command)
                print(
                    f"{engine:7} {verb:12} {seconds:8.1f} {given.rows / seconds:9,.0f} "
                    f"{seconds / floor:10.1f} {peak:8.2f}  {digest(out)}",
                    flush=True,
                )
                found.append(
                    {
                        "engine": engine,
                        "verb": verb,
                        "seconds": round(seconds, 2),
                        "ratio": round(seconds / floor, 2),
                        "peak_gb": round(peak, 3),
                        "sha256": digest(out),
                    }
                )
            for path in (scores, pairs, ledger):
                path.unlink()
    print(json.dumps({"rows": given.rows, "floor_seconds": floor, "runs": found}))


if __name__ == "__main__":
    main()
