"""Do the guarantees hold on a language model? Pairs with few wrong answers; when to abstain.

`python studies/conformal_selection/study.py` samples the lab's model on problems whose answers are
known, hides most of the answers, selects by what is left, looks, and rewrites the tables in
README.md. Three minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.conformal.abstention import fact_test
from statllm.estimators.proportions import clopper_pearson
from statllm.generations import Generations
from statllm.lab import model_path, problems
from statllm.sampling import SamplingSettings, sample
from statllm.scoring import score
from statllm.selection import Selection, select

BoolArray = NDArray[np.bool_]
HERE = Path(__file__).parent
REPEATS = 50
COLUMNS = [
    *("prompt_id", "prompt", "response", "answer", "correct", "logprob", "finish_reason"),
    *("majority_answer", "majority_answer_correct", "vote_share"),
]


def scored_samples(n: int) -> Generations:
    """Eight scored samples of each of `n` training problems, T = 1."""
    settings = SamplingSettings(n=8, temperature=1.0, max_new_tokens=80, seed=11)
    scored = score(Generations(sample(model_path(), problems("train", n, 11), settings)))
    return Generations(scored.table.select(COLUMNS))


def hidden(scored: Generations, known: BoolArray) -> Generations:
    """The same prompts with the truth of `known` only."""
    verdicts = scored.column("correct").to_pylist()
    masked = [row if k else [None] * len(row) for row, k in zip(verdicts, known, strict=True)]
    return scored.with_columns({"correct": pa.array(masked, pa.list_(pa.bool_()))})


def wrong_share(selection: Selection, truth: dict[str, list[bool]]) -> tuple[float, int]:
    """Share of the pairs whose chosen answer is wrong, and the number of pairs."""
    pairs = selection.pairs.select(["prompt_id", "chosen_index"]).to_pylist()
    wrong = [not truth[pair["prompt_id"]][pair["chosen_index"]] for pair in pairs]
    return float(np.mean(wrong)) if wrong else 0.0, len(wrong)


def selection_table(scored: Generations, rng: np.random.Generator, labels: int) -> str:
    """Wrong chosen answers by rule; the prompts that are chosen from are the same for all."""
    ids = scored.prompt_ids
    truth = dict(zip(ids, scored.column("correct").to_pylist(), strict=True))
    rules: dict[str, Callable[[Generations, Generations], Selection]] = {
        f"threshold {bound:g}": lambda _, free, bound=bound: select("scpo", free, threshold=bound)
        for bound in (0.0, 0.375, 0.5, 0.625, 0.75)
    } | {
        f"conformal, fdr {fdr:g}": lambda half, _, fdr=fdr: select("conformal", half, fdr=fdr)
        for fdr in (0.05, 0.1, 0.2)
    }
    outcomes: dict[str, list[tuple[float, int]]] = {name: [] for name in rules}
    for _ in range(REPEATS):
        known = np.zeros(len(ids), dtype=bool)
        known[rng.choice(len(ids), labels, replace=False)] = True
        half, free = hidden(scored, known), scored.take(np.flatnonzero(~known))
        for name, rule in rules.items():
            outcomes[name].append(wrong_share(rule(half, free), truth))
    rows = []
    for name, results in outcomes.items():
        wrong, pairs = np.array(results).T
        mean = mean_estimate(wrong)
        figures = f"{mean.value:.3f} ± {mean.se:.3f} | {wrong.max():.3f} | {pairs.mean():.0f}"
        rows.append(f"| {name} | {figures} |")
    header = (
        "| rule | share of wrong chosen answers | worst repeat | pairs |\n| --- | --- | --- | --- |"
    )
    free_prompts = len(ids) - labels
    return "\n".join([header, *rows]) + (
        f"\n\n{REPEATS} random divisions into {labels} labelled and {free_prompts:,} free prompts; "
        "mean ± its standard error over them (the divisions share prompts)."
    )


def abstention_table(scored: Generations, rng: np.random.Generator, labels: int) -> str:
    """Type I error of FactTest on fresh prompts, for one certainty a line."""
    right = scored.column("majority_answer_correct").to_numpy() > 0.5
    certainties = {
        "vote share": scored.column("vote_share").to_numpy(),
        "vote share, ties by the best log-probability": _with_logprob(scored),
    }
    rows, delta = [], 0.1
    for name, certainty in certainties.items():
        known = np.isfinite(certainty)
        for alpha in (0.05, 0.1, 0.2):
            results = []
            for _ in range(REPEATS):
                order = rng.permutation(np.flatnonzero(known))
                fit, fresh = order[:labels], order[labels:]
                test = fact_test(certainty[fit], right[fit], alpha, delta)
                answered, good = test.answers(certainty[fresh]), right[fresh]
                results.append((answered[~good].mean(), answered.mean(), good[answered].mean()))
            error, share, accuracy = np.array(results).T
            broken = int((error > alpha).sum())
            low, high = clopper_pearson(broken, REPEATS)
            rows.append(
                f"| {name} | {alpha:g} | {error.mean():.3f} | {broken} of {REPEATS} "
                f"[{low:.2f}, {high:.2f}] | {share.mean():.2f} | {accuracy.mean():.3f} |"
            )
    header = (
        "| certainty | alpha | wrong answers that are given | repeats above alpha | answered | "
        "right among answered |\n| --- | --- | --- | --- | --- | --- |"
    )
    return "\n".join([header, *rows]) + (
        f"\n\n{labels} labelled prompts, delta = {delta:g}; without abstaining "
        f"{right.mean():.3f} of {len(right):,} majority answers are right."
    )


def _with_logprob(scored: Generations) -> NDArray[np.float64]:
    """Vote share plus less than one vote for the largest log-probability of a sample."""
    best = np.array([max(row) for row in scored.column("logprob").to_pylist()])
    rank = np.argsort(np.argsort(best)) / len(best)
    return np.asarray(scored.column("vote_share").to_numpy() + rank / 100)


def write(name: str, text: str) -> None:
    """Replace what stands between a name's markers in the README."""
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- end {name} -->")[1]
    readme.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end {name} -->{after}")
    print(text, end="\n\n")


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=3000)
    options = parser.parse_args()
    scored = scored_samples(options.prompts)
    rng = np.random.default_rng(0)
    write("selection", selection_table(scored, rng, options.prompts // 6))
    write("abstention", abstention_table(scored, rng, options.prompts // 6))


if __name__ == "__main__":
    main()
