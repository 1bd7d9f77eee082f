"""`statllm sample`: K responses per prompt from a model, or as many as decide its answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import create_model

from statllm.cli.common import Prompt, PromptId, Reference, Where, conditions, console, mapping
from statllm.cli.engine import Stored, engine_settings, part_progress
from statllm.cli.settings import validated, with_settings
from statllm.engines.models import ModelEngineSettings
from statllm.errors import InputError
from statllm.sampling import SamplingSettings
from statllm.scoring.answers import AnswerRule
from statllm.scoring.equivalence import Equivalence

if TYPE_CHECKING:
    import pyarrow as pa

    from statllm.engines.settings import EngineSettings
    from statllm.scoring import ScoringSettings

_AS_SCORE = "With --stop, as `statllm score` has it: "


def sampling_fields(
    skip: Collection[str] = (), defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The fields of sampling for an options class; vLLM's `engine` is the option --vllm.

    Parameters
    ----------
    skip : collection of str
        Fields that a verb has no use for.
    defaults : mapping, optional
        Where they differ from those of `statllm.sampling.sample`.
    """
    fields = {}
    for name, field in SamplingSettings.model_fields.items():
        if name not in skip:
            own = copy(field)
            own.default = (defaults or {}).get(name, field.default)
            fields["vllm" if name == "engine" else name] = (field.annotation, own)
    return fields


def sampling_settings(given: Mapping[str, Any]) -> SamplingSettings:
    """Return the settings of sampling among the options that were given."""
    named = {"engine" if name == "vllm" else name: value for name, value in given.items()}
    own = {name: value for name, value in named.items() if name in SamplingSettings.model_fields}
    settings: SamplingSettings = validated(SamplingSettings, own)
    return settings


_Options = create_model("_Options", **sampling_fields())


@with_settings(_Options, ModelEngineSettings)
def sample(
    model: Annotated[
        str, typer.Argument(help="A model folder, a hub name, a server's name for it, or lab.")
    ],
    source: Annotated[str, typer.Argument(metavar="PROMPTS", help="A file, or lab:test.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Parquet; with --engine also a folder.")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many prompts.")] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    reference: Reference = None,
    where: Where = None,
    rule: Annotated[
        AnswerRule | None, typer.Option(help=f"{_AS_SCORE}how the answer is found.")
    ] = None,
    equivalence: Annotated[
        Equivalence | None, typer.Option(help=f"{_AS_SCORE}when two answers are equal.")
    ] = None,
    units: Annotated[
        bool | None, typer.Option("--units/--no-units", help=f"{_AS_SCORE}keep units.")
    ] = None,
    null_answers: Annotated[
        list[str] | None, typer.Option(help=f"{_AS_SCORE}they don't vote. May be repeated.")
    ] = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Sample responses; a killed run goes on from its last shard when started again.

    With --stop, a prompt is sampled until its answers decide, --n times at most.

    With --backend openai, a server is asked. If it fails some samples, OUTPUT isn't written,
    OUTPUT.failures.jsonl lists them, and the same command asks for these only.

    Examples:

        statllm sample lab lab:test --limit 100 --n 8 -o samples.parquet

        statllm sample ./my-model prompts.jsonl --n 16 --temperature 0.7 --top-p 0.9 -o s.parquet

        statllm sample lab lab:test --limit 100 --n 40 --stop anytime --alpha 0.05 -o s.parquet

        statllm sample lab lab:test --backend openai --server http://127.0.0.1:8000/v1 -o s.parquet

        statllm sample ./my-model huge.parquet --backend vllm --engine ray --gpus 1 -o samples
    """
    from statllm.scoring import ScoringSettings

    own, engine = engine_settings(settings or {}, _Options)
    chosen = sampling_settings(own)
    answers = {
        name: value
        for name, value in (
            ("rule", rule),
            ("equivalence", equivalence),
            ("units", units),
            ("null_answers", null_answers),
        )
        if value  # an option that isn't given is None or an empty list
    }
    if answers and not chosen.stop:
        raise InputError(f"--{next(iter(answers)).replace('_', '-')} has no effect without --stop")
    scoring = validated(ScoringSettings, answers)
    columns = mapping(prompt_id=prompt_id, prompt=prompt, reference=reference)
    given = Prompts(source, columns, conditions(where), limit)
    if engine is None:
        _in_memory(model, given, output, chosen, scoring)
        return
    if "shard_size" in own:
        raise InputError("--shard-size has no effect with --engine, which has --part-rows")
    _on_engine(model, given, output, chosen, scoring, engine)


@dataclass(frozen=True)
class Prompts:
    """Where prompts are from."""

    source: str
    columns: dict[str, str]
    where: dict[str, str]
    limit: int | None

    def table(self) -> pa.Table:
        """Read them into memory."""
        from statllm.generations import Generations
        from statllm.recipe import Problems
        from statllm.stages import load_problems

        if self.source.startswith("lab:"):
            return load_problems(Problems(source=self.source, n=self.limit))
        return Generations.read(self.source, self.columns, self.where).table.slice(0, self.limit)


def _in_memory(
    model: str, given: Prompts, output: Path, chosen: SamplingSettings, scoring: ScoringSettings
) -> None:
    from statllm._formats import check_output
    from statllm.sampling import sample as run
    from statllm.sampling.failures import failures_file
    from statllm.stages import resolve_model

    check_output(output, (".parquet",))
    problems = given.table()
    table = run(resolve_model(model), problems, chosen, out=output, scoring=scoring)
    tokens = sum(n or 0 for row in table["n_tokens"].to_pylist() for n in row)
    _report(output, table, tokens, chosen)
    out = console()
    if table.num_rows < problems.num_rows:
        missing = problems.num_rows - table.num_rows
        out.print(f"{missing} prompts are missing, see {failures_file(output)}")
    if chosen.server and chosen.temperature > 0 and _all_alike(table["response"].to_pylist()):
        out.print("the samples of every prompt are all alike: does the server draw them?")


def _on_engine(
    model: str,
    given: Prompts,
    output: Path,
    chosen: SamplingSettings,
    scoring: ScoringSettings,
    engine: EngineSettings,
) -> None:
    import pyarrow as pa

    from statllm.engines import Source
    from statllm.engines.sampling import sample_file
    from statllm.sampling.stopping import STOP_COLUMNS
    from statllm.stages import resolve_model

    few = output.with_name(f"{output.name}.prompts.parquet")
    if given.source.startswith("lab:") or given.limit is not None:
        _keep(given.table(), few)
        source = Source(few)
    else:
        source = Source(Path(given.source), given.columns, given.where)
    with part_progress() as on_part:
        found = sample_file(resolve_model(model), source, output, chosen, scoring, engine, on_part)
    few.unlink(missing_ok=True)
    stored = Stored(output)
    names = ["prompt_id", *(name for name in STOP_COLUMNS if name in stored)]
    table = pa.table({name: stored.column(name) for name in names})
    _report(output, table, found.n_tokens, chosen)


def _keep(table: pa.Table, path: Path) -> None:
    """Write prompts to a file; one that has them already stays, so that a run goes on."""
    from statllm.files import read_parquet, write_parquet

    if not path.exists() or not read_parquet(path).equals(table):
        write_parquet(table, path)


def _report(output: Path, table: pa.Table, tokens: int, chosen: SamplingSettings) -> None:
    from statllm.sampling.stopping import stopping_summary

    most = "up to " if chosen.stop else ""
    out = console()
    out.print(f"{output}: {table.num_rows} prompts x {most}{chosen.n} samples, {tokens:,} tokens")
    if chosen.stop:
        for line in stopping_summary(table, chosen):
            out.print(line)


def _all_alike(responses: list[list[str]]) -> bool:
    """Whether several samples of many prompts never differ, as from a server that is greedy."""
    several = [row for row in responses if len(row) > 1]
    return len(several) >= 10 and all(len(set(row)) == 1 for row in several)
