"""The uncertainty page as a reader and a browser get it."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statllm.errors import InputError
from statllm.files import read_parquet, write_parquet
from statllm.generations import Generations
from statllm.report import write_report, write_uncertainty_report
from statllm.report.uncertainty.ranking import prepare_ranking
from statllm.report.uncertainty.scores import read_answers
from statllm.scoring import score
from statllm.stages import Run

Parse = Callable[[str], Any]


def data(n: int = 120, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 1, n)
    right = (rng.random(n) < p).astype(float)
    scores = {
        "vote_share": np.round(8 * p) / 8,
        "p_true": p,
        "-vote_entropy": 1 - p + rng.normal(0, 0.3, n),
        "noise": rng.random(n),
    }
    return scores, right


def html_of(folder: Path, scores: object, correct: object, **options: object) -> str:
    path = folder / "page.html"
    write_uncertainty_report(scores, correct, path, **options)  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html_of(tmp_path_factory.mktemp("page"), *data())


@pytest.fixture(scope="module")
def page(html: str, parse: Parse) -> Any:
    return parse(html)


def test_it_is_whole_and_needs_nothing_else(html: str, page: Any) -> None:
    assert {"summary", "ranking", "coverage", "calibration", "notes"} <= set(page.ids)
    assert max(Counter(page.ids).values()) == 1
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href", "action"):
            assert value.startswith("#")
            assert value[1:] in page.ids
    assert not re.search(r"url\((?!#)", html)


def test_every_figure_says_what_it_shows(html: str) -> None:
    figures = re.findall(r"<svg [^>]*>", html)
    assert figures
    for tag in figures:
        assert 'aria-hidden="true"' in tag or re.search(r'role="img" aria-label="[^"]{20,}"', tag)


def test_the_numbers_are_those_of_the_estimators(page: Any) -> None:
    scores, right = data()
    for rank in prepare_ranking(read_answers(scores, right)):
        figures = (rank.auroc, rank.prr, rank.aurc, rank.e_aurc, rank.augrc)
        for figure in figures:
            limits = figure.interval(0.95)
            value, low, high = (
                f"{x:.3f}".replace("-", "−") for x in (figure.value, limits.low, limits.high)
            )
            assert f"{value}[{low}, {high}]" in page.text.replace(f"{value} [", f"{value}[")
    assert f"{len(right)}" in page.text
    assert "Clopper-Pearson" in page.text
    assert "Holm" in page.text


def test_bars_are_as_wide_as_their_bins(html: str) -> None:
    start = html.index('aria-label="Reliability diagram of p_true')
    diagram = html[start:].partition("</svg>")[0]
    bars = re.findall(r'<path d="M ([\d.]+) [\d.]+\s+L ([\d.]+) [\d.]+\s+L \2 ', diagram)
    tenth = 0.1 / 1.03 * (4.4 - 0.6) * 72  # points of the axis, which ends at 103 %
    widths = [float(right) - float(left) for left, right in bars]
    assert sum(abs(width - tenth) < 0.01 for width in widths) == 10


def test_equal_numbers_give_equal_bytes(html: str, tmp_path: Path) -> None:
    assert html_of(tmp_path, *data()) == html


def test_a_threshold_is_shown_only_with_its_guarantee(tmp_path: Path, parse: Parse) -> None:
    n = 200
    confidence = np.arange(n) / n
    good = html_of(tmp_path, {"p": confidence}, confidence >= 0.3)
    assert "Keep p ≥ 0.3: at most 10.0" in parse(good).text
    assert "of the kept wrong, with confidence 95.0" in parse(good).text
    turned = html_of(tmp_path, {"-loss": -confidence}, confidence >= 0.3)
    assert "Keep loss ≤ −0.3:" in parse(turned).text
    noise = html_of(tmp_path, {"p": confidence}, np.arange(n) % 2)
    assert "No threshold is certified for at most 10.0" in parse(noise).text
    clustered = html_of(tmp_path, {"p": confidence}, confidence >= 0.3, clusters=np.arange(n) // 2)
    assert "it would need independent answers" in parse(clustered).text
    assert "in 100 clusters" in parse(clustered).text


def test_thresholds_hold_for_all_scores_at_once(tmp_path: Path, parse: Parse) -> None:
    """Thirty right answers of 30 prove a risk of at most 10 % at 5 %, not at a tenth of that."""
    p, right = np.arange(40) / 40, np.arange(40) >= 10
    alone = parse(html_of(tmp_path, {"p": p}, right)).text
    rng = np.random.default_rng(0)
    noise = {f"noise{k}": rng.random(40) for k in range(9)}
    among = parse(html_of(tmp_path, {"p": p, **noise}, right)).text
    assert "Keep p ≥ 0.25" in alone
    assert "Keep p" not in among


def test_what_is_missing_is_counted_and_said(tmp_path: Path, parse: Parse) -> None:
    scores, right = data()
    scores["p_true"][:7] = math.nan
    scores["noise"][:3] = math.inf
    scores["constant"] = np.ones(len(right))
    right[-5:] = math.nan
    page = parse(html_of(tmp_path, scores, right))
    assert "5 of 120 rows left out" in page.text
    assert "7 rows of p_true" in page.text
    assert "3 rows of noise" in page.text
    assert "Not ranked: constant has one value only" in page.text


def test_hostile_names_stay_text(tmp_path: Path, parse: Parse, hostile: tuple[str, ...]) -> None:
    mark = " ".join(hostile)
    scores, right = data()
    named = {f"{mark} {k}": column for k, column in enumerate(scores.values())}
    html = html_of(tmp_path, named, right, title=mark, verdict=mark, unit=mark)
    page = parse(html)
    tame = parse(html_of(tmp_path, dict(zip("abcd", scores.values(), strict=True)), right))
    assert page.tags["h1"] == tame.tags["h1"] == 1
    assert page.tags["style"] == tame.tags["style"]
    assert not {"script", "img"} & set(page.tags)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\x00\x1b]", html)
    assert page.text.count("<script>alert(1)</script>") >= 5


@pytest.mark.parametrize("n", [2, 3, 5])
def test_very_few_answers(n: int, tmp_path: Path, parse: Parse) -> None:
    right = np.arange(n) % 2
    page = parse(html_of(tmp_path, {"p": np.linspace(0, 1, n), "vote_share": 1 - right}, right))
    assert f"Of {n} answers with a verdict" in page.text
    assert not re.search(r"\bnan\b", page.text)


def test_a_perfect_score_and_sure_mistakes(tmp_path: Path, parse: Parse) -> None:
    right = np.arange(40) % 2
    page = parse(html_of(tmp_path, {"oracle": right, "p_true": 1 - right}, right))
    assert "oracle tells right from wrong best, with an AUROC of 1.000" in page.text
    assert "p < 10−300" in page.text  # something called impossible happened


def test_many_rows_make_no_large_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    p = rng.random(100_000)
    start = time.process_time()
    html = html_of(
        tmp_path, {"p_true": p, "-loss": rng.random(100_000) - p}, rng.random(len(p)) < p
    )
    assert time.process_time() - start < 20
    assert len(html.encode()) < 400_000


@pytest.mark.parametrize("name", ["max_risk", "delta", "level"])
def test_levels_are_checked(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name} must lie between 0 and 1"):
        html_of(tmp_path, *data(), **{name: 1.0})


def test_a_run_shows_the_metrics_that_it_computed(
    build: Callable[..., Run], tmp_path: Path, parse: Parse
) -> None:
    run = build(tmp_path / "run", n_iterations=1)
    path = run.path(1, "scores.parquet")
    plain = tmp_path / "plain.html"
    write_report([run], plain)
    assert "which score tells right from wrong" not in parse(plain.read_text()).text
    scored = score(Generations(read_parquet(run.path(1, "samples.parquet"))), metrics=("degree",))
    write_parquet(scored.table, path)
    write_report([run], tmp_path / "with.html")
    page = parse((tmp_path / "with.html").read_text())
    assert "which score tells right from wrong" in page.text
    assert "degree" in page.text
    assert "statllm report iteration_1/scores.parquet" in page.text
