"""All phases of journey learning as one recipe: format, trees, long thoughts, pairs, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from statllm.files import write_text
from statllm.journey.extract import extract
from statllm.journey.pairs import journey_pairs
from statllm.journey.policy import open_policy
from statllm.journey.recipe import Format, JourneyRecipe, PairsPhase, format_examples
from statllm.journey.rewards import open_reward
from statllm.journey.search import search
from statllm.journey.tree import read_trees
from statllm.launch import launcher, train_under
from statllm.phases import Phases, Plan
from statllm.sampling.settings import SamplingSettings
from statllm.training.settings import PreferenceSettings, SFTSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.training import TrainingSummary


def run_journey(
    recipe: JourneyRecipe,
    out: str | Path,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Run what isn't complete yet; return the folder of the last model.

    Parameters
    ----------
    recipe : JourneyRecipe
    out : path
        Folder. ``format``, ``sft`` and ``dpo`` in it are models; ``trees.jsonl``,
        ``examples.parquet`` and ``pairs.parquet`` with their ledgers; ``evaluation-*.parquet``.
    say : callable
        Told of each stage, in a line.

    Raises
    ------
    InputError
        If something in the recipe can't be used.
    """
    import yaml

    if recipe.launch is not None:
        launcher(recipe.launch)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=100)
    write_text(text, folder / "run.yaml")
    return _Run(recipe, folder, Phases(folder, say)).run()


def journey_plan(recipe: JourneyRecipe) -> list[str]:
    """Return the names of the phases that `run_journey` runs, in order."""
    plan = Plan()
    _Run(recipe, Path(), plan).run()
    return plan.names


class _Run:
    """What each phase reads (files by their content), is decided by, and makes."""

    def __init__(self, recipe: JourneyRecipe, out: Path, phases: Phases) -> None:
        self.recipe, self.out, self.phases = recipe, out, phases

    def run(self) -> Path:
        from statllm.stages import resolve_model

        recipe = self.recipe
        model = Path(resolve_model(recipe.model))
        if recipe.format is not None:
            model = self._format(model, recipe.format)
        self._evaluate("format", model)
        trees = self._search(model)
        model = self._long(model, trees)
        self._evaluate("sft", model)
        if recipe.pairs is not None:
            model = self._dpo(model, recipe.pairs)
            self._evaluate("dpo", model)
        return model

    def _format(self, start: Path, phase: Format) -> Path:
        def make() -> str:
            done = self._train(start, format_examples(phase), "format", phase.training)
            return f"{done.n_pairs} of {done.n_input} examples, {done.n_steps} steps"

        self.phases.run("format", [start, phase.data], phase.model_dump(), ["format"], make)
        return self.out / "format"

    def _search(self, model: Path) -> Path:
        from statllm.stages import load_problems

        recipe, out = self.recipe, self.out / "trees.jsonl"

        def make() -> str:
            own = recipe.policy
            policy = open_policy(model, own.sampling, own.step_end, own.max_step_tokens)
            try:
                reward = open_reward(recipe.reward, policy, self.out / "judges")
                trees = search(load_problems(recipe.problems), policy, reward, recipe.search, out)
            finally:
                policy.close()
            return f"{len(trees)} trees, {sum(tree.n_generated for tree in trees)} steps drawn"

        settings = recipe.model_dump(include={"problems", "policy", "search", "reward"})
        inputs: list[str | Path] = [model, recipe.problems.source, *_named(recipe.reward.judge)]
        self.phases.run("search", inputs, settings, ["trees.jsonl"], make)
        return out

    def _long(self, start: Path, trees: Path) -> Path:
        recipe = self.recipe
        examples, ledger = self.out / "examples.parquet", self.out / "ledger.parquet"

        def take() -> str:
            rewriter = open_rewriter(recipe.rewrite, recipe.rewriting, self.out / "judges")
            found = extract(read_trees(trees), recipe.extract, rewriter)
            found.write(examples, ledger)
            return ", ".join(f"{reason} {count}" for reason, count in found.counts().items())

        def make() -> str:
            done = self._train(start, examples, "sft", recipe.training)
            return f"{done.n_pairs} of {done.n_input} examples, {done.n_steps} steps"

        settings = recipe.model_dump(include={"extract", "rewrite", "rewriting"})
        made = ["examples.parquet", "ledger.parquet"]
        self.phases.run("extract", [trees, *_named(recipe.rewrite)], settings, made, take)
        self.phases.run("sft", [start, examples], recipe.training.model_dump(), ["sft"], make)
        return self.out / "sft"

    def _dpo(self, start: Path, phase: PairsPhase) -> Path:
        from statllm.generations import Generations
        from statllm.sampling import sample
        from statllm.scoring import score
        from statllm.stages import load_problems

        samples, pairs = self.out / "samples.parquet", self.out / "pairs.parquet"
        ledger = self.out / "pairs-ledger.parquet"

        def draw() -> str:
            table = sample(
                start, load_problems(phase.problems), phase.sampling, out=samples, progress=False
            )
            return f"{table.num_rows} prompts x {phase.sampling.n}"

        def choose() -> str:
            scored = score(Generations.read(samples), self.recipe.scoring)
            found = journey_pairs(scored, phase.settings)
            found.write(pairs, ledger)
            return found.summary()

        def make() -> str:
            done = self._train(start, pairs, "dpo", phase.training)
            return f"{done.n_pairs} of {done.n_input} pairs, {done.n_steps} steps"

        drawn = phase.model_dump(include={"problems", "sampling"})
        asked = [start, Path(phase.problems.source)]
        self.phases.run("sample", asked, drawn, ["samples.parquet"], draw)
        chosen = [phase.settings.model_dump(), self.recipe.scoring.model_dump()]
        self.phases.run(
            "pairs", [samples], chosen, ["pairs.parquet", "pairs-ledger.parquet"], choose
        )
        self.phases.run("dpo", [start, pairs], phase.training.model_dump(), ["dpo"], make)
        return self.out / "dpo"

    def _train(
        self,
        start: Path,
        data: pa.Table | Path,
        name: str,
        settings: SFTSettings | PreferenceSettings,
    ) -> TrainingSummary:
        out = self.out / name
        return train_under(self.recipe.launch, start, data, out, settings, progress=False)

    def _evaluate(self, phase: str, model: Path) -> None:
        from statllm.evaluation import evaluate, evaluation_metrics
        from statllm.files import write_parquet
        from statllm.stages import load_problems

        settings = self.recipe.evaluation
        if settings is None:
            return
        name = f"evaluation-{phase}.parquet"

        def make() -> str:
            sampling = self.recipe.policy.sampling
            table = evaluate(
                model, load_problems(settings.problems), settings, self.recipe.scoring,
                seed=sampling.seed, sampling=sampling, work=self.out / f"{phase}.work",
            )  # fmt: skip
            write_parquet(table, self.out / name)
            return "; ".join(one.summary() for one in evaluation_metrics(table)[:3])

        decides = [settings.model_dump(), self.recipe.policy.sampling.model_dump()]
        decides.append(self.recipe.scoring.model_dump())
        self.phases.run(
            f"evaluate-{phase}", [model, settings.problems.source], decides, [name], make
        )


def _named(model: str | None) -> list[str]:
    """What a phase reads of a model: nothing where none is named."""
    from statllm.stages import resolve_model

    return [] if model is None else [resolve_model(model)]


def open_rewriter(
    model: str | None, sampling: SamplingSettings, cache: str | Path | None = None
) -> Any:
    """Open what rewrites drafts: a model, or nothing at all."""
    from statllm.journey.draft import ModelRewriter, TemplateRewriter

    if model is None:
        return TemplateRewriter()
    from statllm.sampling.judge_model import open_judge
    from statllm.stages import resolve_model

    return ModelRewriter(open_judge(resolve_model(model), sampling), cache)
