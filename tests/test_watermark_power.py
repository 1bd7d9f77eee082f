"""The study of watermarks' power: a small part of it, and the page that tells its results."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from statllm.estimators.watermark.schemes import make_scheme
from statllm.ragged import Ragged

FOLDER = Path(__file__).resolve().parents[1] / "studies" / "watermarks"


@pytest.fixture(scope="module")
def study() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(FOLDER))
    names = ("power_common", "power_sampling", "power_text", "power_edits", "power")
    yield {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(FOLDER))


def test_edits_change_what_they_say(study: dict[str, ModuleType]) -> None:
    rng, edited = np.random.default_rng(0), study["power_edits"].edited
    written, human = np.arange(2_000), np.full(9_000, -1)
    substituted = edited(written, "substitute", 0.3, human, rng)
    assert len(substituted) == 2_000
    assert np.mean(substituted < 0) == pytest.approx(0.3, abs=0.04)
    deleted = edited(written, "delete", 0.3, human, rng)
    assert len(deleted) == pytest.approx(1_400, abs=80)
    assert np.all(np.diff(deleted) > 0)
    inserted = edited(written, "insert", 0.3, human, rng)
    assert np.array_equal(inserted[inserted >= 0], written)
    assert np.mean(inserted < 0) == pytest.approx(0.3, abs=0.001)
    pasted = edited(written, "paste", 0.3, human, rng)
    assert np.flatnonzero(pasted < 0).max() - np.flatnonzero(pasted < 0).min() == 599
    assert np.array_equal(pasted[pasted >= 0], written[pasted >= 0])


def test_pooled_texts_count_a_pair_once(study: dict[str, ModuleType]) -> None:
    sampling, text = study["power_sampling"], study["power_text"]
    tokens = np.random.default_rng(1).integers(0, 600, (4, 50))
    tokens[1, :10] = tokens[0, :10]  # the second text begins as the first
    marks = text.marks_of(lambda key: make_scheme("vllm-gumbel", key=key), [3, 4], tokens, 2)
    # of 100 tokens of two texts 11 follow a context that was there, the empty one among them
    assert marks.lengths.tolist() == [89, 99]
    alone = make_scheme("vllm-gumbel", key=4).marks(Ragged.from_lists(tokens[2:3].tolist()))
    start = marks.offsets[1]
    np.testing.assert_array_equal(marks.values[start : start + 50], alone.values)
    cut, enough = sampling.first(marks, 95)
    assert enough == 1
    assert cut.lengths.tolist() == [95]


@pytest.mark.slow
def test_quick_part(study: dict[str, ModuleType], tmp_path: Path) -> None:
    """It runs, and plans agree with what is seen."""
    study["power"].main(["--quick", "--out", str(tmp_path)])
    found = (tmp_path / "simulated.md").read_text(encoding="utf-8")
    checked = [tuple(map(int, pair)) for pair in re.findall(r"\| (\d+) of (\d+) \|", found)]
    assert len(checked) == 8  # four tests, two levels, one Delta
    # 99 % intervals: 5 of some 60 outside have a probability below 1e-3
    assert sum(of - inside for inside, of in checked) < 5
    for figure in ("power.png", "text.png", "edits.png"):
        assert (tmp_path / figure).stat().st_size > 10_000


def test_the_page_has_a_place_for_every_table(study: dict[str, ModuleType]) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    marks = re.findall(r"<!-- power ([a-z]+) -->", page)
    assert marks[::2] == marks[1::2]
    names = list(dict.fromkeys(marks))
    source = (FOLDER / "power.py").read_text(encoding="utf-8")
    assert set(names) == set(re.findall(r'tables\["([a-z]+)"\]', source))
    assert study["power"].replaced(page, {"plan": "new"}).count("new") > page.count("new")
