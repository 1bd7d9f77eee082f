"""`statllm watermark plan`: how many tokens a watermark needs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from statllm.cli.common import console, table_of
from statllm.cli.watermark.options import log_probabilities_of
from statllm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from statllm.estimators.watermark.chosen import ChosenLaw

_TEXTS = 1_000  # simulated, of the e-process
_LONGEST = 5_000  # tokens of each


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
    mixing: Annotated[
        float, typer.Option(help="Of two keys: probability of the second, vLLM's alpha.")
    ] = 0.1,
    trgof_up_to: Annotated[
        int,
        typer.Option(
            min=1,
            help="Tr-GoF, for edited text, is planned up to so many tokens: its work grows with "
            "their square (15 seconds at 500, 90 at 2,000).",
        ),
    ] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the e-process's simulated texts.")] = 0,
) -> None:
    """Say how many tokens a Gumbel-max watermark needs, from how sure the model is.

    Where all tokens are nearly certain, no watermark can be seen: what counts is the model, the
    temperature and the task. The figures are for texts whose tokens are like those of SAMPLES, and
    unedited. The e-process may look after every token; its number is that by which the share
    --power of 1,000 simulated texts is found, with a 95 % interval. The others look once, and are
    computed from the laws of their statistics.

    Examples:

        statllm watermark plan samples.parquet --alpha 1e-6

        statllm watermark plan --delta 0.3
    """
    from statllm._formats import read_rows
    from statllm.estimators.watermark.chosen import ChosenLaw
    from statllm.estimators.watermark.dual_power import dual_tokens_needed
    from statllm.estimators.watermark.efficiency import stein_tokens
    from statllm.estimators.watermark.power import tokens_needed

    for option, value in (("--alpha", alpha), ("--power", power), ("--mixing", mixing)):
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
        rows.append((name, _needed(partial(tokens_needed, law, alpha, power, test, delta))))
    two = _needed(partial(dual_tokens_needed, law, alpha, power, mixing))
    rows += [
        (f"sum, two keys, the second with probability {mixing:g}", two),
        ("Tr-GoF (trgof)", _trgof(law, alpha, power, trgof_up_to)),
        ("e-process, looks after every token", _e_process(law, alpha, power, seed)),
        ("no test with fewer than about", f"{stein_tokens(law, alpha):,.0f}"),
    ]
    title = f"distinct tokens for a power of {power:g} at {alpha:g}"
    console().print(table_of(title, ("test", "tokens"), rows))


def _needed(tokens: Callable[[], int]) -> str:
    try:
        return f"{tokens():,}"
    except ValueError:
        return "over 4 million"


def _trgof(law: ChosenLaw, alpha: float, power: float, most: int) -> str:
    """Tr-GoF's number of tokens, if it isn't more than `most`."""
    from statllm.estimators.watermark.trgof_power import trgof_power, trgof_tokens_needed

    if trgof_power(most, law, alpha) < power:
        return f"over {most:,} (--trgof-up-to)"
    return f"{trgof_tokens_needed(law, alpha, power):,}"


def _e_process(law: ChosenLaw, alpha: float, power: float, seed: int) -> str:
    """Tokens by which the share `power` of simulated texts is found, with an interval."""
    from statllm.estimators.comparison import quantile_estimate
    from statllm.estimators.watermark.efficiency import stein_tokens
    from statllm.estimators.watermark.sequential_power import stopping_tokens

    least = stein_tokens(law, alpha)
    if least > 4 * _LONGEST:  # a quarter of it is hardly ever enough
        return f"over {_LONGEST:,}"
    longest = min(_LONGEST, int(3 * least) + 100)
    while True:
        stops = stopping_tokens(law, alpha, longest, _TEXTS, rng=seed)
        stops = np.where(stops == 0, longest + 1, stops)  # or later
        ends = quantile_estimate(stops, power).interval(0.95)
        if ends.high <= longest or longest == _LONGEST:
            break
        longest = min(_LONGEST, 2 * longest)
    if np.mean(stops <= longest) < power:
        return f"over {longest:,}"
    value = np.quantile(stops, power, method="inverted_cdf")
    high = f"{ends.high:,.0f}" if ends.high <= longest else f"over {longest:,}"
    return f"{value:,.0f} [{ends.low:,.0f}, {high}]"
