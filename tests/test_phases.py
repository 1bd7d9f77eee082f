"""Phases are done once, and again where what decides them has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from statllm.phases import Phases, Plan


def test_what_makes_a_phase_run_again(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    said: list[str] = []
    source.write_text("1")

    def run(settings: Any, outputs: list[str], hub: str = "some/model") -> str:
        def make() -> str:
            for name in outputs:
                (tmp_path / name).write_text(f"{source.read_text()} {settings}")
            return "made"

        Phases(tmp_path, said.append).run("sum", [source, hub], settings, outputs, make)
        return said[-1]

    assert run({"a": 1}, ["out.txt"]) == "sum: made"
    assert run({"a": 1}, ["out.txt"]) == "sum: done before"
    assert run({"a": 2}, ["out.txt"]) == "sum: made"  # a setting
    source.write_text("2")
    assert run({"a": 2}, ["out.txt"]) == "sum: made"  # an input's content
    assert run({"a": 2}, ["out.txt"], "another/model") == "sum: made"  # an input's name
    (tmp_path / "out.txt").write_text("spoilt")
    assert run({"a": 2}, ["out.txt"], "another/model") == "sum: made"  # an output
    assert (tmp_path / "out.txt").read_text() == "2 {'a': 2}"
    (tmp_path / "out.txt").unlink()
    assert run({"a": 2}, ["out.txt"], "another/model") == "sum: made"
    assert run({"a": 2}, ["out.txt", "more.txt"], "another/model") == "sum: made"
    assert run({"a": 2}, ["out.txt", "more.txt"], "another/model") == "sum: done before"


def test_what_fails_leaves_no_record(tmp_path: Path) -> None:
    def fail() -> str:
        (tmp_path / "out.txt").write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        Phases(tmp_path).run("sum", [], None, ["out.txt"], fail)
    assert not (tmp_path / "sum.json").exists()
    plan = Plan()
    plan.run("sum", [tmp_path / "missing"], None, ["out.txt"], fail)  # nothing is run
    assert plan.names == ["sum"]
