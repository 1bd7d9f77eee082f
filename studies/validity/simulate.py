"""Coverage of intervals and size of tests, by simulation.

A case draws data from a process whose truth is known, again and again. An interval should hold
the truth as often as its level says; a test of a true hypothesis should reject as often as its
level says. Nothing here knows an estimator: the cases are in the `cases_*.py` files beside it,
each with a list `CASES`.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):  # one thread a process
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402

LEVELS = (0.9, 0.95)
ALPHAS = (0.01, 0.05, 0.1)
SIZES = (20, 50, 200, 1000)
REPETITIONS = 2000
SEED = 20240917
WORKERS = 2
CHUNK = 50  # repetitions that share a generator; part of what fixes the random numbers


@dataclass(frozen=True)
class IntervalCase:
    """An interval and a process that has a true value for it.

    Attributes
    ----------
    name : str
        Unique; also the name of the result file.
    group : str
        Heading in the table.
    scene : str
        The data-generating process in words.
    draw : callable
        ``(rng, n) -> data``.
    intervals : callable
        ``(data, levels) -> [(low, high), ...]``, one per level. A ValueError or NaN counts as
        undefined. Where what is true depends on the data (the answer that won, say), subtract
        it from both ends and let `truth` be 0; for a band return the largest low and the
        smallest high after subtraction.
    truth : callable
        ``n -> float``.
    note : str
        Why a cell is off, where one is.
    slow : int
        Divides the number of repetitions.
    sizes : tuple of int
    conservative : bool
        Made to cover at least as often as the level says: only too little is a fault.
    """

    name: str
    group: str
    scene: str
    draw: Callable[[np.random.Generator, int], Any]
    intervals: Callable[[Any, tuple[float, ...]], list[tuple[float, float]]]
    truth: Callable[[int], float]
    note: str = ""
    slow: int = 1
    sizes: tuple[int, ...] = SIZES
    conservative: bool = False


@dataclass(frozen=True)
class TestCase:
    """A test and a process for which its hypothesis is true.

    Attributes
    ----------
    name, group, scene, note, slow, sizes
        As for `IntervalCase`.
    p_value : callable
        ``(rng, n) -> p``: draws the data, tests them. A ValueError or NaN counts as undefined.
    exact_or_conservative : bool
        Made to reject at most as often as the level says: only too much is a fault.
    """

    __test__ = False  # pytest must not collect it

    name: str
    group: str
    scene: str
    p_value: Callable[[np.random.Generator, int], float]
    note: str = ""
    slow: int = 1
    exact_or_conservative: bool = False
    sizes: tuple[int, ...] = SIZES


@dataclass(frozen=True)
class Row:
    """One cell of the table.

    Attributes
    ----------
    kind : str
        ``"interval"`` or ``"test"``.
    nominal : float
        Level of the interval, or of the test.
    rate : float
        Coverage, or share of rejections, among the defined results; NaN without any.
    monte_carlo_error : float
        Standard error of `rate` if the nominal value were true.
    undefined : float
        Share of the repetitions that gave no result.
    below, above : float
        Intervals: share of the defined ones with the truth below, and above, them.
    width : float
        Mean width of the defined, finite intervals.
    one_sided : bool
        Whether only one direction is a fault.
    """

    name: str
    kind: str
    n: int
    nominal: float
    repetitions: int
    rate: float
    monte_carlo_error: float
    undefined: float
    below: float
    above: float
    width: float
    one_sided: bool

    @property
    def errors_off(self) -> float:
        """Distance from the nominal value in Monte Carlo errors."""
        return (self.rate - self.nominal) / self.monte_carlo_error

    @property
    def is_off(self) -> bool:
        """More than three Monte Carlo errors off, in a direction that is a fault."""
        harmful = self.errors_off if self.kind == "test" else -self.errors_off
        off = harmful if self.one_sided else abs(harmful)
        return bool(off > 3)


def of_estimate(
    estimate: Callable[[Any], Any],
) -> Callable[[Any, tuple[float, ...]], list[tuple[float, float]]]:
    """Limits of an `Estimate`, for `IntervalCase.intervals`."""

    def intervals(data: Any, levels: tuple[float, ...]) -> list[tuple[float, float]]:
        found = estimate(data)
        made = [found.interval(level) for level in levels]
        return [(each.low, each.high) for each in made]

    return intervals


def run_intervals(
    cases: Sequence[IntervalCase],
    repetitions: int = REPETITIONS,
    seed: int = SEED,
    folder: Path | None = None,
    workers: int = WORKERS,
) -> list[Row]:
    """Simulate the coverage of `cases` at 90 and 95 %.

    The random numbers depend on the name of the case, n and `seed` alone. With a `folder` each
    case's rows are written to ``folder/NAME.json``, one JSON object per line.
    """
    return _run(cases, _interval_chunk, _interval_rows, repetitions, seed, folder, workers)


def run_tests(
    cases: Sequence[TestCase],
    repetitions: int = REPETITIONS,
    seed: int = SEED,
    folder: Path | None = None,
    workers: int = WORKERS,
) -> list[Row]:
    """Simulate the size of `cases` at 1, 5 and 10 %; see `run_intervals`."""
    return _run(cases, _test_chunk, _test_rows, repetitions, seed, folder, workers)


def read_rows(path: Path) -> list[Row]:
    """Rows of a result file."""
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


_running: dict[str, Any] = {}  # cases hold functions, which fork passes on and pickle can't


def _run(
    cases: Sequence[Any],
    chunk: Callable[[tuple[str, int, int, int, int]], np.ndarray],
    rows_of: Callable[[Any, int, np.ndarray], Iterator[Row]],
    repetitions: int,
    seed: int,
    folder: Path | None,
    workers: int,
) -> list[Row]:
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise ValueError("two cases share a name")
    _running.update(zip(names, cases, strict=True))
    jobs = [
        (case.name, n, start, min(CHUNK, _repetitions(case, repetitions) - start), seed)
        for case in cases
        for n in case.sizes
        for start in range(0, _repetitions(case, repetitions), CHUNK)
    ]
    if workers == 1:
        return _collect(cases, jobs, map(chunk, jobs), rows_of, folder)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return _collect(cases, jobs, pool.imap(chunk, jobs), rows_of, folder)


def _repetitions(case: Any, repetitions: int) -> int:
    return max(repetitions // case.slow, CHUNK)


def _collect(
    cases: Sequence[Any],
    jobs: list[tuple[str, int, int, int, int]],
    results: Iterator[np.ndarray],
    rows_of: Callable[[Any, int, np.ndarray], Iterator[Row]],
    folder: Path | None,
) -> list[Row]:
    """Join the chunks, which arrive in the order of `jobs`, case by case."""
    rows: list[Row] = []
    remaining = iter(zip(jobs, results, strict=True))
    per_case = {case.name: sum(job[0] == case.name for job in jobs) for case in cases}
    for case in cases:
        chunks: dict[int, list[np.ndarray]] = {}
        for _ in range(per_case[case.name]):
            job, result = next(remaining)
            chunks.setdefault(job[1], []).append(result)
        made = [
            row for n, parts in chunks.items() for row in rows_of(case, n, np.concatenate(parts))
        ]
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(asdict(row)) for row in made]
            (folder / f"{case.name}.json").write_text("\n".join(lines) + "\n")
        rows += made
    return rows


def _generator(job: tuple[str, int, int, int, int]) -> np.random.Generator:
    name, n, start, _, seed = job
    return np.random.default_rng([seed, zlib.crc32(name.encode()), n, start])


def _interval_chunk(job: tuple[str, int, int, int, int]) -> np.ndarray:
    """Limits, shape (repetitions, levels, 2)."""
    case, rng = _running[job[0]], _generator(job)
    out = np.full((job[3], len(LEVELS), 2), np.nan)
    with np.errstate(all="ignore"):
        for i in range(job[3]):
            data = case.draw(rng, job[1])
            try:
                out[i] = case.intervals(data, LEVELS)
            except ValueError:
                continue
    return out


def _test_chunk(job: tuple[str, int, int, int, int]) -> np.ndarray:
    """P-values, shape (repetitions,)."""
    case, rng = _running[job[0]], _generator(job)
    out = np.full(job[3], np.nan)
    with np.errstate(all="ignore"):
        for i in range(job[3]):
            try:
                out[i] = case.p_value(rng, job[1])
            except ValueError:
                continue
    return out


def _interval_rows(case: IntervalCase, n: int, limits: np.ndarray) -> Iterator[Row]:
    truth = case.truth(n)
    slack = 1e-9 * max(abs(truth), 1.0)  # a limit equal to the truth up to rounding holds it
    for level, (low, high) in zip(LEVELS, limits.transpose(1, 2, 0), strict=True):
        defined = ~(np.isnan(low) | np.isnan(high))
        below, above = truth < low - slack, truth > high + slack
        width = (high - low)[defined & np.isfinite(high - low)]
        yield _row(
            case, "interval", n, level, defined, ~(below | above), case.conservative,
            below=_mean(below[defined]), above=_mean(above[defined]), width=_mean(width),
        )  # fmt: skip


def _test_rows(case: TestCase, n: int, p_values: np.ndarray) -> Iterator[Row]:
    for alpha in ALPHAS:
        defined = ~np.isnan(p_values)
        rejected = p_values <= alpha + 1e-12
        yield _row(case, "test", n, alpha, defined, rejected, case.exact_or_conservative)


def _row(
    case: Any,
    kind: str,
    n: int,
    nominal: float,
    defined: np.ndarray,
    hit: np.ndarray,
    one_sided: bool,
    below: float = math.nan,
    above: float = math.nan,
    width: float = math.nan,
) -> Row:
    count = int(defined.sum())
    error = math.sqrt(nominal * (1 - nominal) / count) if count else math.nan
    return Row(
        case.name, kind, n, nominal, len(defined), _mean(hit[defined]), error,
        1 - count / len(defined), below, above, width, one_sided,
    )  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
