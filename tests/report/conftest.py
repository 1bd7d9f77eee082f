"""Run folders in the documented formats, made without a model: simulated answers, real tables."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from statllm.files import sha256, write_json, write_parquet, write_text
from statllm.generations import Generations
from statllm.loop import _write_summary
from statllm.recipe import dump_recipe, make_recipe
from statllm.scoring import score
from statllm.selection import select
from statllm.stages import Run

VOID = {"meta", "br", "wbr"}

#: What a model, a data set or a recipe may throw at a page.
HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(2)>",
    "\"' onmouseover=alert(3) x='",
    "</pre></article></main><h1>taken over</h1>",
    "<!-- ]]> --> &amp;",
    "{{ 7 * 7 }}{% for x in y %}",
    r"$\frac{1}{$ $$ \N{BULLET}",
    "left \u202eright\u2066 to left",
    "nul \x00 escape \x1b[31m bell \x07 line\u2028separator",
)


class Page(HTMLParser):
    """Tags, attributes, ids and text of a page; tags must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def ids(self) -> list[str]:
        return [value for _, name, value in self.attributes if name == "id"]


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Page]:
    """Read a page's tags, attributes and text."""
    return Page


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """What a model, a data set or a recipe may throw at a page."""
    return HOSTILE


@pytest.fixture(scope="session")
def build() -> Callable[..., Run]:
    """The builder of run folders."""
    return build_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs from the same starting model: ScPO without labels, IRPO with. Only to be read."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        build_run(folder / "scpo", "scpo", "scpo"),
        build_run(folder / "irpo", "irpo", "irpo", skill=(0.45, 0.8, 0.95)),
    ]


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one iteration. Only to be read, or copied."""
    return build_run(tmp_path_factory.mktemp("short") / "run", n_iterations=1)


@pytest.fixture
def own_run(short_run: Run, tmp_path: Path) -> Run:
    """A run of one iteration that a test may damage."""
    shutil.copytree(short_run.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


def build_run(
    folder: Path,
    name: str = "scpo",
    rule: str = "scpo",
    n_iterations: int = 2,
    n_prompts: int = 40,
    n_problems: int = 60,
    skill: tuple[float, ...] = (0.45, 0.75, 0.9),
    mark: str = "",
) -> Run:
    """Write a complete run. `mark` goes into every text that a model or a data set could give.

    Samples are right with a probability around `skill[iteration]` that varies over problems;
    scores, pairs, ledger, metrics and manifest are then made by the package itself.
    """
    recipe = make_recipe(_recipe(name, rule, n_iterations, n_prompts, n_problems))
    run = Run(folder, recipe)
    folder.mkdir(parents=True)
    write_text(dump_recipe(recipe), folder / "run.yaml")
    train, held_out = _problems("train", n_prompts, mark), _problems("test", n_problems, mark)
    _evaluation(run, 0, held_out, skill[0], mark)
    for k in range(1, n_iterations + 1):
        settings = recipe.iteration(k)
        n = settings.sampling.n
        samples = Generations(train).with_columns(_sampled(train, n, skill[k - 1], 10 * k, mark))
        _record(
            run,
            k,
            "sample",
            {"samples.parquet": samples.table},
            prompts=n_prompts,
            samples=n_prompts * n,
        )
        scored = score(samples, recipe.scoring)
        votes = sum(scored.column("n_votes").to_pylist())
        _record(run, k, "score", {"scores.parquet": scored.table}, prompts=n_prompts, votes=votes)
        chosen = select(rule, scored, settings.selection.resolved())
        kept = sum(chosen.ledger["kept"].to_pylist())
        tables = {"pairs.parquet": chosen.pairs, "ledger.parquet": chosen.ledger}
        _record(run, k, "select", tables, prompts=n_prompts, kept=kept, pairs=chosen.pairs.num_rows)
        steps = max(2 * chosen.pairs.num_rows // settings.training.batch_size, 3)
        write_text("{}\n", run.path(k, "model") / "config.json")
        _record(
            run,
            k,
            "train",
            {"training.parquet": _curve(steps, k)},
            pairs=chosen.pairs.num_rows,
            steps=steps,
        )
        _evaluation(run, k, held_out, skill[k], mark)
    _write_summary(run)
    return run


def _recipe(
    name: str, rule: str, n_iterations: int, n_prompts: int, n_problems: int
) -> dict[str, Any]:
    settings = {"scpo": {"threshold": 0.375}, "irpo": {"pairs_per_prompt": 2}}[rule]
    return {
        "name": name,
        "model": "lab",
        "problems": {"source": "lab:train", "n": n_prompts},
        "sampling": {"n": 8, "temperature": 1.0, "max_new_tokens": 80},
        "selection": {"rule": rule, "settings": settings},
        "training": {"loss": rule, "beta": 0.3, "learning_rate": 3e-4, "batch_size": 16},
        "evaluation": {"problems": {"source": "lab:test", "n": n_problems}, "k": 8},
        "iterations": [{}] * n_iterations,
    }


def _problems(split: str, n: int, mark: str) -> pa.Table:
    rng = np.random.default_rng(len(split))
    first, second, price = (rng.integers(2, 60, n).tolist() for _ in range(3))
    prompts = [
        f"Ada buys {a} apples and {b} pears ({split} {i}). One fruit costs {c} cents. "
        f"How many cents does she pay?{mark}"
        for i, (a, b, c) in enumerate(zip(first, second, price, strict=True))
    ]
    answers = [str((a + b) * c) for a, b, c in zip(first, second, price, strict=True)]
    ids = [f"{split}-{i}{mark}" for i in range(n)]
    return pa.table({"prompt_id": ids, "prompt": prompts, "reference": answers})


def _sampled(problems: pa.Table, n: int, skill: float, seed: int, mark: str) -> dict[str, Any]:
    """Responses that are right with a problem's own probability, Beta(3 skill, 3 (1 - skill))."""
    rng = np.random.default_rng(seed)
    ease = rng.beta(3 * skill, 3 * (1 - skill), problems.num_rows)
    responses, answers = [], []
    for reference, p in zip(problems["reference"].to_pylist(), ease, strict=True):
        right = rng.random(n) < p
        slips = rng.choice([-10, -1, 1, 2, 100], n)
        given = [
            int(reference) + (0 if ok else int(slip)) for ok, slip in zip(right, slips, strict=True)
        ]
        silent = rng.random(n) < 0.02
        answers.append([None if s else str(g) for g, s in zip(given, silent, strict=True)])
        responses.append(
            [f"First add the fruit.\nThen multiply.{mark}\n" + ("Hm." if s else f"#### {g}")
             for g, s in zip(given, silent, strict=True)]
        )  # fmt: skip
    return {
        "response": pa.array(responses),
        "answer": pa.array(answers, pa.list_(pa.string())),
        "iteration": pa.array([seed // 10] * problems.num_rows, pa.int32()),
    }


def _evaluation(run: Run, iteration: int, problems: pa.Table, skill: float, mark: str) -> None:
    """Write the table that `statllm.evaluation.evaluate` writes."""
    k = run.recipe.evaluation.k
    samples = Generations(problems).with_columns(
        _sampled(problems, k, skill, 1000 + iteration, mark)
    )
    votes = score(samples, run.recipe.scoring)
    first = {
        name: [row[0] for row in votes.column(name).to_pylist()]
        for name in ("response", "answer", "correct")
    }
    share = votes.column("majority_correct").to_pylist()
    table = pa.table(
        {
            **{name: problems[name] for name in ("prompt_id", "prompt", "reference")},
            "greedy_response": first["response"],
            "greedy_answer": first["answer"],
            "greedy_correct": first["correct"],
            "majority_answer": votes.column("majority_answer"),
            "majority_correct": [value == 1 for value in share],
            **{name: votes.column(name) for name in
               ("vote_share", "vote_entropy", "n_votes", "n_samples", "pass_rate")},
        }
    )  # fmt: skip
    _record(run, iteration, "evaluate", {"evaluation.parquet": table}, prompts=problems.num_rows)


def _curve(steps: int, iteration: int) -> pa.Table:
    """A training that learns: the loss falls from ln 2 + NLL, chosen and rejected part."""
    rng = np.random.default_rng(iteration)
    t = np.linspace(0, 1, steps)
    margin = 12 * t**0.7 + rng.normal(0, 1, steps) * (t > 0)
    columns = {
        "loss": np.log1p(np.exp(-0.3 * margin)) + 0.4 - 0.2 * t,
        "logp_chosen": -14 + 5 * t + rng.normal(0, 0.6, steps),
        "logp_rejected": -16 - 7 * t + rng.normal(0, 0.8, steps),
        "margin": margin,
        "accuracy": np.clip(0.5 + 0.5 * t + rng.normal(0, 0.04, steps), 0, 1),
        "weight": np.full(steps, 0.6),
        "grad_norm": 1 + rng.random(steps),
        "learning_rate": 3e-4 * (1 - t),
    }
    return pa.table({"step": pa.array(range(1, steps + 1), pa.int32()), **columns})


def _record(
    run: Run, iteration: int, stage: str, tables: dict[str, pa.Table], **counts: int
) -> None:
    """Write a stage's tables and the record that names them."""
    for name, table in tables.items():
        write_parquet(table, run.path(iteration, name))
    names = [*tables, *(["model"] if stage == "train" else [])]
    outputs = {name: sha256(run.path(iteration, name)) for name in names}
    record = {"key": "built", "inputs": {}, "outputs": outputs, "counts": counts}
    write_json(record, run.record(iteration, stage))
