"""Without the extras: every command can be asked for help, and what a command lacks is named."""

from __future__ import annotations

import subprocess
import sys

import pytest

_EXTRAS = [
    *("numba", "torch", "transformers", "tokenizers", "accelerate", "peft", "datasets", "trl"),
    *("matplotlib", "jinja2", "ray", "openai", "math_verify"),
]


def run(gone: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where some packages aren't installed."""
    code = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name.partition('.')[0] in {gone!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        f"sys.argv = ['statllm', *{list(arguments)!r}]\n"
        "from statllm.cli import main; main()"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_without_any_extra() -> None:
    done = run(_EXTRAS, "--help")
    assert done.returncode == 0, done.stderr
    assert "experiment" in done.stdout


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("numba", "watermark", ("watermark", "plan", "--delta", ".3")),
        ("torch", "train", ("sample", "lab", "lab:test", "-o", "never.parquet")),
    ],
)
def test_a_missing_package_is_named(package: str, extra: str, arguments: tuple[str, ...]) -> None:
    done = run([package], *arguments)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        f"statllm: this needs the package {package}: pip install 'statllm[{extra}]'"
    )
