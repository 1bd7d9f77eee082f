"""The embedded default: word problems with exact answers and a small, imperfect model."""

from __future__ import annotations

from pathlib import Path

from statllm.lab.world import Problem, careful_solution, generate, hasty_solution, problems

__all__ = [
    "Problem",
    "careful_solution",
    "generate",
    "hasty_solution",
    "model_path",
    "problems",
    "recipe_path",
]


def model_path() -> Path:
    """Return the folder of the lab model that ships with the package.

    It is an ordinary Hugging Face folder (Llama architecture, safetensors, fast tokenizer).

    Examples
    --------
    >>> (model_path() / "config.json").exists()
    True
    """
    return Path(__file__).parent / "model"


def recipe_path(name: str) -> Path:
    """Return a recipe that ships with the lab: scpo, irpo, scpo-quick or irpo-quick.

    Examples
    --------
    >>> recipe_path("scpo").name
    'scpo.yaml'
    """
    return Path(__file__).parent / "recipes" / f"{name}.yaml"
