"""The page as a reader and a browser get it."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.report import write_report
from statllm.stages import Run

SECTIONS = (
    "summary", "flow", "accuracy", "reliability", "entropy", "training", "selection",
    "examples", "settings",
)  # fmt: skip
Parse = Callable[[str], Any]


def html_of(runs: list[Run], folder: Path, title: str | None = None) -> str:
    path = folder / "report.html"
    write_report(runs, path, title)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> str:
    return html_of(runs, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(html: str, parse: Parse) -> Any:
    return parse(html)


def test_it_is_whole(page: Any) -> None:
    assert set(SECTIONS) <= set(page.ids)
    assert max(Counter(page.ids).values()) == 1
    assert page.text.count("AUROC") >= 3
    assert "incomplete" not in page.text
    assert "Not shown" not in page.text


def test_references_inside_the_page_lead_somewhere(html: str, page: Any) -> None:
    targets = [v[1:] for _, name, v in page.attributes if name == "href"]
    targets += re.findall(r"url\(#([^)]*)\)", html)
    assert targets
    assert set(targets) <= set(page.ids)


def test_it_needs_nothing_else(html: str, page: Any) -> None:
    """No script, no other resource, and a policy that would stop both."""
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href", "action"):
            assert value.startswith("#")
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    policy = next(v for t, n, v in page.attributes if t == "meta" and v.startswith("default-src"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_it_is_small_and_names_no_place(html: str, runs: list[Run]) -> None:
    assert len(html.encode()) < 600_000
    for run in runs:
        assert str(run.folder.parent) not in html


def test_equal_runs_give_equal_bytes(html: str, runs: list[Run], tmp_path: Path) -> None:
    copies = []
    for run in runs:
        shutil.copytree(run.folder, tmp_path / "elsewhere" / run.folder.name)
        copies.append(Run.open(tmp_path / "elsewhere" / run.folder.name))
    assert html_of(copies, tmp_path) == html


def test_every_figure_of_the_metrics_is_shown(runs: list[Run], page: Any) -> None:
    for run in runs:
        for row in read_parquet(run.folder / "metrics.parquet").to_pylist():
            if row["name"] == "greedy_accuracy":
                wanted = f"{100 * row['value']:.1f}"
                limits = f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
                assert f"{wanted} {limits}" in page.text


def test_the_flow_has_the_counts_of_the_manifest(runs: list[Run], page: Any) -> None:
    for run in runs:
        counts = json.loads((run.folder / "manifest.json").read_text())["counts"]
        for k in (1, 2):
            stage = f"iteration_{k}"
            expected = (
                f"{counts[f'{stage}/sample']['prompts']:,} prompts",
                f"{counts[f'{stage}/sample']['samples']:,} samples",
                f"{counts[f'{stage}/score']['votes']:,} votes",
                f"{counts[f'{stage}/select']['kept']:,} prompts kept",
                f"{counts[f'{stage}/select']['pairs']:,} pairs",
                f"{counts[f'{stage}/train']['steps']:,} training steps",
                f"{counts[f'{stage}/evaluate']['prompts']:,} problems evaluated",
            )
            text = page.text.replace(",", "")
            for part in expected:
                number, unit = part.replace(",", "").split(" ", 1)
                assert f"{number}{unit}" in text.replace(f"{number} {unit}", f"{number}{unit}")


def test_seeds_versions_and_digests_are_shown(runs: list[Run], page: Any) -> None:
    for run in runs:
        manifest = json.loads((run.folder / "manifest.json").read_text())
        for digest in manifest["artefacts"].values():
            assert digest in page.text
        for name, version in manifest["versions"].items():
            assert f"{name} {version}" in page.text
        assert str(run.recipe.derived_seed(2, "train")) in page.text
    assert "statllm run scpo.yaml -o runs/scpo" in page.text


def test_one_run_with_one_iteration(short_run: Run, tmp_path: Path, parse: Parse) -> None:
    page = parse(html_of([short_run], tmp_path, "One"))
    assert set(SECTIONS) <= set(page.ids)
    assert "One iteration of ScPO" in page.text
    assert "In what the runs differ" not in page.text


def test_two_runs_of_one_name_are_told_apart(short_run: Run, tmp_path: Path, parse: Parse) -> None:
    page = parse(html_of([short_run, short_run], tmp_path))
    assert "scpo (1), after iteration 1" in page.text
    assert "scpo (2), after iteration 1" in page.text


def test_hostile_text_stays_text(
    build: Callable[..., Run],
    short_run: Run,
    tmp_path: Path,
    parse: Parse,
    hostile: tuple[str, ...],
) -> None:
    """Texts of models and data, recipe names, reasons, versions: shown, and never more."""
    mark = " ".join(hostile)
    run = build(tmp_path / "run", name=f"name {mark}", n_iterations=1, mark=f" {mark}")
    ledger = read_parquet(run.path(1, "ledger.parquet"))
    reasons = [f"kept {mark}" if kept else mark for kept in ledger["kept"].to_pylist()]
    at = ledger.column_names.index("reason")
    write_parquet(ledger.set_column(at, "reason", pa.array(reasons)), run.path(1, "ledger.parquet"))
    manifest = json.loads((run.folder / "manifest.json").read_text())
    manifest["versions"]["<b>package"] = mark
    manifest["artefacts"][mark] = mark
    (run.folder / "manifest.json").write_text(json.dumps(manifest))

    html = html_of([Run.open(run.folder)], tmp_path, title=mark)
    page = parse(html)
    tame = parse(html_of([short_run], tmp_path))
    assert not {"script", "img", "b>package"} & set(page.tags)
    assert page.tags["h1"] == tame.tags["h1"] == 1
    assert page.tags["style"] == tame.tags["style"] == 1
    assert page.tags["article"] == tame.tags["article"]
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    allowed = {"\n", "\t"}
    assert not [c for c in html if ord(c) < 0x20 and c not in allowed]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029]", html)
    for shown in ("<script>alert(1)</script>", "{{ 7 * 7 }}", "[U+202E]", "␀", r"$\frac{1}{$ $$"):
        assert page.text.count(shown) >= 5
    assert page.text.count("$$ \\N{BULLET}") >= 5


@pytest.mark.parametrize(
    ("lost", "section"),
    [
        ("metrics.parquet", "accuracy"),
        ("manifest.json", "settings"),
        ("iteration_1/training.parquet", "training"),
        ("iteration_1/ledger.parquet", "selection"),
        ("iteration_1/pairs.parquet", "examples"),
        ("iteration_1/scores.parquet", None),
        ("iteration_1/samples.parquet", None),
        ("iteration_0/evaluation.parquet", "reliability"),
    ],
)
def test_what_is_missing_is_named(
    own_run: Run, tmp_path: Path, lost: str, section: str | None, parse: Parse
) -> None:
    (own_run.folder / lost).unlink()
    html = html_of([own_run], tmp_path)
    page = parse(html)
    assert set(SECTIONS) <= set(page.ids)
    assert "This report is incomplete. Missing from the run folder" in page.text
    assert lost in page.text
    if section is not None:
        part = html[html.index(f'<section id="{section}"') :]
        assert "Not shown." in part[: part.index("</section>")]


def test_a_folder_with_nothing_but_its_recipe(short_run: Run, tmp_path: Path, parse: Parse) -> None:
    (tmp_path / "bare").mkdir()
    shutil.copy(short_run.folder / "run.yaml", tmp_path / "bare")
    page = parse(html_of([Run.open(tmp_path / "bare")], tmp_path))
    assert set(SECTIONS) <= set(page.ids)
    assert "its figures are missing" in page.text


def test_a_missing_column_is_named(own_run: Run, tmp_path: Path) -> None:
    path = own_run.path(1, "evaluation.parquet")
    write_parquet(read_parquet(path).drop_columns(["greedy_response"]), path)
    assert "iteration_1/evaluation.parquet, column greedy_response" in html_of([own_run], tmp_path)


def test_problems_that_were_trained_on_are_pointed_out(
    own_run: Run, tmp_path: Path, parse: Parse
) -> None:
    path = own_run.path(1, "samples.parquet")
    samples, evaluated = read_parquet(path), read_parquet(own_run.path(1, "evaluation.parquet"))
    prompts = samples["prompt"].to_pylist()
    prompts[:3] = evaluated["prompt"].to_pylist()[:3]
    at = samples.column_names.index("prompt")
    write_parquet(samples.set_column(at, "prompt", pa.array(prompts)), path)
    page = parse(html_of([own_run], tmp_path))
    assert "3 of the 60 evaluated problems are also training prompts." in page.text
    assert "held-out problems from" not in page.text


def test_messages_as_prompts(own_run: Run, tmp_path: Path, parse: Parse) -> None:
    path = own_run.path(1, "pairs.parquet")
    pairs = read_parquet(path)
    messages = [[{"role": "user", "content": text}] for text in pairs["prompt"].to_pylist()]
    at = pairs.column_names.index("prompt")
    write_parquet(pairs.set_column(at, "prompt", pa.array(messages)), path)
    assert "user: Ada buys" in parse(html_of([own_run], tmp_path)).text


def test_texts_keep_their_lines(own_run: Run, tmp_path: Path) -> None:
    path = own_run.path(1, "pairs.parquet")
    pairs = read_parquet(path)
    at = pairs.column_names.index("chosen")
    text = "first\n\n\n  second\tthird\n"
    write_parquet(pairs.set_column(at, "chosen", pa.array([text] * pairs.num_rows)), path)
    assert ">first\n\n\n  second\tthird</pre>" in html_of([own_run], tmp_path)


def test_damaged_files_are_refused(own_run: Run, tmp_path: Path) -> None:
    path = own_run.path(1, "pairs.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"pairs\.parquet is not a complete Parquet file"):
        html_of([own_run], tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_missing_extra_is_named(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statllm.report.templates.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs jinja2.*statllm\[report\]"):
        html_of(runs, tmp_path)
