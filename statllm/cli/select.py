"""`statllm select RULE`: scored samples in, preference pairs and a ledger out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from statllm.cli.common import (
    Answer,
    InputFile,
    Prompt,
    PromptId,
    Reference,
    Response,
    Reward,
    Where,
    check_outputs,
    conditions,
    console,
    mapping,
    table_of,
)
from statllm.cli.deduplicate import decontaminate, near_duplicates
from statllm.cli.diverse import diverse
from statllm.cli.engine import engine_settings, part_progress
from statllm.cli.lift import lift
from statllm.cli.provenance import provenance
from statllm.cli.rft import rft
from statllm.cli.settings import with_settings
from statllm.engines.settings import EngineSettings
from statllm.selection import RULES

select = typer.Typer(
    no_args_is_help=True,
    help="Choose training data: preference pairs from scored samples, or rows worth keeping.",
)

_HELP = {
    "scpo": """Self-consistency: the majority answer against the rarest one, no labels.

    Examples:

        statllm select scpo scores.parquet -o pairs.parquet --ledger ledger.parquet --threshold .5

        statllm select scpo scores.parquet -o pairs.parquet --preset scpo-gsm8k --iteration 2
    """,
    "irpo": """Right samples against wrong ones; needs a reference answer or verdicts.

    Examples:

        statllm select irpo scores.parquet -o pairs.parquet --pairs-per-prompt 10
    """,
    "conformal": """ScPO pairs with a bound on the share of wrong chosen answers, from some labels.

    Prompts with a reference calibrate; those without are chosen from.

    Examples:

        statllm select conformal scores.parquet -o pairs.parquet --ledger ledger.parquet --fdr 0.1

        statllm select conformal scores.parquet -o pairs.parquet --score=-vote_entropy
    """,
    "random": """Two responses of each prompt at random: a control that prefers nothing.

    Examples:

        statllm select random scores.parquet -o pairs.parquet --differ answer
    """,
    "tpo": """Best against worst response part by a reward with a price on length (TPO).

    Rewards are those of what comes after the thought. A text without its response is rejected.

    Examples:

        statllm select tpo rewards.parquet -o pairs.parquet --ledger ledger.parquet --rho auto

        statllm select tpo rewards.parquet -o pairs.parquet --response-part "<R>" --rho .2
    """,
    "self-score": """Best against worst by a score, where the best is good enough.

    Examples:

        statllm judge ./my-model scores.parquet -o judged.parquet --kind yes-no

        statllm select self-score judged.parquet -o pairs.parquet --min-chosen 0
    """,
    "self-consistency": """A response with the most frequent answer against a random other one.

    Examples:

        statllm select self-consistency scores.parquet -o pairs.parquet --ledger ledger.parquet
    """,
    "band": """Best against worst, on prompts of which a quality lies in a band: rivals of RIP.

    Examples:

        statllm select band rewards.parquet -o pairs.parquet --quality jaccard --low .25

        statllm select band rewards.parquet -o pairs.parquet --quality column --column prompt_grade
    """,
    "rip": """Best against worst reward, on prompts whose worst response is good and long enough.

    Examples:

        statllm select rip rewards.parquet -o pairs.parquet --gap-quantile .5 \
--rejected-length-quantile .5 --rejected-reward-quantile .5
    """,
}


def _command(rule: str) -> Callable[..., None]:
    def command(
        source: InputFile,
        output: Annotated[Path, typer.Option("--output", "-o", help="Pairs: Parquet or JSONL.")],
        ledger: Annotated[
            Path | None,
            typer.Option(
                help="One row per prompt: kept or dropped, and why (Parquet, JSONL or CSV)."
            ),
        ] = None,
        preset: Annotated[
            str | None, typer.Option(help="A paper's settings; single options override them.")
        ] = None,
        iteration: Annotated[int, typer.Option(help="Of the preset, from 1.")] = 1,
        prompt_id: PromptId = None,
        prompt: Prompt = None,
        response: Response = None,
        answer: Answer = None,
        reference: Reference = None,
        reward: Reward = None,
        where: Where = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        columns = mapping(
            prompt_id=prompt_id,
            prompt=prompt,
            response=response,
            answer=answer,
            reference=reference,
            reward=reward,
        )
        base = None if preset is None else _preset(rule, preset, iteration)
        _run(rule, source, columns, where, output, ledger, base, settings or {})

    command.__doc__ = _HELP.get(rule)
    return with_settings(RULES[rule].settings, EngineSettings)(command)


def _preset(rule: str, name: str, iteration: int) -> Any:
    from statllm.errors import InputError
    from statllm.selection import preset

    found = preset(name, iteration)
    if found.rule != rule:
        raise InputError(f"preset '{name}' is one of rule '{found.rule}', not of '{rule}'")
    return found.settings


def _run(
    rule: str,
    source: Path,
    columns: dict[str, str],
    where: list[str] | None,
    output: Path,
    ledger: Path | None,
    base: Any,
    changes: dict[str, Any],
) -> None:
    from statllm.generations import Generations
    from statllm.selection import select as apply
    from statllm.selection import settings_of

    changes, engine = engine_settings(changes, RULES[rule].settings)
    settings = settings_of(rule, base, **changes)
    if engine is None:
        check_outputs(source, output, ledger)
        selection = apply(rule, Generations.read(source, columns, conditions(where)), settings)
        selection.write(output, ledger)
        n_pairs, counts, thresholds = (
            selection.pairs.num_rows, selection.counts(), selection.thresholds
        )  # fmt: skip
    else:
        from statllm.engines import Source, select_file

        given = Source(source, columns, conditions(where))
        with part_progress() as on_part:
            found = select_file(rule, given, output, ledger, settings, engine, on_part)
        n_pairs, counts, thresholds = found.n_pairs, found.counts, found.thresholds
    out = console()
    rows = [*counts.items(), ("all prompts", sum(counts.values()))]
    out.print(table_of(f"{output}: {n_pairs} pairs", ("reason", "prompts"), rows))
    for name, bound in thresholds.items():
        out.print(f"{name} = {bound:.6g}")


for _rule in RULES:
    select.command(_rule)(_command(_rule))
select.command("near-duplicates")(near_duplicates)
select.command()(decontaminate)
select.command()(provenance)
select.command()(diverse)
select.command()(lift)
select.command()(rft)
