"""Does a stopping rule declare the wrong answer more often than it says?

`python studies/validity/stopping.py` stops by each rule on answers drawn from known shares, and
rewrites the tables in stopping.md: by exact enumeration where a rule reads the counts alone and
there are two or three answers, else by simulation. Five minutes on one core.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from pages import load, markdown, save, write

from statllm.estimators.stopping import simulate_stopping
from statllm.estimators.stopping._rules import Rule, RuleName, RunningVotes
from statllm.ragged import Ragged

FloatArray = NDArray[np.float64]
RULES: tuple[RuleName, ...] = get_args(RuleName)
VALID: tuple[RuleName, ...] = ("kt", "kt-1v1", "ppr-1v1")
ALPHA = 0.05
CAPS = (40, 200)
BLOCK = 200_000  # samples at once
SCENES: dict[str, list[float]] = {
    ".50, .50": [0.5, 0.5],
    ".52, .48": [0.52, 0.48],
    ".55, .45": [0.55, 0.45],
    ".60, .40": [0.6, 0.4],
    "three times 1/3": [1 / 3, 1 / 3, 1 / 3],
    ".40, .40, .20": [0.4, 0.4, 0.2],
    ".36, .32, .32": [0.36, 0.32, 0.32],
    ".40, .30, .30": [0.4, 0.3, 0.3],
    ".50, .30, .20": [0.5, 0.3, 0.2],
    ".20, .18, 31 times .02": [0.2, 0.18, *[0.02] * 31],
}
Row = dict[str, Any]


def modes(shares: list[float]) -> list[int]:
    """The most frequent answers."""
    return [i for i, share in enumerate(shares) if share > max(shares) - 1e-12]


def mode(shares: list[float]) -> int | None:
    """The most frequent answer; None where it's shared, and every declaration counts as wrong."""
    return modes(shares)[0] if len(modes(shares)) == 1 else None


def known_answers(rule: RuleName, shares: list[float]) -> int | None:
    """The 1v1 rules are told how many answers are possible."""
    return len(shares) if rule.endswith("1v1") else None


def enumerate_counts(shares: list[float], rule: RuleName, cap: int) -> Row:
    """Exact, for a rule that reads the counts alone: probabilities of all counts, step by step."""
    p = np.insert(shares, 1, 0.0) if len(shares) == 2 else np.array(shares)
    settings = Rule(rule, ALPHA, known_answers(rule, shares), window=5)
    # Of (a, b) votes, the last answer having the rest; with two answers there's no b.
    going = np.zeros((cap + 1, cap + 1 if len(shares) == 3 else 1))
    going[0, 0] = 1.0
    stopped, right, samples = 0.0, 0.0, 0.0
    for t in range(1, cap + 1):
        samples += going.sum()
        after = p[2] * going
        after[1:] += p[0] * going[:-1]
        after[:, 1:] += p[1] * going[:, :-1]
        a, b = np.nonzero(after)
        votes = RunningVotes(len(a), len(shares), settings)
        counts = np.stack([a, b, t - a - b], axis=1)[:, p > 0]
        votes.counts[:, : len(shares)] = counts
        votes.leader = counts.argmax(axis=1)
        votes.second, votes.top = np.sort(counts, axis=1)[:, -2:].T
        fires = settings.doubt(votes) <= ALPHA
        stopped += after[a, b][fires].sum()
        right += after[a, b][fires & (votes.leader == mode(shares))].sum()
        after[a[fires], b[fires]] = 0.0
        going = after
    return {"n": None, "stopped": stopped, "wrong": stopped - right, "samples": samples}


def simulate(shares: list[float], rule: RuleName, cap: int, n: int, seed: int) -> Row:
    """Shares of n prompts."""
    totals = np.zeros(3)
    rng = np.random.default_rng([seed, cap])
    for start in range(0, n, BLOCK // cap):
        size = min(BLOCK // cap, n - start)
        answers = rng.choice(len(shares), (size, cap), p=shares)
        rows = Ragged.from_lengths(answers.ravel(), np.full(size, cap))
        run = simulate_stopping(rows, rule, ALPHA, known_answers(rule, shares))
        right = np.zeros(size) if mode(shares) is None else _leads(answers, run.n_used, shares)
        wrong = (1 - right) * run.stopped
        totals += [run.stopped.sum(), wrong.sum(), run.n_used.sum()]
    stopped, wrong_share, samples = (totals / n).tolist()
    return {"n": n, "stopped": stopped, "wrong": wrong_share, "samples": samples}


def _leads(answers: NDArray[Any], n_used: NDArray[Any], shares: list[float]) -> FloatArray:
    """Whether the mode leads at the stop; ESC may stop at a tie and then draws."""
    k = len(shares)
    used = np.where(np.arange(answers.shape[1]) < n_used[:, None], answers, k)
    cell = np.arange(len(answers))[:, None] * (k + 1) + used
    counts = np.bincount(cell.ravel(), minlength=len(answers) * (k + 1)).reshape(-1, k + 1)[:, :k]
    leads = counts == counts.max(axis=1, keepdims=True)
    return np.asarray(leads[:, mode(shares) or 0] / leads.sum(axis=1))


def run(n: int) -> list[Row]:
    """One row for each scene, cap and rule."""
    cells = [(scene, cap, rule) for scene in SCENES for cap in CAPS for rule in RULES]
    # How far it goes in the end, for the rules that claim an error.
    cells += [(".50, .50", 2000, rule) for rule in VALID]
    rows = []
    for scene, cap, rule in cells:
        shares = SCENES[scene]
        counts_alone = rule in ("kt-1v1", "ppr-1v1", "beta", "dirichlet") and len(shares) <= 3
        if counts_alone and (rule != "dirichlet" or len(shares) == 2 or cap <= 40):
            made = enumerate_counts(shares, rule, cap)
        else:
            prompts = n // 10 if rule == "dirichlet" or cap > 1000 else n  # slow
            made = simulate(shares, rule, cap, prompts, seed=list(SCENES).index(scene))
        rows.append({"scene": scene, "cap": cap, "rule": rule} | made)
        print(rows[-1], flush=True)
    return rows


def table(rows: list[Row], cell: Callable[[Row], str]) -> str:
    """Scenes and caps down, rules across."""
    lines = []
    for scene in SCENES:
        for cap in (*CAPS, 2000):
            made = {r["rule"]: cell(r) for r in rows if r["scene"] == scene and r["cap"] == cap}
            if made:
                lines.append([scene, f"{cap:,}", *(made.get(rule, "") for rule in RULES)])
    return markdown(["shares", "at most", *RULES], lines)


def wrong(row: Row) -> str:
    """Percentage, with its Monte Carlo error if it has one; bold if above what's allowed."""
    share, n = row["wrong"], row["n"]
    text, allowed = f"{100 * share:.2f}", ALPHA
    if row["rule"] == "kt":
        allowed *= len(modes(SCENES[row["scene"]]))
    if n is not None:
        text += f" ± {100 * np.sqrt(share * (1 - share) / n):.2f}"
        allowed += 3 * np.sqrt(ALPHA * (1 - ALPHA) / n)
    return f"**{text}**" if share > allowed else text


def wrong_if_stopped(row: Row) -> str:
    """Percentage of the prompts stopped on; counts where they are few."""
    n = row["n"]
    if n is not None and n * row["stopped"] < 50:
        return f"{n * row['wrong']:.0f} of {n * row['stopped']:.0f}"
    return f"{100 * row['wrong'] / row['stopped']:.1f}"


def stopped(row: Row) -> str:
    """Percentage stopped on, and the mean number of samples."""
    return f"{100 * row['stopped']:.1f} ({row['samples']:.0f})"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=10_000, help="simulated, per cell")
    parser.add_argument("--tables-only", action="store_true", help="from results/stopping/")
    options = parser.parse_args()
    if not options.tables_only:
        save("stopping/rules.json", run(options.prompts))
    rows = load("stopping/rules.json")
    write("stopping.md", "wrong", table(rows, wrong))
    with_mode = [row for row in rows if mode(SCENES[row["scene"]]) is not None]
    write("stopping.md", "given", table(with_mode, wrong_if_stopped))
    write("stopping.md", "stopped", table(rows, stopped))


if __name__ == "__main__":
    main()
