"""The README's Python block runs as written, and its commands name verbs and options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from statllm.cli.app import app

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text(encoding="utf-8")


def test_the_python_block_runs(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "vote_entropy_se" in said
    assert "It is 4" in said or "#### 4" in said


def test_the_commands_exist(text: str) -> None:
    commands = re.findall(r"^    (statllm .*)$", text, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command)[1:]
        verb = words[:2] if words[0] in ("select", "watermark") else words[:1]
        help_text = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "300"}).output
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"(^|[\s/│]){option}\b", help_text), f"{command}: {option}"


def test_the_files_it_links_to_exist(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (README.parent / target).exists(), target


def test_the_functions_in_the_uncertainty_table_exist() -> None:
    import statllm.estimators as estimators

    table = (README.parent / "studies" / "uncertainty" / "README.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([A-Za-z_]+)", table))
    names -= {"statllm", "groups", "answer_groups", "method", "weights", "level", "interval"}
    assert len(names) > 60
    assert [name for name in sorted(names) if not hasattr(estimators, name)] == []
