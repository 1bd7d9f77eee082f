"""Do the tests reject where they ought to? One alternative for each.

`python studies/validity/power.py` simulates the lists `POWER` of the `cases_*.py` files that have
one, for what has no result file yet, and rewrites the table in power.md. A test that never
rejects would keep its size in README.md; here it would be seen.
"""

from __future__ import annotations

import argparse
import importlib

from pages import HERE, markdown, write
from simulate import SIZES, TestCase, read_rows, run_tests

FOLDER = HERE / "results" / "power"


def cases() -> list[TestCase]:
    """Every test with an alternative."""
    modules = [importlib.import_module(file.stem) for file in sorted(HERE.glob("cases_*.py"))]
    return [case for module in modules for case in getattr(module, "POWER", [])]


def table(chosen: list[TestCase]) -> str:
    """Rejections at 5 %, in percent."""
    lines = []
    for case in chosen:
        rows = {
            row.n: row for row in read_rows(FOLDER / f"{case.name}.json") if row.nominal == 0.05
        }
        rates = [f"{100 * rows[n].rate:.0f}" if n in rows else "" for n in SIZES]
        repetitions = max(row.repetitions for row in rows.values())
        lines.append([case.name, case.scene, *rates, str(repetitions)])
    return markdown(["test", "alternative", *(f"n = {n:,}" for n in SIZES), "repetitions"], lines)


def main() -> None:
    """Simulate what is missing and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="repeat every case")
    parser.add_argument("--repetitions", type=int, default=1000)
    options = parser.parse_args()
    chosen = cases()
    for case in chosen:
        if options.all or not (FOLDER / f"{case.name}.json").exists():
            run_tests([case], options.repetitions, folder=FOLDER)
    write("power.md", "power", table(chosen))


if __name__ == "__main__":
    main()
