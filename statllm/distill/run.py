"""All phases of a distillation as one recipe: problems, solutions, chains, two stages, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from statllm.distill.accuracy import Answers, accuracies, differences, draw_tokens
from statllm.distill.chains import keep_chains
from statllm.distill.filters import filter_problems
from statllm.distill.given import given_solutions
from statllm.distill.recipe import DistillRecipe, StudentEvaluation
from statllm.distill.reformat import Reformatted, reformat
from statllm.errors import InputError
from statllm.estimators.comparison import mean_estimate
from statllm.files import read_parquet, write_parquet, write_text
from statllm.generations import Generations
from statllm.launch import launcher, train_under
from statllm.ledger import with_dropped
from statllm.phases import Phases, Plan
from statllm.sampling.settings import CALL_SETTINGS, SamplingSettings
from statllm.training.settings import SFTSettings


def run_distill(
    recipe: DistillRecipe,
    out: str | Path,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Run what isn't complete yet; return the folder of the last model.

    Parameters
    ----------
    recipe : DistillRecipe
    out : path
        Folder. ``stage_1`` and ``stage_2`` in it are models; ``problems.parquet``,
        ``solutions.parquet`` and ``chains.parquet`` what they are made from, each with its ledger
        (``problems-ledger.parquet``, ...); ``evaluation-MODEL-greedy.parquet`` and
        ``-samples.parquet`` the answers of the start and of both stages; ``accuracy.parquet``,
        ``differences.parquet`` and ``tokens.png`` what these are worth against their tokens.
    say : callable
        Told of each phase, in a line.

    Raises
    ------
    InputError
        If something in the recipe can't be used, or nothing is left to train on.
    """
    import yaml

    if recipe.launch is not None:
        launcher(recipe.launch)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=100)
    write_text(text, folder / "run.yaml")
    return _Run(recipe, folder, Phases(folder, say)).run()


def distill_plan(recipe: DistillRecipe) -> list[str]:
    """Return the names of the phases that `run_distill` runs, in order."""
    plan = Plan()
    _Run(recipe, Path(), plan).run()
    return plan.names


class _Run:
    """What each phase reads, is decided by, and makes."""

    def __init__(self, recipe: DistillRecipe, out: Path, phases: Phases) -> None:
        self.recipe, self.out, self.phases = recipe, out, phases

    def run(self) -> Path:
        """All data first: what serves writer and teacher may be stopped before the trainings."""
        from statllm.stages import resolve_model

        recipe = self.recipe
        models = {"start": Path(resolve_model(recipe.student))}
        self._filter()
        if recipe.stage_1 is not None:
            self._solutions()
        self._chains()
        if recipe.stage_1 is not None:
            models["stage_1"] = self._train("stage_1", models["start"], "solutions", recipe.stage_1)
        last = list(models)[-1]
        models["stage_2"] = self._train("stage_2", models[last], "chains", recipe.stage_2)
        if recipe.evaluation is not None:
            for name, model in models.items():
                self._evaluate(name, model, recipe.evaluation)
            self._compare(list(models))
        return models["stage_2"]

    def _filter(self) -> None:
        from statllm.stages import load_problems
        from statllm.stages.problems import problem_file

        recipe = self.recipe

        def make() -> str:
            found = filter_problems(load_problems(recipe.problems), recipe.filters)
            if not found.problems.num_rows:
                raise InputError(with_dropped("no problem is left", found.counts()))
            write_parquet(found.ledger, self.out / "problems-ledger.parquet")
            write_parquet(_with_references(found.problems), self.out / "problems.parquet")
            return with_dropped(f"{found.problems.num_rows} problems", found.counts())

        inputs = list(problem_file(recipe.problems).values())
        settings = recipe.model_dump(include={"problems", "filters"})
        self.phases.run("problems", inputs, settings, _with_ledger("problems"), make)

    def _solutions(self) -> None:
        """Short solutions of the first stage: a model's, or those that were given."""
        from statllm.sampling.prompts import load_template
        from statllm.stages import resolve_model

        recipe, rewrite = self.recipe, self.recipe.rewrite
        problems = self.out / "problems.parquet"

        def made() -> Reformatted:
            if rewrite is None:
                return given_solutions(read_parquet(problems), recipe.checks.equivalence)
            return reformat(
                resolve_model(rewrite.model), read_parquet(problems), rewrite.sampling,
                recipe.checks, template=load_template(rewrite.template, "reformat"),
                chat=rewrite.chat, out=self.out / "solutions.generations.parquet",
            )  # fmt: skip

        def make() -> str:
            found = made()
            if not found.examples.num_rows:
                raise InputError(with_dropped("no solution is left", found.counts()))
            write_parquet(found.ledger, self.out / "solutions-ledger.parquet")
            write_parquet(found.examples, self.out / "solutions.parquet")
            return with_dropped(f"{found.examples.num_rows} solutions", found.counts())

        settings = [
            recipe.checks.model_dump(),
            None if rewrite is None else rewrite.model_dump(exclude={"sampling": CALL_SETTINGS}),
        ]
        writer = [] if rewrite is None else [resolve_model(rewrite.model)]
        self.phases.run("solutions", [problems, *writer], settings, _with_ledger("solutions"), make)

    def _chains(self) -> None:
        """The teacher's samples, and those of them that are right."""
        from statllm.sampling import sample
        from statllm.scoring import score
        from statllm.stages import resolve_model

        recipe, own = self.recipe, self.recipe.teacher
        problems, samples = self.out / "problems.parquet", self.out / "samples.parquet"
        teacher = resolve_model(own.model)

        def draw() -> str:
            table = sample(teacher, read_parquet(problems), own.sampling, samples)
            return f"{table.num_rows} problems x {own.sampling.n}"

        def keep() -> str:
            scored = score(Generations(read_parquet(samples)), recipe.scoring)
            found = keep_chains(scored, recipe.chains)
            if not found.examples.num_rows:
                raise InputError(with_dropped("no chain of the teacher is left", found.counts()))
            found.write(self.out / "chains.parquet", self.out / "chains-ledger.parquet")
            return with_dropped(f"{found.examples.num_rows} chains", found.counts())

        settings = own.model_dump(exclude={"sampling": CALL_SETTINGS})
        self.phases.run("samples", [problems, teacher], settings, ["samples.parquet"], draw)
        settings = recipe.model_dump(include={"scoring", "chains"})
        self.phases.run("chains", [samples], settings, _with_ledger("chains"), keep)

    def _train(self, name: str, start: Path, data: str, settings: SFTSettings) -> Path:
        examples = self.out / f"{data}.parquet"

        def make() -> str:
            done = train_under(self.recipe.launch, start, examples, self.out / name, settings)
            return f"{done.n_pairs} of {done.n_input} examples, {done.n_steps} steps"

        self.phases.run(name, [start, examples], settings.model_dump(), [name], make)
        return self.out / name

    def _evaluate(self, name: str, model: Path, settings: StudentEvaluation) -> None:
        """A greedy answer to each held-out problem, and k drawn ones; a phase each."""
        from statllm.evaluation import evaluation_sampling
        from statllm.sampling import sample
        from statllm.scoring import score
        from statllm.stages import load_problems
        from statllm.stages.problems import problem_file

        scoring = self.recipe.scoring
        hows = evaluation_sampling(settings, settings.sampling, settings.sampling.seed)

        def make(path: Path, how: SamplingSettings) -> str:
            problems = load_problems(settings.problems)
            _check_references(problems, settings.problems.source)
            scored = score(Generations(sample(str(model), problems, how, path)), scoring)
            write_parquet(scored.table, path)
            right = scored.ragged("correct").mean()
            return mean_estimate(right).named("share right").summary()

        inputs = [model, *problem_file(settings.problems).values()]
        for path, how in zip(self._answers(name), hows, strict=True):
            decides = [settings.problems.model_dump(), how.model_dump(exclude=CALL_SETTINGS)]
            decides.append(scoring.model_dump())
            self.phases.run(path.stem, inputs, decides, [path.name], partial(make, path, how))

    def _compare(self, names: list[str]) -> None:
        def make() -> str:
            found = {name: self._read(name) for name in names}
            write_parquet(accuracies(found), self.out / "accuracy.parquet")
            table = differences(found)
            write_parquet(table, self.out / "differences.parquet")
            draw_tokens(found, self.out / "tokens.png")
            return "; ".join(
                f"{row['comparison']}, {row['measure']}: {row['value']:+.3f} "
                f"[{row['low']:.3f}, {row['high']:.3f}]"
                for row in table.to_pylist()
            )

        inputs = [path for name in names for path in self._answers(name)]
        outputs = ["accuracy.parquet", "differences.parquet", "tokens.png"]
        self.phases.run("accuracy", inputs, names, outputs, make)

    def _answers(self, name: str) -> list[Path]:
        """Where a model's greedy answers and its samples lie."""
        kinds = ("greedy", "samples")
        return [self.out / f"evaluation-{name}-{kind}.parquet" for kind in kinds]

    def _read(self, name: str) -> Answers:
        greedy, samples = (Generations(read_parquet(path)) for path in self._answers(name))
        return Answers(greedy, samples)


def _with_ledger(name: str) -> list[str]:
    return [f"{name}.parquet", f"{name}-ledger.parquet"]


def _with_references(problems: pa.Table) -> pa.Table:
    """Where a problem has no reference, the answer that its solution marks is one."""
    read = problems["answer_read"]
    if "reference" not in problems.column_names:
        return problems.append_column("reference", read)
    place = problems.column_names.index("reference")
    known = pc.coalesce(problems["reference"].cast(pa.string()), read)
    return problems.set_column(place, "reference", known)


def _check_references(problems: pa.Table, source: str) -> None:
    """Every held-out problem has to have an answer."""
    if "reference" not in problems.column_names:
        raise InputError(f"evaluation.problems: {source} has no column 'reference'")
    missing = pc.index(pc.is_null(problems["reference"]), True).as_py()
    if missing >= 0:
        name = problems["prompt_id"][missing].as_py()
        raise InputError(f"evaluation.problems: {source}: prompt_id '{name}' has no reference")
