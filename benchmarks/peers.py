"""Peers' own modules, imported without what their packages drag in.

lm-polygraph's, uqlm's and relplot's `__init__` files import openai, langchain, seaborn and more,
though the arithmetic that is timed here needs numpy and scikit-learn only. So a package is entered
by its folder: its `__init__` isn't run, and what its modules want from the rest of it is a
stand-in.

    pip install --no-deps lm-polygraph==0.7.0 uqlm==0.6.7 crepes==0.9.1 relplot==1.0.3 deprecation
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any


def peer(module: str, *names: str) -> list[Any] | None:
    """Objects `names` of a peer's module; None, with a word, where it can't be imported."""
    top = module.partition(".")[0]
    try:
        if top in _ENTERED:
            _enter(top)
        # Their docstrings hold escapes that Python warns of.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module(module)
        return [getattr(found, name) for name in names]
    except ImportError as error:
        print(f"{module} can't be imported, so isn't compared: {error}")
        return None


def _enter(top: str) -> None:
    if top in sys.modules:
        return
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{top} isn't installed")
    folder = spec.submodule_search_locations[0]
    for name in _ENTERED[top]:
        path = folder + name.removeprefix(top).replace(".", "/")
        sys.modules[name] = _module(name, __path__=[path])
    for name, parts in _STAND_INS.items():
        if name.startswith(top):
            sys.modules[name] = _module(name, **parts)


def _module(name: str, **parts: object) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(parts)
    return module


_ENTERED = {
    "lm_polygraph": [
        "lm_polygraph",
        "lm_polygraph.estimators",
        "lm_polygraph.stat_calculators",
        "lm_polygraph.ue_metrics",
        "lm_polygraph.utils",
    ],
    "relplot": ["relplot"],
    "uqlm": ["uqlm", "uqlm.white_box", "uqlm.white_box.baseclass", "uqlm.nli"],
}
_STAND_INS: dict[str, dict[str, object]] = {
    "lm_polygraph.utils.common": {"polygraph_module_init": lambda function: function},
    "lm_polygraph.utils.model": {"Model": object, "WhiteboxModel": object},
}
