"""`statllm watermark plan`: how many tokens a watermark needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import console, table_of
from statllm.cli.watermark.options import log_probabilities_of
from statllm.errors import InputError


def plan(
    samples: Annotated[
        Path | None,
        typer.Argument(
            metavar="SAMPLES",
            help="Sampled text of the model with its log-probabilities, as `statllm sample` "
            "writes it: Parquet or JSONL.",
        ),
    ] = None,
    column: Annotated[
        str, typer.Option(help="Lists of log p of the sampled tokens, nats.")
    ] = "token_logprobs",
    bound: Annotated[
        float | None,
        typer.Option(
            "--delta", help="Instead of SAMPLES: the model's largest probability is 1 - delta."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="False-positive rate.")] = 1e-6,
    power: Annotated[float, typer.Option(help="Probability to find a watermarked text.")] = 0.99,
) -> None:
    """Say how many tokens a Gumbel-max watermark needs, from how sure the model is.

    Where all tokens are nearly certain, no watermark can be seen: what counts is the model, the
    temperature and the task. The figures are for texts whose tokens are like those of SAMPLES.

    Examples:

        statllm watermark plan samples.parquet --alpha 1e-6

        statllm watermark plan --delta 0.3
    """
    from statllm._formats import read_rows
    from statllm.estimators.watermark.chosen import ChosenLaw
    from statllm.estimators.watermark.efficiency import stein_tokens
    from statllm.estimators.watermark.power import tokens_needed

    for option, value in (("--alpha", alpha), ("--power", power)):
        if not 0 < value < 1:
            raise InputError(f"{option} must lie between 0 and 1, not {value}")
    if (samples is None) == (bound is None):
        raise InputError("give either SAMPLES or --delta")
    given: Any = (
        bound if samples is None else log_probabilities_of(read_rows(samples), samples, column)
    )
    try:
        law = (
            ChosenLaw.least_favourable(given)
            if samples is None
            else ChosenLaw.from_log_probabilities(given)
        )
    except ValueError as error:
        raise InputError(f"{samples or '--delta'}: {error}") from error
    rows = []
    settings: list[tuple[Any, float]] = [("sum", 0.5), ("log", 0.5)]
    settings += [("optimal", delta) for delta in (0.005, 0.01, 0.05, 0.1)]
    for test, delta in settings:
        name = f"optimal, --delta {delta:g}" if test == "optimal" else test
        try:
            needed = f"{tokens_needed(law, alpha, power, test, delta):,}"
        except ValueError:
            needed = "over 4 million"
        rows.append((name, needed))
    rows.append(("no test with fewer than about", f"{stein_tokens(law, alpha):,.0f}"))
    title = f"distinct tokens for a power of {power:g} at {alpha:g}"
    console().print(table_of(title, ("test", "tokens"), rows))
