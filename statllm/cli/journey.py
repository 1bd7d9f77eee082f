"""`statllm journey`: trees of solution steps, journeys and shortcuts out of them, pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import create_model

from statllm.cli.common import check_outputs, console, table_of
from statllm.cli.sample import Prompts, sampling_fields, sampling_settings
from statllm.cli.settings import validated, with_settings
from statllm.journey.extract import ExtractSettings
from statllm.journey.pairs import JourneyPairsSettings
from statllm.journey.rewards import RewardSettings
from statllm.journey.search import SearchSettings

journey = typer.Typer(
    no_args_is_help=True,
    help="Journey learning: search solutions step by step, train on errors and their repair.",
)

#: Settings of sampling that have no use here.
_NOT_ASKED = {"n", "stop", "alpha", "n_answers", "window", "round", "stop_strings", "shard_size"}
_SAMPLING = create_model("_SAMPLING", **sampling_fields(_NOT_ASKED))


@journey.command()
@with_settings(SearchSettings, RewardSettings, _SAMPLING)
def search(
    model: Annotated[str, typer.Argument(help="The policy: a folder, a hub or server name, lab.")],
    source: Annotated[str, typer.Argument(metavar="PROBLEMS", help="A file, or lab:train.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Trees (JSONL).")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many problems.")] = None,
    step_end: Annotated[
        str, typer.Option(help="Text that ends a step; \\n is a line's end.")
    ] = "\\n",
    max_step_tokens: Annotated[int, typer.Option(min=1, help="Longest step, in tokens.")] = 128,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of what judges have said; default: the user's.")
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Grow a tree of steps for each problem; a killed search goes on when started again.

    Each kept solution gets --width next steps; a process reward rates them; up to --keep are gone
    on with. Rejected ones stay in the tree, with the reason, for journeys.

    Examples:

        statllm journey search lab lab:train --limit 200 --reward lab --step-end . -o t.jsonl

        statllm journey search ./policy problems.parquet --reward judge --judge ./judge -o t.jsonl

        statllm journey search ./policy problems.parquet --reward rollouts --prune scores -o t.jsonl
    """
    from statllm._formats import check_output
    from statllm.journey.policy import open_policy
    from statllm.journey.process_reward import JudgeReward
    from statllm.journey.rewards import open_reward
    from statllm.journey.search import search as grow
    from statllm.stages import resolve_model

    given = settings or {}

    def own(kind: Any) -> Any:
        return validated(kind, {k: v for k, v in given.items() if k in kind.model_fields})

    chosen: SearchSettings = own(SearchSettings)
    rated: RewardSettings = own(RewardSettings)
    check_output(output, (".jsonl",))
    problems = Prompts(source, {}, {}, limit).table()
    sampling = sampling_settings(given)
    end = step_end.replace("\\n", "\n")
    policy = open_policy(resolve_model(model), sampling, end, max_step_tokens)
    try:
        reward = open_reward(rated, policy, cache)
        trees = grow(problems, policy, reward, chosen, output)
    finally:
        policy.close()
    from statllm.journey.traverse import right_leaves

    solved = sum(bool(right_leaves(tree)) for tree in trees)
    wrong = sum(node.right is False for tree in trees for node in tree.nodes)
    steps = sum(len(tree.nodes) - 1 for tree in trees)
    drawn = sum(tree.n_generated for tree in trees)
    out = console()
    out.print(
        f"{output}: {len(trees)} trees, {drawn} steps drawn, {steps} different ones, {wrong} of "
        f"them rejected; a right end in {solved} trees"
    )
    if isinstance(reward, JudgeReward) and reward.n_unread:
        out.print(f"{reward.n_unread} of the judge's verdicts can't be read")


@journey.command()
@with_settings(ExtractSettings, skip={"phrases"})
def extract(
    trees: Annotated[Path, typer.Argument(metavar="TREES", help="From `journey search` (JSONL).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Examples for SFT: Parquet or JSONL.")
    ],
    ledger: Annotated[
        Path | None, typer.Option(help="One row per tree: kept or dropped, and why.")
    ] = None,
    phrases: Annotated[
        Path | None, typer.Option(help="Wordings of reflections and returns (YAML).")
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Between steps, instead of a line's end.")
    ] = None,
    rewrite: Annotated[
        str | None,
        typer.Option(help="A model that rewrites drafts; what loses a step is dropped."),
    ] = None,
    server: Annotated[str | None, typer.Option(help="Address of that model's server.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of a rewritten text.")] = 4096,
    cache: Annotated[Path | None, typer.Option(help="Folder of what was rewritten.")] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Take journeys (with wrong trials) or shortcuts (the right path alone) from trees.

    Examples:

        statllm journey extract t.jsonl -o journeys.parquet --ledger ledger.parquet --require-trial

        statllm journey extract t.jsonl -o shortcuts.parquet --kind shortcut --require-trial

        statllm journey extract t.jsonl -o thoughts.parquet --rewrite ./writer
    """
    from statllm.journey.extract import extract as take
    from statllm.journey.run import open_rewriter
    from statllm.journey.tree import read_trees
    from statllm.sampling import SamplingSettings

    given: dict[str, Any] = dict(settings or {})
    words = _phrases(phrases)
    if separator is not None:
        words["separator"] = separator.replace("\\n", "\n")
    chosen: ExtractSettings = validated(ExtractSettings, {**given, "phrases": words})
    check_outputs(trees, output, ledger)
    sampling = SamplingSettings(
        temperature=0.0,
        max_new_tokens=max_new_tokens,
        backend="openai" if server else "transformers",
        server=server,
    )
    found = take(read_trees(trees), chosen, open_rewriter(rewrite, sampling, cache))
    found.write(output, ledger)
    rows = [*found.counts().items(), ("all trees", found.ledger.num_rows)]
    out = console()
    out.print(table_of(f"{output}: {found.examples.num_rows} examples", ("reason", "trees"), rows))
    trials = sum(found.ledger["n_trials"].to_pylist())
    out.print(f"{sum(found.ledger['n_steps'].to_pylist())} steps, {trials} wrong trials")


@journey.command()
@with_settings(JourneyPairsSettings)
def pairs(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Samples with verdicts, or with a reference.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Pairs: Parquet or JSONL.")],
    ledger: Annotated[
        Path | None, typer.Option(help="One row per prompt: kept or dropped, and why.")
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Draw five right and five wrong responses of each prompt, and five random pairs of them.

    Examples:

        statllm sample ./long problems.parquet --n 20 --temperature .7 --top-p .95 -o s.parquet

        statllm journey pairs s.parquet -o pairs.parquet --ledger ledger.parquet

        statllm train ./long pairs.parquet -o better --loss dpo
    """
    from statllm.generations import Generations
    from statllm.journey.pairs import journey_pairs

    chosen = validated(JourneyPairsSettings, settings or {})
    check_outputs(source, output, ledger)
    found = journey_pairs(Generations.read(source), chosen)
    found.write(output, ledger)
    console().print(found.summary())


@journey.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="All phases (YAML).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
) -> None:
    """Run all phases: format, trees, long thoughts, pairs; a killed run goes on.

    Examples:

        statllm journey run studies/journey/recipe.yaml -o runs/journey
    """
    from statllm.journey.recipe import read_journey_recipe
    from statllm.journey.run import run_journey

    out = console()
    model = run_journey(read_journey_recipe(recipe), output, out.print)
    out.print(f"the last model is {model}")


def _phrases(path: Path | None) -> dict[str, Any]:
    """Read wordings; which of them are right is for the settings to say."""
    if path is None:
        return {}
    from statllm.files import read_yaml

    return read_yaml(path, "a file of wordings")
