"""The watermark page as a reader and a browser get it."""

from __future__ import annotations

import math
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from statllm.errors import InputError
from statllm.estimators.non_null_share import non_null_share
from statllm.estimators.watermark.certificate import certify
from statllm.report.watermark import write_page
from statllm.report.watermark.gather import gather
from statllm.report.watermark.plots import chance_band

Parse = Callable[[str], Any]


def detections(
    n: int = 400, marked: int = 60, names: tuple[str, ...] = ("ours", "theirs"), seed: int = 0
) -> pa.Table:
    """The columns that `statllm watermark detect` writes; the last document isn't tested."""
    rng = np.random.default_rng(seed)
    log_p = np.log(rng.random((len(names), n)))
    log_p[0, :marked] = -rng.uniform(15, 900, marked)
    log_p[:, -1] = np.nan
    best = np.where(np.isnan(log_p), np.inf, log_p).argmin(0)
    combined = np.minimum(log_p.min(0) + math.log(len(names)), 0)
    q = multipletests(np.exp(np.nan_to_num(combined)), method="fdr_bh")[1]
    with np.errstate(divide="ignore"):
        log_q = np.where(np.isnan(combined), np.nan, np.maximum(np.log(q), combined))
    scored = rng.integers(20, 200, n)
    columns: dict[str, Any] = {
        "row": np.arange(n),
        "prompt_id": [f"d{i}" for i in range(n)],
        "n_tokens": scored + 10,
        "log_p": pa.array(combined, from_pandas=True),
        "log_q": pa.array(log_q, from_pandas=True),
        "watermarked": log_q <= math.log(0.01),
        "configuration": pa.array(
            [names[k] for k in best], mask=np.isnan(combined)
        ),
    }  # fmt: skip
    for name, values in zip(names, log_p, strict=True):
        columns[f"log_p[{name}]"] = pa.array(values, from_pandas=True)
        columns[f"n_scored[{name}]"] = scored
        columns[f"n_repeated[{name}]"] = np.full(n, 10)
    return pa.table(columns)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    certificate = certify(np.log(np.random.default_rng(3).random(2000)))
    write_page(detections(), path, fdr=0.01, certificate=certificate, most=25)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str, parse: Parse) -> Any:
    return parse(html)


def test_it_is_whole_and_needs_nothing_else(html: str, page: Any) -> None:
    sections = {"summary", "configurations", "p-values", "documents", "certificate", "notes"}
    assert sections <= set(page.ids)
    assert max(Counter(page.ids).values()) == 1
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href", "action"):
            assert value.startswith("#")
            assert value[1:] in page.ids
    assert not re.search(r"url\((?!#)", html)
    assert "mathdefault" not in html  # a formula that nobody set
    figures = re.findall(r"<svg [^>]*>", html)
    assert sum("role=" in tag for tag in figures) == 4
    for tag in figures:
        assert 'aria-hidden="true"' in tag or re.search(r'role="img" aria-label="[^"]{20,}"', tag)


def test_the_numbers_are_those_of_the_table(page: Any, html: str) -> None:
    table = detections().to_pandas()
    called = table[table["watermarked"]].sort_values("log_p")
    assert f"{len(called)} documents are called watermarked" in page.text
    assert "of 399 that could be tested" in page.text
    assert f"The first 25 of {len(called)}, by" in page.text
    listed = re.findall(r'<th scope="row">(d\d+)</th><td>ours</td>', html)
    assert listed == called["prompt_id"][:25].tolist()
    rows = re.findall(r'<th scope="row">d\d+</th>.*', html)
    for row, log_p in zip(rows, called["log_p"], strict=False):
        assert f">{log_p / math.log(10):.1f}<".replace("-", "−") in row
    # Storey's estimate, by hand
    above = int((table["log_p[ours]"] > math.log(0.5)).sum())
    low, high = proportion_confint(above, 399, method="beta")
    assert f"{100 * (1 - 2 * above / 399):.1f} %" in page.text
    assert f"[{100 * max(1 - 2 * high, 0):.1f} %, {100 * (1 - 2 * low):.1f} %]" in page.text
    assert "false-positive rate at 0.01" in page.text
    assert "Clopper-Pearson" in page.text
    assert "untested" not in page.text
    assert "1 of 400 documents were not tested" in page.text


def test_files_in_parts_give_the_page_of_the_table(tmp_path: Path) -> None:
    table = detections()
    (tmp_path / "found").mkdir()
    for k, start in enumerate((0, 150, 160)):
        stop = (150, 160, 400)[k]
        pq.write_table(table.slice(start, stop - start), tmp_path / f"found/{k}.parquet")
    write_page(table, tmp_path / "a.html")
    write_page(tmp_path / "found", tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_counts_are_those_of_numpy() -> None:
    table = detections(5000, 300)
    found = gather(table, most=10)
    log_p = table["log_p[ours]"].to_numpy()
    log_p = log_p[~np.isnan(log_p)]
    p = found.configurations[0].p
    assert p.n == len(log_p) == 4999
    assert p.bins.tolist() == np.histogram(np.exp(log_p), 20, (0, 1))[0].tolist()
    for k in (0, 1, 4, 10, 40, 400):
        assert p.at_most[k] == np.sum(log_p <= -k / 4 * math.log(10))
    assert p.least == log_p.min()
    order = np.argsort(np.nan_to_num(table["log_p"].to_numpy(), nan=0.0), kind="stable")[:10]
    assert [row.document for row in found.called] == [f"d{i}" for i in order]


def test_memory_does_not_grow_with_the_documents(tmp_path: Path) -> None:
    peaks = []
    for copies in (1, 8):
        path = tmp_path / f"{copies}.parquet"
        table = detections(20_000, 100)
        with pq.ParquetWriter(path, table.schema) as writer:
            for _ in range(copies):
                writer.write_table(table, row_group_size=20_000)
        tracemalloc.start()
        assert gather(path).n_documents == copies * 20_000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 4.5 * peaks[0]  # a batch holds up to 65,536 documents


def test_bands_hold_what_chance_gives() -> None:
    """Binomial counts of 2,000 simulated corpora lie within at least 95 % of the time."""
    rng = np.random.default_rng(0)
    level = np.array([0.5, 0.05, 0.01])
    low, high = chance_band(300, level)
    p = rng.random((2000, 300))
    for at, bottom, top in zip(level, low, high, strict=True):
        share = (p <= at).mean(1)
        assert np.mean((bottom <= share) & (share <= top)) > 0.95 - 3 * math.sqrt(0.05 / 2000)


def test_the_share_is_a_lower_bound_and_its_interval_covers() -> None:
    """10,000 corpora of 500 documents, 30 % of them with p ~ Beta(.1, 1)."""
    rng = np.random.default_rng(1)
    above = rng.binomial(350, 0.5, 1000) + rng.binomial(150, 1 - 0.5**0.1, 1000)
    found = [non_null_share(int(a), 500) for a in above]
    truth = (150 * (1 - 2 * (1 - 0.5**0.1))) / 500  # what the estimate aims at
    assert abs(np.mean([f.value for f in found]) - truth) < 4 * found[0].se / math.sqrt(1000)
    covered = np.mean([f.interval(0.95).low <= truth <= f.interval(0.95).high for f in found])
    assert covered > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert non_null_share(0, 0).interval(0.9).high == 1.0
    with pytest.raises(ValueError, match="threshold"):
        non_null_share(1, 2, 1.0)
    with pytest.raises(ValueError, match="n_above"):
        non_null_share(3, 2)


def test_warnings_are_given_where_they_belong(tmp_path: Path, parse: Parse) -> None:
    table = detections(names=("ours",))
    position = table.column_names.index("n_repeated[ours]")
    table = table.set_column(position, "n_repeated[ours]", pa.array(np.full(400, 300)))
    position = table.column_names.index("n_scored[ours]")
    table = table.set_column(position, "n_scored[ours]", pa.array(np.full(400, 12)))
    bad = certify(np.log(np.random.default_rng(0).random(3000) ** 2))
    write_page(table, tmp_path / "p.html", certificate=bad)
    text = parse((tmp_path / "p.html").read_text()).text
    for words in ("Text that repeats (ours)", "Short documents (ours)", "accused too often"):
        assert words in text
    assert "No certificate" not in text
    assert "Bonferroni" not in text
    plain = detections(names=("ours",), marked=0)
    write_page(plain, tmp_path / "q.html")
    text = parse((tmp_path / "q.html").read_text()).text
    for words in ("Text that repeats (ours)", "accused too often"):
        assert words not in text
    for words in ("No certificate", "No finding is no proof", "0 documents are called"):
        assert words in text


def test_nothing_that_names_throw_at_it_gets_through(
    tmp_path: Path, parse: Parse, hostile: tuple[str, ...]
) -> None:
    names = tuple(hostile)
    table = detections(60, 20, names)
    ids = [hostile[i % len(hostile)] for i in range(60)]
    table = table.set_column(1, "prompt_id", pa.array(ids))
    write_page(table, tmp_path / "p.html", title=hostile[0])
    page = parse((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert not {"script", "img", "form"} & set(page.tags)
    assert page.tags["h1"] == 1
    assert all(not name.startswith("on") for _, name, _ in page.attributes)
    assert not any(0x202A <= ord(c) <= 0x202E or c in "\x00\x1b\u2066" for c in page.text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["watermarked"]), "no column 'watermarked'"),
        (lambda t: t.drop_columns(["n_scored[ours]"]), r"no column 'n_scored\[ours\]'"),
        (lambda t: t.slice(0, 0), "holds no document"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_page(change(detections()), tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()
    with pytest.raises(InputError, match="level must lie"):
        write_page(detections(), tmp_path / "p.html", level=1.0)
