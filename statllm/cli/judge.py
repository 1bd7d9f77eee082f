"""`statllm judge`: what a language model says about every response."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import create_model

from statllm.cli.common import (
    InputFile,
    Prompt,
    PromptId,
    Reference,
    Response,
    Where,
    conditions,
    console,
    estimates,
    mapping,
    table_of,
)
from statllm.cli.engine import Stored, engine_settings, part_progress
from statllm.cli.sample import sampling_fields, sampling_settings
from statllm.cli.settings import validated, with_settings
from statllm.engines.models import ModelEngineSettings
from statllm.errors import InputError
from statllm.scoring.judges.settings import JudgeSettings

if TYPE_CHECKING:
    from statllm.engines.judging import FileJudged
    from statllm.generations import Generations
    from statllm.scoring.judges import Judged

#: Settings of sampling that a judge has no use for: votes are its samples.
_NOT_ASKED = {"n", "seed", "stop", "alpha", "n_answers", "window", "round"}

#: Defaults that differ from those of sampling responses.
_DEFAULTS = {"temperature": 0.0, "max_new_tokens": 1024}


_Options = create_model(
    "_Options", __base__=JudgeSettings, **sampling_fields(_NOT_ASKED, _DEFAULTS)
)


@with_settings(_Options, ModelEngineSettings)
def judge(
    model: Annotated[
        str, typer.Argument(help="A model folder, a hub name, a server's name for it, or lab.")
    ],
    source: InputFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Parquet, JSONL; with --engine also a folder.")
    ],
    verdicts: Annotated[
        Path | None,
        typer.Option(help="Also write every verdict with the judge's text: Parquet, JSONL."),
    ] = None,
    column: Annotated[str, typer.Option(help="Name of the column of rewards.")] = "reward",
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="yes-no: tokens of a batch, padding included.")
    ] = 16384,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of what judges have said; default: in the user's cache folder."),
    ] = None,
    prompt_id: PromptId = None,
    prompt: Prompt = None,
    response: Response = None,
    reference: Reference = None,
    where: Where = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Let a model judge all responses, and add its verdicts as rewards.

    What a judge wrote is kept: the same command goes on where it was stopped.

    Examples:

        statllm judge ./judge samples.parquet -o judged.parquet --template pairwise_self_taught

        statllm judge ./judge s.parquet -o j.parquet --kind pointwise --votes 5 --temperature 0.7

        statllm judge ./policy s.parquet -o j.parquet --kind yes-no

        statllm judge ./judge s.parquet -o j.parquet --kind criteria --criteria rubric.yaml

        statllm judge name s.parquet -o j.parquet --backend openai --server http://127.0.0.1:8000/v1

        statllm judge ./judge samples -o judged --backend vllm --engine ray --gpus 1
    """
    from statllm.stages import resolve_model

    own, engine = engine_settings(settings or {}, _Options)
    given = {**_DEFAULTS, **own}
    chosen: JudgeSettings = validated(
        JudgeSettings, {k: v for k, v in given.items() if k in JudgeSettings.model_fields}
    )
    sampling = sampling_settings(given)
    if chosen.kind == "yes-no" and sampling.backend != "transformers":
        raise InputError("--kind yes-no reads probabilities, which needs backend transformers")
    columns = mapping(prompt_id=prompt_id, prompt=prompt, response=response, reference=reference)
    if engine is not None:
        from statllm.engines import Source
        from statllm.engines.judging import judge_file

        with part_progress() as on_part, saying_plain(chosen.plain):
            found = judge_file(
                resolve_model(model),
                Source(source, columns, conditions(where)),
                output,
                verdicts,
                chosen,
                sampling,
                column=column,
                batch_tokens=batch_tokens,
                cache=cache,
                settings=engine,
                on_part=on_part,
            )
        _report(found, _for_figures(output, column), chosen, output, column)
        return

    from statllm._formats import check_output, write_table
    from statllm.generations import Generations
    from statllm.sampling.judge_model import open_judge
    from statllm.scoring.judges import YesNoJudge
    from statllm.scoring.judges import judge as run

    check_output(output)
    check_output(verdicts)
    generations = Generations.read(source, columns, conditions(where))
    with saying_plain(chosen.plain):
        if chosen.kind == "yes-no":
            odds = YesNoJudge.load(
                resolve_model(model), sampling.dtype, sampling.device, batch_tokens
            )
            judged = run(generations, odds, chosen, cache=cache, column=column)
        else:
            asked = open_judge(resolve_model(model), sampling)
            try:
                judged = run(generations, asked, chosen, cache=cache, column=column)
            finally:
                asked.close()
    judged.generations.write(output)
    if verdicts is not None:
        write_table(judged.verdicts, verdicts)
    _report(judged, judged.generations, chosen, output, column)


@contextmanager
def saying_plain(plain: bool) -> Iterator[None]:
    """Name the option that helps where a model has no chat template."""
    try:
        yield
    except InputError as error:
        if "no chat template" in str(error) and not plain:
            raise InputError(f"{error}; --plain sends the messages as one text") from error
        raise


def _for_figures(output: Path, column: str) -> Generations:
    """The columns of what an engine wrote that figures are made from."""
    import pyarrow as pa

    from statllm.generations import Generations

    stored = Stored(output)
    names = ("prompt_id", column, "judge_yes_no_mass", "layers")
    return Generations(pa.table({n: stored.column(n) for n in names if n in stored}))


def _report(
    judged: Judged | FileJudged,
    generations: Generations,
    settings: JudgeSettings,
    output: Path,
    column: str,
) -> None:
    """Print what was read and what not, and what the verdicts amount to."""
    out = console()
    summary = judged.summary
    if summary is not None:
        rows = [(f"verdict {value:g}", str(n), "") for value, n in summary.values.items()]
        if len(rows) > _MANY_VALUES:
            rows = []
        rows = [("read", str(summary.n_parsed), ""), *rows]
        from statllm.scoring.judges import REASONS

        rows += [("unreadable", str(summary.n_failed), "")]
        rows += [(f"  {reason}", str(n), REASONS[reason]) for reason, n in summary.reasons.items()]
        out.print(table_of(f"{summary.n} verdicts", ("verdicts", "n", "why"), rows, wrap=("why",)))
    if judged.n_left_out:
        part = " or lack the part to judge" if settings.response_part else ""
        out.print(f"{judged.n_left_out} responses are null{part}; they weren't judged")
    figures = [*_position(judged), *_rewards(generations, settings, column)]
    if figures:
        out.print(estimates(f"{output}: {len(generations)} prompts", figures))
    if settings.kind == "yes-no":
        import numpy as np

        mass = float(np.nanmedian(generations.ragged("judge_yes_no_mass").values))
        if mass < _SMALL_MASS:
            out.print(
                f"the model would hardly say yes or no (median probability {mass:.2g}): "
                "these log-odds mean little"
            )
    audit = judged.audit
    if audit is not None and audit.n_failed:
        out.print(f"{audit.n_failed} of {audit.n_pairs} pairs couldn't be read in both orders")
    if audit is not None and audit.test.n_effective:
        out.print(
            f"position bias: {audit.n_toward_first} pairs lean to the first place, "
            f"{audit.n_toward_second} to the second; {audit.test.summary()}"
        )


_MANY_VALUES = 12  # more different scores than these aren't listed
_SMALL_MASS = 0.1


def _position(judged: Judged | FileJudged) -> list[Any]:
    """How far place counts, over pairs whose two orders could be read."""
    audit = judged.audit
    if audit is None or audit.n_pairs == audit.n_failed:
        return []
    figures = [audit.consistency, audit.first_share]
    if audit.n_toward_first + audit.n_toward_second:
        figures.append(audit.first_share_of_inconsistent)
    return figures


def _rewards(generations: Generations, settings: JudgeSettings, column: str) -> list[Any]:
    """Figures of rewards; the prompt is the sampling unit. Elo has mean 0 by construction."""
    import numpy as np

    from statllm.estimators.comparison import mean_estimate

    if settings.kind == "layers":
        from statllm.scoring.judges import layered_rates

        passed = [
            [float("nan") if one is None else one for one in vector]
            for row in generations.column("layers").to_pylist()
            for vector in row
            if vector is not None
        ]
        rates = layered_rates(np.array(passed, dtype=float).reshape(-1, 4))
        return [*rates.rates, rates.overall]
    names = {} if settings.kind == "pairwise" else {column: "reward"}
    if settings.kind == "yes-no":
        names = {column: "nats", "judge_yes_no_mass": "probability"}
    figures = []
    for name, unit in names.items():
        rows = generations.ragged(name)
        known = ~np.isnan(rows.values)
        if known.any():
            prompts = rows.rows[known]
            mean = mean_estimate(rows.values[known], clusters=prompts)
            figures.append(mean.named(f"mean {name}", unit))
    return figures
