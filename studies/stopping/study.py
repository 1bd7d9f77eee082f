"""When may sampling stop? What rules declare that they shouldn't, and what they save.

`python studies/stopping/study.py` simulates answers with known shares, replays every rule on 40
samples of each of 200 problems by the lab's model, checks against 256 further ones, and rewrites
the tables in README.md. About five minutes on one core.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from statllm.estimators.comparison import mean_estimate, paired_difference
from statllm.estimators.proportions import clopper_pearson, wilson
from statllm.estimators.stopping import AnswerStream, simulate_stopping
from statllm.estimators.stopping._rules import RuleName
from statllm.estimators.votes import vote_counts
from statllm.files import read_parquet
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.ragged import Ragged
from statllm.sampling import SamplingSettings, sample
from statllm.scoring import score

HERE = Path(__file__).parent
CAP, FRESH, ROUND, ALPHA = 40, 256, 4, 0.05
RULES: tuple[RuleName, ...] = ("kt", "kt-1v1", "ppr-1v1", "beta", "dirichlet", "esc")
SHARES = [
    *([p, round(1 - p, 2)] for p in (0.5, 0.52, 0.55, 0.6, 0.7, 0.8, 0.9)),
    *([0.36, 0.32, 0.32], [0.4, 0.3, 0.3], [0.5, 0.25, 0.25]),
]
# An independent scalar implementation, 20,000 runs: share that stops, mean number of samples.
EARLIER = {
    "beta": {0.5: (41.5, 28.9), 0.52: (42.8, 28.5), 0.55: (48.1, 27.5), 0.6: (62.8, 24.1)},
    "kt-1v1": {0.5: (2.5, 39.3), 0.52: (2.9, 39.2), 0.55: (4.0, 39.0), 0.6: (9.6, 38.0)},
}
#: The world's numbers end at 60; the rest is for answers that aren't numbers.
LAB_ANSWERS = 100


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def known(rule: RuleName, n_answers: int) -> int | None:
    """The 1v1 rules are told how many answers are possible."""
    return n_answers if rule.endswith("1v1") else None


# ---- known shares -------------------------------------------------------------------------------


def simulated(rng: np.random.Generator, runs: int) -> tuple[str, str]:
    """Declared / declared wrongly / samples used; and the comparison with earlier figures."""
    rules = [rule for rule in RULES if rule != "dirichlet"]  # with two answers it is 'beta'
    rows, gaps = [], []
    for shares in SHARES:
        answers = np.searchsorted(np.cumsum(shares)[:-1], rng.random((runs, CAP)), side="right")
        cells = []
        for rule in rules:
            samples = Ragged.from_lengths(answers.ravel(), [CAP] * runs)
            replay: Any = simulate_stopping(samples, rule, ALPHA, known(rule, len(shares)))
            stopped, used = replay.stopped.mean(), replay.n_used
            wrong = 0.0  # answer 0 has the largest share; a shared lead is drawn for
            for row, n in zip(answers[replay.stopped], used[replay.stopped], strict=True):
                counts = np.bincount(row[:n])
                wrong += (np.flatnonzero(counts == counts.max()) > 0).mean() / runs
            shown = "–" if shares[0] == shares[1] else f"{wrong:.1%}"
            cells.append(f"{stopped:.1%} / {shown} / {used.mean():.1f}")
            if len(shares) == 2 and shares[0] in EARLIER.get(rule, {}):
                share, mean = EARLIER[rule][shares[0]]
                # both are runs of 20,000 or so, theirs rounded to a tenth
                scale = np.sqrt(1 / runs + 1 / 20_000)
                spread = 100 * np.sqrt(stopped * (1 - stopped))
                for theirs, ours, sd in (
                    (share, 100 * stopped, spread),
                    (mean, used.mean(), used.std()),
                ):
                    gaps.append(max(abs(theirs - ours) - 0.05, 0) / (sd * scale))
        rows.append([" ".join(f"{p:.2f}".lstrip("0") for p in shares), *cells])
    se = 50 / np.sqrt(runs)
    note = f"{runs:,} runs of at most {CAP} samples, a look after each, alpha = {ALPHA:g}. Monte "
    note += f"Carlo se at most {se:.2f} percentage points, {20 / np.sqrt(runs):.2f} samples."
    over = sum(gap > 2 for gap in gaps)
    agreement = f"Of {len(gaps)} figures of an independent implementation {over} differ by more "
    agreement += f"than 2 Monte Carlo standard errors; the largest gap is {max(gaps):.1f}."
    return f"{markdown(['shares', *rules], rows)}\n\n{note}", agreement


# ---- the lab's model ----------------------------------------------------------------------------


class Lab:
    """Answers to the lab's problems: `CAP` to stop on and `FRESH` to know the truth by."""

    def __init__(self, table: pa.Table) -> None:
        scored = score(Generations(table))
        self.rows: list[list[str | None]] = scored.column("answer").to_pylist()
        self.right: list[list[bool]] = scored.column("correct").to_pylist()
        self.tokens: list[list[int]] = scored.column("n_tokens").to_pylist()
        self.seen = [row[:CAP] for row in self.rows]
        fresh = vote_counts(pa.array([row[CAP:] for row in self.rows], pa.list_(pa.string())))
        self.fresh = [row[CAP:] for row in self.rows]
        self.modes = [  # equally frequent ones are all taken for modes
            {answer for answer, count in votes.items() if count == max(votes.values())}
            for votes in (Counter(a for a in row if a is not None) for row in self.fresh)
        ]
        self.sure = fresh.mode_probability() > 0.99

    def stop(self, rule: RuleName) -> list[Any]:
        """The decision on each problem after at most `CAP` samples."""
        streams = [AnswerStream(rule, ALPHA, known(rule, LAB_ANSWERS)) for _ in self.seen]
        return [stream.update(row) for stream, row in zip(streams, self.seen, strict=True)]


def percent(x: int, n: int, exact: bool = False) -> str:
    """A share with its 95 % interval."""
    low, high = (clopper_pearson if exact else wilson)(x, n)
    return f"{x / n:.1%} [{low:.1%}, {high:.1%}]" if n else "–"


def lab_table(lab: Lab) -> str:
    """Samples used, agreement with the full majority, and wrong decisions, by rule."""
    n, rows = len(lab.seen), []
    total = sum(sum(row[:CAP]) for row in lab.tokens)
    full = vote_counts(pa.array(lab.seen, pa.list_(pa.string()))).majority("random", 0).to_pylist()
    off = [i for i in range(n) if full[i] not in lab.modes[i]]
    rows.append(
        [f"all {CAP}", f"{CAP:.1f}", "0 %", f"{CAP:.1f}", "–", "–",
         percent(len(off), n, exact=True), str(sum(bool(lab.sure[i]) for i in off))]
    )  # fmt: skip
    for rule in RULES:
        ends = lab.stop(rule)
        used = np.array([end.n_samples for end in ends], dtype=float)
        drawn = np.minimum(np.ceil(used / ROUND) * ROUND, CAP)
        tokens = sum(sum(row[: int(m)]) for row, m in zip(lab.tokens, drawn, strict=True))
        decided = [i for i, end in enumerate(ends) if end.stop]
        agree = sum(ends[i].answer == full[i] for i in decided)
        wrong = [i for i in decided if ends[i].answer not in lab.modes[i]]
        mean = mean_estimate(used)
        rows.append(
            [rule, f"{mean.value:.1f} {mean.interval(0.95):.1f}", f"{1 - tokens / total:.0%}",
             f"{drawn.mean():.1f}", percent(len(decided), n), percent(agree, len(decided)),
             percent(len(wrong), n, exact=True), str(sum(bool(lab.sure[i]) for i in wrong))]
        )  # fmt: skip
    header = [
        "rule", "samples used", "tokens saved", f"drawn in rounds of {ROUND}", "prompts decided",
        "decided as all 40 have it", "declared, not the mode", "of these the mode is sure",
    ]  # fmt: skip
    note = f"{n} test problems, T = 1, cap {CAP}, alpha = {ALPHA:g}; the mode is that of {FRESH} "
    note += f"further samples, sure (probability above .99) for {int(lab.sure.sum())} problems. "
    note += (
        "Intervals: over problems, 95 %. Tokens saved: in rounds. The answers drawn in all have "
    )
    different = {answer for row in lab.rows for answer in row if answer is not None}
    note += f"{len(different)} different forms."
    return f"{markdown(header, rows)}\n\n{note}"


def bias_table(lab: Lab) -> str:
    """What stopping does to vote share and pass rate: the mean difference from fresh samples."""
    lengths: dict[str, list[int]] = {f"all {CAP}": [CAP] * len(lab.seen)}
    for rule in ("kt", "ppr-1v1", "beta", "esc"):
        used = np.array([end.n_samples for end in lab.stop(rule)])
        lengths[rule] = np.minimum(-(-used // ROUND) * ROUND, CAP).tolist()
    lengths[f"beta, first {ROUND}"] = [ROUND] * len(lab.seen)
    rows = []
    for name, used in lengths.items():
        votes = vote_counts(
            pa.array([r[:m] for r, m in zip(lab.seen, used, strict=True)], pa.list_(pa.string()))
        )
        leaders = votes.majority("random", 0).to_pylist()
        fresh = [
            np.mean([a == leader for a in row if a is not None])
            for row, leader in zip(lab.fresh, leaders, strict=True)
        ]
        keep = votes.n_votes > 0
        share = paired_difference(np.array(fresh)[keep], votes.share[keep])
        now = np.array([np.mean(row[:m]) for row, m in zip(lab.right, used, strict=True)])
        later = np.array([np.mean(row[CAP:]) for row in lab.right])
        rate = paired_difference(later, now)
        rows.append([name, *(f"{d.value:+.3f} {d.interval(0.95):+.3f}" for d in (share, rate))])
    header = ["samples", "vote share of the leader", "pass rate"]
    return markdown(header, rows) + (
        "\n\nMean over problems of the figure minus that of the same answer (of the same problem) "
        f"in {FRESH} fresh samples; 95 % intervals over problems. Rounds of {ROUND}."
    )


def write(name: str, text: str) -> None:
    """Replace what stands between a name's markers in the README."""
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- end {name} -->")[1]
    text = f"{before}<!-- {name} -->\n{text}\n<!-- end {name} -->{after}"
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--samples", type=Path, help="Parquet to keep the samples in, or to use.")
    options = parser.parse_args()
    tables = dict(
        zip(
            ("simulated", "agreement"),
            simulated(np.random.default_rng(1), options.runs),
            strict=True,
        )
    )
    if options.samples and options.samples.exists():
        table = read_parquet(options.samples)
    else:
        settings = SamplingSettings(
            n=CAP + FRESH, max_new_tokens=80, seed=5, batch_size=2048, shard_size=40
        )
        table = sample(
            model_path(), problems("test", options.prompts, 5), settings, out=options.samples
        )
    lab = Lab(table)
    tables |= {"lab": lab_table(lab), "bias": bias_table(lab)}
    for name, text in tables.items():
        print(f"\n## {name}\n\n{text}")
        write(name, text)


if __name__ == "__main__":
    main()
