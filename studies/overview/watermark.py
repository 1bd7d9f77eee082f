"""Watermarks: how many tokens a test needs, planned from plain text and seen in marked text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from common import Page, Setup, figure_to, lab_samples, run, shown
from scipy import stats

from statllm.estimators.comparison import mean_estimate
from statllm.estimators.proportions import proportion
from statllm.estimators.watermark import ChosenLaw, detect, make_scheme, power, tokens_needed
from statllm.experiment.report import markdown_table
from statllm.lab import model_path, problems
from statllm.ragged import Ragged
from statllm.sampling.watermark import sample_watermarked

ALPHA = 1e-3
TEMPERATURE = 1.5  # more is left to chance than at 1
TESTS = ("sum", "log", "optimal")
DELTA = 0.05  # of the optimal score


def scheme(key: int, vocabulary: int) -> Any:
    """Gumbel-max sampling keyed by the last two tokens."""
    return make_scheme("three-bricks-gumbel", key=key, ngram=3, start=1, vocabulary=vocabulary)


def document(texts: list[list[int]], made: Any) -> Any:
    """Marks of some texts as one document, so that a repeated context counts once."""
    marks = made.marks(Ragged.from_lists(texts, np.int64))
    return replace(marks, offsets=marks.offsets[[0, -1]])


def make(setup: Setup) -> Page:
    """Write documents with keys, and read them with the right keys and wrong ones."""
    from statllm.models import load_tokenizer

    vocabulary = len(load_tokenizer(model_path()))
    n_documents, longest = setup.pick((24, 6), (4, 2))
    prompts = problems("test", n_documents * longest, seed=9)
    written = [
        [
            row[0]
            for row in sample_watermarked(
                model_path(), prompts.slice(i * longest, longest), scheme(1000 + i, vocabulary),
                max_new_tokens=60, temperature=TEMPERATURE, device="cpu",
            )["token_ids"].to_pylist()
        ]
        for i in range(n_documents)
    ]  # fmt: skip
    plain = lab_samples(*setup.pick((300, 4), (60, 2)), TEMPERATURE)
    spent = np.concatenate(
        [np.concatenate(row) for row in plain.column("token_logprobs").to_pylist()]
    )
    law = ChosenLaw.from_log_probabilities(spent)
    needed = {test: tokens_needed(law, ALPHA, 0.9, test, DELTA) for test in TESTS}

    seen: dict[str, list[tuple[float, Any, float]]] = {test: [] for test in TESTS}
    for k in range(1, longest + 1):
        found = {
            test: [
                detect(document(texts[:k], scheme(1000 + i, vocabulary)), test, delta=DELTA)
                for i, texts in enumerate(written)
            ]
            for test in TESTS
        }
        for test, each in found.items():
            sizes = np.array([one.n_scored[0] for one in each])
            hits = sum(float(one.log_p[0]) <= np.log(ALPHA) for one in each)
            plans = {n: power(int(n), law, ALPHA, test, DELTA) for n in np.unique(sizes) if n}
            planned = float(np.mean([plans.get(n, 0.0) for n in sizes]))
            seen[test].append((float(sizes.mean()), proportion(hits, len(each)), planned))
    wrong = np.exp(
        [
            detect(document(texts, scheme(5000 + 100 * i + j, vocabulary))).log_p[0]
            for i, texts in enumerate(written)
            for j in range(setup.pick(20, 5))
        ]
    )
    unread = int(np.isnan(wrong).sum())  # documents without a token that can be scored
    wrong = wrong[np.isfinite(wrong)]
    uniform = stats.kstest(wrong, "uniform").pvalue
    alarms = proportion(int(np.sum(wrong <= 0.05)), len(wrong))
    with figure_to(setup, "watermark") as axes:
        for (test, points), colour, marker in zip(
            seen.items(), ("#0072B2", "#D55E00", "#009E73"), "os^", strict=True
        ):
            x = [point[0] for point in points]
            axes.plot(x, [point[2] for point in points], color=colour, linewidth=1.4, label=test)
            y = np.array([point[1].value for point in points])
            ends = [point[1].interval(0.95) for point in points]
            reach = np.maximum([y - [e.low for e in ends], [e.high for e in ends] - y], 0)
            axes.errorbar(x, y, yerr=reach, color=colour, marker=marker, linestyle="none")
        axes.set_xlabel("scored tokens of a document (mean)")
        axes.set_ylabel(f"found at p ≤ {ALPHA:g}")
        axes.set_ylim(-0.03, 1.03)
        axes.legend(frameon=False, title="lines: planned", loc="upper left")
    rows = [
        [test, f"{points[-1][0]:.0f}", shown(points[-1][1]), f"{points[-1][2]:.3f}", needed[test]]
        for test, points in seen.items()
    ]
    last, best = seen["sum"][-1], min(needed, key=lambda t: needed[t])
    entropy = mean_estimate(-spent, name="surprise", unit="nats")
    return Page(
        stem="watermark",
        title="Watermarks: how much text does a test need?",
        finding=f"At p ≤ {ALPHA:g} the sum test finds {shown(last[1])} of documents of "
        f"{last[0]:.0f} scored tokens, {last[2]:.3f} were planned from plain text; with wrong keys "
        f"{shown(alarms)} of p-values are below .05.",
        question="A model's text carries a watermark that only the holder of a key can read. How "
        "many tokens must a text have to be found, and how often is other text accused?",
        formula="Gumbel-max takes the token with the largest U^(1/P), U a keyed random number per "
        "token. Without the key's mark, Y = U of the chosen token is uniform, so −Σ log(1 − Y) is "
        "Gamma(n, 1): exact p-values. With it, P(Y ≤ y) = Σ P y^(1/P): the model's own "
        "certainty decides the power.",
        done=f"The lab model writes {n_documents} documents of {longest} answers each at T = "
        f"{TEMPERATURE:g}, every one under a key of its own (contexts of two tokens, a repeated "
        f"context counts once), and each is read with its key, and with "
        f"{setup.pick(20, 5)} wrong ones. The plan knows only the log-probabilities of "
        f"tokens of plain samples ({shown(entropy)} nats a token).",
        result=markdown_table(
            ["test", "scored tokens", "found", "planned", "tokens for 90 % (planned)"], rows
        )
        + f"\n\nWith wrong keys, {len(wrong)} p-values ({unread} more, of documents with "
        f"nothing to score, are left out): {shown(alarms)} are ≤ .05, and against "
        f"uniformity p = {uniform:.3f} (Kolmogorov-Smirnov). The fewest tokens needs "
        f"'{best}'.",
        sure="Wilson intervals over documents. The plan takes tokens as independent draws from "
        "one law, and each document's tokens come from few kinds of sentences: the context of an "
        "answer's first token is the same in all of them, so that a key decides how a document's "
        "answers begin, and some keys give nothing but bare answers, with nothing to score (they "
        "count as not found). Exact tests over human text, edits and all schemes: "
        "[studies/watermarks](../watermarks).",
        tools="`statllm.estimators.watermark` (`detect`, `power`, `tokens_needed`), "
        "`statllm.sampling.watermark`; `statllm watermark detect | plan | embed`.",
        source="The survey's 4.2 (arXiv 2502.17814); Aaronson 2023; Li, Ruan, Wang, Long and Su "
        "2024 (arXiv 2404.01245).",
        alt="Share of documents found by tokens, planned and seen, for three tests",
        figures={
            "needed": needed,
            "wrong_keys": {"below_.05": alarms.to_dict(), "ks_p": float(uniform)},
            "found": {t: [[p[0], p[1].to_dict(), p[2]] for p in ps] for t, ps in seen.items()},
        },
    )  # fmt: skip


if __name__ == "__main__":
    run(make, __doc__ or "")
