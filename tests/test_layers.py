"""The layers of the package, read off its import statements; and a quick import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import statllm

ROOT = Path(statllm.__file__).parent
LAYERS = [
    {"errors", "files", "ledger", "phases", "settings_file", "_version", "versions", "gpu_memory"},
    {"results", "ragged"},
    {"estimators"},
    {"generations", "_formats", "_validate", "pairs"},
    {"scoring", "models", "adapters"},
    {"selection", "sampling", "training"},
    {
        "recipe",
        "training_recipe",
        "stages",
        "engines",
        "evaluation",
        "processes",
        "loop",
        "journey",
        "launch",
    },
    {"distill", "report", "integrations", "experiment"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = {
    "torch", "transformers", "trl", "matplotlib", "pandas", "statsmodels", "datasets", "ray",
    "openai",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            if node.module == "statllm":
                found |= {f"statllm.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_nothing_imports_upward() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).with_suffix("").parts[0]
        if part in ("__init__", "__main__", "lab"):
            continue
        for module in imports(path):
            pieces = module.split(".")
            if pieces[0] != "statllm" or len(pieces) < 2 or pieces[1] in ("lab", "__version__"):
                continue
            if RANK[pieces[1]] > RANK[part]:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_estimators_know_arrays_only() -> None:
    for path in (ROOT / "estimators").rglob("*.py"):
        tops = {module.split(".")[0] for module in imports(path)}
        assert not tops & (HEAVY - {"pandas", "statsmodels"}), path


def test_import_is_light() -> None:
    """No heavy package is loaded by `import statllm`; the time itself is in the benchmarks."""
    code = "import sys, statllm; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & (HEAVY | {"scipy", "sklearn", "pydantic", "pyarrow"})
