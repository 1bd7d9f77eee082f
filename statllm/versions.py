"""The versions that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "statllm", "numpy", "scipy", "statsmodels", "pandas", "pyarrow", "pydantic",
    "torch", "transformers", "tokenizers", "trl", "math-verify", "matplotlib",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return package name -> version; packages that are not installed are left out.

    Examples
    --------
    >>> "numpy" in versions()
    True
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
