"""The verbs of the command line, gathered."""

from __future__ import annotations

from typing import Annotated

import typer

from statllm._version import __version__
from statllm.cli.audit_judge import audit_judge
from statllm.cli.calibrate import calibrate
from statllm.cli.compare import compare
from statllm.cli.conformal import conformal
from statllm.cli.contamination import contamination
from statllm.cli.criteria import criteria
from statllm.cli.demo import demo
from statllm.cli.distill import distill
from statllm.cli.experiment import experiment
from statllm.cli.journey import journey
from statllm.cli.judge import judge
from statllm.cli.judge_lessons import judge_lessons
from statllm.cli.judge_limits import judge_limits
from statllm.cli.passk import passk
from statllm.cli.power import power
from statllm.cli.probe import probe
from statllm.cli.prompts import prompts
from statllm.cli.questions import questions
from statllm.cli.rank import rank
from statllm.cli.report import report
from statllm.cli.reward import reward
from statllm.cli.run import run
from statllm.cli.sample import sample
from statllm.cli.score import score
from statllm.cli.select import select
from statllm.cli.train import train
from statllm.cli.train_reward import train_reward
from statllm.cli.verbs import Verbs
from statllm.cli.watermark import watermark
from statllm.cli.winrate import winrate

app = typer.Typer(
    name="statllm",
    help="The statistics of what language models say, and training data chosen by them.",
    no_args_is_help=True,
    add_completion=False,
    cls=Verbs,
    rich_markup_mode=None,  # rich's columns cut the names of options at 80 columns
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"statllm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that come before a verb."""


for verb in (
    demo,
    sample,
    reward,
    score,
    judge,
    calibrate,
    train,
    run,
    experiment,
    compare,
    passk,
    power,
    rank,
    winrate,
    report,
):
    app.command()(verb)
app.command()(train_reward)
app.command()(audit_judge)
app.command()(questions)
app.command()(judge_lessons)
app.command()(judge_limits)
app.add_typer(conformal, name="conformal")  # a group of its own kind
for name, group in {
    "select": select,
    "prompts": prompts,
    "watermark": watermark,
    "contamination": contamination,
    "distill": distill,
    "probe": probe,
    "criteria": criteria,
    "journey": journey,
}.items():
    app.add_typer(group, name=name, cls=Verbs)
