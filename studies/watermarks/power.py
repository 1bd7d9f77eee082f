"""Power of every watermark test: simulated, on text that a model wrote, and after edits.

    python studies/watermarks/power.py

rewrites the tables of this folder's README and its figures; ten minutes on one core. `--only` runs
a part, `--quick` a little of each, in a minute; `--out` writes elsewhere.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import power_bits
import power_edits
import power_figures
import power_pivots
import power_text
from power_common import QUICK, Sizes
from power_sampling import Lab

HERE = Path(__file__).parent


def simulated(sizes: Sizes, out: Path, seed: int) -> dict[str, str]:
    """Tokens of one law, and power.png."""
    rng = np.random.default_rng(seed)
    tables: dict[str, str] = {}
    curves = power_pivots.simulated_curves(sizes, rng)
    tables["plan"] = power_pivots.plan_table(curves)
    tables["prototype"] = power_pivots.prototype_table(sizes, rng)
    tables["stops"], stops = power_pivots.stops_table(sizes, rng)
    tables["slopes"] = power_pivots.slopes_table(sizes, rng)
    tables["fits"] = power_pivots.fits_table(sizes, rng)
    power_figures.draw_power(out / "power.png", curves, stops)
    tables["greens"] = power_bits.green_table(sizes, rng)
    tables["synthid"] = power_bits.synthid_table(sizes, rng)
    return tables


def written(sizes: Sizes, out: Path, seed: int) -> dict[str, str]:
    """Text of the lab model, and text.png."""
    tables: dict[str, str] = {}
    lines, entropies = power_text.written_lines(sizes, Lab(), seed)
    tables["text"] = power_text.text_table(lines, entropies)
    tables["agreement"] = power_text.agreement(lines)
    power_figures.draw_text(out / "text.png", lines, entropies)
    return tables


def edited(sizes: Sizes, out: Path, seed: int) -> dict[str, str]:
    """Edited text, and edits.png."""
    tables: dict[str, str] = {}
    points = power_edits.edited_points(sizes, Lab(), seed)
    tables["edits"] = power_edits.edits_table(points)
    power_figures.draw_edits(out / "edits.png", points)
    tables["mixtures"] = power_edits.mixture_table(sizes)
    tables["boundary"] = power_edits.boundary_table(sizes, np.random.default_rng(seed))
    return tables


PARTS = {"simulated": simulated, "text": written, "edits": edited}


def replaced(page: str, tables: dict[str, str]) -> str:
    """The page with each table between its two marks."""
    for name, text in tables.items():
        mark = f"<!-- power {name} -->"
        if page.count(mark) != 2:
            raise SystemExit(f"README.md must have {mark} twice")
        before, _, after = page.split(mark)
        page = f"{before}{mark}\n{text}\n{mark}{after}"
    return page


def main(arguments: list[str] | None = None) -> None:
    """Measure, draw, and write the tables of each part when it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="a small part of everything")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the figures and tables")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    page = given.out / "README.md"
    for part in given.only:
        started = time.monotonic()
        tables = PARTS[part](QUICK if given.quick else Sizes(), given.out, given.seed)
        if page.exists():
            page.write_text(replaced(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
        else:
            found = "\n\n".join(f"{name}\n\n{text}" for name, text in tables.items())
            (given.out / f"{part}.md").write_text(found + "\n", encoding="utf-8")
        print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
