"""How biased is the entropy of five to forty votes, and does it matter for ranking prompts?

`python studies/entropy_bias/study.py` simulates, and rewrites the tables in README.md and the
figure beside it. Two minutes on one core; with `--repetitions 2000` a few seconds.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from statllm.estimators.entropies.estimate import METHODS, EntropyEstimates, entropy

FloatArray = NDArray[np.float64]
HERE = Path(__file__).parent
ZIPF = 1 / np.arange(1, 21)
TRUTHS = {
    "five answers": np.array([0.6, 0.2, 0.1, 0.05, 0.05]),
    "Zipf-20": ZIPF / ZIPF.sum(),
    "uniform-50": np.full(50, 1 / 50),
    "peaked": np.array([0.9, 0.05, 0.05]),
}
NAMES = [*METHODS, "nsb observed", "nsb chao1"]  # the last two don't know the number of answers

# Bias / RMSE of an independent scalar implementation, 1,500 repetitions, three decimals.
EARLIER_NAMES = [*NAMES[:5], "grassberger2003"]
EARLIER = {
    ("five answers", 5): "-.389/.523 -.237/.489 -.101/.519 -.029/.596 -.133/.562 +.018/.542",
    ("five answers", 10): "-.210/.344 -.092/.323 -.016/.335 +.015/.340 -.026/.347 +.035/.352",
    ("Zipf-20", 5): "-1.219/1.249 -.920/.985 -.593/.760 -.139/.834 -.415/.770 -.389/.697",
    ("Zipf-20", 10): "-.793/.835 -.514/.608 -.272/.484 -.068/.590 -.091/.560 -.170/.479",
    ("uniform-50", 10): "-1.728/1.732 -1.320/1.329 -.894/.923 +.123/.713 -.196/.534 -.666/.736",
    ("peaked", 10): "-.105/.268 -.065/.286 -.031/.306 +.024/.343 -.051/.301 +.024/.334",
}


def estimate(counts: ArrayLike, name: str, k: int | str, se: str = "none") -> EntropyEstimates:
    """Entropy with `k` categories, or by the rule after the name, where the method asks for it."""
    name, *rule = name.split()
    known = (rule[0] if rule else k) if METHODS[name].needs_categories else None
    return entropy(counts, name, n_categories=known, se=se)


def shannon(p: FloatArray) -> FloatArray:
    """Entropy of the rows of p."""
    return np.asarray(-(p * np.log(np.maximum(p, 1e-300))).sum(axis=-1))


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bias_tables(rng: np.random.Generator, repetitions: int) -> tuple[str, str]:
    """Bias / RMSE of every estimator, and the comparison with the earlier run."""
    cells: dict[str, list[str]] = {name: [] for name in NAMES}
    gaps, worst = [], 0.0
    for (truth, n), figures in EARLIER.items():
        counts = rng.multinomial(n, TRUTHS[truth], size=repetitions)
        earlier = dict(zip(EARLIER_NAMES, figures.split(), strict=True))
        for name in NAMES:
            error = estimate(counts, name, len(TRUTHS[truth])).value - shannon(TRUTHS[truth])
            rmse = math.sqrt((error**2).mean())
            ours, sd = (error.mean(), rmse), (error.std(), (error**2).std() / (2 * rmse))
            worst = max(worst, *sd)
            cells[name].append(f"{ours[0]:+.3f} / {ours[1]:.3f}")
            if name in earlier:
                for theirs, value, spread in zip(earlier[name].split("/"), ours, sd, strict=True):
                    gap = max(abs(float(theirs) - value) - 0.0005, 0)  # they were rounded
                    gap /= spread * math.sqrt(1 / repetitions + 1 / 1500)
                    gaps.append((gap, f"{name} on {truth} at N = {n}, {gap:.1f}"))
    header = [f"{t}, H = {shannon(TRUTHS[t]):.3f}, N = {n}" for t, n in EARLIER]
    note = f"{repetitions:,} repetitions; Monte Carlo se at most {worst / repetitions**0.5:.4f}."
    over = [sum(gap > limit for gap, _ in gaps) for limit in (2, 3)]
    agreement = f"Of {len(gaps)} figures {over[0]} differ by more than 2 Monte Carlo standard "
    agreement += f"errors and {over[1]} by more than 3; the largest gap is {max(gaps)[1]}."
    rows = [[name, *line] for name, line in cells.items()]
    return f"{table(['bias / RMSE', *header], rows)}\n\n{note}", agreement


def honesty_table(rng: np.random.Generator, repetitions: int) -> str:
    """Root mean square se over the estimator's real sd, and coverage of value ± 1.96 se."""
    kinds = [("jackknife", "jackknife"), ("jackknife", "delta"), ("jackknife", "bootstrap")]
    kinds += [("plugin", "jackknife"), ("chao_wang_jost", "jackknife"), ("nsb", "auto")]
    rows = []
    for truth in ("peaked", "five answers", "Zipf-20"):
        for n in (5, 10, 20):
            p = TRUTHS[truth]
            counts = rng.multinomial(n, p, size=repetitions)
            cells = []
            for name, se in kinds:
                got = estimate(counts, name, len(p), se)
                ratio = math.sqrt((got.se**2).mean()) / got.value.std()
                covered = np.abs(got.value - shannon(p)) <= 1.96 * got.se
                cells.append(f"{ratio:.2f} / {100 * covered.mean():.0f} %")
            rows.append([f"{truth}, N = {n}", *cells])
    return table(["se ratio / coverage", *(f"{n}, {se} se" for n, se in kinds)], rows)


def prompts(rng: np.random.Generator, kind: str, size: int) -> FloatArray:
    """True answer distributions, from unanimous to diffuse."""
    if kind == "open":  # stick-breaking: an unlimited number of possible answers
        breaks = rng.beta(1, np.exp(rng.uniform(np.log(0.1), np.log(10), (size, 1))), (size, 200))
        breaks[:, -1] = 1
        left = np.cumprod(np.c_[np.ones(size), 1 - breaks[:, :-1]], axis=1)
        return np.asarray(breaks * left)
    concentration = np.exp(rng.uniform(np.log(0.05), np.log(5), (size, 1)))
    gamma = rng.gamma(concentration, size=(size, 4)) + 1e-300
    return np.asarray(gamma / gamma.sum(axis=1, keepdims=True))


def ranking_table(rng: np.random.Generator, blocks: int, size: int = 2000) -> str:
    """Spearman correlation with the true entropy, overlap of the top quarters, RMSE."""
    cases = [("open", 10), ("open", 0), ("4 options", 10), ("4 options", 0)]
    scores = np.zeros((len(NAMES), len(cases), blocks, 3))
    for case, (kind, n) in enumerate(cases):
        for block in range(blocks):
            p = prompts(rng, kind, size)
            votes = np.full(size, n) if n else rng.choice([4, 8, 16, 32], size)
            counts, truth = rng.multinomial(votes, p), shannon(p)
            best = truth >= np.quantile(truth, 0.75)
            for line, name in enumerate(NAMES):
                value = estimate(counts, name, "chao1" if kind == "open" else 4).value
                order = np.lexsort((rng.random(size), value))  # ties broken at random
                overlap = best[order[-int(best.sum()) :]].mean()
                rmse = math.sqrt(((value - truth) ** 2).mean())
                scores[line, case, block] = spearmanr(value, truth)[0], overlap, rmse
    mean = scores.mean(axis=2)
    paired = (scores - scores[:1]).std(axis=2, ddof=1).max() / math.sqrt(blocks)
    rows = [
        [name, *(f"{r:.3f} / {100 * o:.0f} % / {e:.3f}" for r, o, e in mean[line])]
        for line, name in enumerate(NAMES)
    ]
    header = [f"{kind}, {'N = 10' if n else 'N in 4, 8, 16, 32'}" for kind, n in cases]
    note = f"{blocks} x {size:,} prompts a column, the same for every line; the Monte Carlo se of "
    note += f"a difference from the plug-in is at most {paired:.4f}."
    return table(["rank correlation / overlap / RMSE", *header], rows) + "\n\n" + note


def draw(rng: np.random.Generator, repetitions: int) -> None:
    """Bias against the number of votes, a panel per truth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [2, 3, 4, 5, 7, 10, 14, 20, 28, 40]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), constrained_layout=True)
    for axis, (truth, p) in zip(axes, TRUTHS.items(), strict=True):
        counts = [rng.multinomial(n, p, size=repetitions) for n in sizes]
        for name in (*EARLIER_NAMES, "nsb"):
            bias = [estimate(c, name, len(p)).value.mean() - shannon(p) for c in counts]
            axis.plot(sizes, bias, marker=".", label=name)
        axis.axhline(0, color="black", lw=0.8)
        axis.set(xscale="log", xlabel="votes N", ylim=(-2.1, 0.5))
        axis.minorticks_off()
        axis.set_xticks([2, 5, 10, 20, 40], [2, 5, 10, 20, 40])
        axis.set_title(f"{truth}, H = {shannon(p):.2f}")
    axes[0].set_ylabel("bias (nats)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(HERE / "bias.png", dpi=80)


def write(name: str, text: str) -> None:
    """Replace the part of README.md between two comments."""
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- end {name} -->")[1]
    readme.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end {name} -->{after}")


def main() -> None:
    """Run everything with one seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    bias, agreement = bias_tables(rng, options.repetitions)
    parts = {"bias": bias, "agreement": agreement}
    parts["honesty"] = honesty_table(rng, options.repetitions)
    parts["ranking"] = ranking_table(rng, max(2, options.repetitions // 5000))
    for name, text in parts.items():
        print(f"\n## {name}\n\n{text}")
        write(name, text)
    draw(rng, options.repetitions // 20)


if __name__ == "__main__":
    main()
