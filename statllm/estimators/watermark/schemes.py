"""The schemes by the names that users write."""

from __future__ import annotations

import importlib
from typing import Any

from statllm.estimators.watermark.marks import Scheme

_PRF = "statllm.estimators.watermark.prf."

#: Name: module and class.
SCHEMES: dict[str, tuple[str, str]] = {
    "kgw": ("kgw", "Kgw"),
    "unigram": ("unigram", "Unigram"),
    "sbw": ("bernoulli_green", "Sbw"),
    "vllm-red-green": ("bernoulli_green", "VllmRedGreen"),
    "dipmark": ("dipmark", "Dipmark"),
    "vllm-gumbel": ("vllm_gumbel", "VllmGumbel"),
    "vllm-dual-gumbel": ("vllm_gumbel", "VllmDualGumbel"),
    "sglang-gumbel": ("sglang_gumbel", "SglangGumbel"),
    "synthid": ("synthid", "SynthId"),
    "three-bricks-gumbel": ("three_bricks", "ThreeBricksGumbel"),
    "permute-flip": ("three_bricks", "PermuteFlip"),
    "textseal-gumbel": ("textseal", "TextSealGumbel"),
    "inverse-transform": ("inverse_transform", "InverseTransform"),
}


def scheme_class(name: str) -> type[Any]:
    """Return the class of a scheme.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in SCHEMES:
        raise ValueError(f"there is no scheme {name!r}; there are {', '.join(SCHEMES)}")
    module, attribute = SCHEMES[name]
    found: type[Any] = getattr(importlib.import_module(_PRF + module), attribute)
    return found


def make_scheme(name: str, **options: Any) -> Scheme:
    """Return a scheme under a key.

    Raises
    ------
    ValueError
        If there is none of that name, or an option is wrong.

    Examples
    --------
    >>> make_scheme("vllm-gumbel", key=42).name
    'vllm-gumbel'
    """
    scheme: Scheme = scheme_class(name)(**options)
    return scheme
