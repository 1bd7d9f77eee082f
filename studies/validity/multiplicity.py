"""Do adjustments for many tests keep their error rates?

`python studies/validity/multiplicity.py` draws families of tests with known truths, adjusts them,
counts false rejections, and rewrites the table in multiplicity.md. About a minute on one core.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from pages import load, markdown, save, write
from scipy import special

from statllm.estimators.multiplicity import (
    benjamini_hochberg,
    benjamini_yekutieli,
    bonferroni,
    closed_e,
    e_benjamini_hochberg,
    holm,
    hommel,
)

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
Family = tuple[FloatArray, FloatArray, int]  # log p, log e, number of true hypotheses (the first)
Row = dict[str, Any]

ALPHA, TESTS, FALSE = 0.05, 20, 10
EFFECT, BET = 3.0, 2.0  # mean of false hypotheses' z; what e-values bet on
BATCH = 10_000
HARMONIC = float(np.sum(1 / np.arange(1, TESTS + 1)))


def of_z(z: FloatArray, n_true: int) -> Family:
    """One-sided p of z, and e = exp(bet z - bet^2 / 2), whose mean is 1 under N(0, 1)."""
    return special.log_ndtr(-z), BET * z - BET**2 / 2, n_true


def normal(rng: Rng, size: int, n_true: int, shared: float, sign: float = 1.0) -> Family:
    """z with correlation `shared`; sign -1 turns every other one round."""
    z = math.sqrt(1 - shared) * rng.standard_normal((size, TESTS))
    signs = np.where(np.arange(TESTS) % 2, sign, 1.0)
    z += math.sqrt(shared) * rng.standard_normal((size, 1)) * signs
    z[:, n_true:] += EFFECT
    return of_z(z, n_true)


def negative(rng: Rng, size: int) -> Family:
    """All true; every pair's correlation is -1 / (m - 1), the lowest that there is."""
    z = rng.standard_normal((size, TESTS))
    return of_z((z - z.mean(axis=1, keepdims=True)) * math.sqrt(TESTS / (TESTS - 1)), TESTS)


def of_uniform(p: FloatArray, n_true: int) -> Family:
    """Uniform p and their e-values 1 / (2 sqrt(p))."""
    log_p = np.log(p)
    return log_p, -math.log(2) - log_p / 2, n_true


def worst(rng: Rng, size: int, alpha: float) -> Family:
    """All true; k p-values at once are below alpha k / m, with k as likely as it can be.

    With probability alpha / j, for j = 1, ..., m, a random j of the p-values are drawn from
    ((j - 1) alpha / m, j alpha / m) and the others from above alpha; else all are above alpha.
    Each p is uniform, and Benjamini-Hochberg at alpha rejects with probability alpha H, H = 1 +
    1/2 + ... + 1/m (Guo and Rao 2008); Benjamini-Yekutieli at alpha H does so, too.
    """
    chance = alpha / np.arange(1, TESTS + 1)
    j = rng.choice(TESTS + 1, size, p=np.append(1 - chance.sum(), chance))
    place = np.argsort(np.argsort(rng.random((size, TESTS)), axis=1), axis=1)
    low = (j[:, None] - rng.random((size, TESTS))) * alpha / TESTS
    high = alpha + (1 - alpha) * rng.random((size, TESTS))
    return of_uniform(np.where(place < j[:, None], low, high), TESTS)


def exclusive(rng: Rng, size: int) -> Family:
    """All true; p-values are small in turn, never two at once: Bonferroni's worst case."""
    u = rng.random((size, 1)) + np.arange(TESTS) / TESTS
    return of_uniform(u % 1.0, TESTS)


def all_or_nothing(rng: Rng, size: int) -> Family:
    """All true; e-values m / alpha with probability alpha / m, one at a time: e-BH's worst case."""
    e = np.zeros((size, TESTS))
    hit = rng.random(size) < ALPHA
    e[np.flatnonzero(hit), rng.integers(0, TESTS, int(hit.sum()))] = TESTS / ALPHA
    with np.errstate(divide="ignore"):
        log_e = np.log(e)
    return np.minimum(-log_e, 0.0), log_e, TESTS  # p = 1 / e


SCENES: dict[str, Callable[[Rng, int], Family]] = {
    "all true, independent": lambda rng, n: normal(rng, n, TESTS, 0.0),
    "half true, independent": lambda rng, n: normal(rng, n, FALSE, 0.0),
    "one true, independent": lambda rng, n: normal(rng, n, 1, 0.0),
    "all true, correlation .5": lambda rng, n: normal(rng, n, TESTS, 0.5),
    "half true, correlation .5": lambda rng, n: normal(rng, n, FALSE, 0.5),
    "all true, correlation .99": lambda rng, n: normal(rng, n, TESTS, 0.99),
    "all true, correlation ±.9": lambda rng, n: normal(rng, n, TESTS, 0.9, -1.0),
    "half true, correlation ±.9": lambda rng, n: normal(rng, n, FALSE, 0.9, -1.0),
    "all true, correlation -1/(m - 1)": negative,
    "all true, small one at a time": exclusive,
    "all true, worst for BH": lambda rng, n: worst(rng, n, ALPHA),
    "all true, worst for BY": lambda rng, n: worst(rng, n, ALPHA / HARMONIC),
    "all true, worst for e-BH": all_or_nothing,
}

METHODS: dict[str, tuple[Callable[[FloatArray], FloatArray], bool, str]] = {
    "none": (lambda log_p: log_p, False, "-"),
    "Bonferroni": (bonferroni, False, "FWER"),
    "Holm": (holm, False, "FWER"),
    "Hommel": (hommel, False, "FWER"),
    "closed e": (closed_e, True, "FWER"),
    "BH": (benjamini_hochberg, False, "FDR"),
    "BY": (benjamini_yekutieli, False, "FDR"),
    "e-BH": (e_benjamini_hochberg, True, "FDR"),
}


def run(families: int, seed: int = 7) -> list[Row]:
    """One row per scene and method."""
    rows: list[Row] = []
    for place, (scene, draw) in enumerate(SCENES.items()):
        counts = {name: np.zeros(4) for name in METHODS}
        rng = np.random.default_rng([seed, place])
        for start in range(0, families, BATCH):
            log_p, log_e, n_true = draw(rng, min(BATCH, families - start))
            for name, (adjust, takes_e, _) in METHODS.items():
                rejected = adjust(log_e if takes_e else log_p) <= math.log(ALPHA) + 1e-12
                false, found = rejected[:, :n_true].sum(1), rejected.sum(1)
                share = false / np.maximum(found, 1)
                right = rejected[:, n_true:].sum() / max(TESTS - n_true, 1)
                counts[name] += [(false > 0).sum(), share.sum(), (share**2).sum(), right]
        for name, (wrong, share, square, right) in counts.items():
            fwer, fdr = wrong / families, share / families
            rows.append(
                {
                    "scene": scene, "method": name, "families": families,
                    "fwer": fwer, "fwer_error": math.sqrt(fwer * (1 - fwer) / families),
                    "fdr": fdr,
                    "fdr_error": math.sqrt(max(square / families - fdr**2, 0.0) / families),
                    "power": right / families if n_true < TESTS else None,
                }
            )  # fmt: skip
        print(scene, flush=True)
    return rows


def above(row: Row) -> bool:
    """Whether what the method controls is above alpha by three errors (of alpha)."""
    rate = row["fdr"] if METHODS[row["method"]][2] == "FDR" else row["fwer"]
    return bool(rate > ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / row["families"]))


def table(rows: list[Row], what: str) -> str:
    """Scenes down, methods across: the rate in percent with its error, bold above alpha."""
    names = [name for name, kind in METHODS.items() if what == "power" or kind[2] in (what, "-")]
    by = {(row["scene"], row["method"]): row for row in rows}
    lines = []
    for scene in SCENES:
        cells = []
        for name in names:
            row = by[scene, name]
            if what == "power":
                cells.append("" if row["power"] is None else f"{100 * row['power']:.1f}")
                continue
            rate, error = row[what.lower()], row[f"{what.lower()}_error"]
            text = f"{100 * rate:.2f} ± {100 * error:.2f}"
            cells.append(f"**{text}**" if above(row) and name != "none" else text)
        if what != "power" or any(cells):
            lines.append([scene, *cells])
    return markdown(["family", *names], lines)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", type=int, default=100_000)
    parser.add_argument("--tables-only", action="store_true")
    options = parser.parse_args()
    if not options.tables_only:
        save("multiplicity/rates.json", run(options.families))
    rows = load("multiplicity/rates.json")
    for name, what in (("fwer", "FWER"), ("fdr", "FDR"), ("power", "power")):
        write("multiplicity.md", name, table(rows, what))


if __name__ == "__main__":
    main()
