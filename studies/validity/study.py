"""Do the intervals cover and the tests keep their size? Every one of them, by simulation.

`python studies/validity/study.py` simulates the cases without a result file, and rewrites the
table in README.md from all of them; `--only NAME` repeats single cases (a part of the name will
do), `--all` every one (some hours on two cores), `--table` none.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from simulate import (  # noqa: E402
    ALPHAS,
    LEVELS,
    REPETITIONS,
    SEED,
    SIZES,
    IntervalCase,
    Row,
    TestCase,
    read_rows,
    run_intervals,
    run_tests,
)

Case = IntervalCase | TestCase
RESULTS = HERE / "results"


def all_cases() -> list[Case]:
    """The cases of every `cases_*.py`, intervals first."""
    files = sorted(HERE.glob("cases_*.py"))
    found = [case for file in files for case in importlib.import_module(file.stem).CASES]
    return sorted(found, key=lambda case: isinstance(case, TestCase))


def run(cases: list[Case], repetitions: int, seed: int = SEED) -> None:
    """Simulate one case after the other, so that an interruption loses one only."""
    for case in cases:
        start = time.perf_counter()
        if isinstance(case, IntervalCase):
            rows = run_intervals([case], repetitions, seed, RESULTS)
        else:
            rows = run_tests([case], repetitions, seed, RESULTS)
        print(f"{case.name} ({time.perf_counter() - start:.0f} s): {plain(rows)}", flush=True)


def plain(rows: list[Row]) -> str:
    """One line for the terminal; an exclamation mark where a cell is off."""
    cells: dict[int, list[str]] = {}
    for row in rows:
        cells.setdefault(row.n, []).append(f"{100 * row.rate:.1f}{'!' * row.is_off}")
    return ", ".join(f"n={n} {'/'.join(parts)}" for n, parts in cells.items())


def tables(cases: list[Case]) -> tuple[str, list[str]]:
    """The tables of all results as Markdown, and the cases that are off without a note."""
    lines: list[str] = []
    unexplained: list[str] = []
    numbered: dict[str, int] = {}
    heading = ""
    for kind in (IntervalCase, TestCase):
        nominal = LEVELS if kind is IntervalCase else ALPHAS
        shown = " / ".join(f"{100 * level:g}" for level in nominal)
        what = "Intervals: coverage" if kind is IntervalCase else "Tests: size"
        lines += [
            "",
            f"### {what} in percent, nominal {shown}",
            "",
            f"| case | process | {' | '.join(f'n = {n}' for n in SIZES)} | repetitions | note |",
            f"|---|---|{'--:|' * (len(SIZES) + 1)}--:|",
        ]
        members = [case for case in cases if isinstance(case, kind)]
        groups = list(dict.fromkeys(case.group for case in members))
        for case in sorted(members, key=lambda case: groups.index(case.group)):
            path = RESULTS / f"{case.name}.json"
            if not path.exists():
                continue
            if case.group != heading:
                heading = case.group
                lines.append(f"| **{heading}** |{' |' * (len(SIZES) + 3)}")
            rows = read_rows(path)
            off = any(row.is_off for row in rows)
            if off and not case.note:
                unexplained.append(f"{case.name}: {plain(rows)}")
            number = ""
            if off and case.note:
                number = str(numbered.setdefault(case.note, len(numbered) + 1))
            lines.append(_line(case, rows, number))
    lines += ["", "Notes:", ""]
    lines += [f"{number}. {note}" for note, number in numbered.items()]
    return "\n".join(lines), unexplained


def _line(case: Case, rows: list[Row], note: str) -> str:
    by_size: dict[int, list[Row]] = {}
    for row in rows:
        by_size.setdefault(row.n, []).append(row)
    # A case with sizes of its own names them in its cells.
    own = not set(by_size) <= set(SIZES)
    cells = [f"n = {n}: {_cell(by_size[n])}" if own else _cell(by_size[n]) for n in by_size]
    if not own:
        cells = [_cell(by_size[n]) if n in by_size else "" for n in SIZES]
    cells += [""] * (len(SIZES) - len(cells))
    sided = " (≥)" if isinstance(case, IntervalCase) and case.conservative else ""
    if isinstance(case, TestCase) and case.exact_or_conservative:
        sided = " (≤)"
    repetitions = max(row.repetitions for row in rows)
    parts = [case.name + sided, case.scene, *cells, str(repetitions), note]
    return "| " + " | ".join(parts) + " |"


def _cell(rows: list[Row]) -> str:
    rates = [f"{100 * row.rate:.1f}" for row in rows]
    text = " / ".join(
        f"**{rate}**" if row.is_off else rate for rate, row in zip(rates, rows, strict=True)
    )
    lost = rows[0].undefined
    return text + (f" ({100 * lost:.2g} % undefined)" if lost else "")


def main() -> None:
    """Simulate what is asked for and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="parts of names of cases to repeat")
    parser.add_argument("--all", action="store_true", help="repeat every case")
    parser.add_argument("--table", action="store_true", help="simulate nothing")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    options = parser.parse_args()
    cases = all_cases()
    if options.only:
        chosen = [case for case in cases if any(part in case.name for part in options.only)]
    else:
        done = {path.stem for path in RESULTS.glob("*.json")}
        chosen = [case for case in cases if options.all or case.name not in done]
    run([] if options.table else chosen, options.repetitions)
    text, unexplained = tables(cases)
    readme = HERE / "README.md"
    head, marker, _ = readme.read_text().partition("<!-- table -->\n")
    readme.write_text(head + marker + text.rstrip() + "\n")
    if unexplained:
        head = "off by more than three Monte Carlo errors, without a note:"
        sys.exit("\n".join([head, *unexplained]))


if __name__ == "__main__":
    main()
