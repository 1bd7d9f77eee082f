"""What `statllm criteria` prints and reports."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.cli.common import console, estimates, table_of

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.scoring.criteria import Guideline
    from statllm.scoring.criteria.evaluate import Evaluation

_N_LAYERS = 4


def print_evaluation(result: Evaluation, n: int, source: Path) -> None:
    """Print layers, agreement with the truth, and each criterion's precision and recall."""
    out = console()
    figures = [
        *result.layers.rates, result.layers.overall, result.right, result.overall.precision,
        result.overall.recall, result.kappa,
    ]  # fmt: skip
    if result.from_examples.n:
        figures.append(result.from_examples)
    out.print(estimates(f"{source}: {n} findings", figures))
    # two tables: one has no room for the criteria in 80 columns
    claims = [
        (one.criterion, one.precision.n, f"{one.precision.value:.3f}",
         f"{one.precision.interval():.3f}") for one in result.criteria
    ]  # fmt: skip
    columns = ["criterion", "claims", "precision", "interval"]
    out.print(table_of("claims by criterion (Wilson, 95 %)", columns, claims, wrap=("criterion",)))
    violations = [
        (one.criterion, one.recall.n, f"{one.recall.value:.3f}", f"{one.recall.interval():.3f}",
         one.n_unread) for one in result.criteria
    ]  # fmt: skip
    title = "violations by criterion (Wilson, 95 %)"
    columns = ["criterion", "violations", "recall", "interval", "unread"]
    out.print(table_of(title, columns, violations, wrap=("criterion",)))
    if len(result.layers.rates) < _N_LAYERS:
        out.print("helpfulness isn't known without --helpful")


def print_derived(guideline: Guideline, ledger: pa.Table, output: Path) -> None:
    dropped = Counter(reason for reason in ledger["reason"].to_pylist() if reason)
    rows = [("kept", len(guideline.keys)), *dropped.items(), ("all", ledger.num_rows)]
    out = console()
    out.print(
        table_of(
            f"{output}: {len(guideline.aspects)} aspects",
            ("criteria", "n"),
            rows,
        )
    )
    out.print("go over them before they are used: a model wrote them, words decided what is alike")


def print_findings(findings: pa.Table, output: Path) -> None:
    from statllm.scoring.criteria.findings import REASONS

    words = {True: "met", False: "violated"}
    counts: Counter[str] = Counter()
    for met, reason in zip(
        findings["met"].to_pylist(), findings["reason"].to_pylist(), strict=True
    ):
        counts[reason if met is None else words[met]] += 1
    rows = [(name, n, REASONS.get(name, "")) for name, n in counts.most_common()]
    title = f"{output}: {findings.num_rows} findings"
    console().print(table_of(title, ("verdict", "n", "why"), rows, wrap=("why",)))


def report(result: Evaluation) -> dict[str, Any]:
    def plain(estimate: Any) -> dict[str, Any]:
        interval = estimate.interval()
        return {
            "value": estimate.value, "low": interval.low, "high": interval.high,
            "n": estimate.n, "unit": estimate.unit,
        }  # fmt: skip

    return {
        "layers": {
            rate.name: {**plain(rate), "n_passed": passed, "n_unread": unread}
            for rate, passed, unread in zip(
                result.layers.rates, result.layers.n_passed, result.layers.n_unread, strict=True
            )
        },
        "all layers": plain(result.layers.overall),
        "right verdicts": plain(result.right),
        "kappa": plain(result.kappa),
        "claims quoting an example only": plain(result.from_examples),
        "criteria": {
            one.criterion: {
                "precision": plain(one.precision), "recall": plain(one.recall),
                "n_unread": one.n_unread,
            }
            for one in (*result.criteria, result.overall)
        },
    }  # fmt: skip
